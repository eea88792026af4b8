/** Drives that are added get their share of what is there, and then nothing moves any more. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { placeChunk } from "../blob/placement.ts";
import { newDriveId, type DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { systemRandom } from "../core/random.ts";
import { parseRedundancy, shardsOf } from "../core/redundancy.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { balanceKey, decodeBalance } from "../meta/balance.ts";
import { decodeChunkPage, type ChunkRecord } from "../meta/chunk_pages.ts";
import type { DriveState } from "../meta/drives.ts";
import { parseBlobKey, tags } from "../meta/keys.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import type { ChunkNode } from "../node/node.ts";
import { patternBytes, plainPut, readAll } from "../object/object.fixture.ts";
import { findingsOf, nodeWithout, rowsOf, startProcess, type Process, type World } from "./jobs.fixture.ts";

const bucket = "photos";
const { signal } = new AbortController();
const body = patternBytes(limits.inlineBytesMax + 1);
/** So many that by no chance all that moves is one process's share. */
const objects = 100;

/** A store on `old` drives that has objects, and the same one when `added` are there too. */
async function grownWorld(text: string, old: number, added: number): Promise<{ before: World; after: World }> {
  const drives = Array.from({ length: old + added }, () => newDriveId(systemRandom));
  const shared = { kv: openMemoryKv(), redundancy: parseRedundancy(text), isShared: true };
  const node = createMemoryNode({ drives });
  const known = drives.slice(0, old);
  const before = { ...shared, node: nodeWithout(node, new Set(drives.slice(old))), known };
  const writer = await startProcess(before);
  await writer.store.createBucket(bucket, { region: "here" });
  for (let index = 0; index < objects; index++) await writer.store.put(plainPut(bucket, `key ${index}`, body));
  await writer.session.close();
  return { before, after: { ...shared, node, known: drives, states: new Map<DriveId, DriveState>() } };
}

async function chunksOf({ kv }: World): Promise<ChunkRecord[]> {
  const pages = (await rowsOf(kv, tags.blob)).filter((row) => parseBlobKey(row.key).page !== undefined);
  return pages.flatMap((row) => decodeChunkPage(row.value));
}

async function isSettled({ kv }: World): Promise<boolean> {
  const [row] = await kv.get([balanceKey()]);
  return row !== undefined && decodeBalance(row.value).isSettled;
}

const often = ["repair", "rebalance", "mend"];

async function work(processes: readonly Process[], rounds = 30): Promise<void> {
  for (let round = 0; round < rounds; round++)
    for (const { session, jobs } of processes) {
      await session.heartbeat();
      for (const job of jobs) if (often.includes(job.name)) while ((await job.run(signal)).more);
    }
}

/** Chunks that lie elsewhere than placement has them. */
async function elsewhere(world: World): Promise<ChunkRecord[]> {
  const drives = await Promise.all(
    world.node.drives.map(async (id) => ({
      id,
      state: "up" as const,
      weightBytes: (await world.node.status(id)).totalBytes,
    })),
  );
  return (await chunksOf(world)).filter(({ id, redundancy, places }) => {
    const wanted = placeChunk(id, drives, shardsOf(redundancy));
    return places.some(({ drive }) => !wanted.includes(drive));
  });
}

/** Counts what is appended. */
function counting(world: World): { readonly world: World; readonly counts: { appended: number } } {
  const counts = { appended: 0 };
  const node: ChunkNode = {
    ...nodeWithout(world.node, new Set()),
    append: async (...args) => {
      counts.appended += 1;
      await world.node.append(...args);
    },
  };
  return { world: { ...world, node }, counts };
}

for (const text of ["replica:1", "replica:2", "ec:2+1"])
  void test(`with ${text} what belongs on added drives moves there, nothing else, and once`, async () => {
    const { before, after } = await grownWorld(text, 4, 2);
    const chunks = await chunksOf(before);
    const wrong = (await elsewhere(after)).length;
    assert.ok(wrong > 5);
    const seen = [counting(after), counting(after)];
    const processes = [await startProcess(seen[0]!.world), await startProcess(seen[1]!.world)];
    await work(processes);
    assert.ok(await isSettled(after));
    assert.deepEqual(await elsewhere(after), []);
    const placesBefore = new Set(chunks.flatMap(({ id, places }) => places.map(({ drive }) => `${id} ${drive}`)));
    const moved = (await chunksOf(after)).flatMap(({ id, places }) =>
      places.filter(({ drive }) => !placesBefore.has(`${id} ${drive}`)),
    );
    assert.equal(seen[0]!.counts.appended + seen[1]!.counts.appended, moved.length);
    for (const { counts } of seen) assert.ok(counts.appended > 0, "both took a share");
    assert.deepEqual(await rowsOf(after.kv, tags.mend), []);
    const found = await processes[0]!.store.get({ bucket, key: Buffer.from("key 7") });
    assert.ok((await readAll(found)).equals(body));
    // Another process that comes later, and a store that stays as it is: nothing is walked.
    for (const { session } of processes) await session.close();
    const scans = { count: 0 };
    const later = await startProcess({ ...after, kv: { ...watchingKv(after, scans) } });
    await work([later]);
    assert.equal(scans.count, 0);
    assert.deepEqual(await findingsOf(after), []);
  });

/** Counts looks at chunk maps. */
function watchingKv({ kv }: World, scans: { count: number }): World["kv"] {
  return {
    name: kv.name,
    get: (keys) => kv.get(keys),
    commit: (commit) => kv.commit(commit),
    close: () => kv.close(),
    scan: (range, options) => {
      if (range.start[0] === tags.blob) scans.count += 1;
      return kv.scan(range, options);
    },
  };
}

void test("a store that is new, or has one drive, has nothing to do", async () => {
  const one: World = { kv: openMemoryKv(), node: createMemoryNode() };
  const process = await startProcess(one);
  await work([process]);
  assert.deepEqual(await rowsOf(one.kv, tags.balance), []);
  await process.store.createBucket(bucket, { region: "here" });
  await process.store.put(plainPut(bucket, "key", body));
  await work([process]);
  assert.deepEqual(await rowsOf(one.kv, tags.balance), []);
  const drives = Array.from({ length: 3 }, () => newDriveId(systemRandom));
  const several: World = { kv: openMemoryKv(), node: createMemoryNode({ drives }) };
  await work([await startProcess(several)]);
  assert.ok(await isSettled(several));
});

void test("it waits for drives that are away, and for drains, and begins when they are over", async () => {
  const { after } = await grownWorld("replica:2", 4, 2);
  const lost = new Set([after.known![5]!]);
  const flaky: World = { ...after, node: nodeWithout(after.node, lost) };
  const before = await chunksOf(after);
  const process = await startProcess(flaky, { ...hurried(), nowMs: () => Date.now() });
  await work([process], 3);
  assert.deepEqual(await chunksOf(after), before);
  lost.clear();
  after.states!.set(after.known![0]!, "draining");
  await work([process]);
  assert.ok(process.drained.length > 0);
  assert.deepEqual(await rowsOf(after.kv, tags.balance), []);
  after.states!.set(after.known![0]!, "removed");
  const rest: World = { ...after, node: nodeWithout(after.node, new Set([after.known![0]!])) };
  await process.session.close();
  await work([await startProcess(rest)]);
  assert.ok(await isSettled(after));
  assert.deepEqual(await elsewhere(rest), []);
});

/** Placement looks at its drives again at every turn. */
function hurried(): { monotonicMs(): number; sleep(): Promise<void> } {
  let nowMs = 0;
  return { monotonicMs: () => (nowMs += 3_000), sleep: async () => undefined };
}

void test("what cannot move is left where it is, with all its shards", async () => {
  const { after } = await grownWorld("replica:2", 3, 1);
  const added = after.known![3]!;
  const full: ChunkNode = {
    ...nodeWithout(after.node, new Set()),
    status: async (drive) => ({ ...(await after.node.status(drive)), ...(drive === added && { state: "full" }) }),
  };
  const before = await chunksOf(after);
  const process = await startProcess({ ...after, node: full });
  await work([process]);
  assert.deepEqual(await chunksOf(after), before);
  assert.ok(!(await isSettled(after)));
  await process.session.close();
  await work([await startProcess(after)]);
  assert.ok(await isSettled(after));
  assert.deepEqual(await elsewhere(after), []);
});

void test("a drive that comes back after it was given up gets its share again", async () => {
  const { before, after } = await grownWorld("replica:2", 4, 0);
  const lost = new Set<DriveId>();
  const world: World = { ...after, node: nodeWithout(after.node, lost) };
  const first = await startProcess(world);
  await work([first]);
  assert.ok(await isSettled(world));
  await first.session.close();
  lost.add(before.known![0]!);
  const second = await startProcess(world);
  await work([second]);
  assert.ok((await chunksOf(world)).every(({ places }) => places.every(({ drive }) => !lost.has(drive))));
  await second.session.close();
  lost.clear();
  await work([await startProcess(world)]);
  assert.ok(await isSettled(world));
  assert.deepEqual(await elsewhere(world), []);
});
