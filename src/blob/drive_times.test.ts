import assert from "node:assert/strict";
import { test } from "node:test";
import { newDriveId, type DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { seededRandom, systemRandom } from "../core/random.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import type { ChunkNode } from "../node/node.ts";
import { altered, drives } from "./blob.fixture.ts";
import { DriveTimes } from "./drive_times.ts";
import { createNodePlacement } from "./node_placement.ts";
import { TestClock } from "./slow.fixture.ts";

const [a, b] = [newDriveId(systemRandom), newDriveId(systemRandom)];

function call(times: DriveTimes, clock: TestClock, drive: DriveId, tookMs: number): void {
  const begun = times.begin("read", drive);
  clock.pass(tookMs);
  begun.end("answered");
}

void test("late is a multiple of what 19 of 20 calls take, for each distance, within bounds", () => {
  const clock = new TestClock();
  const times = new DriveTimes(clock, (drive) => (drive === a ? 0 : 2));
  assert.equal(times.lateMs("read", a), limits.lateReadMsMax, "nothing is known yet");
  const random = seededRandom(5);
  const near: number[] = [];
  for (let count = 0; count < 4_000; count++) {
    const tookMs = 20 + random.below(100);
    call(times, clock, a, tookMs);
    call(times, clock, b, 1);
    near.push(times.lateMs("read", a));
  }
  const settled = near.slice(1_000);
  const middleMs = settled.toSorted((x, y) => x - y)[settled.length / 2]! / limits.lateFactor;
  assert.ok(middleMs > 105 && middleMs < 135, `${middleMs} ms, of calls that take 20 to 120`);
  assert.equal(times.lateMs("read", b), limits.lateReadMsMin);
});

void test("a drive is slow while a call is overdue, and longer each time, until it answers in time", () => {
  const clock = new TestClock();
  const times = new DriveTimes(clock);
  for (let count = 0; count < 1_000; count++) call(times, clock, a, 1);
  const overdueMs = limits.lateAppendMsMin;
  const avoided = (): number => {
    let ms = 0;
    for (; times.isSlow(a); ms += 100) clock.pass(100);
    return ms;
  };
  const late = times.begin("read", a);
  clock.pass(overdueMs - 1);
  assert.equal(times.isSlow(a), false);
  clock.pass(1);
  assert.ok(times.isSlow(a) && !times.isSlow(b));
  late.end("answered");
  assert.equal(avoided(), limits.slowDriveMsMin);
  call(times, clock, a, overdueMs);
  assert.equal(avoided(), 2 * limits.slowDriveMsMin);
  for (let count = 0; count < 10; count++) {
    call(times, clock, a, overdueMs);
    assert.ok(avoided() <= limits.slowDriveMsMax);
  }
  call(times, clock, a, 1);
  call(times, clock, a, overdueMs);
  assert.equal(avoided(), limits.slowDriveMsMin, "it had answered in time");
});

void test("late calls that were cancelled make a drive slow, and so does one that was given up, until it ends", () => {
  const clock = new TestClock();
  const times = new DriveTimes(clock);
  for (let count = 0; count < 1_000; count++) call(times, clock, a, 1);
  for (let count = 0; count < 3; count++) {
    assert.equal(times.isSlow(b), false);
    const begun = times.begin("read", b);
    clock.pass(2 * limits.lateReadMsMin);
    begun.end("cancelled");
  }
  assert.equal(times.isSlow(b), true);
  const hanging = times.begin("append", a);
  assert.equal(times.isSlow(a), false);
  hanging.giveUp();
  clock.pass(limits.slowDriveMsMax);
  assert.equal(times.isSlow(a), true);
  hanging.end("cancelled");
  clock.pass(limits.slowDriveMsMax);
  assert.equal(times.isSlow(a), false);
});

void test("a drive that does not say its state is slow until it does, counts as failed in the end, and holds up no other; one that is gone is left out", async () => {
  const memory = createMemoryNode(drives(3));
  const [first, second, third] = memory.drives;
  const hanging = new Set<() => void>();
  let [isHanging, asked] = [false, 0];
  let here = memory.drives;
  const node = altered(memory, {
    status: async (drive) => {
      if (drive === first) asked += 1;
      if (drive === first && isHanging) await new Promise<void>((resolve) => hanging.add(resolve));
      return memory.status(drive);
    },
  });
  Object.defineProperty(node, "drives", { get: () => here });
  const clock = new TestClock();
  const placement = await createNodePlacement({ node, clock, log: silentLog });
  const states = async (): Promise<Record<string, string>> => {
    clock.pass(3_000);
    placement.drives();
    await clock.work();
    clock.pass(limits.driveStatusMsMax);
    await clock.work();
    return Object.fromEntries(placement.drives().map(({ id, state }) => [id, state]));
  };
  assert.deepEqual(await states(), { [first!]: "up", [second!]: "up", [third!]: "up" });
  isHanging = true;
  asked = 0;
  assert.deepEqual(await states(), { [first!]: "up", [second!]: "up", [third!]: "up" });
  const slow = (): unknown[] => memory.drives.filter((drive) => placement.times.isSlow(drive));
  assert.deepEqual(slow(), [first]);
  clock.pass(limits.driveSilentMsMax);
  assert.deepEqual(await states(), { [first!]: "failed", [second!]: "up", [third!]: "up" });
  assert.equal(asked, 1, "one question at a time");
  here = memory.drives.slice(0, 2);
  assert.deepEqual(await states(), { [first!]: "failed", [second!]: "up" });
  isHanging = false;
  for (const go of hanging) go();
  await clock.work();
  assert.deepEqual(slow(), []);
  assert.deepEqual(await states(), { [first!]: "up", [second!]: "up" });
});

void test("a process that stood still does not pass over an answer that is there", async () => {
  const memory = createMemoryNode(drives(1));
  let answer = (): void => undefined;
  let isHanging = false;
  const status: ChunkNode["status"] = async (drive) => {
    if (isHanging) await new Promise<void>((resolve) => (answer = resolve));
    return { ...(await memory.status(drive)), state: isHanging ? "full" : "up" };
  };
  const clock = new TestClock();
  const placement = await createNodePlacement({ node: altered(memory, { status }), clock, log: silentLog });
  isHanging = true;
  clock.pass(3_000);
  placement.drives();
  await clock.work();
  // The timer is looked at first, as after a pause of the process.
  clock.pass(limits.driveStatusMsMax);
  setImmediate(() => answer());
  await clock.work();
  assert.deepEqual(
    placement.drives().map(({ state }) => state),
    ["full"],
  );
});
