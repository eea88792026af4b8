import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { parseRedundancy } from "../core/redundancy.ts";
import { tags } from "../meta/keys.ts";
import { patternBytes, plainPut } from "../object/object.fixture.ts";
import { Budget, Pace } from "./budget.ts";
import { nodeWithout, rowsOf, startProcess, worldWith } from "./jobs.fixture.ts";

const { signal } = new AbortController();
const MiB = 1 << 20;

/** Time that passes when everybody sleeps, as far as to whoever wakes first, and not otherwise. */
function steppedClock(): Clock & { pass(ms: number): void } {
  let nowMs = 0;
  const sleepers: { readonly atMs: number; readonly wake: () => void }[] = [];
  const step = (): void => {
    sleepers.sort((a, b) => b.atMs - a.atMs);
    const next = sleepers.pop();
    nowMs = Math.max(nowMs, next?.atMs ?? 0);
    next?.wake();
  };
  return {
    nowMs: () => Math.floor(nowMs),
    monotonicMs: () => nowMs,
    pass: (ms) => void (nowMs += ms),
    sleep: (ms) =>
      new Promise((wake) => {
        sleepers.push({ atMs: nowMs + ms, wake });
        setImmediate(step);
      }),
  };
}

void test("with nobody there work goes on at once, several pieces side by side, up to the rate", () => {
  const pace = new Pace(100 * MiB);
  for (let at = 0; at < 4; at++) {
    assert.equal(pace.waitMs(0), 0);
    pace.begin();
  }
  pace.end({ bytes: MiB, tookMs: 500 }, 500);
  assert.equal(pace.waitMs(500), 0, "long work needs no rest");
  for (let at = 0; at < 3; at++) pace.end({ bytes: 40 * MiB, tookMs: 500 }, 500);
  // 121 MiB take 1,210 ms at this rate.
  assert.equal(Math.round(pace.waitMs(500)), 1_110);
  assert.equal(Math.round(pace.waitMs(1_000)), 610);
  assert.equal(pace.waitMs(1_700), 0);
});

void test("what was not used of the rate is not kept", () => {
  const pace = new Pace(100 * MiB);
  pace.begin();
  pace.end({ bytes: MiB, tookMs: 10 }, 10);
  pace.begin();
  pace.end({ bytes: 100 * MiB, tookMs: 10 }, 60_000);
  assert.ok(pace.waitMs(60_000) > 850);
});

void test("while clients are served one piece is done at a time, with a rest as long as three", () => {
  const pace = new Pace(1_000 * MiB);
  pace.saw(3, 0);
  assert.equal(pace.waitMs(0), 0);
  pace.begin();
  assert.ok(pace.waitMs(0) > 0, "one at a time");
  pace.saw(1, 40);
  pace.end({ bytes: MiB, tookMs: 40 }, 40);
  assert.equal(pace.waitMs(40), 120);
  assert.equal(pace.waitMs(100), 60);
  assert.equal(pace.waitMs(160), 0);
});

void test("a rest ends when the clients have gone, and is never longer than two seconds", () => {
  const pace = new Pace(1_000 * MiB);
  pace.saw(1, 0);
  pace.begin();
  pace.end({ bytes: MiB, tookMs: 60_000 }, 60_000);
  pace.saw(1, 60_000);
  assert.equal(pace.waitMs(60_000), 2_000);
  pace.saw(0, 60_200);
  assert.ok(pace.waitMs(60_200) > 0, "there may be another request in a moment");
  assert.equal(pace.waitMs(60_251), 0);
});

/** Work of four lanes for a while; resolves to the time in which each piece was done, added up, by all of it. */
async function dutyOf(activity: (nowMs: number) => number): Promise<{ duty: number; atOnce: number }> {
  const clock = steppedClock();
  const budget = new Budget({ clock, bytesPerSecond: 10_000 * MiB, activity: () => activity(clock.monotonicMs()) });
  let [workedMs, underWay, atOnce] = [0, 0, 0];
  const endMs = 20_000;
  const lane = async (): Promise<void> => {
    while (clock.monotonicMs() < endMs)
      await budget.piece(MiB, signal, async () => {
        underWay += 1;
        atOnce = Math.max(atOnce, underWay);
        await clock.sleep(20);
        workedMs += 20;
        underWay -= 1;
      });
  };
  await Promise.all([lane(), lane(), lane(), lane()]);
  return { duty: workedMs / clock.monotonicMs(), atOnce };
}

void test("work takes a quarter of the time while clients are there, and all lanes all of it while they are not", async () => {
  const busy = await dutyOf(() => 1);
  assert.equal(busy.atOnce, 1);
  assert.ok(busy.duty > 0.2 && busy.duty <= 0.26, `a part of ${busy.duty}`);
  const idle = await dutyOf(() => 0);
  assert.equal(idle.atOnce, 4);
  assert.ok(idle.duty > 3.9, `a part of ${idle.duty}`);
});

void test("long work pauses in between, and nothing waits once it is to stop", async () => {
  const clock = steppedClock();
  const budget = new Budget({ clock, bytesPerSecond: 10_000 * MiB, activity: () => 1 });
  const pause = budget.pauses(signal);
  clock.pass(100);
  await pause(MiB);
  assert.ok(clock.monotonicMs() >= 400);
  const stop = new AbortController();
  stop.abort();
  clock.pass(1_000);
  const before = clock.monotonicMs();
  await budget.pauses(stop.signal)(1_000_000 * MiB);
  await budget.piece(MiB, stop.signal, async () => undefined);
  assert.equal(clock.monotonicMs(), before);
});

void test("a piece that fails is over like any other", async () => {
  const clock = steppedClock();
  const budget = new Budget({ clock, bytesPerSecond: 10_000 * MiB, activity: () => 1 });
  const fails = budget.piece(MiB, signal, async () => {
    throw new Error("It fails.");
  });
  await assert.rejects(fails, /It fails/);
  await budget.piece(MiB, signal, async () => undefined);
});

void test("repair, conversion and scrub go through the budget", async () => {
  const clock = steppedClock();
  const rate = 100_000;
  const plain = worldWith("replica:2", 2);
  const lost = new Set<DriveId>();
  const world = { ...plain, node: nodeWithout(plain.node, lost), backgroundBytesPerSecond: rate };
  const body = patternBytes(limits.inlineBytesMax + 1);
  const writer = await startProcess(world, clock);
  await writer.store.createBucket("photos", { region: "here" });
  for (let index = 0; index < 40; index++) await writer.store.put(plainPut("photos", `key ${index}`, body));
  const process = await startProcess(world, clock);
  const run = async (name: string): Promise<number> => {
    const job = process.jobs.find((each) => each.name === name)!;
    const beganMs = clock.monotonicMs();
    for (let turn = 0; turn < 5; turn++) while ((await job.run(signal)).more);
    return clock.monotonicMs() - beganMs;
  };
  const least = (pieces: number): number => ((pieces * body.length) / rate) * 1_000 - 100;
  assert.ok((await run("scrub")) >= least(64), "what it looks at in two batches");
  lost.add(plain.node.drives[0]!);
  assert.equal(await run("repair"), 0);
  const planned = (await rowsOf(world.kv, tags.mend)).length;
  assert.ok(planned > 8);
  // The last of each lane has nothing to wait for.
  assert.ok((await run("mend")) >= least(2 * (planned - limits.mendsAtOnceMax)), "each is read and written");
  lost.clear();
  await writer.store.setRedundancy("photos", { redundancy: parseRedundancy("replica:3") });
  assert.ok((await run("convert")) >= least(2 * 40));
});
