/**
 * Shards of one chunk made anew from others of it, each read whole into a buffer that is used again.
 * Memory: the chunk's stored bytes and the new shards.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { shardsOf } from "../core/redundancy.ts";
import { reconstruct } from "../erasure/erasure.ts";
import type { ChunkNode } from "../node/node.ts";
import { takeRoom } from "../node/record_rooms.ts";
import { readWholeShard, type WholeShard } from "../node/shard_copy.ts";
import type { ChunkPlace, ChunkRef } from "./blob.ts";
import { shardBytesOf } from "./shards.ts";

export type RemadeShards = {
  /** In the order in which they were wanted; several may be the same. */
  readonly bodies: readonly Buffer[];
  /** The buffers may be used again: nobody reads the bytes any more. */
  release(): void;
};

/**
 * The bytes of the shards `wanted`. One that is among the sources (it moves) is read there; for others as many sources are
 * read as it takes, in turn. Errors: that of the last source tried when too few can be read; `corrupt_chunk` when there are too few.
 */
export async function remakeShards(
  node: ChunkNode,
  chunk: ChunkRef,
  sources: readonly ChunkPlace[],
  wanted: readonly number[],
  signal: AbortSignal,
): Promise<RemadeShards> {
  const { redundancy } = chunk;
  assert(wanted.length >= 1, "something is wanted");
  const found: (WholeShard | undefined)[] = Array.from({ length: shardsOf(redundancy) });
  const untried = sources.toSorted(
    (a, b) => Number(wanted.includes(b.shardIndex)) - Number(wanted.includes(a.shardIndex)),
  );
  const count = (): number => found.filter((shard) => shard !== undefined).length;
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
  const all = new Set([...found, ...computed].filter((shard) => shard !== undefined));
  const made = wanted.map((index) => found[index] ?? computed[missing.indexOf(index)]!);
  for (const shard of all) if (!made.includes(shard)) shard.release();
  return {
    bodies: made.map(({ body }) => body),
    release: () => {
      for (const shard of new Set(made)) shard.release();
    },
  };
}

function computeShards(
  { redundancy }: ChunkRef,
  found: readonly (WholeShard | undefined)[],
  missing: readonly number[],
): WholeShard[] {
  if (missing.length === 0) return [];
  const known = found.find((shard) => shard !== undefined)!;
  if (redundancy.dataShards === 1) return missing.map(() => known);
  const made = missing.map(() => {
    const { bytes: body, release } = takeRoom(known.body.length);
    return { body, release };
  });
  reconstruct(
    redundancy,
    found.map((shard) => shard?.body),
    missing,
    made.map(({ body }) => body),
  );
  return made;
}

function tooFew({ id, redundancy }: ChunkRef, sources: number): HoldfastError {
  const message = `Chunk ${id} has ${sources} good shards; it takes ${redundancy.dataShards}.`;
  return new HoldfastError("corrupt_chunk", message);
}

function readShard(
  node: ChunkNode,
  chunk: ChunkRef,
  { drive, shardIndex }: ChunkPlace,
  signal: AbortSignal,
): Promise<WholeShard> {
  const bytes = shardBytesOf(chunk.storedBytes, chunk.redundancy);
  return readWholeShard(node, drive, { chunk: chunk.id, shardIndex }, bytes, signal);
}
