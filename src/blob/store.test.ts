import assert from "node:assert/strict";
import { test } from "node:test";
import { zstdCompressSync } from "node:zlib";
import * as fc from "fast-check";
import { HoldfastError, hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { createDigestPool } from "../digest/pool.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import type { ChunkNode } from "../node/node.ts";
import type { BlobStore, BodySource, ChunkedBlob, WrittenBody } from "./blob.ts";
import { ChunkBuffers } from "./chunk_buffers.ts";
import { unpackBlock } from "./compression.ts";
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
  shardsOn,
  sourceOf,
  writeOptions as options,
  type Texture,
} from "./blob.fixture.ts";

const digests = createDigestPool({ threads: 1 });
test.after(() => digests.close());

const storeOn = (node: ChunkNode, buffers?: ChunkBuffers): Promise<BlobStore> =>
  makeStore(node, digests, buffers && { buffers });

const stockOfThree = {
  chunkBytes,
  bytesMax: 3 * chunkBytes,
  fullBytesMax: 2 * chunkBytes,
  smallChunkBytes: limits.compressionBlockBytes,
};
const bodies = fc.record({
  sizeBytes: fc.oneof(
    fc.integer({ min: 0, max: 5 * chunkBytes }),
    fc.constantFrom(0, 1, 16 * KiB, 16 * KiB + 1, 64 * KiB, chunkBytes, chunkBytes + 1, 2 * chunkBytes),
  ),
  pieceBytes: fc.constantFrom(7_001, 64 * KiB, chunkBytes, chunkBytes + 1, 10 * chunkBytes),
  texture: fc.constantFrom<Texture>("zeros", "words", "random", "mixed"),
  seed: fc.nat(1_000),
  isSizeKnown: fc.boolean(),
});

void test("what was written is read back: any body, any pieces, any range; then it is removed", async () => {
  const node = createMemoryNode(drives(3));
  const store = await storeOn(node);
  const property = fc.asyncProperty(bodies, fc.nat(), fc.nat(), async (plan, from, to) => {
    const bytes = bytesOf(plan.sizeBytes, plan.texture, plan.seed);
    const written = await store.write(bodyOf(bytes, plan.pieceBytes, plan.isSizeKnown), options);
    assert.equal(written.sizeBytes, bytes.length);
    assert.deepEqual(written.digests, digests.whole(options.digests, bytes));
    if (written.kind === "inline") {
      assert.ok(bytes.length <= options.inlineBytesMax && written.bytes.equals(bytes));
      return;
    }
    const { blob } = written;
    assert.ok(bytes.length > options.inlineBytesMax);
    assert.equal(blob.chunks.length, Math.ceil(bytes.length / chunkBytes));
    const [offset, end] = [from % (bytes.length + 1), to % (bytes.length + 1)].sort((a, b) => a - b) as [
      number,
      number,
    ];
    assert.ok((await readAll(store, blob)).equals(bytes));
    assert.ok((await readAll(store, blob, offset, end - offset)).equals(bytes.subarray(offset, end)));
    await store.remove(blob.chunks);
    await store.remove(blob.chunks);
    assert.equal(await shardsOn(node), 0);
  });
  await fc.assert(property, { numRuns: 150 });
});

void test("only data that shrinks is compressed, block by block", async () => {
  const store = await storeOn(createMemoryNode());
  const write = async (bytes: Buffer) => chunked(await store.write(bodyOf(bytes, 64 * KiB, true), options)).chunks[0]!;
  const random = await write(bytesOf(chunkBytes, "random", 1));
  assert.equal(random.blockBytes, undefined);
  assert.equal(random.storedBytes, chunkBytes);
  const words = await write(bytesOf(chunkBytes, "words", 1));
  assert.equal(words.blockBytes!.length, 3);
  assert.ok(words.storedBytes < chunkBytes / 10);
  const lastRandom = bytesOf(chunkBytes, "words", 1);
  lastRandom.set(bytesOf(limits.compressionBlockBytes, "random", 1), 2 * limits.compressionBlockBytes);
  const { blockBytes } = await write(lastRandom);
  assert.equal(blockBytes![2], limits.compressionBlockBytes);
});

void test("an empty body with nothing inline has no chunks; a size that lies is incomplete_body", async () => {
  const store = await storeOn(createMemoryNode());
  for (const isSizeKnown of [true, false]) {
    const empty = chunked(
      await store.write(bodyOf(Buffer.alloc(0), 1, isSizeKnown), { ...options, inlineBytesMax: 0 }),
    );
    assert.deepEqual([empty.sizeBytes, empty.chunks], [0, []]);
    assert.equal((await readAll(store, empty)).length, 0);
  }
  for (const sizeBytes of [99_999, 100_001]) {
    const body = { ...bodyOf(Buffer.alloc(100_000), 10_000, true), sizeBytes };
    await assert.rejects(store.write(body, options), (error) => hasReason(error, "incomplete_body"));
  }
});

void test("bytesMax: entity_too_large, announced or not, inline or not, and nothing stays", async () => {
  const node = createMemoryNode();
  const store = await storeOn(node);
  for (const isSizeKnown of [true, false])
    for (const bytesMax of [10, 20 * KiB, chunkBytes + 1]) {
      const body = bodyOf(Buffer.alloc(bytesMax + 1), 5_000, isSizeKnown);
      await assert.rejects(store.write(body, { ...options, bytesMax }), (error) =>
        hasReason(error, "entity_too_large"),
      );
      const fits = bodyOf(Buffer.alloc(bytesMax), 5_000, isSizeKnown);
      const written = await store.write(fits, { ...options, bytesMax });
      if (written.kind === "chunked") await store.remove(written.blob.chunks);
    }
  assert.equal(await shardsOn(node), 0);
});

/** Fails the append with the given number, either before it stores anything or after. */
function failingAppend(node: ChunkNode, failing: number, isStored: boolean, error: Error): ChunkNode {
  let count = 0;
  return altered(node, {
    append: async (drive, shard, signal) => {
      count += 1;
      const fails = count === failing;
      if (!fails || isStored) await node.append(drive, shard, signal);
      if (fails) throw error;
    },
  });
}

void test("a write that fails at any append leaves nothing, and its own first error leaves", async () => {
  const property = fc.asyncProperty(
    fc.integer({ min: 1, max: 5 }),
    fc.boolean(),
    fc.boolean(),
    async (failing, isStored, known) => {
      const node = createMemoryNode(drives(2));
      const buffers = new ChunkBuffers({ chunkBytes });
      const failure = new HoldfastError("internal", "The append failed.");
      const store = await storeOn(failingAppend(node, failing, isStored, failure), buffers);
      const body = bodyOf(bytesOf(5 * chunkBytes, "mixed", failing), 64 * KiB, known);
      await assert.rejects(store.write(body, options), (error) => error === failure);
      assert.equal(await shardsOn(node), 0);
      assert.equal(buffers.lentBytes + buffers.claimedBytes, 0);
    },
  );
  await fc.assert(property, { numRuns: 20 });
});

void test("a source that fails, at any piece, leaves nothing", async () => {
  const property = fc.asyncProperty(fc.nat(20), async (failing) => {
    const node = createMemoryNode();
    const buffers = new ChunkBuffers({ chunkBytes });
    const store = await storeOn(node, buffers);
    const failure = new HoldfastError("checksum_mismatch", "The trailer does not match.");
    const body: BodySource = {
      ...bodyOf(Buffer.alloc(0), 1, false),
      async *stream() {
        for (let index = 0; index < failing; index++) yield Buffer.alloc(64 * KiB, index);
        throw failure;
      },
    };
    await assert.rejects(store.write(body, options), (error) => error === failure);
    assert.equal(await shardsOn(node), 0);
    assert.equal(buffers.lentBytes + buffers.claimedBytes, 0);
  });
  await fc.assert(property, { numRuns: 21 });
});

void test("a cancelled write ends though its source stands still, and leaves nothing", async () => {
  const node = createMemoryNode();
  const store = await storeOn(node);
  const controller = new AbortController();
  const body: BodySource = {
    ...bodyOf(Buffer.alloc(0), 1, false),
    async *stream() {
      yield Buffer.alloc(2 * chunkBytes + 5);
      controller.abort();
      await new Promise(() => undefined);
    },
  };
  const { signal } = controller;
  await assert.rejects(store.write(body, { ...options, signal }), (error) => hasReason(error, "cancelled"));
  await assert.rejects(store.write(body, { ...options, signal }), (error) => hasReason(error, "cancelled"));
  assert.equal(await shardsOn(node), 0);
});

void test("a failed append ends a write whose source stands still", async () => {
  const node = createMemoryNode();
  const failure = new HoldfastError("internal", "The append failed.");
  const store = await storeOn(failingAppend(node, 1, false, failure));
  const body: BodySource = {
    ...bodyOf(Buffer.alloc(0), 1, false),
    async *stream() {
      yield Buffer.alloc(chunkBytes);
      await new Promise(() => undefined);
    },
  };
  await assert.rejects(store.write(body, options), (error) => error === failure);
});

void test("a drive that refuses is passed over; when all refuse, the refusal leaves", async () => {
  const node = createMemoryNode(drives(3));
  const refusing = new Set(node.drives.slice(0, 2));
  const full = altered(node, {
    append: async (drive, shard, signal) => {
      if (refusing.has(drive)) throw new HoldfastError("drive_full", "Full.");
      await node.append(drive, shard, signal);
    },
  });
  const store = await storeOn(full);
  const bytes = bytesOf(4 * chunkBytes, "mixed", 3);
  const blob = chunked(await store.write(bodyOf(bytes, 64 * KiB, true), options));
  assert.ok(blob.chunks.every(({ places }) => places[0]!.drive === node.drives[2]));
  assert.ok((await readAll(store, blob)).equals(bytes));
  refusing.add(node.drives[2]!);
  await assert.rejects(store.write(bodyOf(bytes, 64 * KiB, true), options), (error) => hasReason(error, "drive_full"));
});

void test("many writers at once stay within the buffers of the process, and each within its own chunks", async () => {
  const node = createMemoryNode();
  let appendingBytes = 0;
  let appendingBytesMax = 0;
  const slow = altered(node, {
    append: async (drive, shard, signal) => {
      const shardBytes = shard.body.reduce((sum, { length }) => sum + length, 0);
      appendingBytes += shardBytes;
      appendingBytesMax = Math.max(appendingBytesMax, appendingBytes);
      await new Promise(setImmediate);
      await node.append(drive, shard, signal);
      appendingBytes -= shardBytes;
    },
  });
  const buffers = new ChunkBuffers(stockOfThree);
  const store = await storeOn(slow, buffers);
  const bytes = bytesOf(4 * chunkBytes + 9, "random", 4);
  const body: BodySource = {
    ...bodyOf(bytes, 64 * KiB, true),
    async *stream() {
      for await (const piece of bodyOf(bytes, 64 * KiB, true).stream()) {
        assert.ok(buffers.lentBytes <= 3 * chunkBytes);
        yield piece;
      }
    },
  };
  await store.write(body, options);
  assert.ok(appendingBytesMax <= limits.writeChunksInFlightMax * chunkBytes);
  appendingBytesMax = 0;
  // Two with full chunks and three with chunks of a third of that make the stock full.
  const writing = Array.from({ length: 5 }, () => store.write(body, options));
  await assert.rejects(store.write(body, options), (error) => hasReason(error, "slow_down"));
  const written = await Promise.all(writing);
  assert.ok(appendingBytesMax <= 3 * chunkBytes);
  for (const each of written) assert.ok((await readAll(store, chunked(each))).equals(bytes));
  assert.deepEqual(
    written.map((each) => chunked(each).chunkBytes / limits.compressionBlockBytes).toSorted((a, b) => a - b),
    [1, 1, 1, 3, 3],
  );
  assert.equal(buffers.lentBytes + buffers.claimedBytes, 0);
});

/** A body that comes up to the last byte, which waits until it is let go. */
function stalling(bytes: Buffer, gate: Promise<void>, onStall: () => void): BodySource {
  return {
    sizeBytes: undefined,
    collect: async () => bytes,
    async *stream() {
      yield bytes.subarray(0, -1);
      onStall();
      await gate;
      yield bytes.subarray(-1);
    },
  };
}

void test("uploads that stall hold up no other", { timeout: 300_000 }, async () => {
  const node = createMemoryNode();
  const buffers = new ChunkBuffers(stockOfThree);
  const store = await storeOn(node, buffers);
  let letGo: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (letGo = resolve));
  const bytes = bytesOf(3 * chunkBytes, "random", 5);
  // Two claims of full chunks and two of small ones, each with its buffer full but for one byte.
  const stalled: Promise<WrittenBody>[] = [];
  for (let index = 0; index < 4; index++) {
    await new Promise<void>((onStall) => stalled.push(store.write(stalling(bytes, gate, onStall), options)));
  }
  const quick = await store.write(bodyOf(bytes, 64 * KiB, true), options);
  assert.ok((await readAll(store, chunked(quick))).equals(bytes));
  letGo();
  for (const each of await Promise.all(stalled)) assert.ok((await readAll(store, chunked(each))).equals(bytes));
  assert.equal(buffers.lentBytes + buffers.claimedBytes, 0);
});

void test("corrupted stored bytes: an error, or the right bytes from another place; never wrong ones", async () => {
  const node = createMemoryNode(drives(2));
  const [good, bad] = node.drives as [(typeof node.drives)[0], (typeof node.drives)[0]];
  let damage = 0;
  const damaged = altered(node, {
    read: async (drive, ref, range, signal) => {
      const bytes = await node.read(good, { ...ref, shardIndex: 0 }, range, signal);
      if (drive !== bad) return bytes;
      // The node finds flipped bytes itself (its checksums); what is left is the wrong block or a short one.
      return damage === 0 ? bytes.subarray(1) : Buffer.concat([bytes.subarray(damage), bytes.subarray(0, damage)]);
    },
  });
  const placed = altered(node, { append: (_drive, shard, signal) => node.append(good, shard, signal) });
  const writing = await storeOn(placed);
  const bytes = bytesOf(3 * chunkBytes, "words", 5);
  const blob = chunked(await writing.write(bodyOf(bytes, 64 * KiB, true), options));
  const reading = await storeOn(damaged);
  const on = (...order: (typeof bad)[]): ChunkedBlob => ({
    ...blob,
    chunks: blob.chunks.map((chunk) => ({
      ...chunk,
      places: order.map((drive, shardIndex) => ({ drive, shardIndex })),
    })),
  });
  for (damage = 0; damage < 40; damage += 13) {
    await assert.rejects(readAll(reading, on(bad)), (error) => hasReason(error, "corrupt_chunk"));
    assert.ok((await readAll(reading, on(bad, good))).equals(bytes));
  }
});

void test("bytes that are too few are corrupt, compressed or not", async () => {
  const node = createMemoryNode();
  const short = altered(node, { read: async (...args) => (await node.read(...args)).subarray(1) });
  const store = await storeOn(short);
  for (const texture of ["random", "words"] as const) {
    const blob = chunked(await store.write(bodyOf(bytesOf(chunkBytes, texture, 9), 64 * KiB, true), options));
    await assert.rejects(readAll(store, blob), (error) => hasReason(error, "corrupt_chunk"));
  }
  for (const rawBytes of [999, 1_001])
    assert.throws(
      () => unpackBlock(zstdCompressSync(Buffer.alloc(1_000)), rawBytes),
      (error) => hasReason(error, "corrupt_chunk"),
    );
});

void test("a chunk map that contradicts itself is corrupt", async () => {
  const store = await storeOn(createMemoryNode());
  const blob = chunked(await store.write(bodyOf(bytesOf(2 * chunkBytes, "words", 6), 64 * KiB, true), options));
  for (const change of [
    { rawBytes: 5 },
    { storedBytes: 5 },
    { blockBytes: undefined },
    { blockBytes: [1] },
    { places: [] },
  ]) {
    const chunks = blob.chunks.map((chunk) => ({ ...chunk, ...change }));
    await assert.rejects(readAll(store, { ...blob, chunks }), (error) => hasReason(error, "corrupt_record"));
  }
});

type ReadsWatched = {
  node: ChunkNode;
  count: number;
  bytesUnderWay: number;
  bytesMax: number;
  /** Of the reads that have not ended. */
  readonly signals: Set<AbortSignal>;
};

/** Counts reads under way, and lets none end before the next turn of the loop. */
function watchedReads(node: ChunkNode): ReadsWatched {
  const watch: ReadsWatched = { node, count: 0, bytesUnderWay: 0, bytesMax: 0, signals: new Set() };
  watch.node = altered(node, {
    read: async (drive, ref, range, signal) => {
      watch.count += 1;
      if (signal !== undefined) watch.signals.add(signal);
      watch.bytesUnderWay += range.length;
      watch.bytesMax = Math.max(watch.bytesMax, watch.bytesUnderWay);
      await new Promise(setImmediate);
      watch.bytesUnderWay -= range.length;
      if (signal !== undefined && !signal.aborted) watch.signals.delete(signal);
      return node.read(drive, ref, range, signal);
    },
  });
  return watch;
}

void test("reading ahead is bounded, and ends when the consumer leaves or cancels", async () => {
  const watch = watchedReads(createMemoryNode());
  const store = await storeOn(watch.node);
  const bytes = bytesOf(30 * chunkBytes, "random", 7);
  const blob = chunked(await store.write(bodyOf(bytes, 640 * KiB, true), options));
  assert.ok((await readAll(store, blob)).equals(bytes));
  assert.ok(watch.bytesMax > limits.readBytesPerCall && watch.bytesMax <= limits.readAheadBytesMax);
  const readsOfAll = watch.count;
  watch.count = 0;
  let openSignals: AbortSignal[] = [];
  for await (const piece of store.read(sourceOf(blob), 0, blob.sizeBytes)) {
    assert.ok(piece.length <= limits.readBytesPerCall);
    openSignals = [...watch.signals];
    if (openSignals.length > 0) break;
  }
  assert.ok(openSignals.length > 0 && openSignals.every(({ aborted }) => aborted));
  const controller = new AbortController();
  await assert.rejects(
    async () => {
      for await (const _ of store.read(sourceOf(blob), 0, blob.sizeBytes, controller.signal)) controller.abort();
    },
    (error) => hasReason(error, "cancelled"),
  );
  assert.ok(watch.count < readsOfAll / 2);
});

void test("a range read touches only the compression blocks it needs", async () => {
  const watch = watchedReads(createMemoryNode());
  const store = await storeOn(watch.node);
  const bytes = bytesOf(3 * chunkBytes, "words", 8);
  const blob = chunked(await store.write(bodyOf(bytes, 64 * KiB, true), options));
  const offset = chunkBytes + limits.compressionBlockBytes + 10;
  assert.ok((await readAll(store, blob, offset, 10)).equals(bytes.subarray(offset, offset + 10)));
  assert.equal(watch.bytesMax, blob.chunks[1]!.blockBytes![1]);
});

void test("a chunk whose last block is a few bytes long reads back, compressed or not", async () => {
  for (const tail of [1, 20, 30, 44, 63, 64, 65]) {
    const bytes = bytesOf(limits.compressionBlockBytes + tail, "zeros", tail);
    const store = await storeOn(createMemoryNode());
    const blob = chunked(await store.write(bodyOf(bytes, 64 * KiB, true), options));
    assert.ok((await readAll(store, blob)).equals(bytes), `${tail} bytes`);
  }
});
