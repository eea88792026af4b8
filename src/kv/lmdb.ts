/**
 * The metadata store of one machine: LMDB through npm `lmdb`, one file that all worker processes map and share.
 *
 * Commits. Everything waiting in this process is taken into one write transaction: each commit's checks are verified
 * against the state inside that transaction (the earlier commits of the batch included), what it changes is collected,
 * and at the end each changed row is written once. While one batch syncs the next one gathers. LMDB's write lock orders
 * the batches of all processes, so checks hold across processes.
 *
 * Order of durability: data pages written → fdatasync → meta page written through a file opened with O_DSYNC → readers
 * are shown the transaction → the write lock is given up → commits are acknowledged. So with `sync` a read, in this or
 * another process, never sees what is not on disk. This needs `overlappingSync: false`: with it on (the default of npm
 * `lmdb`) a transaction is shown to readers before it is synced.
 *
 * Reads. npm `lmdb` keeps a read snapshot open for a turn of the event loop, which may be older than another process's
 * acknowledged commit. Every get and scan gives the snapshot up first and then reads all it needs in one synchronous go.
 *
 * Rows. The value in LMDB is 8 bytes of version, big-endian, then the value. Versions come from one counter of the
 * store, kept with the store's format version in a row whose key is longer than any key of a user and sorts last
 * (docs/formats/metadata-lmdb.md). It is a row of ours rather than LMDB's transaction id because a compacted copy of
 * the file starts those ids again.
 *
 * Failures. A batch that fails rejects all its commits with `unavailable`; their outcome is unknown. Lack of space passes:
 * the failed batch's pages are in no state that can be read, whoever uses those pages next writes them whole before a
 * sync of its own, and the next batch is tried. Any other failure is final for this process, as a failed sync is for a
 * segment: the kernel may keep the error for the second file handle, the one of the meta page, and once *that* write
 * fails LMDB refuses every transaction (MDB_PANIC), a read with an error, a write by never beginning. So the store fails
 * first: what waits and what comes later is `unavailable` at once, `onFailed` is told, and a new process opens the file
 * anew. Reads are answered as long as LMDB does, from what is committed. While a meta page fails to be written, until
 * LMDB has put the old one back, another process may for a moment see what was never synced.
 *
 * Options. `eventTurnBatching: false`: the batches are made here. `mapSize`: address space only, so large enough that the
 * map never has to be moved. `maxReaders`: one slot per process and read snapshot; the default of 126 could run out.
 * `pageSize` stays at the system's 4 KiB and `noMemInit` off: neither made a difference that could be measured.
 *
 * Known gaps: the name of a new file is not synced in its folder here (the one who makes the data folder does that).
 * On a file system that is full to the last byte even a delete may need a page that cannot be had: keep a reserve.
 * Where a quota, not the file system, cuts a write short, the EIO is taken for a broken disk; the new process goes on.
 * A transaction that was asked for when LMDB broke never begins: `close` leaves the file open then, until the process ends.
 * Bytes of a commit must not be changed by the caller until it resolves; they are not copied.
 */
import { ABORT, open } from "lmdb";
import type { RootDatabase, RootDatabaseOptionsWithPath } from "lmdb";
import { HoldfastError } from "../core/errors.ts";
import { silentLog } from "../core/log.ts";
import type { Log } from "../core/log.ts";
import { assertCommit, assertKeys, assertScan } from "./bounds.ts";
import type { Commit, CommitResult, Entry, FileSpace, Key, KeyRange, Kv, ScanOptions } from "./kv.ts";
import { Batches } from "./lmdb_batches.ts";
import type { BatchFacts } from "./lmdb_batches.ts";
import { isLackOfSpace, isPanic } from "./lmdb_failure.ts";
import { copiedEntry, entryOf, WriteBatch } from "./lmdb_rows.ts";
import { Slab } from "./slab.ts";

export type LmdbKvOptions = {
  /** The store's file; its folder is made when missing. A lock file stands beside it. */
  readonly path: string;
  /** False: commits are not synced. Only for what can be rebuilt from elsewhere. */
  readonly sync?: boolean;
  /** Address space mapped at first. The map grows beyond it by itself, at the cost of a pause. */
  readonly mapBytes?: number;
  readonly log?: Log;
  /** Called after each batch that was committed. */
  readonly onBatch?: (facts: BatchFacts) => void;
  /** Free bytes of the file system: asked when an EIO may mean that it is full. Without it an EIO is never that. */
  readonly freeBytes?: () => Promise<number>;
  /** Called once, when the store has failed for this process: only another process can open it again. */
  readonly onFailed?: (failure: HoldfastError) => void;
};

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

const mapBytesDefault = 256 * 2 ** 30;

/** Errors: `unavailable` when the file cannot be opened, `corrupt_record` when it is not a store this build knows. */
export async function openLmdbKv(options: LmdbKvOptions): Promise<Kv> {
  const store = openStore(options);
  const kv = new LmdbKv(store, options);
  try {
    // Writes the store's own row when it is new, and checks its format version when it is not.
    await kv.commit({ checks: [], writes: [] });
  } catch (error) {
    await kv.close();
    throw error;
  }
  return kv;
}

function openStore(options: LmdbKvOptions): RootDatabase<Buffer, Key> {
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

/** An error of the callback is carried around npm `lmdb`, which is only asked to give the transaction up. */
async function inTransaction(
  store: RootDatabase<Buffer, Key>,
  callback: (batch: WriteBatch) => boolean,
): Promise<void> {
  let thrown: { readonly error: unknown } | undefined;
  const given = store.childTransaction(() => {
    try {
      return callback(new WriteBatch(store)) ? true : ABORT;
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

class LmdbKv implements Kv {
  readonly name = "lmdb";
  readonly #store: RootDatabase<Buffer, Key>;
  readonly #batches: Batches;
  readonly #slab = new Slab();
  #closing: Promise<void> | undefined;

  constructor(store: RootDatabase<Buffer, Key>, options: LmdbKvOptions) {
    this.#store = store;
    this.#batches = new Batches({
      log: options.log ?? silentLog,
      ...(options.onBatch === undefined ? {} : { onBatch: options.onBatch }),
      ...(options.onFailed === undefined ? {} : { onFailed: options.onFailed }),
      transact: (callback) => inTransaction(store, callback),
      isLackOfSpace: async (cause) => (await isLackOfSpace(cause, options.freeBytes)) && !this.#panics(),
    });
  }

  async get(keys: readonly Key[]): Promise<(Entry | undefined)[]> {
    assertKeys(keys);
    this.#assertOpen();
    return this.#read(() =>
      keys.map((key) => {
        // Volatile bytes: copied before the next read.
        const stored = this.#store.getBinaryFast(key);
        return stored === undefined ? undefined : copiedEntry(this.#slab, key, stored);
      }),
    );
  }

  async scan(range: KeyRange, options: ScanOptions): Promise<Entry[]> {
    assertScan(range, options);
    this.#assertOpen();
    if (Buffer.compare(range.start, range.end) >= 0) return [];
    const bounds =
      options.reverse === true
        ? { start: range.end, exclusiveStart: true, end: range.start, inclusiveEnd: true, reverse: true }
        : { start: range.start, end: range.end };
    return this.#read(() => {
      const entries: Entry[] = [];
      for (const { key, value } of this.#store.getRange({ ...bounds, limit: options.limit })) {
        entries.push(entryOf(key as Buffer, value));
      }
      return entries;
    });
  }

  async commit(commit: Commit): Promise<CommitResult> {
    const bytes = assertCommit(commit);
    this.#assertOpen();
    return this.#batches.submit(commit, bytes);
  }

  /** The file never shrinks; what its trees do not use is used again. About 5 µs. */
  fileSpace(): FileSpace {
    this.#assertOpen();
    return this.#read(() => {
      const stats = this.#store.getStats() as EnvironmentStats;
      const pages = stats.lastPageNumber + 1;
      const usedPages = metaPages + pagesOf(stats) + pagesOf(stats.free);
      return { fileBytes: pages * stats.pageSize, reusableBytes: Math.max(0, pages - usedPages) * stats.pageSize };
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#batches.settled();
    // A transaction that never begins would be waited for: the process' end closes the file then.
    if (this.#batches.transactions === 0) await this.#store.close();
  }

  /** On a snapshot of this moment. Errors: `unavailable` for LMDB's own. */
  #read<T>(read: () => T): T {
    try {
      this.#store.resetReadTxn();
      return read();
    } catch (cause) {
      if (cause instanceof HoldfastError) throw cause;
      if (isPanic(cause)) this.#batches.fail(cause);
      throw new HoldfastError("unavailable", "The metadata store cannot be read.", { cause });
    }
  }

  /** Whether LMDB refuses to begin transactions. */
  #panics(): boolean {
    try {
      this.#store.resetReadTxn();
      this.#store.getBinary(Buffer.from([0]));
      return false;
    } catch (error) {
      return isPanic(error);
    }
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new HoldfastError("unavailable", "The metadata store is closed.");
  }
}

function pagesOf({ treeBranchPageCount, treeLeafPageCount, overflowPages }: TreeStats): number {
  return treeBranchPageCount + treeLeafPageCount + overflowPages;
}
