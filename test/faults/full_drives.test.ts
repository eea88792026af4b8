/** Four real file systems that run full, one after another: while one is full the others take its shards, then writes are refused. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { S3Client } from "../../src/client/s3_client.ts";
import { ServerProcess, testKeys } from "../crash/server_process.ts";
import { basic } from "../server/harness.ts";
import { bucket, fill, smallFileSystem, verify, writesComeBack } from "./full.fixture.ts";

const MiB = 1024 * 1024;

test("one full drive hinders nothing, all of them refuse writes, and what is deleted makes room again", async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-full-drives-"));
  const mounts: string[] = [];
  t.after(() => {
    for (const mount of mounts) execFileSync("umount", [mount]);
    rmSync(folder, { recursive: true });
  });
  for (const name of ["d1", "d2", "d3", "d4"]) {
    const mount = path.join(folder, name);
    mkdirSync(mount);
    const why = smallFileSystem(mount);
    if (why !== undefined) return t.skip(why);
    mounts.push(mount);
  }
  // Somebody else's bytes: drives get their share by their size, so this one is full first.
  writeFileSync(path.join(mounts[3]!, "ballast"), Buffer.alloc(90 * MiB));
  const [first, ...others] = mounts.map((mount) => path.join(mount, "data"));
  const server = await ServerProcess.start(first!, { workers: 1, args: others });
  const client = new S3Client({ endpoint: server.url, ...testKeys, region: "us-east-1" });
  const storedBytes = async (): Promise<number[]> => {
    const headers = basic(testKeys.accessKey, testKeys.secretKey);
    const answer = await fetch(new URL("/_/admin/status", server.url), { headers });
    const { drives } = (await answer.json()) as { drives: { path: string; liveBytes: number }[] };
    return drives.toSorted((one, other) => (one.path < other.path ? -1 : 1)).map(({ liveBytes }) => liveBytes);
  };
  try {
    await client.run({ method: "PUT", bucket });
    const hashes = new Map<string, string>();
    const refusal = await fill(client, hashes);
    assert.deepEqual([refusal?.status, refusal?.code], [507, "InsufficientStorage"], refusal?.message);
    const [one, two, three, small] = (await storedBytes()) as [number, number, number, number];
    assert.ok(small > 20 * MiB && small < 0.7 * Math.min(one, two, three), "the others took what one could not");
    await verify(client, hashes);
    for (const key of [...hashes.keys()].slice(0, 40)) {
      await client.run({ method: "DELETE", bucket, key });
      hashes.delete(key);
    }
    await writesComeBack(client, hashes);
    await verify(client, hashes);
  } finally {
    client.close();
    await server.stop();
  }
  return undefined;
});
