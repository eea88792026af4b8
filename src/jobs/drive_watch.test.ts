/** Which drives are given up: those that are lost, and not those that only this process does not reach. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { DriveTimes } from "../blob/drive_times.ts";
import type { DriveId } from "../core/ids.ts";
import { silentLog } from "../core/log.ts";
import { openMemoryKv } from "../kv/memory.ts";
import type { KnownDrive } from "../meta/drives.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import { nodeWithout } from "./jobs.fixture.ts";
import { DriveWatch } from "./drive_watch.ts";
import { RepairJob } from "./repair.ts";
import { JobRunner } from "./runner.ts";

const [here, there] = ["0000000000000001", "0000000000000002"] as [DriveId, DriveId];
const shortMs = 1_000;

function watching(awayMsMax = shortMs) {
  const lost = new Set<DriveId>();
  const known = new Map<DriveId, KnownDrive>([here, there].map((id) => [id, { id, state: "active" }]));
  let nowMs = 0;
  const sleep = async (ms: number): Promise<void> => {
    nowMs += ms;
    await turn();
  };
  const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs, sleep };
  const node = nodeWithout(createMemoryNode({ drives: [here, there] }), lost);
  const silent = new Set<DriveId>();
  const placement = {
    drives: () => node.drives.map((id) => ({ id, weightBytes: 1, state: "up" as const })),
    times: new DriveTimes(clock, () => 0, silent),
  };
  const looks: number[] = [];
  const knownDrives = async (): Promise<KnownDrive[]> => {
    looks.push(nowMs);
    return [...known.values()];
  };
  const watch = new DriveWatch({ node, placement, clock, log: silentLog, knownDrives, awayMsMax });
  const givenUpAfter = async (ms: number): Promise<DriveId[]> => {
    nowMs += ms;
    return [...(await watch.look()).givenUp];
  };
  return { lost, silent, known, clock, watch, looks, givenUpAfter };
}

test("a drive that does not say how it is is away until it does", async () => {
  const { silent, watch, givenUpAfter } = watching();
  silent.add(there);
  assert.deepEqual([...(await watch.look()).here], [here]);
  assert.deepEqual(await givenUpAfter(shortMs), [there]);
  silent.delete(there);
  assert.deepEqual([...(await watch.look()).here], [here, there]);
  assert.deepEqual(await givenUpAfter(shortMs), []);
});

test("a drive that is away is given up after a while, and no more when it is back", async () => {
  const { lost, givenUpAfter } = watching();
  assert.deepEqual(await givenUpAfter(0), []);
  lost.add(there);
  assert.deepEqual(await givenUpAfter(1), []);
  assert.deepEqual(await givenUpAfter(shortMs - 1), []);
  assert.deepEqual(await givenUpAfter(1), [there]);
  lost.clear();
  assert.deepEqual(await givenUpAfter(1), []);
  lost.add(there);
  assert.deepEqual(await givenUpAfter(shortMs), [], "it is away anew");
});

test("a drive whose node still has it is waited for, however long this process does not reach it", async () => {
  const { lost, known, givenUpAfter } = watching();
  lost.add(there);
  known.set(there, { id: there, state: "active", isHeld: true });
  assert.deepEqual(await givenUpAfter(0), []);
  assert.deepEqual(await givenUpAfter(10 * shortMs), []);
  known.set(there, { id: there, state: "draining", isHeld: true });
  assert.deepEqual(await givenUpAfter(1), []);
  known.set(there, { id: there, state: "active" });
  assert.deepEqual(await givenUpAfter(1), [], "its time begins when nobody has it any more");
  assert.deepEqual(await givenUpAfter(shortMs), [there]);
  known.set(there, { id: there, state: "draining" });
  assert.deepEqual(await givenUpAfter(1), [there]);
});

test("what lies on a drive is looked for when it has been away long enough, and nothing is looked at sooner", async () => {
  const { lost, clock, watch, looks } = watching(100_000);
  lost.add(there);
  const drained: number[] = [];
  const onDrained = async (): Promise<void> => void drained.push(clock.nowMs());
  const job = new RepairJob({ kv: openMemoryKv(), watch, onDrained, clock, log: silentLog });
  const runner = new JobRunner({ jobs: [job], clock, log: silentLog, mayRun: async () => true });
  while (clock.nowMs() < 150_000) await turn();
  await runner.stop();
  assert.deepEqual(
    looks.filter((atMs) => atMs <= 100_000),
    [0, 1_000, 3_000, 7_000, 15_000, 31_000, 61_000, 91_000, 100_000],
  );
  // A walk over no chunk map at all: nothing lay there.
  assert.deepEqual(drained, [100_000]);
});
