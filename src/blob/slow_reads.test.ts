/** Reads from drives that hang, are late or far away: the nearest that answers gives the bytes, and late ones cost a bounded share more. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { seededRandom } from "../core/random.ts";
import { parseRedundancy, shardsOf } from "../core/redundancy.ts";
import { createDigestPool } from "../digest/pool.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import type { ChunkNode } from "../node/node.ts";
import {
  altered,
  bodyOf,
  bytesOf,
  chunkBytes,
  chunked,
  drives,
  KiB,
  makeStore,
  readAll,
  sourceOf,
  writeOptions,
} from "./blob.fixture.ts";
import type { BlobStore, ChunkedBlob } from "./blob.ts";
import { createNodePlacement } from "./node_placement.ts";
import { SlowNode, TestClock, type Hang } from "./slow.fixture.ts";

const digests = createDigestPool({ threads: 0 });
test.after(() => digests.close());

type Written = {
  readonly memory: ChunkNode;
  readonly blob: ChunkedBlob;
  readonly bytes: Buffer;
};

async function written(text: string, chunks: number): Promise<Written> {
  const redundancy = parseRedundancy(text);
  const memory = createMemoryNode(drives(shardsOf(redundancy)));
  const store = await makeStore(memory, digests, { redundancy: () => redundancy });
  const bytes = bytesOf(chunks * chunkBytes - 7, "random", 3);
  return { memory, bytes, blob: chunked(await store.write(bodyOf(bytes, 64 * KiB, true), writeOptions)) };
}

type Reading = { readonly clock: TestClock; readonly store: BlobStore; readonly damaged: number[] };

async function reading(node: ChunkNode): Promise<Reading> {
  const clock = new TestClock();
  const placement = await createNodePlacement({ node, clock, log: silentLog });
  const damaged: number[] = [];
  const onDamage = (_source: unknown, chunkIndex: number): void => void damaged.push(chunkIndex);
  return { clock, damaged, store: await makeStore(node, digests, { placement, onDamage }) };
}

void test("drives that hang hold up no read of any range, as many as the redundancy bears; that is no damage", async () => {
  const texts = ["replica:2", "replica:3", "ec:2+1", "ec:3+2", "ec:4+2"] as const;
  const stored = new Map<string, Written>();
  for (const text of texts) stored.set(text, await written(text, 4));
  const plan = fc.record({ text: fc.constantFrom(...texts), seed: fc.nat(1_000), from: fc.nat(), to: fc.nat() });
  const kinds = fc.constantFrom<Hang>("deaf", "cut");
  const property = fc.asyncProperty(plan, kinds, async ({ text, seed, from, to }, hang) => {
    const { memory, blob, bytes } = stored.get(text)!;
    const slow = new SlowNode(memory);
    const { store, clock, damaged } = await reading(slow.node);
    const left = [...memory.drives];
    const random = seededRandom(seed);
    for (let count = parseRedundancy(text).parityShards; count > 0; count--)
      slow.hangs.set(left.splice(random.below(left.length), 1)[0]!, hang);
    const offset = from % (bytes.length + 1);
    const length = to % (bytes.length - offset + 1);
    for (const [at, size] of [
      [offset, length],
      [0, bytes.length],
      [offset, length],
    ] as const)
      assert.ok((await clock.until(readAll(store, blob, at, size))).equals(bytes.subarray(at, at + size)));
    slow.release();
    await clock.work();
    assert.deepEqual(damaged, []);
    assert.equal(clock.sleepers, 0, "no timer is left");
  });
  await fc.assert(property, { numRuns: 60 });
});

void test("drives that are slow are left alone by the reads that follow", async () => {
  for (const text of ["replica:2", "ec:4+2"]) {
    const { memory, blob } = await written(text, 12);
    const slow = new SlowNode(memory);
    const { store, clock } = await reading(slow.node);
    slow.hangs.set(memory.drives[0]!, "deaf");
    await clock.until(readAll(store, blob));
    clock.pass(limits.lateReadMsMax * 4);
    const hanging = slow.waiting;
    assert.ok(hanging > 0);
    for (let again = 0; again < 3; again++) await clock.until(readAll(store, blob));
    assert.equal(slow.waiting, hanging, text);
    slow.release();
  }
});

void test("when all drives are slow, reads wait: at most a share of them is made twice", async () => {
  const { memory, blob, bytes } = await written("replica:2", 40);
  let answerMs = 0;
  let reads = 0;
  const clock = new TestClock();
  const node = altered(memory, {
    read: async (drive, ref, range, signal) => {
      reads += 1;
      if (answerMs > 0) await clock.sleep(answerMs);
      return memory.read(drive, ref, range, signal);
    },
  });
  const placement = await createNodePlacement({ node, clock, log: silentLog });
  const store = await makeStore(node, digests, { placement });
  await clock.until(readAll(store, blob));
  const needed = reads;
  answerMs = limits.hedgeAnywayMs - 1_000;
  reads = 0;
  const all = await clock.until(Promise.all(Array.from({ length: 10 }, () => readAll(store, blob))));
  assert.ok(all.every((each) => each.equals(bytes)));
  const more = reads - 10 * needed;
  assert.ok(more <= limits.hedgesSavedMax + reads * limits.hedgedShare, `${more} reads more than ${10 * needed}`);
});

/** Which drives are asked to give the chunks of a blob. */
async function asked(memory: ChunkNode, blob: ChunkedBlob, changes: Partial<ChunkNode>): Promise<Set<DriveId>> {
  const found = new Set<DriveId>();
  const read: ChunkNode["read"] = async (drive, ref, range, signal) => {
    found.add(drive);
    return memory.read(drive, ref, range, signal);
  };
  const { store, clock } = await reading(altered(memory, { read, ...changes }));
  await clock.until(readAll(store, blob));
  return found;
}

void test("the nearest copies are read, and for what is away the nearest other shards", async () => {
  // With so many chunks, whose ids are random, no drive is the first choice of none but once in 10^10 runs.
  const copies = await written("replica:3", 64);
  const [near, zone] = copies.memory.drives;
  const distance = (drive: DriveId): 0 | 1 | 2 => (drive === near ? 0 : drive === zone ? 1 : 2);
  assert.deepEqual(await asked(copies.memory, copies.blob, { distance }), new Set([near]));
  const away = copies.memory.drives.filter((drive) => drive !== near);
  assert.deepEqual(await asked(copies.memory, copies.blob, { distance, drives: away }), new Set([zone]));
  const all = await asked(copies.memory, copies.blob, {});
  assert.deepEqual(all, new Set(copies.memory.drives), "without distances load spreads over all");

  const coded = await written("ec:2+3", 1);
  const [chunk] = coded.blob.chunks;
  const on = (shardIndex: number): DriveId => chunk!.places.find((place) => place.shardIndex === shardIndex)!.drive;
  const here = coded.memory.drives.filter((drive) => drive !== on(0));
  const nearest = (drive: DriveId): 0 | 1 | 2 => (drive === on(3) ? 0 : drive === on(4) ? 1 : 2);
  const found = await asked(coded.memory, coded.blob, { distance: nearest, drives: here });
  assert.deepEqual(found, new Set([on(1), on(3)]), "what is wanted itself, and the nearest of the others");
});

void test("a drive that comes back is read again: the list of drives is looked at each time", async () => {
  const { memory, blob, bytes } = await written("replica:2", 6);
  const [first] = memory.drives;
  const others = memory.drives.slice(1);
  let isHere = false;
  const reads: DriveId[] = [];
  const node = altered(memory, {
    read: async (drive, ref, range, signal) => {
      reads.push(drive);
      return memory.read(drive, ref, range, signal);
    },
  });
  Object.defineProperty(node, "drives", { get: () => (isHere ? memory.drives : others) });
  const { store, clock } = await reading(node);
  assert.ok((await clock.until(readAll(store, blob))).equals(bytes));
  assert.ok(!reads.includes(first!));
  isHere = true;
  await clock.until(readAll(store, blob));
  assert.ok(reads.includes(first!));
});

void test("a chunk that lacks a shard is told once for each read, as one whose shard is not on its drive is", async () => {
  const { memory, blob } = await written("ec:2+1", 3);
  const { store, clock, damaged } = await reading(memory);
  const [chunk] = blob.chunks;
  const lacking = { ...blob, chunks: [{ ...chunk!, places: chunk!.places.slice(1) }, ...blob.chunks.slice(1)] };
  await clock.until(readAll(store, lacking));
  assert.deepEqual(damaged, [0]);
  const { drive, shardIndex } = blob.chunks[2]!.places[0]!;
  await memory.remove(drive, [{ chunk: blob.chunks[2]!.id, shardIndex }]);
  await clock.until(readAll(store, blob));
  assert.deepEqual(damaged, [0, 2]);
});

void test("a consumer that leaves while a drive hangs leaves neither timers nor recoveries behind", async () => {
  const { memory, blob, bytes } = await written("ec:4+2", 4);
  const slow = new SlowNode(memory);
  const { store, clock } = await reading(slow.node);
  slow.hangs.set(memory.drives[0]!, "cut");
  slow.hangs.set(memory.drives[1]!, "cut");
  for (let times = 0; times < 2 * limits.recoveriesMax; times++) {
    const controller = new AbortController();
    const stream = store.read(sourceOf(blob), 0, blob.sizeBytes, controller.signal)[Symbol.asyncIterator]();
    const next = stream.next();
    next.catch(() => undefined);
    await clock.work();
    if (times % 2 === 0) clock.pass(limits.lateReadMsMax);
    await clock.work();
    controller.abort();
    await clock.until(next.catch(() => undefined));
    await stream.return?.();
  }
  await clock.work();
  assert.equal(clock.sleepers, 0);
  assert.ok((await clock.until(readAll(store, blob))).equals(bytes));
  slow.release();
});
