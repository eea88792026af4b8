/** Encrypted chunks: written, read back in any range and after losses, and shown to nobody without the key. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { seededRandom, systemRandom } from "../core/random.ts";
import { parseRedundancy, shardsOf, type Redundancy } from "../core/redundancy.ts";
import { TAG_BYTES } from "../crypto/cipher.ts";
import { DataKey } from "../crypto/data_key.ts";
import { createDigestPool } from "../digest/pool.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import { driveMissing, type ByteRange, type ChunkNode } from "../node/node.ts";
import {
  altered,
  bodyOf,
  bytesOf,
  chunkBytes,
  chunked,
  drives,
  KiB,
  makeStore,
  sourceOf,
  writeOptions,
  type Texture,
} from "./blob.fixture.ts";
import type { BlobStore, ChunkedBlob } from "./blob.ts";
import { ChunkBuffers } from "./chunk_buffers.ts";
import { shardBytesOf } from "./shards.ts";
import { sealedBytesMax } from "./sealing.ts";

const digests = createDigestPool({ threads: 1 });
test.after(() => digests.close());

const block = limits.compressionBlockBytes;
const isCorrupt = (error: unknown): boolean => hasReason(error, "corrupt_chunk");
const isContradiction = (error: unknown): boolean => hasReason(error, "corrupt_record");

type Sealed = { readonly blob: ChunkedBlob; readonly dataKey: DataKey | undefined };

async function read({ blob, dataKey }: Sealed, store: BlobStore, range?: ByteRange): Promise<Buffer> {
  const { offset, length } = range ?? { offset: 0, length: blob.sizeBytes };
  const pieces: Buffer[] = [];
  for await (const piece of store.read({ ...sourceOf(blob), dataKey }, offset, length)) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function writeSealed(store: BlobStore, bytes: Buffer, redundancy?: Redundancy): Promise<Sealed> {
  const dataKey = DataKey.generate(systemRandom);
  const options = { ...writeOptions, inlineBytesMax: 0, dataKey, redundancy };
  return { blob: chunked(await store.write(bodyOf(bytes, 64 * KiB, true), options)), dataKey };
}

const plans = fc.record({
  redundancy: fc.oneof(
    fc.integer({ min: 0, max: 2 }).map((parityShards): Redundancy => ({ dataShards: 1, parityShards })),
    fc.record({ dataShards: fc.integer({ min: 2, max: 6 }), parityShards: fc.integer({ min: 1, max: 3 }) }),
  ),
  sizeBytes: fc.oneof(
    fc.integer({ min: 1, max: 3 * chunkBytes }),
    fc.constantFrom(1, block - 1, block, block + 1, chunkBytes - 1, chunkBytes, chunkBytes + 1),
  ),
  texture: fc.constantFrom<Texture>("zeros", "words", "random", "mixed"),
  lost: fc.nat(3),
  seed: fc.nat(1_000),
});

void test("sizes, compression, redundancy, losses and ranges: what comes out is what went in", async () => {
  const property = fc.asyncProperty(plans, fc.nat(), fc.nat(), async (plan, from, to) => {
    const { redundancy, sizeBytes, texture, seed } = plan;
    const memory = createMemoryNode(drives(shardsOf(redundancy)));
    const store = await makeStore(memory, digests);
    const bytes = bytesOf(sizeBytes, texture, seed);
    const sealed = await writeSealed(store, bytes, redundancy);
    const offset = from % (sizeBytes + 1);
    const range = { offset, length: to % (sizeBytes - offset + 1) };
    const lost = memory.drives.slice(0, Math.min(plan.lost, redundancy.parityShards));
    const node = altered(memory, {
      read: (drive, ...rest) =>
        lost.includes(drive) ? Promise.reject(driveMissing(drive)) : memory.read(drive, ...rest),
    });
    const reading = await makeStore(node, digests);
    assert.ok((await read(sealed, reading)).equals(bytes));
    assert.ok((await read(sealed, reading, range)).equals(bytes.subarray(offset, offset + range.length)));
    for (const chunk of sealed.blob.chunks) {
      assert.equal(chunk.isSealed, true);
      assert.equal(chunk.blockBytes?.length, Math.ceil(chunk.rawBytes / block));
      assert.ok(chunk.storedBytes <= sealedBytesMax(chunk.rawBytes));
    }
  });
  await fc.assert(property, { numRuns: 100 });
});

void test("what compresses is compressed before it is encrypted", async () => {
  const store = await makeStore(createMemoryNode(), digests);
  const words = await writeSealed(store, bytesOf(chunkBytes, "words", 1));
  assert.ok(words.blob.chunks[0]!.storedBytes < chunkBytes / 10);
  const random = await writeSealed(store, bytesOf(chunkBytes, "random", 1));
  assert.deepEqual(
    random.blob.chunks[0]!.blockBytes,
    Array.from({ length: 3 }, () => block + TAG_BYTES),
  );
});

/** All that the drives hold, in one. */
async function storedBytes(node: ChunkNode, { blob }: Sealed): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (const { id, redundancy, storedBytes: bytes, places } of blob.chunks)
    for (const { drive, shardIndex } of places) {
      const length = redundancy.dataShards === 1 ? bytes : shardBytesOf(bytes, redundancy);
      for (let offset = 0; offset < length; offset += limits.readBytesPerCall) {
        const range = { offset, length: Math.min(limits.readBytesPerCall, length - offset) };
        pieces.push(await node.read(drive, { chunk: id, shardIndex }, range));
      }
    }
  return Buffer.concat(pieces);
}

void test("no drive has a word of it, and the same bytes twice are stored as different ones", async () => {
  for (const text of ["replica:1", "ec:2+1"]) {
    const redundancy = parseRedundancy(text);
    const memory = createMemoryNode(drives(shardsOf(redundancy)));
    const store = await makeStore(memory, digests);
    const bytes = Buffer.from(seededRandom(5).bytes(chunkBytes + 10));
    bytes.set(Buffer.from("the secret of the house"), block + 17);
    const [one, other] = [await writeSealed(store, bytes, redundancy), await writeSealed(store, bytes, redundancy)];
    const [first, second] = [await storedBytes(memory, one), await storedBytes(memory, other)];
    assert.ok(first.length > bytes.length);
    for (const stored of [first, second]) assert.ok(!stored.includes("secret"), text);
    for (let at = 0; at + 16 <= bytes.length; at += block)
      assert.ok(!first.includes(bytes.subarray(at, at + 16)) && !second.includes(first.subarray(at, at + 16)), text);
  }
});

void test("a wrong key opens nothing, and neither does none; a key for what is not encrypted is refused", async () => {
  const store = await makeStore(createMemoryNode(), digests);
  const bytes = bytesOf(chunkBytes, "mixed", 2);
  const { blob } = await writeSealed(store, bytes);
  await assert.rejects(read({ blob, dataKey: DataKey.generate(systemRandom) }, store), isCorrupt);
  await assert.rejects(read({ blob, dataKey: undefined }, store), isContradiction);
  const plain = chunked(await store.write(bodyOf(bytes, 64 * KiB, true), writeOptions));
  await assert.rejects(read({ blob: plain, dataKey: DataKey.generate(systemRandom) }, store), isContradiction);
});

void test("a map that says of an encrypted chunk that it is none, or lists no blocks, is refused", async () => {
  const store = await makeStore(createMemoryNode(), digests);
  const { blob, dataKey } = await writeSealed(store, bytesOf(1_000, "random", 2));
  const { isSealed: _, ...plain } = blob.chunks[0]!;
  await assert.rejects(read({ blob: { ...blob, chunks: [plain] }, dataKey }, store), isContradiction);
  const noBlocks = { ...blob.chunks[0]!, blockBytes: undefined, storedBytes: blob.sizeBytes };
  await assert.rejects(read({ blob: { ...blob, chunks: [noBlocks] }, dataKey }, store), isContradiction);
});

/** Flips one bit of what a drive gives, behind its checks: as if what is stored had been changed, its checksums too. */
function forging(node: ChunkNode, isForged: (drive: string) => boolean): ChunkNode {
  return altered(node, {
    read: async (drive, ref, range, signal) => {
      const bytes = Buffer.from(await node.read(drive, ref, range, signal));
      if (isForged(drive)) bytes[bytes.length >>> 1]! ^= 4;
      return bytes;
    },
  });
}

void test("bytes that were changed with their checksums are corrupt, and a copy that was not is read instead", async () => {
  const memory = createMemoryNode(drives(2));
  const bytes = bytesOf(2 * chunkBytes, "mixed", 3);
  const sealed = await writeSealed(await makeStore(memory, digests), bytes, parseRedundancy("replica:2"));
  const all = await makeStore(
    forging(memory, () => true),
    digests,
  );
  await assert.rejects(read(sealed, all), isCorrupt);
  for (const forged of memory.drives) {
    const one = await makeStore(
      forging(memory, (drive) => drive === forged),
      digests,
    );
    assert.ok((await read(sealed, one)).equals(bytes));
  }
});

void test("blocks of one chunk, or chunks of one blob, that changed places do not open", async () => {
  const store = await makeStore(createMemoryNode(), digests);
  const { blob, dataKey } = await writeSealed(store, bytesOf(2 * chunkBytes, "random", 6));
  const swapped = { ...blob, chunks: [blob.chunks[1]!, blob.chunks[0]!] };
  await assert.rejects(read({ blob: swapped, dataKey }, store), isCorrupt);
  const other = await writeSealed(store, bytesOf(2 * chunkBytes, "random", 7));
  await assert.rejects(read({ blob: { ...blob, chunks: other.blob.chunks }, dataKey }, store), isCorrupt);
});

void test("what was read is given back when its blocks are opened, what was sealed when it is stored", async () => {
  const memory = createMemoryNode();
  const seen: Uint8Array[] = [];
  const node = altered(memory, {
    append: async (drive, shard, signal) => {
      await memory.append(drive, shard, signal);
      seen.push(...shard.body);
    },
    read: async (...args) => {
      const bytes = Buffer.from(await memory.read(...args));
      seen.push(bytes);
      return bytes;
    },
  });
  const isLarge = (bytes: Uint8Array): boolean => bytes.length > TAG_BYTES;
  const store = await makeStore(node, digests);
  const bytes = bytesOf(2 * chunkBytes, "random", 11);
  const sealed = await writeSealed(store, bytes);
  assert.ok(seen.length > 0 && !seen.some(isLarge), "sealed blocks");
  seen.length = 0;
  assert.ok((await read(sealed, store)).equals(bytes));
  assert.ok(seen.length > 0 && !seen.some(isLarge), "read blocks");
  seen.length = 0;
  const lost = { ...sealed, dataKey: DataKey.generate(systemRandom) };
  await assert.rejects(read(lost, store), isCorrupt);
  assert.ok(seen.some(isLarge), "what did not open may be asked for again");
});

void test("a range reads the blocks it touches and no others, within what one call may read", async () => {
  const memory = createMemoryNode();
  const ranges: ByteRange[] = [];
  const node = altered(memory, {
    read: (drive, ref, range, signal) => {
      ranges.push(range);
      return memory.read(drive, ref, range, signal);
    },
  });
  const chunk = limits.sealedChunkBytesMax;
  const buffers = new ChunkBuffers({ chunkBytes: limits.chunkBytesMax });
  const store = await makeStore(node, digests, { chunkBytes: limits.chunkBytesMax, buffers });
  const bytes = bytesOf(chunk + 5, "random", 8);
  const sealed = await writeSealed(store, bytes);
  assert.deepEqual(
    sealed.blob.chunks.map(({ rawBytes }) => rawBytes),
    [chunk, 5],
  );
  assert.ok((await read(sealed, store)).equals(bytes));
  assert.ok(ranges.every(({ length }) => length <= limits.readBytesPerCall));
  ranges.length = 0;
  const range = { offset: 2 * block - 1, length: 2 };
  assert.ok((await read(sealed, store, range)).equals(bytes.subarray(2 * block - 1, 2 * block + 1)));
  assert.deepEqual(ranges, [{ offset: block + TAG_BYTES, length: 2 * (block + TAG_BYTES) }]);
});

void test("full chunks with their tags fit a shard and a buffer, whatever their redundancy", async () => {
  for (const text of ["replica:1", "ec:2+1", "ec:2+6", "ec:2+8", "ec:16+8", "ec:8+8"]) {
    const redundancy = parseRedundancy(text);
    const buffers = new ChunkBuffers({ chunkBytes: limits.chunkBytesMax });
    const claim = buffers.claim(undefined, redundancy, true);
    const buffer = await claim.acquire(claim.chunkBytes, new AbortController().signal);
    const stored = sealedBytesMax(claim.chunkBytes);
    assert.ok(stored <= limits.chunkBytesMax && claim.chunkBytes % block === 0, text);
    assert.ok(buffer.room.length <= limits.chunkRoomBytesMax, text);
    if (redundancy.dataShards > 1)
      assert.ok(buffer.room.length >= shardBytesOf(stored, redundancy) * shardsOf(redundancy), text);
    buffer.release();
    claim.end();
    const memory = createMemoryNode(drives(shardsOf(redundancy)));
    const store = await makeStore(memory, digests, { chunkBytes: limits.chunkBytesMax, buffers });
    const bytes = bytesOf(claim.chunkBytes + 1, "random", 9);
    assert.ok((await read(await writeSealed(store, bytes, redundancy), store)).equals(bytes), text);
    assert.equal(buffers.lentBytes + buffers.claimedBytes, 0);
  }
});
