import assert from "node:assert/strict";
import { test } from "node:test";
import { Alarm, type Sleeper } from "./alarm.ts";
import { TestClock } from "./slow.fixture.ts";

function sleepersOf(clock: TestClock): { readonly alarm: Alarm; readonly woken: string[]; at(ms: number): Sleeper } {
  const woken: string[] = [];
  const began = clock.monotonicMs();
  return { alarm: new Alarm(clock), woken, at: (ms) => ({ atMs: began + ms, wake: () => void woken.push(`${ms}`) }) };
}

void test("each is woken once, at its time, in whatever order they came; one timer serves them all", async () => {
  const clock = new TestClock();
  const { alarm, woken, at } = sleepersOf(clock);
  for (const ms of [50, 30, 70, 30]) {
    alarm.set(at(ms));
    await clock.work();
    assert.equal(clock.sleepers, 1);
  }
  for (const [passMs, seen] of [
    [29, []],
    [1, ["30", "30"]],
    [19, ["30", "30"]],
    [1, ["30", "30", "50"]],
    [100, ["30", "30", "50", "70"]],
  ] as const) {
    clock.pass(passMs);
    await clock.work();
    assert.deepEqual(woken, seen);
  }
  assert.equal(clock.sleepers, 0);
});

void test("who takes it back is not woken, and the last one ends the timer", async () => {
  const clock = new TestClock();
  const { alarm, woken, at } = sleepersOf(clock);
  const [first, second, third] = [at(10), at(20), at(30)];
  for (const sleeper of [first, second, third]) alarm.set(sleeper);
  alarm.clear(first);
  clock.pass(20);
  // The process has not looked for answers yet: one comes.
  await Promise.resolve();
  alarm.clear(second);
  await clock.work();
  assert.deepEqual(woken, []);
  assert.equal(clock.sleepers, 1, "the third is waited for");
  alarm.clear(third);
  await clock.work();
  assert.equal(clock.sleepers, 0);
});

void test("who is woken may ask again, and take others back", async () => {
  const clock = new TestClock();
  const { alarm, woken, at } = sleepersOf(clock);
  const other = at(10);
  const again = at(40);
  const first: Sleeper = {
    ...at(10),
    wake: () => {
      alarm.clear(other);
      alarm.set(again);
    },
  };
  alarm.set(first);
  alarm.set(other);
  clock.pass(10);
  await clock.work();
  assert.deepEqual(woken, []);
  clock.pass(30);
  await clock.work();
  assert.deepEqual(woken, ["40"]);
  assert.equal(clock.sleepers, 0);
});
