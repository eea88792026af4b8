/**
 * Walks the rows of one family in rounds, a few at a time, going on where the last look ended: a row that cannot be dealt
 * with holds up no other.
 */
import type { Entry, Key, KeyRange, Kv } from "../kv/kv.ts";

export class Rounds {
  readonly #range: KeyRange;
  #start: Key;

  constructor(range: KeyRange) {
    this.#range = range;
    this.#start = range.start;
  }

  /** The next rows; fewer than `limit` (and perhaps none) end the round, and the next call begins a new one. */
  async next(kv: Kv, limit: number): Promise<Entry[]> {
    const rows = await kv.scan({ start: this.#start, end: this.#range.end }, { limit });
    const last = rows.length === limit ? rows.at(-1) : undefined;
    this.#start = last === undefined ? this.#range.start : Buffer.concat([last.key, Buffer.from([0])]);
    return rows;
  }
}
