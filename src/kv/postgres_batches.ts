/**
 * Gathers the commits of this process into batches, one statement and so one transaction each.
 *
 * A batch begins when a turn of the event loop brought no more commits (gather.ts) and a session is free, and takes what
 * waits then. While batches are under way the next one gathers. Commits that meet rows of a batch are held until it has
 * been decided (postgres_batch.ts).
 *
 * What becomes of a batch: decided; refused by the engine, so that nothing was done: it is sent again where that may help;
 * or lost, when no answer came. A lost batch may have been applied, so it is not sent again: its commits are `unavailable`,
 * their outcome unknown. A batch with a commit that can never succeed is sent again commit by commit, so that only that
 * one is rejected.
 */
import { AssertionError } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import { gathered } from "./gather.ts";
import type { Commit, CommitResult } from "./kv.ts";
import { cutBatch, encodeBatch, resultsOf } from "./postgres_batch.ts";
import type { Cut, Held } from "./postgres_batch.ts";
import { failureOf, reasonOf, unavailable } from "./postgres_errors.ts";
import type { Failure } from "./postgres_errors.ts";
import type { Pool } from "./postgres_pool.ts";
import type { Statement } from "./postgres_schema.ts";
import type { Session } from "./postgres_session.ts";

/** `durationMs`: from sending the batch until it was durable. */
export type PostgresBatchFacts = {
  readonly commits: number;
  readonly conflicts: number;
  readonly bytes: number;
  readonly durationMs: number;
};

type Waiting = {
  readonly commit: Commit;
  readonly bytes: number;
  readonly resolve: (result: CommitResult) => void;
  readonly reject: (error: unknown) => void;
};

type Sent =
  { readonly what: "decided"; readonly results: readonly CommitResult[] } | (Failure & { readonly error: unknown });

export type PostgresBatchesOptions = {
  readonly pool: Pool;
  readonly statement: Statement;
  /** For batches in which an add has a bound. */
  readonly boundedStatement: Statement;
  readonly log: Log;
  readonly clock: Clock;
  /** Batches under way at the same time, and commits in one. */
  readonly batchesMax: number;
  readonly batchCommitsMax: number;
  readonly onBatch?: (facts: PostgresBatchFacts) => void;
};

export class PostgresBatches {
  readonly #options: PostgresBatchesOptions;
  #queue: Waiting[] = [];
  /** Held by batches under way: they wait too. */
  #held = 0;
  #running = 0;
  #gathering = false;
  #settled: (() => void)[] = [];

  constructor(options: PostgresBatchesOptions) {
    this.#options = options;
  }

  submit(commit: Commit, bytes: number): Promise<CommitResult> {
    if (this.#queue.length + this.#held >= limits.commitQueueMax) {
      return Promise.reject(new HoldfastError("slow_down", "Too many commits wait for the metadata store."));
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ commit, bytes, resolve, reject });
      this.#ask();
    });
  }

  /** Resolves when nothing waits and nothing is under way. */
  async settled(): Promise<void> {
    while (this.#running > 0 || this.#gathering) await new Promise<void>((resolve) => this.#settled.push(resolve));
  }

  #ask(): void {
    if (this.#gathering || this.#running >= this.#options.batchesMax || this.#queue.length === 0) return;
    this.#gathering = true;
    void gathered(() => this.#queue.length).then(() => {
      this.#gathering = false;
      this.#running += 1;
      void this.#run().finally(() => {
        this.#running -= 1;
        this.#ask();
        for (const resolve of this.#settled.splice(0)) resolve();
      });
      this.#ask();
    });
  }

  async #run(): Promise<void> {
    const first: { cut?: Cut<Waiting>; sent?: Sent } = {};
    try {
      await this.#options.pool.use(async (session) => {
        first.cut = this.#cut();
        first.sent = await this.#send(session, first.cut.taken);
      });
    } catch (error) {
      // No session could be had, so nothing was taken.
      for (const { reject } of this.#queue.splice(0)) reject(error);
    }
    if (first.cut === undefined || first.sent === undefined) return;
    const { taken, held } = first.cut;
    const results = await this.#settle(taken, first.sent);
    this.#held -= held.length;
    const back = held.filter((each) => !loses(each, results));
    if (back.length > 0) this.#queue = [...back.map(({ waiting }) => waiting), ...this.#queue];
  }

  #cut(): Cut<Waiting> {
    const cut = cutBatch(this.#queue, {
      commitsMax: this.#options.batchCommitsMax,
      bytesMax: limits.postgresBatchBytesMax,
      heldMax: limits.postgresHeldCommitsMax,
    });
    this.#queue = cut.left;
    this.#held += cut.held.length;
    return cut;
  }

  /** Sends a batch once. No errors. */
  async #send(session: Session, taken: readonly Waiting[]): Promise<Sent> {
    if (taken.length === 0) return { what: "decided", results: [] };
    const commits = taken.map(({ commit }) => commit);
    const encoded = encodeBatch(commits, session.locksMax);
    const { clock } = this.#options;
    const statement = encoded.isBounded ? this.#options.boundedStatement : this.#options.statement;
    const begunMs = clock.monotonicMs();
    session.takeWarning();
    try {
      const [row] = await session.query(statement, encoded.parameters);
      if (session.takeWarning()) return { what: "lost", error: new Error("the engine warned while it committed") };
      const results = resultsOf(commits, encoded, row?.[0]);
      this.#tell(taken, results, clock.monotonicMs() - begunMs);
      return { what: "decided", results };
    } catch (error) {
      const failure = failureOf(error);
      if (failure.what === "refused" && failure.next === "elsewhere") session.drop();
      return { ...failure, error };
    }
  }

  #tell(taken: readonly Waiting[], results: readonly CommitResult[], durationMs: number): void {
    this.#options.onBatch?.({
      commits: taken.length,
      conflicts: results.filter(({ outcome }) => outcome === "conflict").length,
      bytes: taken.reduce((sum, { bytes }) => sum + bytes, 0),
      durationMs,
    });
  }

  /** Resolves or rejects every commit of a batch, sending it again where that may help. Returns what was decided. */
  async #settle(taken: readonly Waiting[], first: Sent): Promise<readonly CommitResult[]> {
    let sent = first;
    for (let attempt = 1; sent.what === "refused" && attempt < limits.postgresBatchAttemptsMax; attempt++) {
      if (sent.next === "impossible" && taken.length > 1) return this.#settleEach(taken);
      if (sent.next !== "again" && sent.next !== "elsewhere") break;
      this.#options.log.debug({ err: sent.error, attempt }, "A batch of commits is sent again.");
      await this.#options.clock.sleep(2 ** attempt);
      sent = await this.#sendOnAnother(taken);
    }
    if (sent.what === "decided") {
      for (const [index, { resolve }] of taken.entries()) resolve(sent.results[index]!);
      return sent.results;
    }
    const error = this.#errorOf(sent);
    for (const { reject } of taken) reject(error());
    return [];
  }

  async #settleEach(taken: readonly Waiting[]): Promise<readonly CommitResult[]> {
    for (const waiting of taken) await this.#settle([waiting], await this.#sendOnAnother([waiting]));
    // Nobody who was held is told that it lost: it will be judged itself.
    return [];
  }

  async #sendOnAnother(taken: readonly Waiting[]): Promise<Sent> {
    try {
      return await this.#options.pool.use((session) => this.#send(session, taken));
    } catch (error) {
      return { what: "refused", next: "never", error };
    }
  }

  /** One error object for each commit: what happens to one says nothing about the others' stacks. */
  #errorOf(sent: Exclude<Sent, { readonly what: "decided" }>): () => Error {
    const { error } = sent;
    if (sent.what === "refused" && sent.next === "impossible") {
      return () => new AssertionError(`a commit can never succeed: ${reasonOf(error)}`);
    }
    const known = sent.what === "refused";
    const outcome = known ? "was refused" : "was lost on the way; whether it was applied is not known";
    const message = `A commit to the metadata store ${outcome}: ${reasonOf(error)}.`;
    this.#options.log.error({ err: error }, known ? "A batch of commits was refused." : "A batch of commits was lost.");
    return () => (error instanceof HoldfastError ? error : unavailable(message, error));
  }
}

/** Tells a held commit that it lost, where that is certain; otherwise it waits on. */
function loses({ waiting, lostTo }: Held<Waiting>, results: readonly CommitResult[]): boolean {
  if (lostTo === undefined || results[lostTo.index]?.outcome !== "committed") return false;
  waiting.resolve({ outcome: "conflict", key: lostTo.key });
  return true;
}
