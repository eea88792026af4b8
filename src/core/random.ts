import { randomFillSync } from "node:crypto";

/** Randomness as a seam: `systemRandom` in production, a seeded one in simulations (the same seed, the same run). */
export type Random = {
  /** `length` fresh random bytes. */
  bytes(length: number): Uint8Array;
  /** A whole number in [0, bound). */
  below(bound: number): number;
};

export const systemRandom: Random = {
  bytes: (length) => randomFillSync(new Uint8Array(length)),
  below: (bound) => Math.floor(Math.random() * bound),
};

/** A small, fast, seeded generator (mulberry32). Not for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
  return {
    bytes: (length) => {
      const words = Uint32Array.from({ length: (length + 3) >>> 2 }, next);
      return new Uint8Array(words.buffer, 0, length);
    },
    below: (bound) => Math.floor((next() / 2 ** 32) * bound),
  };
}
