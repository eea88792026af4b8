/** A start with embedded metadata takes no drive for its own that belongs to another store, and leaves it as it is. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { createServer } from "../../src/index.ts";
import { silentLog } from "../../src/core/log.ts";
import { systemRandom } from "../../src/core/random.ts";
import { foundStore } from "../../src/meta/store.ts";
import { systemDisk } from "../../src/node/disk.system.ts";
import { markDriveStore } from "../../src/node/drive.ts";
import { aloneOn, openMetadata } from "../../src/server/metadata.ts";
import { basic } from "./harness.ts";

const disk = systemDisk("/");
const another = "ab".repeat(16);

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-foreign-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A server on these drives that has served, with chunks if wanted. */
async function serveOn(drives: readonly string[], hasChunks = true): Promise<void> {
  const server = await createServer({ drives, redundancy: "replica:1", metadataCopies: 1 });
  const headers = basic(server.accessKey, server.secretKey);
  for (let count = 0; hasChunks && count < 12; count++) {
    const answer = await fetch(`${server.url}/_/files?name=x`, { method: "PUT", headers, body: randomBytes(100_000) });
    assert.equal(answer.status, 201);
  }
  await server.close();
}

const metaOf = (drive: string): string => path.join(drive, "meta");

/** A drive with chunks, or none, whose metadata is elsewhere. */
async function driveOfAnother(folder: string, hasChunks: boolean): Promise<string> {
  const drive = path.join(folder, "foreign");
  await serveOn([drive], hasChunks);
  rmSync(metaOf(drive), { recursive: true });
  return drive;
}

test("a drive of a cluster is refused, with or without chunks, and nothing is written to it", async (t) => {
  for (const hasChunks of [true, false]) {
    const folder = folderOf(t);
    const drive = await driveOfAnother(folder, hasChunks);
    await markDriveStore(disk, drive, another);
    const own = path.join(folder, "own");
    await serveOn([own]);
    await assert.rejects(serveOn([drive]), /--metadata/);
    await assert.rejects(serveOn([own, drive]), new RegExp(`foreign belongs to the store ${another}.*--metadata`, "s"));
    assert.ok(!existsSync(metaOf(drive)));
    await serveOn([own]);
  }
});

test("what to do is true: without the mark an empty drive begins anew", async (t) => {
  const drive = await driveOfAnother(folderOf(t), false);
  await markDriveStore(disk, drive, another);
  await assert.rejects(serveOn([drive]), (error: Error) => error.message.includes(path.join(drive, "store.json")));
  rmSync(path.join(drive, "store.json"));
  await serveOn([drive]);
});

test("a drive of a cluster whose metadata came back to it is served", async (t) => {
  const drive = path.join(folderOf(t), "d");
  await serveOn([drive]);
  const { kv } = await openMetadata({ metadata: aloneOn(drive), disk, log: silentLog });
  const { store } = await foundStore(kv, systemRandom, () => undefined);
  await kv.close();
  await markDriveStore(disk, drive, store.id);
  await serveOn([drive]);
  await markDriveStore(disk, drive, another);
  await assert.rejects(serveOn([drive]), /belongs to the store/);
  writeFileSync(path.join(drive, "store.json"), "{");
  await assert.rejects(serveOn([drive]), { name: "HoldfastError" });
});

test("a drive with chunks that the embedded metadata does not know is refused, an empty one is taken", async (t) => {
  const folder = folderOf(t);
  const drive = await driveOfAnother(folder, true);
  const own = path.join(folder, "own");
  await serveOn([own]);
  await assert.rejects(serveOn([own, drive]), /foreign has chunks, and the metadata .* does not know this drive/s);
  assert.ok(!existsSync(metaOf(drive)));
  const empty = path.join(folder, "empty");
  await serveOn([own, empty]);
  await serveOn([own, empty]);
});
