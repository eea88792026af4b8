/**
 * Opening an LMDB environment through npm `lmdb`, its write transactions, and reads of this moment. lmdb.ts says why the
 * options are as they are.
 *
 * `overlappingSync: false`: a transaction is shown to readers after it was synced. `eventTurnBatching: false`: the batches
 * are made here. `mapSize`: address space only, so large enough that the map never has to be moved. `maxReaders`: one slot
 * per process and read snapshot; the default of 126 could run out. `pageSize` stays at the system's 4 KiB and `noMemInit`
 * off: neither made a difference that could be measured.
 */
import { ABORT, open } from "lmdb";
import type { RootDatabase, RootDatabaseOptionsWithPath } from "lmdb";
import { HoldfastError } from "../core/errors.ts";
import type { Entry, FileSpace, Key, KeyRange, ScanOptions, Version } from "./kv.ts";
import { isPanic } from "./lmdb_failure.ts";
import { copiedEntry, entryOf } from "./lmdb_rows.ts";
import { lastVersionIn } from "./lmdb_state.ts";
import { Slab } from "./slab.ts";

export type Environment = RootDatabase<Buffer, Key>;

export type EnvironmentOptions = {
  /** The file; its folder is made when missing. A lock file stands beside it. */
  readonly path: string;
  /** False: commits are not synced. Only for what can be rebuilt from elsewhere. */
  readonly sync?: boolean;
  /** Address space mapped at first. The map grows beyond it by itself, at the cost of a pause. */
  readonly mapBytes?: number;
};

const mapBytesDefault = 256 * 2 ** 30;
/** Pages that LMDB keeps for itself at the head of the file. */
const metaPages = 2;

/** What `getStats` of npm `lmdb` says, and its types do not. */
type TreeStats = {
  readonly treeBranchPageCount: number;
  readonly treeLeafPageCount: number;
  readonly overflowPages: number;
};
type EnvironmentStats = TreeStats & {
  readonly pageSize: number;
  readonly lastPageNumber: number;
  readonly free: TreeStats;
};

/** Errors: `unavailable`. */
export function openEnvironment(options: EnvironmentOptions): Environment {
  const settings: RootDatabaseOptionsWithPath & Record<string, unknown> = {
    path: options.path,
    noSubdir: true,
    keyEncoding: "binary",
    encoding: "binary",
    cache: false,
    compression: false,
    mapSize: options.mapBytes ?? mapBytesDefault,
    noSync: options.sync === false,
    overlappingSync: false,
    eventTurnBatching: false,
    maxDbs: 1,
    maxReaders: 512,
  };
  try {
    return open<Buffer, Key>(settings);
  } catch (error) {
    throw new HoldfastError("unavailable", `The metadata store ${options.path} cannot be opened.`, { cause: error });
  }
}

/**
 * Resolves when what the callback wrote is durable; nothing is written when it throws or returns false. An error of the
 * callback is carried around npm `lmdb`, which is only asked to give the transaction up.
 */
export async function inTransaction(env: Environment, callback: () => boolean): Promise<void> {
  let thrown: { readonly error: unknown } | undefined;
  const given = env.childTransaction(() => {
    try {
      return callback() ? true : ABORT;
    } catch (error) {
      thrown = { error };
      return ABORT;
    }
  });
  // After an error of the callback what becomes of the transaction tells nothing new.
  await given.catch((error: unknown) => {
    if (thrown === undefined) throw error;
  });
  if (thrown !== undefined) throw thrown.error;
}

/** npm `lmdb` hands the reason of a failed commit over as a promise that rejects with it. */
export async function causeOf(error: unknown): Promise<unknown> {
  if (!(error instanceof Error) || !("commitError" in error)) return error;
  try {
    await error.commitError;
  } catch (cause) {
    return cause;
  }
  return error;
}

/** Whether LMDB refuses to begin transactions. */
export function panics(env: Environment): boolean {
  try {
    env.resetReadTxn();
    env.getBinary(Buffer.from([0]));
    return false;
  } catch (error) {
    return isPanic(error);
  }
}

/** What reads need of an environment. */
export type ReadEnvironment = Pick<Environment, "resetReadTxn" | "getBinaryFast" | "getRange" | "getStats">;

const confirmLooksMax = 500;
const confirmPauseMs = 1;
const pause = new Int32Array(new SharedArrayBuffer(4));

/**
 * Reads, each on a snapshot of its own moment.
 *
 * LMDB begins a snapshot in two steps: it takes the number of the last commit, then copies the roots of the trees from one of
 * two meta pages, which commits write in turn. A reader that stands still between the two, while the next commit ends and the
 * one after it writes that page, gets the roots of a commit that is neither synced nor shown to anybody (mdb_txn_renew0 in
 * mdb.c); what it read may be taken back, and its next read sees an older state. So a state that is newer than any before is
 * confirmed by a second look, which waits until it is shown.
 */
export class Reads {
  readonly #env: ReadEnvironment;
  readonly #onPanic: (cause: unknown) => void;
  readonly #slab = new Slab();
  /** The last version of the newest state that was shown. */
  #confirmed: Version = 0;

  constructor(env: ReadEnvironment, onPanic: (cause: unknown) => void) {
    this.#env = env;
    this.#onPanic = onPanic;
  }

  get(keys: readonly Key[]): (Entry | undefined)[] {
    return this.#read(() =>
      keys.map((key) => {
        // Volatile bytes: copied before the next read.
        const stored = this.#env.getBinaryFast(key);
        return stored === undefined ? undefined : copiedEntry(this.#slab, key, stored);
      }),
    );
  }

  scan(range: KeyRange, options: ScanOptions): Entry[] {
    if (Buffer.compare(range.start, range.end) >= 0) return [];
    const bounds =
      options.reverse === true
        ? { start: range.end, exclusiveStart: true, end: range.start, inclusiveEnd: true, reverse: true }
        : { start: range.start, end: range.end };
    return this.#read(() => {
      const entries: Entry[] = [];
      for (const { key, value } of this.#env.getRange({ ...bounds, limit: options.limit })) {
        entries.push(entryOf(key as Buffer, value));
      }
      return entries;
    });
  }

  /** The file never shrinks; what its trees do not use is used again. About 5 µs. */
  fileSpace(): FileSpace {
    return this.#read(() => fileSpaceOf(this.#env));
  }

  /** Errors: `unavailable` for LMDB's own. */
  #read<T>(read: () => T): T {
    try {
      this.#env.resetReadTxn();
      const found = read();
      this.#confirm(lastVersionIn(this.#env));
      return found;
    } catch (cause) {
      if (cause instanceof HoldfastError) throw cause;
      if (isPanic(cause)) this.#onPanic(cause);
      throw new HoldfastError("unavailable", "The metadata store cannot be read.", { cause });
    }
  }

  /** A commit takes as long as its sync; one whose process died in the middle is never shown. Errors: `unavailable`. */
  #confirm(version: Version): void {
    for (let looks = 0; version > this.#confirmed; looks++) {
      if (looks === confirmLooksMax) throw new HoldfastError("unavailable", "What was read was never committed.");
      this.#env.resetReadTxn();
      if (lastVersionIn(this.#env) >= version) this.#confirmed = version;
      else Atomics.wait(pause, 0, 0, confirmPauseMs);
    }
  }
}

export function fileSpaceOf(env: Pick<Environment, "getStats">): FileSpace {
  const stats = env.getStats() as EnvironmentStats;
  const pages = stats.lastPageNumber + 1;
  const usedPages = metaPages + pagesOf(stats) + pagesOf(stats.free);
  return { fileBytes: pages * stats.pageSize, reusableBytes: Math.max(0, pages - usedPages) * stats.pageSize };
}

function pagesOf({ treeBranchPageCount, treeLeafPageCount, overflowPages }: TreeStats): number {
  return treeBranchPageCount + treeLeafPageCount + overflowPages;
}
