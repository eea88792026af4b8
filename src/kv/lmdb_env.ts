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
import type { Entry, FileSpace, Key, KeyRange, ScanOptions } from "./kv.ts";
import { isPanic } from "./lmdb_failure.ts";
import { copiedEntry, entryOf } from "./lmdb_rows.ts";
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

/** Reads, each on a snapshot of its own moment. */
export class Reads {
  readonly #env: Environment;
  readonly #onPanic: (cause: unknown) => void;
  readonly #slab = new Slab();

  constructor(env: Environment, onPanic: (cause: unknown) => void) {
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
      return read();
    } catch (cause) {
      if (cause instanceof HoldfastError) throw cause;
      if (isPanic(cause)) this.#onPanic(cause);
      throw new HoldfastError("unavailable", "The metadata store cannot be read.", { cause });
    }
  }
}

export function fileSpaceOf(env: Environment): FileSpace {
  const stats = env.getStats() as EnvironmentStats;
  const pages = stats.lastPageNumber + 1;
  const usedPages = metaPages + pagesOf(stats) + pagesOf(stats.free);
  return { fileBytes: pages * stats.pageSize, reusableBytes: Math.max(0, pages - usedPages) * stats.pageSize };
}

function pagesOf({ treeBranchPageCount, treeLeafPageCount, overflowPages }: TreeStats): number {
  return treeBranchPageCount + treeLeafPageCount + overflowPages;
}
