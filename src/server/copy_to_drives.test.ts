/** Copies onto real drives, cut off everywhere, with starts of a server in between that must not take what is there. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { systemClock } from "../core/clock.ts";
import { hasReason } from "../core/errors.ts";
import { silentLog } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import { keptRootKey } from "../identity/root_key.ts";
import { Fuse, newWorld, type World } from "../jobs/jobs.fixture.ts";
import { readCopying } from "../meta/copying.ts";
import { readDrives, recordDrives } from "../meta/drives.ts";
import { storeKey } from "../meta/keys.ts";
import { encodeStore } from "../meta/store.ts";
import { systemDisk } from "../node/disk.system.ts";
import { copyMetadata, identifySource, reopenMetadata, type CopyReport } from "./copy_metadata.ts";
import { drivesOf, openDrivesTarget } from "./copy_to_drives.ts";
import { metaFile } from "./layout.ts";
import { lockDrives } from "./lock.ts";
import { openStopped } from "./metadata.ts";
import { prepareServer, type Prepared } from "./prepare.ts";

const root = { accessKey: "ROOTKEYOFTHESTORE000", secretKey: "the-secret-of-the-root-key-0123456789abcd" };
const seams = { clock: systemClock, random: systemRandom, log: silentLog };
const disk = systemDisk("/");

function folders(t: TestContext, count: number): string[] {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-copy-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return Array.from({ length: count }, (_, index) => path.join(folder, `d${index + 1}`));
}

/** A store on an engine, with rows for several commits. */
async function engineWorld(): Promise<World> {
  const world = newWorld();
  const value = encodeStore({ id: "1d".repeat(16), root });
  await world.kv.commit({ checks: [], writes: [{ kind: "put", key: storeKey(), value }] });
  for (let index = 0; index < 1_200; index++) {
    const key = Buffer.from([0x70, index >>> 8, index & 0xff]);
    await world.kv.commit({ checks: [], writes: [{ kind: "put", key, value: Buffer.alloc(200, index) }] });
  }
  return world;
}

async function copyTo(drives: readonly string[], { kv }: World): Promise<CopyReport> {
  const identity = await identifySource(kv, systemRandom);
  const known = (await readDrives(kv)).map(({ id }) => id);
  const target = await openDrivesTarget(drives, "the drives", { identity, known, ...seams });
  try {
    return await copyMetadata({ source: { kv, name: "the engine", isLocked: false }, target, identity, ...seams });
  } finally {
    await target.close();
  }
}

async function start(drives: readonly string[]): Promise<Prepared> {
  const lock = await lockDrives(drives, "embedded");
  try {
    return await prepareServer({ drives, root: undefined, ...seams });
  } finally {
    lock.release();
  }
}

function refusedWith(pattern: RegExp): (error: unknown) => true {
  return (error) => {
    assert.ok(hasReason(error, "invalid_argument"), String(error));
    assert.match(error.message, pattern);
    return true;
  };
}

async function rowsOn(drives: readonly string[]): Promise<number> {
  const { kv } = await openStopped(await drivesOf(disk, drives), { disk, ...seams });
  try {
    const rows = await kv.scan({ start: Buffer.from([0x70]), end: Buffer.from([0x71]) }, { limit: 2_000 });
    return rows.length;
  } finally {
    await kv.close();
  }
}

test("empty folders become drives with the store's metadata and root key, and a server starts on them", async (t) => {
  const drives = folders(t, 3);
  const world = await engineWorld();
  await copyTo(drives, world);
  assert.deepEqual(await keptRootKey([drives[0]!]), root);
  const { rootKey, metadata } = await start(drives);
  assert.deepEqual([rootKey.accessKey, rootKey.secretKey, rootKey.from], [root.accessKey, root.secretKey, "kept"]);
  assert.equal(metadata.kind, "copies");
  assert.equal(await rowsOn(drives), 1_200);
});

for (const isStartedBetween of [false, true]) {
  const between = isStartedBetween ? ", with a start of a server in between" : "";
  test(`cut off at any call of the engine, the same command finishes it${between}`, async (t) => {
    for (let [step, isDone] = [1, false]; !isDone; step++) {
      const drives = folders(t, 2);
      // Drives of the store, which have no metadata of their own.
      const world = await engineWorld();
      await recordDrives(world.kv, await formatted(drives), 1);
      const fuse = new Fuse(step, "dies");
      await copyTo(drives, fuse.wrap(world)).catch(() => undefined);
      isDone = !fuse.burnt;
      const isOpen = (await readCopying(world.kv))?.state === "moved" && isDone;
      const hasFile = existsSync(metaFile(drives[0]!));
      if (isStartedBetween && hasFile && !isOpen) await assert.rejects(start(drives), refusedWith(/is not finished/));
      // As who was killed when the copy had just got its name leaves it.
      if (hasFile && !isOpen) writeFileSync(`${metaFile(drives[0]!)}.copy-lock`, "");
      if (!isOpen) await copyTo(drives, world);
      assert.equal(await rowsOn(drives), 1_200);
      assert.equal((await start(drives)).rootKey.accessKey, root.accessKey);
      assert.ok(readdirSync(path.join(drives[0]!, "meta")).every((name) => !name.includes(".copy")));
    }
  });
}

/** Formats them as drives without metadata, as a node of a cluster has them. */
async function formatted(drives: readonly string[]) {
  await start(drives);
  for (const drive of drives) rmSync(path.join(drive, "meta"), { recursive: true, force: true });
  return (await drivesOf(disk, drives)).map((drive) => ({ ...drive, sizeBytes: 1, node: "" }));
}

test("drives of another store are refused, and so is metadata that may count", async (t) => {
  const drives = folders(t, 2);
  const world = await engineWorld();
  const known = await formatted(drives);
  await assert.rejects(copyTo(drives, world), refusedWith(/is not a drive of this store/));
  await recordDrives(world.kv, known, 1);
  await start(drives);
  await assert.rejects(copyTo(drives, world), refusedWith(/has metadata of its own.*meta/));
  assert.equal(await readCopying(world.kv), undefined);
});

test("what another copy left aside is begun anew", async (t) => {
  const drives = folders(t, 1);
  const [world, other] = [await engineWorld(), await engineWorld()];
  await assert.rejects(copyTo(drives, new Fuse(12, "dies").wrap(other)));
  assert.ok(existsSync(`${metaFile(drives[0]!)}.copy`));
  await recordDrives(
    world.kv,
    (await drivesOf(disk, drives)).map((drive) => ({ ...drive, sizeBytes: 1, node: "" })),
    1,
  );
  const { writes, rows } = await copyTo(drives, world);
  assert.equal(writes, rows);
  await reopenMetadata(other.kv);
});
