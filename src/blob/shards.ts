/**
 * A chunk's stored bytes as shards. With one data shard each is a copy. Otherwise the bytes, with zeros added up to a
 * multiple of k, are k slices of equal length, the data shards, and m parity shards are computed from them (erasure room): so
 * a healthy read of any range touches only the slices it lies in, and decodes nothing.
 *
 * Shards are made inside the chunk's own buffer, whose room has place for them: no copy of an uncompressed chunk is made.
 */
import { assert } from "../core/assert.ts";
import { limits } from "../core/limits.ts";
import { shardsOf, type Redundancy } from "../core/redundancy.ts";
import { encode } from "../erasure/erasure.ts";
import type { ByteRange } from "../node/node.ts";

/** Bytes of every shard of a chunk. */
export function shardBytesOf(storedBytes: number, { dataShards }: Redundancy): number {
  return Math.ceil(storedBytes / dataShards);
}

/** Bytes of a buffer that can take a chunk of `rawBytes` and become its shards. */
export function codedBytes(rawBytes: number, redundancy: Redundancy): number {
  return redundancy.dataShards === 1 ? rawBytes : shardBytesOf(rawBytes, redundancy) * shardsOf(redundancy);
}

/** What a chunk of so few bytes is stored with: whole copies that survive the same losses are better than slivers. */
export function redundancyFor(storedBytes: number, redundancy: Redundancy): Redundancy {
  if (redundancy.dataShards === 1 || storedBytes > limits.copiedChunkBytesMax) return redundancy;
  return { dataShards: 1, parityShards: redundancy.parityShards };
}

/**
 * All k + m shards, as views of `room`, which holds the chunk's stored bytes at its front already or is given them as
 * `body`: pieces that may lie in `room` themselves, each no further to the front than where it has to go.
 */
export function makeShards(
  room: Uint8Array,
  body: readonly Uint8Array[],
  storedBytes: number,
  redundancy: Redundancy,
): Uint8Array[] {
  const { dataShards, parityShards } = redundancy;
  assert(dataShards > 1, "copies need no shards made");
  const shardBytes = shardBytesOf(storedBytes, redundancy);
  assert(shardBytes * (dataShards + parityShards) <= room.length, "a chunk's shards fit its room");
  gather(room, body, storedBytes);
  room.fill(0, storedBytes, shardBytes * dataShards);
  const shards = Array.from({ length: dataShards + parityShards }, (_, index) =>
    room.subarray(index * shardBytes, (index + 1) * shardBytes),
  );
  encode(redundancy, shards.slice(0, dataShards), shards.slice(dataShards));
  return shards;
}

function gather(room: Uint8Array, body: readonly Uint8Array[], storedBytes: number): void {
  let offset = 0;
  for (const piece of body) {
    if (piece.buffer !== room.buffer) room.set(piece, offset);
    else {
      const from = piece.byteOffset - room.byteOffset;
      assert(from >= offset, "a piece of the chunk itself moves to the front or stays");
      if (from > offset) room.copyWithin(offset, from, from + piece.length);
    }
    offset += piece.length;
  }
  assert(offset === storedBytes, "the pieces are the stored bytes");
}

/** A range of a chunk's stored bytes in one of its data shards. */
export type ShardRange = { readonly shardIndex: number; readonly range: ByteRange };

/** Where a range of the stored bytes lies, in order. With one data shard that is the shard 0, or any copy. */
export function shardRanges(stored: ByteRange, shardBytes: number): ShardRange[] {
  const ranges: ShardRange[] = [];
  const end = stored.offset + stored.length;
  for (let at = stored.offset; at < end;) {
    const shardIndex = Math.floor(at / shardBytes);
    const offset = at - shardIndex * shardBytes;
    const length = Math.min(end - at, shardBytes - offset);
    ranges.push({ shardIndex, range: { offset, length } });
    at += length;
  }
  return ranges;
}
