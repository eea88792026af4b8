/** Chunks with redundancy: written to many drives, read back when some of those are gone or wrong. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { HoldfastError, hasReason } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { seededRandom } from "../core/random.ts";
import { parseRedundancy, shardsOf, writeQuorum, type Redundancy } from "../core/redundancy.ts";
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
  shardsOn,
  writeOptions,
  type Texture,
} from "./blob.fixture.ts";
import type { BlobStore, ChunkedBlob } from "./blob.ts";
import { ChunkBuffers } from "./chunk_buffers.ts";
import { shardBytesOf } from "./shards.ts";

const digests = createDigestPool({ threads: 1 });
test.after(() => digests.close());

type Damage = "missing" | "failed" | "corrupt" | "short";

/** A node some of whose drives are away or give no right bytes. */
function damagedNode(node: ChunkNode): { readonly node: ChunkNode; readonly damaged: Map<DriveId, Damage> } {
  const damaged = new Map<DriveId, Damage>();
  const read: ChunkNode["read"] = async (drive, ref, range, signal) => {
    const damage = damaged.get(drive);
    if (damage === "missing") throw new HoldfastError("drive_missing", "Away.");
    if (damage === "failed") throw new HoldfastError("drive_failed", "Failed.");
    if (damage === "corrupt") throw new HoldfastError("corrupt_chunk", "Corrupt.");
    const bytes = await node.read(drive, ref, range, signal);
    return damage === "short" ? bytes.subarray(1) : bytes;
  };
  return { node: altered(node, { read }), damaged };
}

const redundancies = fc.oneof(
  fc.integer({ min: 0, max: 4 }).map((parityShards): Redundancy => ({ dataShards: 1, parityShards })),
  fc.record({ dataShards: fc.integer({ min: 2, max: 16 }), parityShards: fc.integer({ min: 1, max: 8 }) }),
);

const plans = fc.record({
  redundancy: redundancies,
  spareDrives: fc.nat(3),
  sizeBytes: fc.oneof(
    fc.integer({ min: 1, max: 3 * chunkBytes }),
    fc.constantFrom(16 * KiB + 1, limits.copiedChunkBytesMax, limits.copiedChunkBytesMax + 1, chunkBytes),
  ),
  texture: fc.constantFrom<Texture>("words", "random", "mixed"),
  seed: fc.nat(1_000),
});

/** `count` drives out of the node's, in any way. */
function someDrives(node: ChunkNode, count: number, seed: number): DriveId[] {
  const random = seededRandom(seed);
  const left = [...node.drives];
  return Array.from({ length: count }, () => left.splice(random.below(left.length), 1)[0]!);
}

function checkPlaces(blob: ChunkedBlob, redundancy: Redundancy): void {
  for (const chunk of blob.chunks) {
    assert.equal(chunk.redundancy.parityShards, redundancy.parityShards, "the same losses are survived");
    const isCopied = chunk.redundancy.dataShards === 1;
    assert.equal(isCopied, redundancy.dataShards === 1 || chunk.storedBytes <= limits.copiedChunkBytesMax);
    assert.deepEqual(
      chunk.places.map(({ shardIndex }) => shardIndex),
      Array.from({ length: shardsOf(chunk.redundancy) }, (_, index) => index),
    );
    assert.equal(new Set(chunk.places.map(({ drive }) => drive)).size, chunk.places.length, "each on its own drive");
  }
}

void test("any loss of as many drives as there are parity shards is invisible, of any range", async () => {
  const kinds = fc.constantFrom<Damage>("missing", "failed", "corrupt", "short");
  const property = fc.asyncProperty(plans, kinds, fc.nat(), fc.nat(), async (plan, kind, from, to) => {
    const { redundancy, seed } = plan;
    const healthy = createMemoryNode(drives(shardsOf(redundancy) + plan.spareDrives));
    const { node, damaged } = damagedNode(healthy);
    const store = await makeStore(node, digests, { redundancy: () => redundancy });
    const bytes = bytesOf(plan.sizeBytes, plan.texture, seed);
    const written = await store.write(bodyOf(bytes, 64 * KiB, true), { ...writeOptions, inlineBytesMax: 0 });
    const blob = chunked(written);
    assert.deepEqual(written.digests, digests.whole(writeOptions.digests, bytes));
    checkPlaces(blob, redundancy);
    const offset = from % (bytes.length + 1);
    const length = to % (bytes.length - offset + 1);
    for (const drive of someDrives(node, redundancy.parityShards, seed)) damaged.set(drive, kind);
    assert.ok((await readAll(store, blob)).equals(bytes));
    assert.ok((await readAll(store, blob, offset, length)).equals(bytes.subarray(offset, offset + length)));
    await store.remove(blob.chunks);
    assert.equal(await shardsOn(healthy), 0);
  });
  await fc.assert(property, { numRuns: 120 });
});

void test("one loss too many is an error, never wrong bytes", async () => {
  for (const text of ["replica:3", "ec:2+1", "ec:4+2", "ec:5+3"]) {
    const redundancy = parseRedundancy(text);
    const { node, damaged } = damagedNode(createMemoryNode(drives(shardsOf(redundancy))));
    const store = await makeStore(node, digests, { redundancy: () => redundancy });
    const bytes = bytesOf(2 * chunkBytes, "random", 4);
    const blob = chunked(await store.write(bodyOf(bytes, 64 * KiB, true), writeOptions));
    for (const drive of node.drives.slice(0, redundancy.parityShards + 1)) damaged.set(drive, "corrupt");
    await assert.rejects(readAll(store, blob), (error) => hasReason(error, "corrupt_chunk"), text);
  }
});

void test("a drive that refuses is replaced by the next best; without one the shard is missing, down to the quorum", async () => {
  const redundancies = ["replica:1", "replica:2", "replica:3", "ec:2+1", "ec:4+2", "ec:3+3"];
  const reasons = ["drive_failed", "slow_down"] as const;
  for (const [text, reason] of redundancies.flatMap((each) => reasons.map((why) => [each, why] as const))) {
    const redundancy = parseRedundancy(text);
    const shards = shardsOf(redundancy);
    const spare = 1;
    const memory = createMemoryNode(drives(shards + spare));
    const refusing = new Set<DriveId>();
    const node = altered(memory, {
      append: async (drive, shard, signal) => {
        if (refusing.has(drive)) throw new HoldfastError(reason, "Not now.");
        await memory.append(drive, shard, signal);
      },
    });
    const store = await makeStore(node, digests, { redundancy: () => redundancy });
    const bytes = bytesOf(chunkBytes, "random", 3);
    const write = async (): Promise<ChunkedBlob> =>
      chunked(await store.write(bodyOf(bytes, 64 * KiB, true), writeOptions));
    for (let refused = 0; refused <= shards + spare; refused++) {
      const up = shards + spare - refused;
      if (up < writeQuorum(redundancy)) {
        const before = await shardsOn(memory);
        await assert.rejects(write(), (error) => hasReason(error, reason), text);
        assert.equal(await shardsOn(memory), before, "what was stored is removed");
      } else {
        const blob = await write();
        assert.equal(blob.chunks[0]!.places.length, Math.min(shards, up));
        assert.ok(blob.chunks[0]!.places.every(({ drive }) => !refusing.has(drive)));
        assert.ok((await readAll(store, blob)).equals(bytes));
      }
      refusing.add(node.drives[refused]!);
    }
  }
});

void test("where the drives that have room are too busy, the write may be tried again, whatever the others say", async () => {
  const memory = createMemoryNode(drives(3));
  const reasons = ["drive_failed", "drive_full", "slow_down"] as const;
  const node = altered(memory, {
    append: (drive) => Promise.reject(new HoldfastError(reasons[memory.drives.indexOf(drive)]!, "Not now.")),
  });
  const store = await makeStore(node, digests, { redundancy: () => parseRedundancy("replica:2") });
  const body = bodyOf(bytesOf(chunkBytes, "random", 5), 64 * KiB, true);
  await assert.rejects(store.write(body, writeOptions), (error) => hasReason(error, "slow_down"));
});

void test("too few drives for a quorum are known before a byte is stored", async () => {
  const node = createMemoryNode(drives(4));
  let appends = 0;
  const counted = altered(node, {
    append: async (...args) => {
      appends += 1;
      await node.append(...args);
    },
  });
  const store = await makeStore(counted, digests, { redundancy: () => parseRedundancy("ec:4+2") });
  const body = bodyOf(bytesOf(chunkBytes, "random", 3), 64 * KiB, true);
  await assert.rejects(store.write(body, writeOptions), (error) => hasReason(error, "unavailable"));
  assert.equal(appends, 0);
});

type Counts = { reads: number; bytes: number };

function countedReads(node: ChunkNode): { readonly node: ChunkNode; readonly counts: Counts } {
  const counts = { reads: 0, bytes: 0 };
  const read: ChunkNode["read"] = async (drive, ref, range, signal) => {
    const bytes = await node.read(drive, ref, range, signal);
    counts.reads += 1;
    counts.bytes += bytes.length;
    return bytes;
  };
  return { node: altered(node, { read }), counts };
}

async function writeOne(store: BlobStore, chunks: number): Promise<{ blob: ChunkedBlob; bytes: Buffer }> {
  const bytes = bytesOf(chunks * chunkBytes, "random", 11);
  return { blob: chunked(await store.write(bodyOf(bytes, 64 * KiB, true), writeOptions)), bytes };
}

void test("a healthy read fetches what it needs and nothing else; a degraded one fetches each surviving byte about once", async () => {
  const redundancy = parseRedundancy("ec:4+2");
  const counted = countedReads(createMemoryNode(drives(6)));
  const { node, damaged } = damagedNode(counted.node);
  const store = await makeStore(node, digests, { redundancy: () => redundancy });
  const { blob, bytes } = await writeOne(store, 4);
  const { counts } = counted;
  assert.ok((await readAll(store, blob)).equals(bytes));
  assert.equal(counts.bytes, bytes.length);
  counts.bytes = 0;
  const shardBytes = shardBytesOf(chunkBytes, redundancy);
  assert.ok((await readAll(store, blob, shardBytes - 5, 10)).equals(bytes.subarray(shardBytes - 5, shardBytes + 5)));
  assert.equal(counts.bytes, 10);
  for (const drive of node.drives.slice(0, 2)) damaged.set(drive, "missing");
  counts.bytes = 0;
  assert.ok((await readAll(store, blob)).equals(bytes));
  // Shards read ahead before the loss was met are read twice at most.
  assert.ok(counts.bytes <= 2 * bytes.length, `${counts.bytes} bytes for ${bytes.length}`);
});

void test("recoveries are bounded; a stream that finds none free reads all the same", async () => {
  const redundancy = parseRedundancy("ec:3+2");
  const { node, damaged } = damagedNode(createMemoryNode(drives(5)));
  const store = await makeStore(node, digests, { redundancy: () => redundancy });
  const { blob, bytes } = await writeOne(store, 3);
  damaged.set(node.drives[0]!, "missing");
  damaged.set(node.drives[3]!, "missing");
  // More streams than there are recoveries, none of which reads on: each holds what it has.
  const source = { blob: blob.id, chunkBytes, sizeBytes: blob.sizeBytes, chunks: async () => blob.chunks };
  const held = Array.from({ length: limits.recoveriesMax + 3 }, () =>
    store.read(source, 0, blob.sizeBytes)[Symbol.asyncIterator](),
  );
  for (const stream of held) assert.equal((await stream.next()).done, false);
  assert.ok((await readAll(store, blob)).equals(bytes));
  for (const stream of held) await stream.return?.();
  assert.ok((await readAll(store, blob)).equals(bytes));
});

void test("damage that a read meets is told once for each chunk, with the chunk's place in its blob", async () => {
  const told: string[] = [];
  const redundancy = parseRedundancy("ec:2+1");
  const { node, damaged } = damagedNode(createMemoryNode(drives(3)));
  const store = await makeStore(node, digests, {
    redundancy: () => redundancy,
    onDamage: (source, index) => told.push(`${source.blob} ${index}`),
  });
  const { blob } = await writeOne(store, 3);
  await readAll(store, blob);
  assert.deepEqual(told, []);
  const lost = node.drives[1]!;
  damaged.set(lost, "corrupt");
  await readAll(store, blob);
  const touched = blob.chunks.flatMap(({ places }, index) =>
    places.some(({ drive, shardIndex }) => drive === lost && shardIndex < 2) ? [`${blob.id} ${index}`] : [],
  );
  assert.deepEqual(new Set(told), new Set(touched));
  assert.equal(told.length, touched.length);
});

void test("a buffer has room for the parity; where that is much, chunks are cut smaller; all within the stock", async () => {
  for (const text of ["ec:2+8", "ec:4+2", "ec:16+8", "ec:2+1"]) {
    const redundancy = parseRedundancy(text);
    const buffers = new ChunkBuffers({ chunkBytes: limits.chunkBytesMax });
    const claim = buffers.claim(undefined, redundancy);
    const buffer = await claim.acquire(claim.chunkBytes, new AbortController().signal);
    assert.equal(claim.chunkBytes % limits.compressionBlockBytes, 0);
    assert.ok(buffer.room.length >= shardBytesOf(claim.chunkBytes, redundancy) * shardsOf(redundancy), text);
    assert.ok(buffer.room.length <= limits.chunkRoomBytesMax && buffers.lentBytes === buffer.room.length, text);
    buffer.release();
    claim.end();
    assert.equal(buffers.claimedBytes, 0);
  }
});
