/**
 * Which id a bucket's name had when it was last seen, and whether its objects had versions. Only a guess: with it the rows of
 * bucket and object are read in one go, and the bucket row that comes back confirms it or the read is made again.
 */
import type { BucketId } from "../core/ids.ts";

export type BucketGuess = { readonly id: BucketId; readonly hasVersions: boolean };

const namesMax = 4_096;

export class BucketIds {
  readonly #guesses = new Map<string, BucketGuess>();

  get(name: string): BucketGuess | undefined {
    return this.#guesses.get(name);
  }

  learn(name: string, id: BucketId, hasVersions: boolean): void {
    const known = this.#guesses.get(name);
    if (known?.id === id && known.hasVersions === hasVersions) return;
    if (this.#guesses.size >= namesMax) this.#guesses.clear();
    this.#guesses.set(name, { id, hasVersions });
  }

  forget(name: string): void {
    this.#guesses.delete(name);
  }
}
