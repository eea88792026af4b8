/**
 * Where a chunk goes: weighted rendezvous hashing. Every drive gets a score from (chunk id, drive id, weight) alone, and
 * the best scores win. So a drive that joins takes only its share, a drive that leaves gives up only its own chunks, and
 * nobody needs a table. Pure; the places chosen are written into the chunk map, so a read never computes them again.
 *
 * The score is -weight / ln(h) with h uniform in (0, 1) (Schindelhauer and Schomaker's logarithmic method), which gives
 * each drive a share exactly in proportion to its weight.
 */
import { assert } from "../core/assert.ts";
import type { ChunkId, DriveId } from "../core/ids.ts";

export type PlacementDrive = {
  readonly id: DriveId;
  /** What its share is in proportion to: its size. */
  readonly weightBytes: number;
  /** Only drives that are up take new chunks. */
  readonly state: "up" | "full" | "failed";
};

/** Murmur3's mixing of one 32-bit word into a state, and its finalizer. */
function mix(state: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  const mixed = state ^ k;
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}

function finalize(state: number): number {
  let h = state;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Uniform in (0, 1), the same for the same pair, unrelated for any other. */
function uniform(chunk: ChunkId, drive: DriveId): number {
  let high = 0x9747b28c;
  let low = 0x3c6ef372;
  for (const id of [chunk, drive]) {
    for (let offset = 0; offset < id.length; offset += 8) {
      const word = Number.parseInt(id.slice(offset, offset + 8), 16);
      high = mix(high, word);
      low = mix(low, ~word);
    }
  }
  return (finalize(high) * 2 ** 21 + (finalize(low) >>> 11) + 0.5) / 2 ** 53;
}

/** The `copies` best drives for the chunk, best first; fewer where fewer are up. */
export function placeChunk(chunk: ChunkId, drives: readonly PlacementDrive[], copies: number): DriveId[] {
  assert(Number.isInteger(copies) && copies >= 1, "a chunk has at least one copy");
  const up = drives.filter(({ state, weightBytes }) => state === "up" && weightBytes > 0);
  if (up.length <= 1) return up.map(({ id }) => id);
  return up
    .map(({ id, weightBytes }) => ({ id, score: -weightBytes / Math.log(uniform(chunk, id)) }))
    .sort((a, b) => b.score - a.score || (a.id < b.id ? -1 : 1))
    .slice(0, copies)
    .map(({ id }) => id);
}
