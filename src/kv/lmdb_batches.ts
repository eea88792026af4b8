/**
 * Gathers the commits of this process into batches, one write transaction each.
 *
 * A write transaction is asked for when a turn of the event loop brought no more commits (gather.ts), and takes whatever
 * waits when it begins. So a lone commit waits for nobody, and under load the commits that arrive while one batch syncs
 * make the next. At most one transaction is asked for and not begun; one more may be syncing.
 *
 * A failed batch is judged (lmdb.ts says why). Lack of space passes: the next batch is tried. Anything else ends the
 * store for this process: every commit that waits is rejected at once, those of a transaction under way included, for it
 * may never begin; so is every later one, and no further transaction is asked for.
 */
import { systemClock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import { gathered } from "./gather.ts";
import type { Commit, CommitResult } from "./kv.ts";
import { causeOf } from "./lmdb_env.ts";
import type { WriteBatch } from "./lmdb_rows.ts";

/** `durationMs`: from when the batch had the write lock until it was durable, its syncs included. */
export type BatchFacts = {
  readonly commits: number;
  readonly conflicts: number;
  readonly bytes: number;
  readonly durationMs: number;
};

/** Bounds of one batch, so that the write lock is not held from other processes for long. */
const batchCommitsMax = 1_024;
const batchBytesMax = 8 * limits.commitBytesMax;

type Waiting = {
  readonly commit: Commit;
  readonly bytes: number;
  readonly resolve: (result: CommitResult) => void;
  readonly reject: (error: unknown) => void;
};

type Decided = { readonly waiting: Waiting; readonly result: CommitResult };

export type BatchesOptions = {
  readonly log: Log;
  readonly onBatch?: (facts: BatchFacts) => void;
  /**
   * Calls the callback, in one go, with the state that what it decides will be written to, and resolves when that is
   * durable; nothing is written when the callback throws.
   */
  readonly transact: (callback: (batch: WriteBatch) => void) => Promise<void>;
  /** Whether what failed a batch was only lack of space. */
  readonly isLackOfSpace: (cause: unknown) => Promise<boolean>;
  /** Called once, when the store has failed for this process. */
  readonly onFailed?: (failure: HoldfastError) => void;
};

/** One transaction, from asking for it until it settled. */
type Run = { taken: readonly Waiting[] };

export class Batches {
  readonly #options: BatchesOptions;
  #queue: Waiting[] = [];
  #asked = false;
  /** Failed batches whose cause is being judged; nothing new is asked for meanwhile. */
  #judging = 0;
  #failure: HoldfastError | undefined;
  readonly #runs = new Set<Run>();
  #transactions = 0;
  #settled: (() => void)[] = [];

  constructor(options: BatchesOptions) {
    this.#options = options;
  }

  get failure(): HoldfastError | undefined {
    return this.#failure;
  }

  /** Transactions that LMDB was asked for and has not ended; after a failure one may stay so for ever. */
  get transactions(): number {
    return this.#transactions;
  }

  submit(commit: Commit, bytes: number): Promise<CommitResult> {
    if (this.#failure !== undefined) return Promise.reject(failedEarlier(this.#failure));
    if (this.#queue.length >= limits.commitQueueMax) {
      return Promise.reject(new HoldfastError("slow_down", "Too many commits wait for the metadata store."));
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ commit, bytes, resolve, reject });
      this.#ask();
    });
  }

  /** Resolves when nothing waits and nothing is under way, or the store has failed. */
  async settled(): Promise<void> {
    while (this.#runs.size > 0 && this.#failure === undefined) {
      await new Promise<void>((resolve) => this.#settled.push(resolve));
    }
  }

  /** The store has failed for this process. The first call counts. */
  fail(cause: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = new HoldfastError("unavailable", "The metadata store has failed.", { cause });
    this.#options.log.error({ err: cause }, "The metadata store has failed; this process can use it no more.");
    const waiting = [...[...this.#runs].flatMap(({ taken }) => taken), ...this.#queue.splice(0)];
    for (const { reject } of waiting) reject(failedEarlier(this.#failure));
    this.#tellSettled();
    this.#options.onFailed?.(this.#failure);
  }

  #tellSettled(): void {
    for (const resolve of this.#settled.splice(0)) resolve();
  }

  #ask(): void {
    if (this.#asked || this.#judging > 0 || this.#failure !== undefined || this.#queue.length === 0) return;
    this.#asked = true;
    const run: Run = { taken: [] };
    this.#runs.add(run);
    void gathered(() => this.#queue.length)
      .then(() => (this.#failure === undefined ? this.#run(run) : undefined))
      .finally(() => {
        this.#runs.delete(run);
        this.#tellSettled();
      });
  }

  async #run(run: Run): Promise<void> {
    let decided: Decided[] = [];
    let begunMs = 0;
    try {
      await this.#transact((batch) => {
        if (this.#failure !== undefined) throw failedEarlier(this.#failure);
        begunMs = systemClock.monotonicMs();
        run.taken = this.#take();
        // From here on the next transaction may be asked for: it begins when this one has been synced.
        this.#asked = false;
        decided = decide(batch, run.taken);
        // Never asked for inside the callback: npm `lmdb` would run it in this same transaction.
        if (this.#queue.length > 0) queueMicrotask(() => this.#ask());
      });
    } catch (error) {
      await this.#judge(run, error);
      return;
    }
    const durationMs = systemClock.monotonicMs() - begunMs;
    for (const { waiting, result } of decided) waiting.resolve(result);
    this.#options.onBatch?.({
      commits: decided.length,
      conflicts: decided.filter(({ result }) => result.outcome === "conflict").length,
      bytes: decided.reduce((sum, { waiting }) => sum + waiting.bytes, 0),
      durationMs,
    });
  }

  #take(): Waiting[] {
    let count = 0;
    for (let bytes = 0; count < this.#queue.length && count < batchCommitsMax; count++) {
      bytes += this.#queue[count]!.bytes;
      if (bytes > batchBytesMax) break;
    }
    return this.#queue.splice(0, count);
  }

  async #transact(callback: (batch: WriteBatch) => void): Promise<void> {
    this.#transactions += 1;
    try {
      await this.#options.transact(callback);
    } finally {
      this.#transactions -= 1;
    }
  }

  async #judge(run: Run, error: unknown): Promise<void> {
    this.#judging += 1;
    try {
      const cause = await causeOf(error);
      // What was refused here, not by LMDB, says nothing about the file's health.
      const passes = cause instanceof HoldfastError || (await this.#options.isLackOfSpace(cause));
      if (!passes) return this.fail(cause);
      this.#options.log.error({ err: cause }, "A batch of commits failed.");
      // A transaction that took nothing fails those it would have taken; else it would be tried for ever.
      if (run.taken.length === 0) {
        this.#asked = false;
        run.taken = this.#take();
      }
      for (const { reject } of run.taken) reject(unavailable(cause));
    } finally {
      this.#judging -= 1;
    }
    this.#ask();
  }
}

function decide(batch: WriteBatch, taken: readonly Waiting[]): Decided[] {
  const decided: Decided[] = [];
  for (const waiting of taken) {
    try {
      decided.push({ waiting, result: batch.apply(waiting.commit) });
    } catch (error) {
      waiting.reject(error);
    }
  }
  return decided;
}

function failedEarlier(failure: HoldfastError): HoldfastError {
  return new HoldfastError("unavailable", failure.message, { cause: failure.cause });
}

function unavailable(cause: unknown): HoldfastError {
  if (cause instanceof HoldfastError) return cause;
  return new HoldfastError("unavailable", "The metadata store could not write a commit.", { cause });
}
