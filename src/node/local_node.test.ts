import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { systemClock } from "../core/clock.ts";
import { hasReason } from "../core/errors.ts";
import { IdSource, type DriveId, type SessionId } from "../core/ids.ts";
import { silentLog } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import { openLmdbKv } from "../kv/lmdb.ts";
import { systemDisk, systemProcesses } from "./disk.system.ts";
import { markDriveClean, markDriveSwept, prepareDrive, type OpenIndex } from "./drive.ts";
import { lockDrive } from "./drive_lock.ts";
import { FakeMachine } from "./fake_machine.ts";
import { openLocalNode, type LocalNode } from "./local_node.ts";
import { nodeConformance } from "./node.conformance.ts";
import { createMemoryNode } from "./node.memory.ts";
import type { ChunkNode, Shard } from "./node.ts";
import { recordBytes, SEGMENT_HEADER_BYTES } from "./segment.ts";

const run = promisify(execFile);
const ids = new IdSource("00000000000000bb" as SessionId);
const openIndex: OpenIndex = ({ path }) => openLmdbKv({ path: `${path}/index.mdb`, sync: false, mapBytes: 2 ** 24 });

function shard(sizeBytes: number): Shard {
  const body = [Buffer.from(systemRandom.bytes(sizeBytes))];
  return { chunk: ids.chunk(), shardIndex: 0, owner: { blob: ids.blob(), chunkIndex: 0 }, body };
}

async function prepareOn(path: string): Promise<boolean> {
  const disk = systemDisk("/");
  return (await prepareDrive({ path, disk, openIndex, random: systemRandom, log: silentLog })).sweepDue;
}

async function openOn(path: string): Promise<LocalNode> {
  const processes = await systemProcesses();
  const seams = { processes, clock: systemClock, random: systemRandom, log: silentLog };
  return openLocalNode({ drives: [path], disk: systemDisk("/"), openIndex, ...seams });
}

async function inFolder(use: (path: string) => Promise<void>): Promise<void> {
  const path = await mkdtemp(join(tmpdir(), "holdfast-node-"));
  try {
    await use(path);
  } finally {
    await rm(path, { recursive: true });
  }
}

nodeConformance("memory", async () => {
  const node = createMemoryNode();
  return { node, dispose: () => node.close() };
});

nodeConformance("local, fake disk", async () => {
  const node = await new FakeMachine(1).start();
  return { node, dispose: () => node.close() };
});

nodeConformance("local, system disk", async () => {
  const path = await mkdtemp(join(tmpdir(), "holdfast-node-"));
  await prepareOn(path);
  const node = await openOn(path);
  const dispose = async (): Promise<void> => {
    await node.close();
    await rm(path, { recursive: true });
  };
  return { node, dispose };
});

for (const what of ["is removed", "is another one now"] as const)
  void test(`a drive whose folder ${what} under a running node has failed, and says so`, () =>
    inFolder(async (folder) => {
      const path = join(folder, "drive");
      await mkdir(path);
      await prepareOn(path);
      const node = await openOn(path);
      const [drive] = node.drives as [DriveId];
      await node.append(drive, shard(100));
      await rename(path, join(folder, "elsewhere"));
      if (what === "is another one now") {
        await mkdir(path);
        await prepareOn(path);
      }
      // Space is asked for again after a second.
      const { state, totalBytes } = await node.status(drive);
      assert.deepEqual([state, totalBytes > 0], ["failed", true]);
      await assert.rejects(node.append(drive, shard(100)), (error) => hasReason(error, "drive_failed"));
      await node.close().catch(() => undefined);
    }));

async function readsBack(node: ChunkNode, one: Shard): Promise<boolean> {
  const bytes = Buffer.concat(one.body);
  return (await node.read(node.drives[0]!, one, { offset: 0, length: bytes.length })).equals(bytes);
}

void test("what cannot be read of a drive whose folder went away is no damage of its shards", () =>
  inFolder(async (folder) => {
    const path = join(folder, "drive");
    await prepareOn(path);
    const writer = await openOn(path);
    const [drive] = writer.drives as readonly [DriveId];
    const stored = shard(100);
    await writer.append(drive, stored);
    await writer.close();
    // Without a file that is open still.
    const node = await openOn(path);
    await rename(path, join(folder, "elsewhere"));
    const range = { offset: 0, length: 100 };
    await assert.rejects(node.read(drive, stored, range), (error) => hasReason(error, "drive_failed"));
    await rename(join(folder, "elsewhere"), path);
    await assert.rejects(node.append(drive, shard(1)), (error) => hasReason(error, "drive_failed"));
    assert.equal((await node.read(drive, stored, range)).length, 100);
    await node.close();
  }));

void test("every flipped bit of a record is noticed, by read and by verify", async () => {
  const machine = new FakeMachine(1);
  let node = await machine.start();
  const drive = node.drives[0]!;
  const one = shard(37);
  await node.append(drive, one);
  const [name] = await machine.disk.list(`${machine.path}/segments`);
  const file = `${machine.path}/segments/${name}`;
  const exactBits = 8 * (96 + 4 + 37);
  for (let bit = 0; bit < 8 * recordBytes(37, 65_536); bit++) {
    machine.disk.flipBit(file, 8 * SEGMENT_HEADER_BYTES + bit);
    // A new node knows no table yet.
    node = await machine.openNode();
    const read = node.read(drive, one, { offset: 5, length: 20 });
    if (bit < exactBits) await assert.rejects(read, (error) => hasReason(error, "corrupt_chunk"), `bit ${bit}`);
    assert.equal((await node.verify(drive, one)).outcome, "corrupt", `bit ${bit}`);
    machine.disk.flipBit(file, 8 * SEGMENT_HEADER_BYTES + bit);
  }
  assert.equal((await node.verify(drive, one)).outcome, "good");
});

void test("only the record that was found damaged is discarded, not one that was made anew since", async () => {
  const machine = new FakeMachine(1);
  let node = await machine.start();
  const drive = node.drives[0]!;
  const [one, kept] = [shard(37), shard(41)];
  await node.append(drive, one);
  await node.append(drive, kept);
  const [name] = await machine.disk.list(`${machine.path}/segments`);
  machine.disk.flipBit(`${machine.path}/segments/${name}`, 8 * SEGMENT_HEADER_BYTES + 8 * 100);
  node = await machine.openNode();
  assert.equal((await node.verify(drive, one)).outcome, "corrupt");
  // Two that found it so at once: one of them makes it anew before the other one comes to discard it.
  assert.equal(await node.discard(drive, one), "missing");
  await node.append(drive, one);
  assert.equal(await node.discard(drive, one), "good");
  assert.ok(await readsBack(node, one));
  assert.ok(await readsBack(node, kept));
  const { liveBytes } = await node.status(drive);
  assert.equal(liveBytes, recordBytes(37, 65_536) + recordBytes(41, 65_536));
});

void test("a damaged block hides no other block, and a damaged shard is not compacted away", async () => {
  const machine = new FakeMachine(1);
  let node = await machine.start();
  const drive = node.drives[0]!;
  const [one, doomed] = [shard(200_000), shard(300_000)];
  await node.append(drive, one);
  await node.append(drive, doomed);
  const [name] = await machine.disk.list(`${machine.path}/segments`);
  const bodyStart = SEGMENT_HEADER_BYTES + 96 + 4 * 4;
  machine.disk.flipBit(`${machine.path}/segments/${name}`, 8 * (bodyStart + 70_000));
  const range = { offset: 65_536, length: 10 };
  await assert.rejects(node.read(drive, one, range), (error) => hasReason(error, "corrupt_chunk"));
  const first = await node.read(drive, one, { offset: 0, length: 65_536 });
  assert.ok(first.equals(one.body[0]!.subarray(0, 65_536)));
  await node.remove(drive, [doomed]);
  await node.close();
  node = await machine.openNode();
  assert.equal(await node.compact(drive), 0);
  assert.equal((await node.verify(drive, one)).outcome, "corrupt");
});

void test("a shard removed while it is being compacted stays removed", async () => {
  const machine = new FakeMachine(1);
  let node = await machine.start();
  const drive = node.drives[0]!;
  const [kept, late, doomed] = [shard(1_000), shard(1_000), shard(9_000)];
  for (const each of [kept, late, doomed]) await node.append(drive, each);
  await node.close();
  node = await machine.openNode();
  await node.remove(drive, [doomed]);
  let removal: Promise<void> | undefined;
  // The second sync is the one of the copies: they are written, the rows not yet moved.
  let syncs = 0;
  machine.disk.onOperation = (operation) => {
    if (operation === "sync" && ++syncs === 2) removal = node.remove(drive, [late]);
  };
  assert.ok((await node.compact(drive)) > 0);
  await removal;
  assert.ok(removal);
  assert.equal((await node.verify(drive, late)).outcome, "missing");
  assert.ok(await readsBack(node, kept));
  const status = await node.status(drive);
  assert.deepEqual([status.liveBytes, status.deadBytes], [recordBytes(1_000, 65_536), recordBytes(1_000, 65_536)]);
});

void test("a compaction pauses after what it copied", async () => {
  const machine = new FakeMachine(1);
  const { node, kept } = await twoHalfDead(machine);
  let copiedBytes = 0;
  await node.compact(node.drives[0]!, undefined, async (bytes) => void (copiedBytes += bytes));
  assert.ok(kept.length > 0 && copiedBytes > 0);
  assert.equal(copiedBytes, (await node.status(node.drives[0]!)).liveBytes);
});

for (const operation of ["write", "sync"] as const) {
  void test(`a failed ${operation} fails the drive for good, reads go on`, async () => {
    const machine = new FakeMachine(1);
    const node = await machine.start();
    const drive = node.drives[0]!;
    const [before, failed, later] = [shard(100), shard(100), shard(100)];
    await node.append(drive, before);
    machine.disk.failNext(operation, operation === "write" ? "EIO" : "ENOSPC");
    await assert.rejects(node.append(drive, failed), (error) => hasReason(error, "drive_failed"));
    await assert.rejects(node.append(drive, later), (error) => hasReason(error, "drive_failed"));
    await assert.rejects(node.compact(drive), (error) => hasReason(error, "drive_failed"));
    assert.equal((await node.status(drive)).state, "failed");
    assert.ok(await readsBack(node, before));
    assert.equal((await node.verify(drive, failed)).outcome, "missing");
  });
}

/** Two sealed segments, each with a small shard that lives and a large one that was removed. */
async function twoHalfDead(machine: FakeMachine): Promise<{ node: LocalNode; kept: Shard[]; segments: string[] }> {
  const kept: Shard[] = [];
  let node = await machine.start();
  for (let index = 0; index < 2; index++) {
    const [live, doomed] = [shard(1_000 + index), shard(9_000)];
    for (const each of [live, doomed]) await node.append(node.drives[0]!, each);
    await node.remove(node.drives[0]!, [doomed]);
    kept.push(live);
    await node.close();
    node = await machine.openNode();
  }
  return { node, kept, segments: await machine.disk.list(`${machine.path}/segments`) };
}

void test("a segment that cannot be read keeps no other from being compacted", async () => {
  for (const bad of [0, 1]) {
    const machine = new FakeMachine(1);
    const { node, kept, segments } = await twoHalfDead(machine);
    const drive = node.drives[0]!;
    machine.disk.onOperation = (operation, path) => {
      if (operation === "read" && path.endsWith(segments[bad]!)) throw Object.assign(new Error("EIO"), { code: "EIO" });
    };
    assert.ok((await node.compact(drive)) > 8_000);
    assert.equal((await node.status(drive)).state, "up");
    machine.disk.onOperation = () => undefined;
    for (const one of kept) assert.ok(await readsBack(node, one));
  }
});

void test("too many open files is no fault of the drive, nor of its shards", async () => {
  const machine = new FakeMachine(1);
  let node = await machine.start();
  const drive = node.drives[0]!;
  const isBusy = (error: unknown): boolean => hasReason(error, "slow_down");
  for (const operation of ["open", "syncDirectory"] as const) {
    machine.disk.failNext(operation, "EMFILE", /segments/);
    await assert.rejects(node.append(drive, shard(100)), isBusy);
  }
  const one = shard(100);
  await node.append(drive, one);
  assert.equal((await node.status(drive)).segments, 1, "what could not be made leaves nothing");
  await node.close();
  node = await machine.openNode();
  machine.disk.failNext("open", "ENFILE", /segments/);
  await assert.rejects(readsBack(node, one), isBusy);
  machine.disk.failNext("open", "EMFILE", /segments/);
  await assert.rejects(node.verify(drive, one), isBusy);
  assert.ok(await readsBack(node, one));
});

void test("a write that finds no space leaves no trace, and appends go on in another segment", async () => {
  const machine = new FakeMachine(1);
  const node = await machine.start();
  const drive = node.drives[0]!;
  const [before, refused, later] = [shard(100), shard(100), shard(100)];
  await node.append(drive, before);
  machine.disk.failNext("write", "ENOSPC");
  await assert.rejects(node.append(drive, refused), (error) => hasReason(error, "drive_full"));
  await node.append(drive, later);
  await node.append(drive, refused);
  for (const each of [before, later, refused]) assert.ok(await readsBack(node, each));
  assert.equal((await node.status(drive)).segments, 2);
});

/** Fills a drive, sees it refuse, makes room and sees it take data again. */
async function fillAndFree(node: LocalNode, sizeBytes: number): Promise<void> {
  const drive = node.drives[0]!;
  const kept: Shard[] = [];
  for (;;) {
    const one = shard(sizeBytes);
    try {
      await node.append(drive, one);
      kept.push(one);
    } catch (error) {
      assert.ok(hasReason(error, "drive_full"), String(error));
      break;
    }
  }
  assert.equal((await node.status(drive)).freeBytes > 0, true, "the reserve is left");
  for (const one of kept) assert.ok(await readsBack(node, one));
  const gone = kept.filter((_, index) => index % 4 !== 0);
  await node.remove(drive, gone);
  assert.ok((await node.compact(drive)) > sizeBytes);
  for (const one of kept.filter((_, index) => index % 4 === 0)) assert.ok(await readsBack(node, one));
  const again = shard(sizeBytes);
  await node.append(drive, again);
  assert.ok(await readsBack(node, again));
}

void test("a full drive refuses appends until space is given back (fake disk)", async () => {
  await fillAndFree(await new FakeMachine(1, 96 * 2 ** 20).start(), 450_000);
});

void test("a full drive refuses appends until space is given back (a real small file system)", async (t) => {
  await inFolder(async (path) => {
    try {
      await run("mount", ["-t", "tmpfs", "-o", "size=96m", "tmpfs", path]);
    } catch (error) {
      return t.skip(`no small file system can be mounted here: ${String(error)}`);
    }
    try {
      await prepareOn(path);
      const node = await openOn(path);
      try {
        await fillAndFree(node, 450_000);
      } finally {
        await node.close();
      }
    } finally {
      await run("umount", [path]);
    }
  });
});

void test("two nodes share a drive; the segment of a dead one can be compacted", async () => {
  const machine = new FakeMachine(1);
  const dead = await machine.start();
  const drive = dead.drives[0]!;
  const [one, two, three] = [shard(500), shard(5_000), shard(500)];
  await dead.append(drive, one);
  await dead.append(drive, two);
  const node = await machine.openNode();
  await node.append(drive, three);
  assert.ok(await readsBack(node, one));
  assert.ok(await readsBack(dead, three));
  await node.remove(drive, [two]);
  assert.equal(await node.compact(drive), 0, "its owner may still append to it");
  const other = await machine.openNode((token) => token !== "process-1");
  assert.ok((await other.compact(drive)) > 4_000);
  for (const each of [one, three]) assert.ok(await readsBack(dead, each));
});

void test("the index is trusted after a clean stop or within one boot, and rebuilt otherwise", async () => {
  await inFolder(async (path) => {
    assert.equal(await prepareOn(path), false, "a new drive has nothing to rebuild");
    const node = await openOn(path);
    const one = shard(100_000);
    await node.append(node.drives[0]!, one);
    await node.close();
    assert.equal(await prepareOn(path), false, "same boot");
    await markDriveClean(systemDisk("/"), path);
    const rebooted = { ...systemDisk("/"), bootId: async () => "another" };
    const prepare = () => prepareDrive({ path, disk: rebooted, openIndex, random: systemRandom, log: silentLog });
    assert.equal((await prepare()).sweepDue, false, "clean");
    assert.equal(await prepareOn(path), true, "another boot, not clean");
    await rm(`${path}/index`, { recursive: true });
    assert.equal(await prepareOn(path), true, "no index");
    const again = await openOn(path);
    assert.ok(await readsBack(again, one));
    await again.close();
    assert.equal(await prepareOn(path), true, "trusted, but removed shards may still be back");
    await markDriveClean(systemDisk("/"), path);
    assert.equal(await prepareOn(path), true, "however it was closed");
    await markDriveSwept(systemDisk("/"), path);
    assert.equal(await prepareOn(path), false, "until it was swept");
  });
});

void test("a folder that is no drive, or one of a newer format, is refused", async () => {
  await inFolder(async (path) => {
    await writeFile(join(path, "precious.txt"), "mine");
    await assert.rejects(prepareOn(path), /not empty and not a Holdfast drive/);
    await rm(join(path, "precious.txt"));
    await prepareOn(path);
    await writeFile(join(path, "drive.json"), '{"format":2,"id":"0011223344556677"}');
    await assert.rejects(prepareOn(path), /drive format 2/);
    await writeFile(join(path, "drive.json"), "{");
    await assert.rejects(prepareOn(path), (error) => hasReason(error, "corrupt_record"));
  });
});

void test("one server per drive; a killed one leaves no lock behind", async () => {
  await inFolder(async (path) => {
    const lock = lockDrive(path);
    assert.throws(() => lockDrive(path), /Another Holdfast server is using/);
    lock.release();
    const code = `import { lockDrive } from "${new URL("drive_lock.ts", import.meta.url).href}";
      lockDrive(process.argv[1]); console.log("locked"); setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", code, path]);
    const exited = new Promise((resolve) => child.once("exit", resolve));
    await new Promise((resolve) => child.stdout.once("data", resolve));
    assert.throws(
      () => lockDrive(path),
      (error) => hasReason(error, "unavailable"),
    );
    child.kill("SIGKILL");
    await exited;
    lockDrive(path).release();
  });
});

void test("the queue of appends is bounded", async () => {
  const node = await new FakeMachine(1).start();
  const body = [Buffer.alloc(4 * 2 ** 20)];
  const shards = Array.from({ length: 70 }, () => ({ ...shard(1), body }));
  const results = await Promise.allSettled(shards.map((one) => node.append(node.drives[0]!, one)));
  const refused = results.filter((result) => result.status === "rejected");
  assert.ok(refused.length >= 6 && refused.length < 20, `${refused.length} refused`);
  for (const { reason } of refused) assert.ok(hasReason(reason, "slow_down"));
});

test("a drive that cannot be opened is shown as failed, and is away to every call; the others are used", async () => {
  await inFolder(async (folder) => {
    const [good, gone, givenUp] = ["good", "gone", "given-up"].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    const known = new Map<string, DriveId>();
    for (const path of [good, gone, givenUp]) {
      const prepared = await prepareDrive({
        path,
        disk: systemDisk("/"),
        openIndex,
        random: systemRandom,
        log: silentLog,
      });
      known.set(path, prepared.id);
    }
    await rename(gone, `${gone}-away`);
    const failed: string[] = [];
    const failing = {
      idOf: (path: string) => known.get(path),
      isGivenUp: (path: string) => path === givenUp,
      onFailed: (path: string) => void failed.push(path),
    };
    const seams = { processes: await systemProcesses(), clock: systemClock, random: systemRandom, log: silentLog };
    const open = (drives: string[]) => openLocalNode({ drives, disk: systemDisk("/"), openIndex, ...seams, failing });
    const node = await open([gone, good, givenUp]);
    assert.deepEqual(failed, [gone]);
    assert.deepEqual(
      node.drives,
      [gone, good, givenUp].map((path) => known.get(path)),
    );
    const states = await Promise.all(node.drives.map(async (drive) => (await node.status(drive)).state));
    assert.deepEqual(states, ["failed", "up", "failed"]);
    const ref = { chunk: ids.chunk(), shardIndex: 0 };
    for (const path of [gone, givenUp]) {
      const drive = known.get(path)!;
      for (const call of [
        () => node.append(drive, shard(10)),
        () => node.read(drive, ref, { offset: 0, length: 1 }),
        () => node.remove(drive, [ref]),
        () => node.list(drive, { limit: 1 }),
        () => node.verify(drive, ref),
        () => node.discard(drive, ref),
        () => node.compact(drive),
      ])
        await assert.rejects(call, (error) => hasReason(error, "drive_missing"));
    }
    await node.append(known.get(good)!, shard(10));
    await node.close();
    await assert.rejects(open([gone, givenUp]), (error) => hasReason(error, "drive_failed"), "none is left");
  });
});

void test("who asks how a drive is while another's question hangs in it gets that one's answer", async () => {
  const machine = new FakeMachine(3);
  const node = await machine.start();
  const [drive] = node.drives;
  const { space } = machine.disk;
  let [asked, answer] = [0, (): void => undefined];
  machine.disk.space = async (path) => {
    asked += 1;
    await new Promise<void>((resolve) => (answer = resolve));
    return space.call(machine.disk, path);
  };
  const first = node.status(drive!);
  while (asked === 0) await new Promise((resolve) => setImmediate(resolve));
  const second = node.status(drive!);
  answer();
  assert.deepEqual(await second, await first);
  assert.equal(asked, 1);
  machine.disk.space = space;
  assert.equal((await node.status(drive!)).state, "up");
  await node.close();
});
