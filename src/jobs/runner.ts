/**
 * Runs background jobs, one loop each. Promises: a job never runs twice at once here; a job with work runs again at once;
 * an idle one waits longer and longer up to its own limit, so that an idle process does next to nothing; a failure is
 * logged and tried again later; `stop` ends every loop, running work included, and waits for it.
 *
 * Whether this process may run a job at all is for `mayRun` to say (a lease). Jobs must be correct even when two
 * processes run the same one: a lease saves work, it does not protect anything.
 */
import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import type { Log } from "../core/log.ts";

export type JobResult = {
  /** Things dealt with in this run, for logs and for knowing whether the job is idle. */
  readonly done: number;
  /** There is more to do that can be done at once. */
  readonly more: boolean;
  /** Given: look again after this pause, whatever was done. */
  readonly againMs?: number;
};

/** Of work that takes long. */
export type JobProgress = { readonly doneBytes: number; readonly leftBytes: number };

/** A piece of background work. One run is bounded (jobBatchMax things), idempotent, and safe to be cut off anywhere. */
export type Job = {
  readonly name: string;
  /** True: only the holder of the job's lease runs it. */
  readonly leased: boolean;
  /** Whose work of this name it is where several do theirs at the same time: lease and progress are of name and scope. */
  readonly scope?: string;
  /** The first pause after a run that found nothing, doubled until the second. */
  readonly idleMsMin: number;
  readonly idleMsMax: number;
  /** Undefined while there is nothing to tell. */
  progress?(): JobProgress | undefined;
  run(signal: AbortSignal): Promise<JobResult>;
};

/** What lease and progress of the job are called: the plain name where its scope is empty. */
export function scopedName({ name, scope = "" }: Pick<Job, "name" | "scope">): string {
  return scope === "" ? name : `${name}@${scope}`;
}

export type JobStatus = {
  readonly name: string;
  readonly state: "waiting" | "running" | "elsewhere" | "stopped";
  readonly done: number;
  readonly failures: number;
  readonly lastError: string | undefined;
  readonly progress: JobProgress | undefined;
};

export type RunnerOptions = {
  readonly jobs: readonly Job[];
  readonly clock: Clock;
  readonly log: Log;
  mayRun(job: Job): Promise<boolean>;
  /** Told what each run came to. Must not throw. */
  onRun?(job: Job, facts: { readonly outcome: "ok" | "failed"; readonly done: number }): void;
  /** Told how far a job is, now and then, and once when there is nothing to tell any more. Must not throw. */
  report?(job: Job, progress: JobProgress | undefined): Promise<void>;
};

const reportEveryMs = 2_000;
const failurePauseMsMin = 1_000;
const failurePauseMsMax = 60_000;

export class JobRunner {
  readonly #loops: readonly JobLoop[];
  readonly #stop = new AbortController();
  readonly #ended: Promise<unknown>;

  constructor(options: RunnerOptions) {
    const names = new Set(options.jobs.map((job) => job.name));
    assert(names.size === options.jobs.length, "jobs have different names");
    this.#loops = options.jobs.map((job) => new JobLoop(job, options, this.#stop.signal));
    this.#ended = Promise.all(this.#loops.map((loop) => loop.run()));
  }

  /** There may be work now: the named job (or every job) looks at once. */
  poke(name?: string): void {
    for (const loop of this.#loops) if (name === undefined || loop.job.name === name) loop.poke();
  }

  status(): JobStatus[] {
    return this.#loops.map((loop) => loop.status());
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    for (const loop of this.#loops) loop.poke();
    await this.#ended;
  }
}

class JobLoop {
  readonly job: Job;
  readonly #options: RunnerOptions;
  readonly #signal: AbortSignal;
  #pause = new AbortController();
  #poked = false;
  #state: JobStatus["state"] = "waiting";
  #done = 0;
  #failures = 0;
  #failuresInARow = 0;
  #lastError: string | undefined;
  #reportedMs: number | undefined;

  constructor(job: Job, options: RunnerOptions, signal: AbortSignal) {
    assert(0 < job.idleMsMin && job.idleMsMin <= job.idleMsMax, "the first pause is the shortest");
    this.job = job;
    this.#options = options;
    this.#signal = signal;
  }

  poke(): void {
    this.#poked = true;
    this.#pause.abort();
  }

  status(): JobStatus {
    return {
      name: this.job.name,
      state: this.#state,
      done: this.#done,
      failures: this.#failures,
      lastError: this.#lastError,
      progress: this.job.progress?.(),
    };
  }

  /** Never rejects. */
  async run(): Promise<void> {
    let idleMs = this.job.idleMsMin;
    while (!this.#signal.aborted) {
      const turn = await this.#turn();
      await this.#report();
      if (turn.done > 0) idleMs = this.job.idleMsMin;
      if (turn.more) {
        // A breath between batches: clients' requests come first.
        await this.#options.clock.sleep(0, this.#signal);
        continue;
      }
      if (turn.againMs !== undefined) {
        await this.#sleep(turn.againMs);
        continue;
      }
      const failureMs = Math.min(failurePauseMsMax, failurePauseMsMin * 2 ** Math.min(this.#failuresInARow - 1, 10));
      const woken = await this.#sleep(this.#failuresInARow > 0 ? failureMs : idleMs);
      idleMs = woken ? this.job.idleMsMin : Math.min(idleMs * 2, this.job.idleMsMax);
    }
    this.#state = "stopped";
  }

  async #turn(): Promise<JobResult> {
    try {
      if (this.job.leased && !(await this.#options.mayRun(this.job))) {
        this.#state = "elsewhere";
        return { done: 0, more: false };
      }
      this.#state = "running";
      const result = await this.job.run(this.#signal);
      this.#done += result.done;
      this.#options.onRun?.(this.job, { outcome: "ok", done: result.done });
      this.#failuresInARow = 0;
      this.#state = "waiting";
      return result;
    } catch (error) {
      this.#state = "waiting";
      if (!this.#signal.aborted) this.#failed(error);
      return { done: 0, more: false };
    }
  }

  async #report(): Promise<void> {
    const { report, clock } = this.#options;
    if (report === undefined || this.job.progress === undefined) return;
    const progress = this.job.progress();
    if (progress === undefined && this.#reportedMs === undefined) return;
    const nowMs = clock.monotonicMs();
    if (progress !== undefined && nowMs - (this.#reportedMs ?? -Infinity) < reportEveryMs) return;
    this.#reportedMs = progress === undefined ? undefined : nowMs;
    await report(this.job, progress);
  }

  #failed(error: unknown): void {
    this.#failures += 1;
    this.#options.onRun?.(this.job, { outcome: "failed", done: 0 });
    this.#failuresInARow += 1;
    this.#lastError = error instanceof Error ? error.message : String(error);
    this.#options.log.warn({ job: this.job.name, err: error }, "A background job failed and is tried again later.");
  }

  /** Returns whether a poke ended the pause. */
  async #sleep(ms: number): Promise<boolean> {
    if (!this.#poked) {
      this.#pause = new AbortController();
      await this.#options.clock.sleep(ms, this.#pause.signal);
    }
    const woken = this.#poked;
    this.#poked = false;
    return woken;
  }
}
