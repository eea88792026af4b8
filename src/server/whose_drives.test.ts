/** Drives and stores have to agree on who belongs to whom: else a sweep would take what is on a drive for nobody's. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { hasReason } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import { systemRandom } from "../core/random.ts";
import type { Kv } from "../kv/kv.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { recordDrives } from "../meta/drives.ts";
import { foundStore } from "../meta/store.ts";
import { systemDisk } from "../node/disk.system.ts";
import { readDriveStore } from "../node/drive.ts";
import { markStore, refuseForeign } from "./whose_drives.ts";

const disk = systemDisk("/");

function folderOf(t: TestContext) {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-whose-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(path.join(folder, "segments"));
  return {
    drive: { id: "00000000000000d1" as DriveId, path: folder },
    fill: () => writeFileSync(path.join(folder, "segments", `${"0".repeat(24)}.seg`), "x"),
  };
}

async function newStore(): Promise<{ readonly kv: Kv; readonly id: string }> {
  const kv = openMemoryKv();
  const { store } = await foundStore(kv, systemRandom, () => undefined);
  return { kv, id: store.id };
}

type Drive = ReturnType<typeof folderOf>["drive"];

/** As a start does it. */
async function start(kv: Kv, drive: Drive): Promise<void> {
  await refuseForeign(kv, disk, [drive]);
  await markStore(kv, disk, [drive]);
  await recordDrives(kv, [{ ...drive, sizeBytes: 1, node: "http://a:1" }], 1);
}

const isRefused = (error: unknown): boolean => hasReason(error, "invalid_argument");

test("a drive with chunks is refused by a store that knew it before another one used it", async (t) => {
  const { drive, fill } = folderOf(t);
  const [mistaken, right] = [await newStore(), await newStore()];
  // It had nothing yet when it was started with the wrong metadata store.
  await start(mistaken.kv, drive);
  await start(right.kv, drive);
  assert.equal(await readDriveStore(disk, drive.path), right.id);
  fill();
  await assert.rejects(start(mistaken.kv, drive), isRefused);
  await start(right.kv, drive);
  // Who knows better takes the mark away.
  rmSync(path.join(drive.path, "store.json"));
  await start(mistaken.kv, drive);
  await assert.rejects(start(right.kv, drive), isRefused);
});

test("a drive that was used before drives bore the id of their store gets it", async (t) => {
  const { drive, fill } = folderOf(t);
  const { kv, id } = await newStore();
  await recordDrives(kv, [{ ...drive, sizeBytes: 1, node: "http://a:1" }], 1);
  fill();
  await start(kv, drive);
  assert.equal(await readDriveStore(disk, drive.path), id);
});

test("a drive with chunks that the store does not know is refused, one without may change hands", async (t) => {
  const { drive, fill } = folderOf(t);
  const [one, other] = [await newStore(), await newStore()];
  await start(one.kv, drive);
  await start(other.kv, drive);
  fill();
  await assert.rejects(start((await newStore()).kv, drive), isRefused);
});

test("a damaged mark is no mark of this store", async (t) => {
  const { drive, fill } = folderOf(t);
  const { kv } = await newStore();
  await start(kv, drive);
  fill();
  for (const content of ["{", "{}", '{"format":2,"store":""}', '{"format":1,"store":"x"}']) {
    writeFileSync(path.join(drive.path, "store.json"), content);
    await assert.rejects(start(kv, drive), { name: "HoldfastError" }, content);
  }
});
