/** Writes to drives that hang, are late or fail: nobody waits for them where there is another way, and nothing is lost track of. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { HoldfastError, hasReason } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { parseRedundancy, shardsOf, writeQuorum, type Redundancy } from "../core/redundancy.ts";
import { createDigestPool } from "../digest/pool.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import type { ChunkNode } from "../node/node.ts";
import { peerAway } from "../node/peer_errors.ts";
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
  writeOptions,
} from "./blob.fixture.ts";
import type { BlobStore, ChunkedBlob } from "./blob.ts";
import { ChunkBuffers } from "./chunk_buffers.ts";
import { createNodePlacement } from "./node_placement.ts";
import type { LandedShard } from "./shard_writer.ts";
import { SlowNode, TestClock, type Hang } from "./slow.fixture.ts";

const digests = createDigestPool({ threads: 0 });
test.after(() => digests.close());

type Bench = {
  readonly clock: TestClock;
  readonly memory: ChunkNode;
  readonly slow: SlowNode;
  readonly store: BlobStore;
  readonly buffers: ChunkBuffers;
  readonly landed: LandedShard[];
};

async function benchWith(redundancy: Redundancy, spare: number, changes: Partial<ChunkNode> = {}): Promise<Bench> {
  const memory = createMemoryNode(drives(shardsOf(redundancy) + spare));
  const slow = new SlowNode(memory, changes);
  const clock = new TestClock();
  const placement = await createNodePlacement({ node: slow.node, clock, log: silentLog });
  const buffers = new ChunkBuffers({ chunkBytes });
  const landed: LandedShard[] = [];
  const onLanded = (shard: LandedShard): void => void landed.push(shard);
  const store = await makeStore(slow.node, digests, { placement, redundancy: () => redundancy, buffers, onLanded });
  return { clock, memory, slow, store, buffers, landed };
}

function write({ clock, store }: Bench, bytes: Buffer): Promise<ChunkedBlob> {
  const options = { ...writeOptions, inlineBytesMax: 0 };
  return clock.until(store.write(bodyOf(bytes, 64 * KiB, true), options).then(chunked));
}

async function namesOn(node: ChunkNode): Promise<string[]> {
  const found = node.drives.map(async (drive) =>
    (await node.list(drive, { limit: 1_000 })).map(({ chunk, shardIndex }) => `${drive} ${chunk} ${shardIndex}`),
  );
  return (await Promise.all(found)).flat();
}

function namesOf({ chunks, strays }: ChunkedBlob): { readonly places: string[]; readonly strays: string[] } {
  return {
    places: chunks.flatMap(({ id, places }) => places.map((place) => `${place.drive} ${id} ${place.shardIndex}`)),
    strays: strays.map(({ drive, chunk, shardIndex }) => `${drive} ${chunk} ${shardIndex}`),
  };
}

const redundancies = fc.constantFrom("replica:2", "replica:3", "ec:2+1", "ec:3+2", "ec:4+2").map(parseRedundancy);
const hangs = fc.constantFrom<Hang>("deaf", "cut", "cut after all");

void test("a write ends without the drives that hang, knows what they may have, and gives every buffer back", async () => {
  const plan = fc.record({
    redundancy: redundancies,
    spare: fc.nat(3),
    hanging: fc.nat(4),
    first: fc.nat(20),
    chunks: fc.integer({ min: 1, max: 3 }),
  });
  const property = fc.asyncProperty(plan, hangs, async ({ redundancy, spare, hanging, first, chunks }, hang) => {
    const bench = await benchWith(redundancy, spare);
    const { memory, slow, clock, buffers, store } = bench;
    const all = memory.drives;
    // So many that a quorum is left.
    const count = Math.min(hanging, all.length - writeQuorum(redundancy));
    for (let at = 0; at < count; at++) slow.hangs.set(all[(first + at) % all.length]!, hang);
    const bytes = bytesOf(chunks * chunkBytes - 5, "random", first);
    const blob = await write(bench, bytes);
    const { places, strays } = namesOf(blob);
    for (const chunk of blob.chunks) assert.ok(chunk.places.length >= writeQuorum(chunk.redundancy));
    assert.ok(blob.chunks.every((chunk) => chunk.places.every(({ drive }) => !slow.hangs.has(drive))));
    const durable = await namesOn(memory);
    assert.ok(
      places.every((place) => durable.includes(place)),
      "acknowledged means durable",
    );
    assert.equal(buffers.lentBytes, 0);
    assert.equal(buffers.heldBytes > 0, slow.waiting > 0, "held as long as an append may read it");
    assert.ok((await clock.until(readAll(store, blob))).equals(bytes));
    slow.release();
    await clock.work();
    assert.equal(buffers.heldBytes + buffers.lentBytes + buffers.claimedBytes, 0);
    for (const name of await namesOn(memory)) assert.ok(places.includes(name) !== strays.includes(name), name);
    assert.equal(clock.sleepers, 0, "no timer is left");
  });
  await fc.assert(property, { numRuns: 60 });
});

void test("what lands after its write has ended is told, and nothing else is", async () => {
  const bench = await benchWith(parseRedundancy("replica:3"), 0);
  const { memory, slow, clock, landed } = bench;
  slow.hangs.set(memory.drives[1]!, "deaf");
  const blob = await write(bench, bytesOf(chunkBytes, "random", 1));
  assert.equal(blob.strays.length, 1);
  assert.deepEqual(landed, []);
  slow.release();
  await clock.work();
  const [stray] = blob.strays;
  assert.deepEqual(landed, [
    {
      drive: stray!.drive,
      ref: { chunk: stray!.chunk, shardIndex: stray!.shardIndex },
      owner: { blob: blob.id, chunkIndex: 0 },
    },
  ]);
});

void test("a slow drive gets nothing more until it has answered, and then again", async () => {
  const bench = await benchWith(parseRedundancy("replica:2"), 1);
  const { memory, slow, clock } = bench;
  const bad = memory.drives[0]!;
  slow.hangs.set(bad, "deaf");
  // Until one chunk has met it.
  for (let tries = 0; slow.waiting === 0 && tries < 50; tries++) await write(bench, bytesOf(90 * KiB, "random", tries));
  assert.equal(slow.waiting, 1);
  for (let tries = 0; tries < 20; tries++) await write(bench, bytesOf(90 * KiB, "random", tries));
  assert.equal(slow.waiting, 1);
  slow.release();
  await clock.work();
  clock.pass(limits.slowDriveMsMax);
  const before = (await memory.list(bad, { limit: 1_000 })).length;
  for (let tries = 0; tries < 20; tries++) await write(bench, bytesOf(90 * KiB, "random", tries));
  assert.ok((await memory.list(bad, { limit: 1_000 })).length > before);
});

void test("slow drives are used where a quorum cannot be had without them", async () => {
  const bench = await benchWith(parseRedundancy("replica:3"), 0);
  const { memory, slow, clock } = bench;
  const [first, second] = memory.drives;
  slow.hangs.set(first!, "cut");
  await write(bench, bytesOf(90 * KiB, "random", 1));
  slow.hangs.clear();
  slow.hangs.set(second!, "cut");
  const blob = await write(bench, bytesOf(90 * KiB, "random", 2));
  assert.ok(
    blob.chunks[0]!.places.some(({ drive }) => drive === first),
    "it was avoided, and is the second copy",
  );
  slow.release();
  await clock.work();
});

void test("a write that cannot have a quorum waits for the drive that hangs, and for nothing longer", async () => {
  const bench = await benchWith(parseRedundancy("replica:2"), 0);
  const { memory, slow, clock, store } = bench;
  slow.hangs.set(memory.drives[0]!, "deaf");
  const bytes = bytesOf(chunkBytes, "random", 1);
  const writing = store.write(bodyOf(bytes, 64 * KiB, true), writeOptions).then(chunked);
  let isOver = false;
  void writing.then(() => (isOver = true));
  for (let waits = 0; waits < 10; waits++) {
    await clock.work();
    clock.pass(limits.hedgeAnywayMs);
  }
  assert.equal(isOver, false);
  slow.release();
  const blob = await clock.until(writing);
  assert.equal(blob.chunks[0]!.places.length, 2);
  assert.deepEqual(blob.strays, []);
});

void test("a cancelled write ends though a drive hangs, removes what is there, and what lands later is told", async () => {
  for (const hang of ["deaf", "cut", "cut after all"] as const) {
    const bench = await benchWith(parseRedundancy("replica:2"), 0);
    const { memory, slow, clock, store, landed, buffers } = bench;
    slow.hangs.set(memory.drives[0]!, hang);
    const controller = new AbortController();
    const body = bodyOf(bytesOf(chunkBytes, "random", 1), 64 * KiB, true);
    const writing = store.write(body, { ...writeOptions, signal: controller.signal });
    writing.catch(() => undefined);
    while (slow.waiting === 0) await clock.work();
    controller.abort();
    await assert.rejects(clock.until(writing), (error) => hasReason(error, "cancelled"));
    assert.equal(buffers.claimedBytes + buffers.lentBytes, 0);
    assert.deepEqual(await namesOn(memory), [], "the copy that was durable is removed, and one that was cut too late");
    slow.release();
    await clock.work();
    assert.equal(buffers.heldBytes, 0);
    const left = await namesOn(memory);
    assert.deepEqual(
      landed.map(({ drive, ref }) => `${drive} ${ref.chunk} ${ref.shardIndex}`),
      left,
    );
    assert.equal(left.length, hang === "deaf" ? 1 : 0);
  }
});

void test("of a write that fails, what is on a drive that began to hang is told, not asked to be removed", async () => {
  const bench = await benchWith(parseRedundancy("replica:2"), 0);
  const { memory, slow, clock, store, landed } = bench;
  const [bad] = memory.drives;
  const bytes = bytesOf(2 * chunkBytes, "random", 1);
  const body = {
    ...bodyOf(bytes, 64 * KiB, false),
    async *stream(): AsyncGenerator<Uint8Array> {
      yield Buffer.from(bytes.subarray(0, chunkBytes));
      while ((await namesOn(memory)).length < 2) await clock.work();
      slow.hangs.set(bad!, "deaf");
      yield Buffer.from(bytes.subarray(chunkBytes));
      while (slow.waiting === 0) await clock.work();
      throw new HoldfastError("incomplete_body", "Cut off.");
    },
  };
  await assert.rejects(clock.until(store.write(body, writeOptions)), (error) => hasReason(error, "incomplete_body"));
  const told = (): string[] => landed.map(({ drive, ref }) => `${drive} ${ref.chunk} ${ref.shardIndex}`);
  assert.equal(told().length, 1);
  assert.deepEqual(told(), await namesOn(memory));
  slow.release();
  await clock.work();
  assert.equal(told().length, 2);
  assert.deepEqual(told().toSorted(), (await namesOn(memory)).toSorted());
});

void test("an append of unknown outcome is a stray of the write that went on elsewhere; a refusal is not", async () => {
  for (const isOutcomeUnknown of [true, false]) {
    const memory = createMemoryNode(drives(3));
    const [bad] = memory.drives;
    const append: ChunkNode["append"] = async (drive, shard, signal) => {
      if (drive === bad) throw peerAway({ peer: "b", why: "did not answer", isOutcomeUnknown });
      await memory.append(drive, shard, signal);
    };
    const node = new SlowNode(memory, { append }).node;
    const store = await makeStore(node, digests, { redundancy: () => parseRedundancy("replica:3") });
    const blob = chunked(await store.write(bodyOf(bytesOf(chunkBytes, "random", 1), 64 * KiB, true), writeOptions));
    assert.equal(blob.chunks[0]!.places.length, 2);
    assert.deepEqual(
      blob.strays.map(({ drive, chunk, chunkIndex }) => ({ drive, chunk, chunkIndex })),
      isOutcomeUnknown ? [{ drive: bad as DriveId, chunk: blob.chunks[0]!.id, chunkIndex: 0 }] : [],
    );
  }
});

void test("an error that is no refusal ends the write though another drive hangs", async () => {
  const memory = createMemoryNode(drives(3));
  const [bad, hanging] = memory.drives;
  const clock = new TestClock();
  const placement = await createNodePlacement({ node: memory, clock, log: silentLog });
  const append: ChunkNode["append"] = (drive, shard, signal) => {
    if (drive === bad) return Promise.reject(new HoldfastError("internal", "A bug."));
    return drive === hanging ? new Promise(() => undefined) : memory.append(drive, shard, signal);
  };
  const node = new SlowNode(memory, { append }).node;
  const store = await makeStore(node, digests, { placement, redundancy: () => parseRedundancy("replica:3") });
  const body = bodyOf(bytesOf(chunkBytes, "random", 1), 64 * KiB, true);
  await assert.rejects(clock.until(store.write(body, writeOptions)), (error) => hasReason(error, "internal"));
  assert.deepEqual(await namesOn(memory), []);
});

void test("a drive that does not say how it is gets what no other can take, until it counts as failed", async () => {
  for (const others of [0, 1]) {
    const memory = createMemoryNode(drives(1 + others));
    const [silent] = memory.drives;
    let isSilent = false;
    const status: ChunkNode["status"] = (drive) =>
      isSilent && drive === silent ? new Promise(() => undefined) : memory.status(drive);
    const clock = new TestClock();
    const node = altered(memory, { status });
    const placement = await createNodePlacement({ node, clock, log: silentLog });
    const store = await makeStore(node, digests, { placement });
    const look = async (afterMs: number): Promise<void> => {
      clock.pass(afterMs);
      placement.drives();
      await clock.work();
      clock.pass(limits.driveStatusMsMax);
      await clock.work();
    };
    const places = async (): Promise<DriveId[]> => {
      const body = bodyOf(bytesOf(chunkBytes, "random", 1), 64 * KiB, true);
      const { chunks } = await clock.until(store.write(body, writeOptions).then(chunked));
      return chunks.flatMap((chunk) => chunk.places.map(({ drive }) => drive));
    };
    isSilent = true;
    await look(3_000);
    const expected = memory.drives.slice(-1);
    assert.deepEqual(await places(), expected);
    await look(limits.driveSilentMsMax);
    if (others === 0) await assert.rejects(places(), { reason: "unavailable" });
    else assert.deepEqual(await places(), expected);
  }
});
