/**
 * The network between simulated machines. Each direction between two machines is whole or cut; on whole ones calls take their time,
 * and while it is rough connections break under calls: before these arrived, or before the answer did.
 */
import type { Random } from "../../../src/core/random.ts";

export type Fate =
  | { readonly kind: "arrives"; readonly afterMs: number }
  /** Nobody hears of it. */
  | { readonly kind: "swallowed" }
  /** The connection breaks, and the sender is told. */
  | { readonly kind: "broken" };

export class Network {
  readonly #random: Random;
  readonly #cuts = new Map<string, number>();
  /** Of so many messages one breaks its connection, and one is slow; none at 0. */
  roughOneIn = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** One direction, until the result is called. */
  cut(from: string, to: string): () => void {
    const name = `${from} ${to}`;
    this.#cuts.set(name, (this.#cuts.get(name) ?? 0) + 1);
    return () => {
      const left = this.#cuts.get(name)! - 1;
      if (left === 0) this.#cuts.delete(name);
      else this.#cuts.set(name, left);
    };
  }

  get isWhole(): boolean {
    return this.#cuts.size === 0 && this.roughOneIn === 0;
  }

  isCut(from: string, to: string): boolean {
    return this.#cuts.has(`${from} ${to}`);
  }

  /** What becomes of a message now. */
  carry(from: string, to: string): Fate {
    if (this.isCut(from, to)) return { kind: "swallowed" };
    const random = this.#random;
    if (this.roughOneIn > 0 && random.below(this.roughOneIn) === 0) return { kind: "broken" };
    const isSlow = this.roughOneIn > 0 && random.below(this.roughOneIn) === 0;
    return { kind: "arrives", afterMs: isSlow ? random.below(8_000) : 0 };
  }
}
