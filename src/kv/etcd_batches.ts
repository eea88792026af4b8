/**
 * Gathers the commits of this process into batches (etcd_plan.ts), one request to etcd at a time: a batch costs etcd about
 * as much as a single commit, and several requests at once brought nothing (docs/decisions/0006).
 *
 * A batch whose outcome is not known rejects all its commits with `unavailable`; none is sent again, for it may still be
 * carried out. A batch that certainly was not carried out is rejected with `unavailable` too: the time is up.
 *
 * A full database. etcd says "database space exceeded" also of the very transaction that made it full and was carried
 * out. So the first commits that meet it are `unavailable`, their outcome unknown; from then on commits that need room
 * are refused with `drive_full` without being sent, until etcd's alarm is gone. Deletes go on.
 */
import { systemClock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import { keyName } from "./bounds.ts";
import { decideBatch, hasPuts, operationsOf, pendingOf, planBatch } from "./etcd_plan.ts";
import type { Batch, Counter, Decision, Pending } from "./etcd_plan.ts";
import type { Operation, TxnResult } from "./etcd_wire.ts";
import { gathered } from "./gather.ts";
import type { Commit, CommitResult } from "./kv.ts";
import type { BatchFacts } from "./lmdb_batches.ts";

export type Sent =
  | { readonly kind: "done"; readonly result: Pick<TxnResult, "revision" | "results"> }
  | { readonly kind: "full" }
  | { readonly kind: "failed"; readonly error: HoldfastError };

export type EtcdBatchesOptions = {
  readonly log: Log;
  readonly onBatch?: (facts: BatchFacts) => void;
  /** One transaction of these operations. `grows`: it makes the database larger. */
  readonly send: (operations: readonly Operation[], grows: boolean) => Promise<Sent>;
  /** Whether etcd still says that its database is full. */
  readonly isFull: () => Promise<boolean>;
  /** How long the names of all keys begin alike. */
  readonly prefixBytes: number;
};

type Waiting = Pending & {
  readonly bytes: number;
  readonly sinceMs: number;
  attempts: number;
  readonly resolve: (result: CommitResult) => void;
  readonly reject: (error: unknown) => void;
};

export class EtcdBatches {
  readonly #options: EtcdBatchesOptions;
  #queue: Waiting[] = [];
  #running = false;
  #settled: (() => void)[] = [];
  readonly #counters = new Map<string, Counter>();
  /** When a full database is asked about again; undefined: it has room, as far as is known. */
  #fullUntilMs: number | undefined;

  constructor(options: EtcdBatchesOptions) {
    this.#options = options;
  }

  async submit(commit: Commit, bytes: number): Promise<CommitResult> {
    if (this.#fullUntilMs !== undefined && needsRoom(commit)) await this.#assertRoom();
    if (this.#queue.length >= limits.commitQueueMax) {
      throw new HoldfastError("slow_down", "Too many commits wait for the metadata store.");
    }
    const pending = pendingOf(commit, this.#options.prefixBytes);
    return new Promise((resolve, reject) => {
      this.#queue.push({ ...pending, bytes, sinceMs: systemClock.monotonicMs(), attempts: 0, resolve, reject });
      if (!this.#running) void this.#run();
    });
  }

  /** Resolves when nothing waits and nothing is under way. */
  async settled(): Promise<void> {
    while (this.#running) await new Promise<void>((resolve) => this.#settled.push(resolve));
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#queue.length > 0) {
      await gathered(() => this.#queue.length);
      this.#dropLate();
      const batch = planBatch(this.#queue, this.#counters);
      if (batch.groups.length > 0) await this.#commit(batch);
    }
    this.#running = false;
    for (const resolve of this.#settled.splice(0)) resolve();
  }

  async #commit(batch: Batch<Waiting>): Promise<void> {
    const taken = batch.groups.flatMap(({ members }) => members.map(({ pending }) => pending));
    this.#leave(new Set(taken));
    try {
      const startedMs = systemClock.monotonicMs();
      const sent = await this.#options.send(operationsOf(batch), hasPuts(batch));
      if (sent.kind !== "done") return this.#refuse(taken, sent.kind === "full" ? this.#nowFull() : sent.error);
      const { decisions, counters } = decideBatch(batch, sent.result);
      this.#remember(taken, counters);
      this.#settle(decisions);
      this.#tell(decisions, systemClock.monotonicMs() - startedMs);
    } catch (cause) {
      // An answer that makes no sense must not keep the commits after it waiting for ever.
      this.#options.log.error({ err: cause }, "A batch of commits failed.");
      this.#refuse(taken, new HoldfastError("unavailable", "The metadata store's answer makes no sense.", { cause }));
    }
  }

  #refuse(taken: readonly Waiting[], error: HoldfastError): void {
    // Whether the counters have changed is not known.
    for (const { writeNames } of taken) for (const name of writeNames) this.#counters.delete(name);
    for (const { reject } of taken) reject(error);
  }

  #settle(decisions: readonly Decision<Waiting>[]): void {
    const again: Waiting[] = [];
    const left = new Set<Waiting>();
    for (const decision of decisions) {
      const { pending } = decision;
      left.add(pending);
      if (decision.outcome === "committed") pending.resolve({ outcome: "committed" });
      else if (decision.outcome === "conflict" || decision.outcome === "exceeded")
        pending.resolve({ outcome: decision.outcome, key: decision.key });
      else if (decision.outcome === "impossible") pending.reject(decision.error);
      else if (++pending.attempts < limits.etcdCounterAttemptsMax) again.push(pending);
      else pending.reject(new HoldfastError("slow_down", "Too many processes change the same counters; try again."));
    }
    this.#leave(left);
    this.#queue.unshift(...again);
  }

  /** Counters are remembered in the order in which they were used last, so many and no more. */
  #remember(taken: readonly Waiting[], counters: ReadonlyMap<string, Counter>): void {
    if (this.#counters.size > 0) {
      for (const { commit } of taken) {
        for (const write of commit.writes) if (write.kind !== "add") this.#counters.delete(keyName(write.key));
      }
    }
    for (const [name, counter] of counters) {
      this.#counters.delete(name);
      this.#counters.set(name, counter);
    }
    for (const name of this.#counters.keys()) {
      if (this.#counters.size <= limits.etcdCountersMax) break;
      this.#counters.delete(name);
    }
  }

  #leave(gone: ReadonlySet<Waiting>): void {
    this.#queue = this.#queue.filter((waiting) => !gone.has(waiting));
  }

  /** What waited too long behind a cluster that does not answer was never sent. */
  #dropLate(): void {
    const sinceMs = systemClock.monotonicMs() - limits.etcdWaitMsMax;
    const late = this.#queue.filter((waiting) => waiting.sinceMs < sinceMs);
    if (late.length === 0) return;
    this.#leave(new Set(late));
    const error = new HoldfastError("unavailable", "The metadata store answers too slowly; this was not written.");
    for (const { reject } of late) reject(error);
  }

  #nowFull(): HoldfastError {
    const message =
      "The metadata store's etcd database is full. Compact and defragment it or raise --quota-backend-bytes, and then " +
      "disarm the alarm (etcdctl alarm disarm); this server goes on by itself then.";
    if (this.#fullUntilMs === undefined) this.#options.log.error({}, message);
    this.#fullUntilMs = systemClock.monotonicMs() + limits.etcdFullPauseMs;
    return new HoldfastError("unavailable", message);
  }

  async #assertRoom(): Promise<void> {
    const nowMs = systemClock.monotonicMs();
    if (this.#fullUntilMs !== undefined && nowMs >= this.#fullUntilMs) {
      this.#fullUntilMs = nowMs + limits.etcdFullPauseMs;
      if (!(await this.#options.isFull())) this.#fullUntilMs = undefined;
    }
    if (this.#fullUntilMs === undefined) return;
    throw new HoldfastError("drive_full", "The metadata store's etcd database is full.");
  }

  #tell(decisions: readonly Decision<Waiting>[], durationMs: number): void {
    const settled = decisions.filter(({ outcome }) => outcome !== "again");
    this.#options.onBatch?.({
      commits: settled.length,
      conflicts: settled.filter(({ outcome }) => outcome === "conflict").length,
      bytes: settled.reduce((sum, { pending }) => sum + pending.bytes, 0),
      durationMs,
    });
  }
}

function needsRoom(commit: Commit): boolean {
  return commit.writes.some(({ kind }) => kind !== "delete");
}
