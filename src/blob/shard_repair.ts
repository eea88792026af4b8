/** Shards of one chunk made anew from others of it, whole. Memory: the chunk's stored bytes and the new shards. */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { shardsOf } from "../core/redundancy.ts";
import { reconstruct } from "../erasure/erasure.ts";
import type { ChunkNode } from "../node/node.ts";
import type { ChunkPlace, ChunkRef } from "./blob.ts";
import { shardBytesOf } from "./shards.ts";

/**
 * The bytes of the shards `wanted`, in that order, from those at `sources`: as many of them as it takes are read, in turn.
 * Errors: that of the last source tried when too few can be read; `corrupt_chunk` when there are too few.
 */
export async function remakeShards(
  node: ChunkNode,
  chunk: ChunkRef,
  sources: readonly ChunkPlace[],
  wanted: readonly number[],
  signal: AbortSignal,
): Promise<Buffer[]> {
  const { redundancy } = chunk;
  const { dataShards } = redundancy;
  assert(wanted.length >= 1, "something is wanted");
  const found: (Buffer | undefined)[] = Array.from({ length: shardsOf(redundancy) });
  const untried = [...sources];
  let count = 0;
  let failure: unknown = new HoldfastError(
    "corrupt_chunk",
    `Chunk ${chunk.id} has ${sources.length} good shards; it takes ${dataShards}.`,
  );
  while (count < dataShards) {
    const batch = untried.splice(0, dataShards - count);
    if (batch.length === 0) throw failure;
    const outcomes = await Promise.allSettled(batch.map((place) => readShard(node, chunk, place, signal)));
    outcomes.forEach((outcome, index) => {
      if (outcome.status === "rejected") return (failure = outcome.reason);
      found[batch[index]!.shardIndex] = outcome.value;
      return (count += 1);
    });
  }
  if (dataShards === 1) return wanted.map(() => found.find((bytes) => bytes !== undefined)!);
  const out = wanted.map(() => Buffer.allocUnsafeSlow(shardBytesOf(chunk.storedBytes, redundancy)));
  reconstruct(redundancy, found, wanted, out);
  return out;
}

async function readShard(
  node: ChunkNode,
  chunk: ChunkRef,
  { drive, shardIndex }: ChunkPlace,
  signal: AbortSignal,
): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(shardBytesOf(chunk.storedBytes, chunk.redundancy));
  for (let offset = 0; offset < bytes.length; offset += limits.readBytesPerCall) {
    const range = { offset, length: Math.min(limits.readBytesPerCall, bytes.length - offset) };
    const piece = await node.read(drive, { chunk: chunk.id, shardIndex }, range, signal);
    if (piece.length !== range.length) throw new HoldfastError("corrupt_chunk", `Chunk ${chunk.id} was read short.`);
    piece.copy(bytes, offset);
  }
  return bytes;
}
