import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../core/clock.ts";
import { silentLog } from "../core/log.ts";
import { JobRunner, type Job, type JobResult } from "./runner.ts";

/** Time that only moves when told; remembers the pauses asked for. */
class ManualClock implements Clock {
  readonly pausesMs: number[] = [];
  readonly #waiting: (() => void)[] = [];
  nowMs(): number {
    return 0;
  }
  monotonicMs(): number {
    return 0;
  }
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (ms > 0) this.pausesMs.push(ms);
    if (ms === 0 || signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      signal?.addEventListener("abort", () => resolve(), { once: true });
    });
  }
  async wake(): Promise<void> {
    for (const resolve of this.#waiting.splice(0)) resolve();
    await settle();
  }
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

function job(run: Job["run"], over: Partial<Job> = {}): Job {
  return { name: "sample", leased: false, idleMsMin: 10, idleMsMax: 40, run, ...over };
}

const start = (clock: Clock, jobs: Job[], mayRun = async () => true) =>
  new JobRunner({ jobs, clock, log: silentLog, mayRun });

const nothing: JobResult = { done: 0, more: false };

void test("an idle job waits longer and longer, and at once no longer when poked", async () => {
  const clock = new ManualClock();
  let runs = 0;
  const runner = start(clock, [
    job(async () => {
      runs += 1;
      return nothing;
    }),
  ]);
  await settle();
  for (let index = 0; index < 4; index++) await clock.wake();
  assert.deepEqual(clock.pausesMs, [10, 20, 40, 40, 40]);
  runner.poke("other");
  await settle();
  assert.equal(runs, 5);
  runner.poke("sample");
  await settle();
  assert.equal(runs, 6);
  assert.equal(clock.pausesMs.at(-1), 10);
  await runner.stop();
});

void test("work that is left is done without a pause", async () => {
  const clock = new ManualClock();
  let left = 5;
  const runner = start(clock, [job(async () => ({ done: 1, more: --left > 0 }))]);
  await settle();
  assert.equal(left, 0);
  assert.deepEqual(clock.pausesMs, [10]);
  assert.equal(runner.status()[0]!.done, 5);
  await runner.stop();
});

void test("a failure is counted, told and tried again after a growing pause", async () => {
  const clock = new ManualClock();
  const runner = start(clock, [job(() => Promise.reject(new Error("away")))]);
  await settle();
  await clock.wake();
  assert.deepEqual(clock.pausesMs, [1_000, 2_000]);
  assert.deepEqual(
    runner.status().map(({ failures, lastError, state }) => ({ failures, lastError, state })),
    [{ failures: 2, lastError: "away", state: "waiting" }],
  );
  await runner.stop();
});

void test("a leased job runs only where it may", async () => {
  const clock = new ManualClock();
  let mine = false;
  let runs = 0;
  const count = async () => {
    runs += 1;
    return nothing;
  };
  const jobs = [job(count, { name: "a", leased: true }), job(async () => nothing, { name: "b" })];
  const runner = start(clock, jobs, async () => mine);
  await settle();
  assert.equal(runs, 0);
  assert.equal(runner.status()[0]!.state, "elsewhere");
  mine = true;
  await clock.wake();
  assert.equal(runs, 1);
  await runner.stop();
  assert.equal(runner.status()[0]!.state, "stopped");
});

void test("stop cuts a running job off and waits for it", async () => {
  const clock = new ManualClock();
  let ended = false;
  const runner = start(clock, [
    job(
      (signal) =>
        new Promise((resolve) => {
          signal.addEventListener("abort", () => {
            setImmediate(() => {
              ended = true;
              resolve(nothing);
            });
          });
        }),
    ),
  ]);
  await settle();
  await runner.stop();
  assert.equal(ended, true);
});
