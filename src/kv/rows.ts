/**
 * A sorted map from byte keys to rows, for the memory driver: an array of short sorted chunks. A lookup is two binary
 * searches; an insert moves at most one chunk's entries, so 100,000 rows are no trouble.
 */
import type { Entry, Key } from "./kv.ts";

const chunkEntriesMax = 256;

export class Rows {
  /** Never an empty chunk, except the only one of an empty map. */
  readonly #chunks: Entry[][] = [[]];

  get(key: Key): Entry | undefined {
    const chunk = this.#chunks[this.#chunkOf(key)]!;
    const entry = chunk[lowerBound(chunk, key)];
    return entry !== undefined && entry.key.equals(key) ? entry : undefined;
  }

  set(entry: Entry): void {
    const chunkIndex = this.#chunkOf(entry.key);
    const chunk = this.#chunks[chunkIndex]!;
    const at = lowerBound(chunk, entry.key);
    chunk.splice(at, chunk[at]?.key.equals(entry.key) === true ? 1 : 0, entry);
    if (chunk.length > chunkEntriesMax) this.#chunks.splice(chunkIndex + 1, 0, chunk.splice(chunk.length >>> 1));
  }

  delete(key: Key): void {
    const chunkIndex = this.#chunkOf(key);
    const chunk = this.#chunks[chunkIndex]!;
    const at = lowerBound(chunk, key);
    if (chunk[at]?.key.equals(key) !== true) return;
    chunk.splice(at, 1);
    if (chunk.length === 0 && this.#chunks.length > 1) this.#chunks.splice(chunkIndex, 1);
  }

  /** Entries from `start` (included) on, in order. The map must not change meanwhile. */
  *upFrom(start: Key): Generator<Entry> {
    let chunkIndex = this.#chunkOf(start);
    let at = lowerBound(this.#chunks[chunkIndex]!, start);
    for (; chunkIndex < this.#chunks.length; chunkIndex++, at = 0) {
      const chunk = this.#chunks[chunkIndex]!;
      for (; at < chunk.length; at++) yield chunk[at]!;
    }
  }

  /** Entries below `end` (excluded), last first. The map must not change meanwhile. */
  *downFrom(end: Key): Generator<Entry> {
    let chunkIndex = this.#chunkOf(end);
    let at = lowerBound(this.#chunks[chunkIndex]!, end) - 1;
    while (chunkIndex >= 0) {
      const chunk = this.#chunks[chunkIndex]!;
      for (; at >= 0; at--) yield chunk[at]!;
      chunkIndex -= 1;
      at = (this.#chunks[chunkIndex]?.length ?? 0) - 1;
    }
  }

  /** The last chunk whose first key is not above `key`; the first chunk when there is none. */
  #chunkOf(key: Key): number {
    let low = 0;
    let high = this.#chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#chunks[middle]![0]!.key.compare(key) <= 0) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** The index of the first entry whose key is not below `key`. */
function lowerBound(chunk: readonly Entry[], key: Key): number {
  let low = 0;
  let high = chunk.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (chunk[middle]!.key.compare(key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
