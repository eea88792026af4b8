/**
 * Rows that will be wanted soon, for somebody who is about to read others: all of them are then read in one get, instead of one after
 * the other. Whoever does not read leaves them out, and they are read when they are wanted.
 */
import type { Entry, Key } from "./kv.ts";

type Rows = readonly (Entry | undefined)[];

export class ReadAhead {
  readonly keys: readonly Key[];
  #rows: Rows | undefined;

  constructor(keys: readonly Key[]) {
    this.keys = keys;
  }

  /** In the order of the keys. */
  put(rows: Rows): void {
    this.#rows = rows;
  }

  /** What was read, for somebody who may not use it. */
  get rows(): Rows | undefined {
    return this.#rows;
  }

  /** What was read, once: it is of one moment, and who asks again wants to know of a later one. */
  take(): Rows | undefined {
    const rows = this.#rows;
    this.#rows = undefined;
    return rows;
  }
}
