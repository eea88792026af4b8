/**
 * Shards of one chunk made anew from others of it, whole, in the pieces in which they were read: they are never put together.
 * Memory: the chunk's stored bytes and the new shards.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { giveBack } from "../core/give_back.ts";
import { limits } from "../core/limits.ts";
import { shardsOf } from "../core/redundancy.ts";
import { reconstruct } from "../erasure/erasure.ts";
import type { ChunkNode } from "../node/node.ts";
import type { ChunkPlace, ChunkRef } from "./blob.ts";
import { shardBytesOf } from "./shards.ts";

/** Bytes of a shard, in order; all shards of a chunk are cut at the same places. */
export type ShardPieces = readonly Buffer[];

/**
 * The bytes of the shards `wanted`, in that order; they belong to the caller, and several may be the same. One that is among
 * the sources (it moves) is read there; for others as many sources are read as it takes, in turn. Errors: that of the last
 * source tried when too few can be read; `corrupt_chunk` when there are too few.
 */
export async function remakeShards(
  node: ChunkNode,
  chunk: ChunkRef,
  sources: readonly ChunkPlace[],
  wanted: readonly number[],
  signal: AbortSignal,
): Promise<ShardPieces[]> {
  const { redundancy } = chunk;
  assert(wanted.length >= 1, "something is wanted");
  const found: (ShardPieces | undefined)[] = Array.from({ length: shardsOf(redundancy) });
  const untried = sources.toSorted(
    (a, b) => Number(wanted.includes(b.shardIndex)) - Number(wanted.includes(a.shardIndex)),
  );
  const count = (): number => found.filter((pieces) => pieces !== undefined).length;
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
  const made = wanted.map((index) => found[index] ?? computed[missing.indexOf(index)]!);
  for (const pieces of found) if (pieces !== undefined && !made.includes(pieces)) pieces.forEach(giveBack);
  return made;
}

function computeShards(
  { redundancy }: ChunkRef,
  found: readonly (ShardPieces | undefined)[],
  missing: readonly number[],
): ShardPieces[] {
  if (missing.length === 0) return [];
  const known = found.find((pieces) => pieces !== undefined)!;
  if (redundancy.dataShards === 1) return missing.map(() => known);
  const out = missing.map(() => known.map(({ length }) => Buffer.allocUnsafeSlow(length)));
  for (const at of known.keys())
    reconstruct(
      redundancy,
      found.map((pieces) => pieces?.[at]),
      missing,
      out.map((pieces) => pieces[at]!),
    );
  return out;
}

function tooFew({ id, redundancy }: ChunkRef, sources: number): HoldfastError {
  const message = `Chunk ${id} has ${sources} good shards; it takes ${redundancy.dataShards}.`;
  return new HoldfastError("corrupt_chunk", message);
}

/** Pieces of one shard that are asked for at the same time. */
const piecesAtOnce = 2;

async function readShard(
  node: ChunkNode,
  chunk: ChunkRef,
  { drive, shardIndex }: ChunkPlace,
  signal: AbortSignal,
): Promise<ShardPieces> {
  const bytes = shardBytesOf(chunk.storedBytes, chunk.redundancy);
  const pieces: Buffer[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let offset = next; offset < bytes; offset = next) {
      const range = { offset, length: Math.min(limits.readBytesPerCall, bytes - offset) };
      next += range.length;
      const piece = await node.read(drive, { chunk: chunk.id, shardIndex }, range, signal);
      if (piece.length !== range.length) throw new HoldfastError("corrupt_chunk", `Chunk ${chunk.id} was read short.`);
      pieces[offset / limits.readBytesPerCall] = piece;
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: piecesAtOnce }, lane));
  for (const outcome of lanes) if (outcome.status === "rejected") throw outcome.reason;
  return pieces;
}
