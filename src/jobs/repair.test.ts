/** Lost and damaged shards come back by themselves, and leave nothing behind, whatever dies on the way. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../core/clock.ts";
import { HoldfastError, hasReason } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { shardsOf } from "../core/redundancy.ts";
import { decodeChunkPage, type ChunkRecord } from "../meta/chunk_pages.ts";
import type { DriveState } from "../meta/drives.ts";
import { driveIdOf, isWholeDrive, parseBlobKey, tags } from "../meta/keys.ts";
import type { ChunkNode } from "../node/node.ts";
import { patternBytes, plainPut, readAll } from "../object/object.fixture.ts";
import type { ObjectStore } from "../object/object_store.ts";
import {
  Crash,
  drain,
  findingsOf,
  Fuse,
  nodeWithout,
  repairJobs,
  rowsOf,
  startProcess,
  worldWith,
} from "./jobs.fixture.ts";
import type { Fate, World } from "./jobs.fixture.ts";
import { fenceOthers } from "./sessions.ts";

const bucket = "photos";
const key = (name: string): Buffer => Buffer.from(name);
const large = patternBytes(limits.chunkBytesMax + 700_000);
const small = patternBytes(limits.inlineBytesMax + 1);
const objects: readonly (readonly [string, Buffer])[] = [
  ["large", large],
  ["small", small],
];

/** The node without some of its drives. */
function without(node: ChunkNode, ...lost: DriveId[]): ChunkNode {
  return nodeWithout(node, new Set(lost));
}

async function fill(store: ObjectStore): Promise<void> {
  await store.createBucket(bucket, { region: "here" });
  for (const [name, bytes] of objects) await store.put(plainPut(bucket, name, bytes));
}

async function assertReadable(store: ObjectStore): Promise<void> {
  for (const [name, bytes] of objects)
    assert.ok((await store.get({ bucket, key: key(name) }).then(readAll)).equals(bytes), name);
}

async function chunksOf({ kv }: World): Promise<ChunkRecord[]> {
  const pages = (await rowsOf(kv, tags.blob)).filter((row) => parseBlobKey(row.key).page !== undefined);
  return pages.flatMap((row) => decodeChunkPage(row.value));
}

async function assertNoRows({ kv }: World, ...families: (typeof tags)[keyof typeof tags][]): Promise<void> {
  for (const tag of families) assert.deepEqual(await rowsOf(kv, tag), [], `rows of family ${tag}`);
}

/** Starts over on the world as it is now, with the sessions of all earlier processes fenced, and lets the jobs finish. */
async function settle(world: World): Promise<ObjectStore> {
  const process = await startProcess(world);
  await fenceOthers(world.kv, [process.session.id]);
  await drain(process);
  return process.store;
}

for (const text of ["replica:2", "replica:3", "ec:2+1", "ec:4+2"]) {
  void test(`what lay on lost drives is made anew elsewhere, with ${text}`, async () => {
    const world = worldWith(text, 2);
    const { parityShards } = world.redundancy!;
    await fill((await startProcess(world)).store);
    const lost = world.node.drives.slice(0, parityShards);
    const reduced = { ...world, node: without(world.node, ...lost) };
    await settle(reduced);
    const chunks = await chunksOf(world);
    const isFull = ({ places, redundancy }: ChunkRecord): boolean =>
      places.length === shardsOf(redundancy) && places.every(({ drive }) => !lost.includes(drive));
    assert.ok(chunks.every(isFull));
    assert.deepEqual(await findingsOf(reduced), []);
    await assertReadable((await startProcess(reduced)).store);
    // The drives come back: what is on them is known to be stray, and goes.
    const store = await settle(world);
    assert.deepEqual(await findingsOf(world), []);
    await assertNoRows(world, tags.stray, tags.relocation, tags.repair, tags.mend);
    await assertReadable(store);
  });
}

void test("a drive that is draining gives up what it has, without a read failing, and is then drained", async () => {
  for (const text of ["replica:1", "ec:2+1"]) {
    const plain = worldWith(text, 1);
    const writer = await startProcess(plain);
    await fill(writer.store);
    const drive = (await chunksOf(plain))[0]!.places[0]!.drive;
    const world: World = { ...plain, states: new Map([[drive, "draining"]]) };
    const process = await startProcess(world);
    // A read that began before: it finds its bytes where it was told they are.
    const reads = await Promise.all(objects.map(([name]) => process.store.get({ bucket, key: key(name) })));
    const repair = repairJobs(process);
    for (let round = 0; round < 8; round++) {
      for (const { session } of [writer, process]) await session.heartbeat();
      for (const job of repair) while ((await job.run(new AbortController().signal)).more);
    }
    assert.ok((await chunksOf(world)).every(({ places }) => places.every((place) => place.drive !== drive)));
    assert.deepEqual(process.drained.slice(0, 1), [drive]);
    assert.ok((await world.node.list(drive, { limit: 10 })).length > 0, "readers may still want it");
    for (const [index, found] of reads.entries()) assert.ok((await readAll(found)).equals(objects[index]![1]));
    for (let round = 0; round < 8; round++) {
      for (const { session } of [writer, process]) await session.heartbeat();
      for (const job of repair) while ((await job.run(new AbortController().signal)).more);
    }
    assert.deepEqual(await world.node.list(drive, { limit: 10 }), []);
    assert.deepEqual(await findingsOf(world), []);
    await assertNoRows(world, tags.stray, tags.mend, tags.relocation);
    await assertReadable(process.store);
  }
});

void test("a drive that is away for less than it takes to give it up is waited for", async () => {
  const world = worldWith("ec:2+1", 1);
  await fill((await startProcess(world)).store);
  const before = await chunksOf(world);
  const [lost] = world.node.drives;
  const reduced = { ...world, node: without(world.node, lost!), known: without(world.node, lost!).drives };
  await assertReadable(await settle(reduced));
  assert.deepEqual(await chunksOf(world), before);
});

void test("without a free drive redundancy waits, and comes back with one", async () => {
  const world = worldWith("ec:4+2", 0);
  await fill((await startProcess(world)).store);
  const [lost] = world.node.drives;
  const reduced = { ...world, node: without(world.node, lost!) };
  await assertReadable(await settle(reduced));
  assert.ok((await findingsOf(reduced)).every(({ kind }) => kind === "missing_chunk"));
  await settle(world);
  assert.deepEqual(await findingsOf(world), []);
});

void test("a write that missed a drive is completed", async () => {
  const world = worldWith("ec:4+2", 0);
  const [away] = world.node.drives;
  await fill((await startProcess({ ...world, node: without(world.node, away!) })).store);
  assert.ok((await chunksOf(world)).some(({ places, redundancy }) => redundancy.dataShards > 1 && places.length === 5));
  assert.ok((await rowsOf(world.kv, tags.repair)).length > 0);
  const store = await settle(world);
  assert.deepEqual(await findingsOf(world), []);
  await assertNoRows(world, tags.repair, tags.mend, tags.relocation);
  await assertReadable(store);
});

void test("what a read meets damaged is mended in its place", async () => {
  for (const text of ["replica:2", "ec:3+2"]) {
    const world = worldWith(text, 0);
    await fill((await startProcess(world)).store);
    const before = await chunksOf(world);
    const broken = new Set<string>();
    const damaged: ChunkNode = {
      ...without(world.node),
      read: async (drive, ref, range, signal) => {
        if (broken.has(`${drive} ${ref.chunk}`)) throw new HoldfastError("corrupt_chunk", "A flipped bit.");
        return world.node.read(drive, ref, range, signal);
      },
      verify: async (drive, ref) => {
        const result = await world.node.verify(drive, ref);
        return broken.has(`${drive} ${ref.chunk}`) ? { ...result, outcome: "corrupt" } : result;
      },
      discard: async (drive, ref) => {
        if (broken.has(`${drive} ${ref.chunk}`)) await world.node.remove(drive, [ref]);
        return world.node.discard(drive, ref);
      },
      append: async (drive, shard, signal) => {
        await world.node.append(drive, shard, signal);
        broken.delete(`${drive} ${shard.chunk}`);
      },
    };
    for (const { id, places } of before) broken.add(`${places[0]!.drive} ${id}`);
    const process = await startProcess({ ...world, node: damaged });
    await assertReadable(process.store);
    await process.damage.close();
    assert.equal((await rowsOf(world.kv, tags.repair)).length, objects.length);
    await drain(process);
    assert.equal(broken.size, 0, "every damaged shard was written anew");
    assert.deepEqual(await chunksOf(world), before);
    assert.deepEqual(await findingsOf(world), []);
    await assertNoRows(world, tags.repair, tags.mend, tags.relocation);
  }
});

void test("an object deleted while it is being repaired leaves nothing", async () => {
  const world = worldWith("ec:2+1", 1);
  const deleter = await startProcess(world);
  await fill(deleter.store);
  const lost = (await chunksOf(world))[0]!.places[0]!.drive;
  const reduced = without(world.node, lost);
  let deleted = false;
  const racing: ChunkNode = {
    ...reduced,
    append: async (drive, shard, signal) => {
      await reduced.append(drive, shard, signal);
      if (deleted) return;
      deleted = true;
      for (const [name] of objects) await deleter.store.delete({ bucket, key: key(name) });
      const trash = deleter.jobs.find(({ name }) => name === "trash")!;
      while ((await rowsOf(world.kv, tags.trash)).length > 0) {
        for (const { session } of [deleter, repairer]) await session.heartbeat();
        await trash.run(new AbortController().signal);
      }
    },
  };
  const repairer = await startProcess({ ...world, node: racing });
  await drain({ ...repairer, jobs: repairJobs(repairer) });
  assert.ok(deleted);
  await assertNoRows(world, tags.blob, tags.repair, tags.mend, tags.relocation);
  // A page that was published before its object went has left strays on the lost drive, which the other process sees.
  await repairer.session.close();
  await drain({ ...deleter, jobs: repairJobs(deleter) });
  for (const drive of world.node.drives) assert.deepEqual(await world.node.list(drive, { limit: 10 }), []);
});

void test("of what lay on a drive that was lost and taken out one row is left, by which it is cleared should it come back", async () => {
  const plain = worldWith("replica:2", 1);
  const states = new Map<DriveId, DriveState>();
  const world: World = { ...plain, states };
  const writer = await startProcess(world);
  await fill(writer.store);
  const lost = (await chunksOf(world))[0]!.places[0]!.drive;
  const rest = { ...world, node: without(world.node, lost) };
  const mender = await startProcess(rest);
  await drain({ ...mender, jobs: repairJobs(mender) });
  assert.ok((await rowsOf(world.kv, tags.stray)).length > 0, "its shards are strays");
  states.set(lost, "removed");
  await drain({ ...mender, jobs: repairJobs(mender) });
  const rows = await rowsOf(world.kv, tags.stray);
  assert.deepEqual(
    rows.map(({ key: row }) => [driveIdOf(row), isWholeDrive(row)]),
    [[lost, true]],
  );
  states.delete(lost);
  for (const { session } of [writer, mender]) await session.close();
  const later = await startProcess(world);
  await drain({ ...later, jobs: repairJobs(later) });
  assert.deepEqual(await world.node.list(lost, { limit: 10 }), []);
  await assertNoRows(world, tags.stray);
});

void test("an append that failed and may have happened leaves nothing", async () => {
  const world = worldWith("ec:2+1", 1);
  const writer = await startProcess(world);
  await fill(writer.store);
  const lost = (await chunksOf(world))[0]!.places[0]!.drive;
  const reduced = without(world.node, lost);
  let failures = 0;
  const failing: ChunkNode = {
    ...reduced,
    append: async (drive, shard, signal) => {
      await reduced.append(drive, shard, signal);
      failures += 1;
      if (failures < 3) throw new HoldfastError("unavailable", "Nobody knows what it did.");
    },
  };
  // The writer's session lives on, so that nothing but the repair itself clears up.
  let nowMs = 0;
  const hurried = { ...systemClock, monotonicMs: () => (nowMs += 60_000) };
  const repairer = await startProcess({ ...world, node: failing }, hurried);
  await drain({ ...repairer, jobs: repairJobs(repairer) });
  assert.ok(failures > 2);
  const mentioned = (await chunksOf(world)).flatMap(({ id, places }) =>
    places.map(({ drive, shardIndex }) => `${drive} ${id} ${shardIndex}`),
  );
  const stored: string[] = [];
  for (const drive of reduced.drives)
    for (const { chunk, shardIndex } of await world.node.list(drive, { limit: 100 }))
      stored.push(`${drive} ${chunk} ${shardIndex}`);
  assert.deepEqual(new Set(stored), new Set(mentioned.filter((place) => !place.startsWith(lost))));
  await assertNoRows(world, tags.repair, tags.mend, tags.relocation);
});

/** Returns whether the repair got as far as the step. */
async function failAt(step: number, fate: Fate): Promise<boolean> {
  const world = worldWith("ec:2+1", 1);
  await fill((await startProcess(world)).store);
  const lost = (await chunksOf(world))[0]!.places[0]!.drive;
  const reduced = { ...world, node: without(world.node, lost) };
  const fuse = new Fuse(step, fate);
  try {
    const process = await startProcess(fuse.wrap(reduced));
    await drain({ ...process, jobs: repairJobs(process) });
  } catch (error) {
    if (!(error instanceof Crash) && !hasReason(error, "unavailable")) throw error;
  }
  await assertReadable(await settle(reduced));
  assert.deepEqual(await findingsOf(reduced), [], `call ${step} ${fate}`);
  const store = await settle(world);
  assert.deepEqual(await findingsOf(world), [], `call ${step} ${fate}, with all drives`);
  await assertNoRows(world, tags.repair, tags.mend, tags.relocation, tags.stray);
  await assertReadable(store);
  return fuse.burnt;
}

for (const fate of ["dies", "fails before", "fails after"] as const) {
  void test(`a process that repairs ${fate} at any call, and nothing leaks and nothing is lost`, async () => {
    let step = 1;
    while (await failAt(step, fate)) step += fate === "dies" ? 1 : 2;
    assert.ok(step > 20, `the repair has ${step} calls`);
  });
}
