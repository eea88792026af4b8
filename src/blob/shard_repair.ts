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
 * The bytes of the shards `wanted`, in that order. One that is among the sources (it moves) is read there; for others as many
 * sources are read as it takes, in turn. Errors: that of the last source tried when too few can be read; `corrupt_chunk`
 * when there are too few.
 */
export async function remakeShards(
  node: ChunkNode,
  chunk: ChunkRef,
  sources: readonly ChunkPlace[],
  wanted: readonly number[],
  signal: AbortSignal,
): Promise<Buffer[]> {
  const { redundancy } = chunk;
  assert(wanted.length >= 1, "something is wanted");
  const found: (Buffer | undefined)[] = Array.from({ length: shardsOf(redundancy) });
  const untried = sources.toSorted(
    (a, b) => Number(wanted.includes(b.shardIndex)) - Number(wanted.includes(a.shardIndex)),
  );
  const count = (): number => found.filter((bytes) => bytes !== undefined).length;
  const isEnough = (): boolean => count() >= redundancy.dataShards || wanted.every((index) => found[index]);
  let failure: unknown = tooFew(chunk, sources.length);
  while (!isEnough()) {
    const moving = untried.filter(({ shardIndex }) => wanted.includes(shardIndex)).length;
    const batch = untried.splice(0, moving > 0 ? moving : redundancy.dataShards - count());
    if (batch.length === 0) throw failure;
    const outcomes = await Promise.allSettled(batch.map((place) => readShard(node, chunk, place, signal)));
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome.status === "rejected") failure = outcome.reason;
      else found[batch[index]!.shardIndex] = outcome.value;
    }
  }
  const missing = wanted.filter((index) => found[index] === undefined);
  const computed = computeShards(chunk, found, missing);
  return wanted.map((index) => found[index] ?? computed[missing.indexOf(index)]!);
}

function computeShards(
  { redundancy, storedBytes }: ChunkRef,
  found: readonly (Buffer | undefined)[],
  missing: readonly number[],
): Buffer[] {
  if (missing.length === 0) return [];
  if (redundancy.dataShards === 1) return missing.map(() => found.find((bytes) => bytes !== undefined)!);
  const out = missing.map(() => Buffer.allocUnsafeSlow(shardBytesOf(storedBytes, redundancy)));
  reconstruct(redundancy, found, missing, out);
  return out;
}

function tooFew({ id, redundancy }: ChunkRef, sources: number): HoldfastError {
  const message = `Chunk ${id} has ${sources} good shards; it takes ${redundancy.dataShards}.`;
  return new HoldfastError("corrupt_chunk", message);
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
