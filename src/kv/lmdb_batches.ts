/**
 * Gathers the commits of this process into batches, one write transaction each.
 *
 * A write transaction is asked for when a turn of the event loop brought no more commits (gather.ts), and takes whatever
 * waits when it begins. So a lone commit waits for nobody, and under load the commits that arrive while one batch syncs
 * make the next. At most one transaction is asked for and not begun; one more may be syncing.
 */
import { systemClock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import { gathered } from "./gather.ts";
import type { Commit, CommitResult } from "./kv.ts";
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
   * Runs the callback inside a write transaction and resolves when that is durable; nothing is written when the
   * callback throws or returns false.
   */
  readonly transact: (callback: (batch: WriteBatch) => boolean) => Promise<void>;
};

export class Batches {
  readonly #options: BatchesOptions;
  #queue: Waiting[] = [];
  #asked = false;
  readonly #underWay = new Set<Promise<void>>();

  constructor(options: BatchesOptions) {
    this.#options = options;
  }

  submit(commit: Commit, bytes: number): Promise<CommitResult> {
    if (this.#queue.length >= limits.commitQueueMax) {
      return Promise.reject(new HoldfastError("slow_down", "Too many commits wait for the metadata store."));
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ commit, bytes, resolve, reject });
      this.#ask();
    });
  }

  /** Resolves when nothing waits and nothing is under way. */
  async settled(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  #ask(): void {
    if (this.#asked || this.#queue.length === 0) return;
    this.#asked = true;
    const running = gathered(() => this.#queue.length)
      .then(() => this.#run())
      .finally(() => this.#underWay.delete(running));
    this.#underWay.add(running);
  }

  async #run(): Promise<void> {
    let taken: Waiting[] = [];
    let decided: Decided[] = [];
    let begunMs = 0;
    try {
      await this.#options.transact((batch) => {
        begunMs = systemClock.monotonicMs();
        taken = this.#take();
        // From here on the next transaction may be asked for: it begins when this one has been synced.
        this.#asked = false;
        decided = decide(batch, taken);
        // Never asked for inside the callback: npm `lmdb` would run it in this same transaction.
        if (this.#queue.length > 0) queueMicrotask(() => this.#ask());
        return batch.write();
      });
    } catch (error) {
      this.#fail(taken, await causeOf(error));
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

  #fail(taken: readonly Waiting[], cause: unknown): void {
    this.#options.log.error({ error: cause }, "a batch of commits failed");
    // A transaction that never came to take anything fails those it would have taken; else it would be tried for ever.
    const lost = taken.length > 0 ? taken : this.#take();
    for (const { reject } of lost) reject(unavailable(cause));
    this.#asked = false;
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

function unavailable(cause: unknown): HoldfastError {
  if (cause instanceof HoldfastError) return cause;
  return new HoldfastError("unavailable", "The metadata store could not write a commit.", { cause });
}

/** npm `lmdb` hands the reason of a failed commit over as a promise that rejects with it. */
async function causeOf(error: unknown): Promise<unknown> {
  if (!(error instanceof Error) || !("commitError" in error)) return error;
  try {
    await error.commitError;
  } catch (cause) {
    return cause;
  }
  return error;
}
