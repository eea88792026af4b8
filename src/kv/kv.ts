/**
 * The metadata store's contract: an ordered, transactional key-value store.
 *
 * Promises every driver keeps (kv.conformance.ts holds them to it):
 *  1. A commit is all or nothing, and durable before it resolves.
 *  2. Commits are strictly serializable: there is one order of all commits, of every process, that agrees with real time.
 *  3. `get` and `scan` each read one state of that order, no older than any commit acknowledged, to any process, before
 *     the call began. All keys of one `get` come from the same state, and so do all entries of one `scan`.
 *  4. Keys are ordered by their bytes, unsigned.
 *  5. A row's `version` changes with every write to it and is never used again for the same key, not even after a delete.
 *
 * Bounds: key 1..metaKeyBytesMax, value 0..metaValueBytesMax, commitOperationsMax checks + writes, commitBytesMax, and
 * scanEntriesMax; going over one is a programming error (assertion). Returned bytes belong to the caller.
 */
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";

export type Key = Uint8Array;

/** A positive whole number, or `absent`. Larger is newer for one key; nothing else may be read into it. */
export type Version = number;

/** The version of a row that does not exist. */
export const absent: Version = 0;

export type Entry = { readonly key: Buffer; readonly value: Buffer; readonly version: Version };

/** From `start` (included) to `end` (excluded). */
export type KeyRange = { readonly start: Key; readonly end: Key };

export type ScanOptions = {
  /** Entries at most, 1..scanEntriesMax. */
  readonly limit: number;
  /** Last key first. */
  readonly reverse?: boolean;
};

/** The row must have exactly this version (`absent`: must not exist) when the commit happens. */
export type Check = { readonly key: Key; readonly version: Version };

export type Write =
  | { readonly kind: "put"; readonly key: Key; readonly value: Uint8Array }
  | { readonly kind: "delete"; readonly key: Key }
  /**
   * Adds to a row of signed 64-bit big-endian counters (a missing row or counter counts from 0), without a check: two
   * commits that add to one row don't conflict. The row's value is `8 * n` bytes and is never shortened.
   *
   * `max`: for each delta the most that its counter may be after this commit, or undefined for any. A delta above 0 that would
   * bring its counter above that is refused, and the whole commit with it; one that lowers a counter never is, however high it stands.
   */
  | {
      readonly kind: "add";
      readonly key: Key;
      readonly deltas: readonly number[];
      readonly max?: CounterBounds | undefined;
    };

export type CounterBounds = readonly (number | undefined)[];

/** No key stands in `writes` twice. */
export type Commit = { readonly checks: readonly Check[]; readonly writes: readonly Write[] };

export type CommitResult =
  | { readonly outcome: "committed" }
  /** A check failed: nothing was written. `key` is one whose check failed, where the driver knows it. */
  | { readonly outcome: "conflict"; readonly key?: Key }
  /** Every check holds, and the counters of `key` would have gone above what an `add` allows: nothing was written. */
  | { readonly outcome: "exceeded"; readonly key: Key };

/** `reusableBytes`: what is free in the file, to be used again; where it lies scattered the file may grow all the same. */
export type FileSpace = { readonly fileBytes: number; readonly reusableBytes: number };

export type Seams = { readonly clock: Clock; readonly random: Random };

export type Kv = {
  readonly name: string;
  /** One row per key, in the order asked for; undefined where there is none. */
  get(keys: readonly Key[]): Promise<(Entry | undefined)[]>;
  scan(range: KeyRange, options: ScanOptions): Promise<Entry[]>;
  /** Errors: `slow_down` when too many commits wait; `unavailable` when the store is away (the outcome is then unknown). */
  commit(commit: Commit): Promise<CommitResult>;
  /** By whose clock and chance a transaction on it is put off, where it brings none: those of a simulation. The system's if left out. */
  readonly seams?: Seams;
  /** Optional, for stores with a file of their own. */
  fileSpace?(): FileSpace;
  /** Waits for commits under way, unless the store has failed. Calls after it fail with `unavailable`. */
  close(): Promise<void>;
};

/** Reads a row written by `add`. */
export function readCounters(value: Uint8Array): number[] {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  return Array.from({ length: value.byteLength >>> 3 }, (_, index) => Number(view.getBigInt64(index * 8)));
}
