/** A real file system that runs full: writes are refused, reads go on, deletes free space, writes come back. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { S3Client, S3RequestError } from "../../src/client/s3_client.ts";
import { ServerProcess, testKeys } from "../crash/server_process.ts";

const MiB = 1024 * 1024;
const bucket = "full";

function smallFileSystem(directory: string): string | undefined {
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=160m", "tmpfs", directory], { stdio: "pipe" });
    return undefined;
  } catch {
    return "a small file system cannot be mounted here: run as root on Linux";
  }
}

/** Puts objects until one is refused; returns the refusal. */
async function fill(client: S3Client, hashes: Map<string, string>): Promise<S3RequestError> {
  for (let index = hashes.size; index < 200; index++) {
    const body = randomBytes(3 * MiB);
    const key = `object ${index}`;
    try {
      await client.run({ method: "PUT", bucket, key, body });
      hashes.set(key, createHash("sha256").update(body).digest("hex"));
    } catch (error) {
      assert.ok(error instanceof S3RequestError, String(error));
      return error;
    }
  }
  throw new Error("the drive never was full");
}

async function verify(client: S3Client, hashes: Map<string, string>): Promise<void> {
  for (const [key, hash] of hashes) {
    assert.equal(
      createHash("sha256")
        .update(await client.read(bucket, key))
        .digest("hex"),
      hash,
      key,
    );
  }
}

test("a full drive refuses writes, serves reads, and takes writes again when space is free", async (t) => {
  const directory = mkdtempSync(path.join(tmpdir(), "holdfast-full-"));
  const why = smallFileSystem(directory);
  if (why) {
    rmSync(directory, { recursive: true });
    return t.skip(why);
  }
  t.after(() => {
    execFileSync("umount", [directory]);
    rmSync(directory, { recursive: true });
  });
  const server = await ServerProcess.start(path.join(directory, "data"), { workers: 2 });
  const client = new S3Client({ endpoint: server.url, ...testKeys, region: "us-east-1" });
  try {
    await client.run({ method: "PUT", bucket });
    const hashes = new Map<string, string>();
    const refusal = await fill(client, hashes);
    assert.equal(refusal.status, 507, refusal.message);
    assert.ok(hashes.size > 10, "it took data before");
    await verify(client, hashes);
    for (const key of [...hashes.keys()].slice(0, hashes.size / 2)) {
      await client.run({ method: "DELETE", bucket, key });
      hashes.delete(key);
    }
    await writesComeBack(client, hashes);
    await verify(client, hashes);
  } finally {
    client.close();
    await server.stop();
  }
});

/** Space comes back in the background; the wait is bounded, not timed. */
async function writesComeBack(client: S3Client, hashes: Map<string, string>): Promise<void> {
  const body = randomBytes(3 * MiB);
  for (let attempt = 0; attempt < 120; attempt++) {
    try {
      await client.run({ method: "PUT", bucket, key: "again", body });
      hashes.set("again", createHash("sha256").update(body).digest("hex"));
      return;
    } catch (error) {
      assert.ok(error instanceof S3RequestError && error.status === 507, String(error));
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
  assert.fail("writes did not come back");
}
