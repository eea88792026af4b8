/**
 * Which id a bucket's name had when it was last seen. Only a guess: with it the rows of bucket and object are read in one
 * go, and the bucket row that comes back confirms it or the read is made again.
 */
import type { BucketId } from "../core/ids.ts";

const namesMax = 4_096;

export class BucketIds {
  readonly #ids = new Map<string, BucketId>();

  get(name: string): BucketId | undefined {
    return this.#ids.get(name);
  }

  learn(name: string, id: BucketId): void {
    if (this.#ids.get(name) === id) return;
    if (this.#ids.size >= namesMax) this.#ids.clear();
    this.#ids.set(name, id);
  }

  forget(name: string): void {
    this.#ids.delete(name);
  }
}
