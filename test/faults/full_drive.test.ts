/** A real file system that runs full: writes are refused, reads go on, deletes free space, writes come back. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, statfsSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { S3Client, S3RequestError } from "../../src/client/s3_client.ts";
import { reserveBytes } from "../../src/node/drive_state.ts";
import { ServerProcess, testKeys } from "../crash/server_process.ts";
import { bucket, fill, smallFileSystem, verify, writesComeBack } from "./full.fixture.ts";

/** A server on a small file system of its own; undefined when there can be none here, and the test is skipped. */
async function startOnSmallDrive(t: TestContext): Promise<{ server: ServerProcess; directory: string } | undefined> {
  const directory = mkdtempSync(path.join(tmpdir(), "holdfast-full-"));
  const why = smallFileSystem(directory);
  if (why) {
    rmSync(directory, { recursive: true });
    t.skip(why);
    return undefined;
  }
  t.after(() => {
    execFileSync("umount", [directory]);
    rmSync(directory, { recursive: true });
  });
  return { server: await ServerProcess.start(path.join(directory, "data"), { workers: 2 }), directory };
}

test("a full drive refuses writes, serves reads, and takes writes again when space is free", async (t) => {
  const started = await startOnSmallDrive(t);
  if (started === undefined) return;
  const { server } = started;
  const client = new S3Client({ endpoint: server.url, ...testKeys, region: "us-east-1" });
  try {
    await client.run({ method: "PUT", bucket });
    const hashes = new Map<string, string>();
    const refusal = await fill(client, hashes);
    assert.equal(refusal?.status, 507, refusal?.message);
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

const smallBytes = 16_000;

/** Puts small objects, many at a time, until one is refused. Returns the refusal. */
async function fillSmall(client: S3Client, bodies: Map<string, Buffer>): Promise<S3RequestError> {
  while (bodies.size < 20_000) {
    const batch = Array.from({ length: 32 }, (_, index) => `small ${bodies.size + index}`);
    const results = await Promise.allSettled(
      batch.map(async (key) => {
        const body = randomBytes(smallBytes);
        await client.run({ method: "PUT", bucket, key, body });
        bodies.set(key, body);
      }),
    );
    for (const result of results) {
      if (result.status === "fulfilled") continue;
      assert.ok(result.reason instanceof S3RequestError, String(result.reason));
      return result.reason;
    }
  }
  throw new Error("the drive never was full");
}

/** What is left at the edge of the reserve may do for some. */
async function firstRefusal(run: (index: number) => Promise<unknown>, most = 1_000): Promise<unknown> {
  for (let index = 0; index < most; index++) {
    try {
      await run(index);
    } catch (error) {
      return error;
    }
  }
  return undefined;
}

test("small objects leave the reserve free too, and come back into what deletes freed", async (t) => {
  const started = await startOnSmallDrive(t);
  if (started === undefined) return;
  const { server, directory } = started;
  const client = new S3Client({ endpoint: server.url, ...testKeys, region: "us-east-1" });
  const put = (key: string, body: Buffer): Promise<unknown> => client.run({ method: "PUT", bucket, key, body });
  const isFull = (error: unknown): boolean =>
    error instanceof S3RequestError && error.status === 507 && error.code === "InsufficientStorage";
  const free = (): number => statfsSync(directory).bavail * statfsSync(directory).bsize;
  const file = (): number => statSync(path.join(directory, "data", "meta", "store.mdb")).size;
  try {
    await client.run({ method: "PUT", bucket });
    const bodies = new Map<string, Buffer>();
    const refusal = await fillSmall(client, bodies);
    assert.ok(isFull(refusal), refusal.message);
    assert.ok(bodies.size > 1_000, "it took data before");
    const { blocks, bsize } = statfsSync(directory);
    assert.ok(free() > reserveBytes(blocks * bsize) / 2, `${free()} bytes are free`);
    const [first] = bodies.keys();
    const copy = { "x-amz-copy-source": `/${bucket}/${encodeURIComponent(first!)}` };
    const refusals: [string, (index: number) => Promise<unknown>][] = [
      ["a copy", (index) => client.run({ method: "PUT", bucket, key: `copy ${index}`, headers: copy })],
      ["an empty object", (index) => put(`empty ${index}`, Buffer.alloc(0))],
      ["an upload", (index) => client.run({ method: "POST", bucket, key: `upload ${index}`, query: { uploads: "" } })],
    ];
    for (const [what, run] of refusals) assert.ok(isFull(await firstRefusal(run)), what);
    for (const [key, body] of [...bodies].slice(0, 100)) assert.deepEqual(await client.read(bucket, key), body);
    const grown = file();
    for (const key of [...bodies.keys()].slice(0, 2_000)) {
      await client.run({ method: "DELETE", bucket, key });
      bodies.delete(key);
    }
    for (let index = 0; index < 500; index++) await put(`again ${index}`, randomBytes(smallBytes));
    assert.ok(file() >= grown, "the file has not shrunk");
    assert.ok(free() > reserveBytes(blocks * bsize) / 2, "nor has it grown");
    // On and on: what the file can use again is used, and no more.
    assert.ok(
      isFull(await firstRefusal((index) => put(`more ${index}`, randomBytes(smallBytes)), 4_000)),
      "full again",
    );
    assert.ok(free() > reserveBytes(blocks * bsize) / 2, "and the reserve is still there");
    for (const [key, body] of [...bodies].slice(-100)) assert.deepEqual(await client.read(bucket, key), body);
  } finally {
    client.close();
    await server.stop();
  }
});
