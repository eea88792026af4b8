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
 * Known gaps: the name of a new file is not synced in its folder here (the one who makes the data folder does that).
 * On a file system that is full to the last byte even a delete may need a page that cannot be had: keep a reserve.
 * Where a quota, not the file system, cuts a write short, the EIO is taken for a broken disk; the new process goes on.
 * A transaction that was asked for when LMDB broke never begins: `close` leaves the file open then, until the process ends.
 * Bytes of a commit must not be changed by the caller until it resolves; they are not copied.
 */
import { HoldfastError } from "../core/errors.ts";
import { silentLog } from "../core/log.ts";
import type { Log } from "../core/log.ts";
import { assertCommit, assertKeys, assertScan } from "./bounds.ts";
import type { Commit, CommitResult, Entry, FileSpace, Key, KeyRange, Kv, ScanOptions } from "./kv.ts";
import { Batches } from "./lmdb_batches.ts";
import type { BatchesOptions, BatchFacts } from "./lmdb_batches.ts";
import { inTransaction, openEnvironment, panics, Reads } from "./lmdb_env.ts";
import type { Environment, EnvironmentOptions } from "./lmdb_env.ts";
import { isLackOfSpace } from "./lmdb_failure.ts";
import { WriteBatch } from "./lmdb_rows.ts";

export type LmdbKvOptions = EnvironmentOptions & {
  /**
   * Every commit is refused, and one of several copies may be looked at (lmdb_copies.ts); without it such a copy is not
   * opened, since what is written to it alone would not be in the others.
   */
  readonly readOnly?: boolean;
  readonly log?: Log;
  /** Called after each batch that was committed. */
  readonly onBatch?: (facts: BatchFacts) => void;
  /** Free bytes of the file system: asked when an EIO may mean that it is full. Without it an EIO is never that. */
  readonly freeBytes?: () => Promise<number>;
  /** Called once, when the store has failed for this process: only another process can open it again. */
  readonly onFailed?: (failure: HoldfastError) => void;
};

/** Errors: `unavailable` when the file cannot be opened, `corrupt_record` when it is not a store this build knows. */
export async function openLmdbKv(options: LmdbKvOptions): Promise<Kv> {
  const env = openEnvironment(options);
  const kv = new LmdbKv({
    ...options,
    name: "lmdb",
    env,
    closeAll: () => env.close(),
    transact: (callback) => inTransaction(env, () => writeHere(env, callback)),
    isLackOfSpace: async (cause) => (await isLackOfSpace(cause, options.freeBytes)) && !panics(env),
  });
  try {
    const { isOneOfSeveral } = new WriteBatch(env);
    if (isOneOfSeveral && options.readOnly !== true) {
      throw new HoldfastError("invalid_argument", `${options.path} is one of several copies of the metadata.`);
    }
    // Writes the store's own row when it is new, and checks its format version when it is not.
    if (options.readOnly !== true) await kv.commit({ checks: [], writes: [] });
  } catch (error) {
    await kv.close();
    throw error;
  }
  return kv;
}

function writeHere(env: Environment, decide: (batch: WriteBatch) => void): boolean {
  const batch = new WriteBatch(env);
  decide(batch);
  return batch.writeAll();
}

export type LmdbKvParts = Pick<BatchesOptions, "transact" | "isLackOfSpace" | "onBatch" | "onFailed"> & {
  readonly name: string;
  /** What is read. */
  readonly env: Environment;
  readonly readOnly?: boolean;
  readonly log?: Log;
  closeAll(): Promise<void>;
};

/** Reads of one environment, and batches of commits that go wherever `transact` brings them. */
export class LmdbKv implements Kv {
  readonly name: string;
  readonly #parts: LmdbKvParts;
  readonly #reads: Reads;
  readonly #batches: Batches;
  #closing: Promise<void> | undefined;

  constructor(parts: LmdbKvParts) {
    this.name = parts.name;
    this.#parts = parts;
    this.#batches = new Batches({ ...parts, log: parts.log ?? silentLog });
    this.#reads = new Reads(parts.env, (cause) => this.fail(cause));
  }

  async get(keys: readonly Key[]): Promise<(Entry | undefined)[]> {
    assertKeys(keys);
    this.#assertOpen();
    return this.#reads.get(keys);
  }

  async scan(range: KeyRange, options: ScanOptions): Promise<Entry[]> {
    assertScan(range, options);
    this.#assertOpen();
    return this.#reads.scan(range, options);
  }

  async commit(commit: Commit): Promise<CommitResult> {
    const bytes = assertCommit(commit);
    this.#assertOpen();
    if (this.#parts.readOnly === true) throw new HoldfastError("unavailable", "The metadata store is only looked at.");
    return this.#batches.submit(commit, bytes);
  }

  fileSpace(): FileSpace {
    this.#assertOpen();
    return this.#reads.fileSpace();
  }

  /** The store has failed for this process. */
  fail(cause: unknown): void {
    this.#batches.fail(cause);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#batches.settled();
    // A transaction that never begins would be waited for: the process' end closes the file then.
    if (this.#batches.transactions === 0) await this.#parts.closeAll();
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new HoldfastError("unavailable", "The metadata store is closed.");
  }
}
