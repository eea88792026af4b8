import assert from "node:assert/strict";
import { promises as fs } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { systemClock, type Clock } from "../core/clock.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { createMetrics } from "../core/metrics.ts";
import { systemRandom } from "../core/random.ts";
import { oneCopy } from "../core/redundancy.ts";
import { prepareServer } from "./prepare.ts";
import { standingOf } from "./standing.ts";
import { openStore } from "./store.ts";

/** Nobody is late by it: in a process that stands still others would be. */
const patient: Clock = { ...systemClock, sleep: (_ms, signal) => systemClock.sleep(3_600_000, signal) };

/** So is this one, for answers of drives, unless time passes at once. */
function clockFor(drive: { isLate: boolean }): Clock {
  let aheadMs = 0;
  return {
    ...systemClock,
    monotonicMs: () => systemClock.monotonicMs() + aheadMs,
    sleep: async (ms, signal) => {
      if (ms !== limits.driveStatusMsMax) return systemClock.sleep(ms, signal);
      if (!drive.isLate) return patient.sleep(ms, signal);
      aheadMs += ms;
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

test("how the node stands is told while a drive hangs, and what hangs in it is one question, however often it is asked", async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), "holdfast-hanging-"));
  t.after(() => rm(folder, { recursive: true }));
  const drive = { isLate: false };
  const common = { clock: clockFor(drive), random: systemRandom, log: silentLog };
  const start = { drives: [folder], root: { accessKey: "root", secretKey: "root-secret" }, ...common };
  await prepareServer(start);
  const store = await openStore({
    ...start,
    name: "test",
    redundancy: oneCopy,
    digestThreads: 1,
    metrics: createMetrics(),
    sweepAll: false,
  });
  const hanging = Promise.withResolvers<void>();
  const look = () => standingOf({ store, startedMs: 0, clock: patient, log: silentLog });
  try {
    const before = await look();
    assert.equal(before.drives[0]?.state, "up");
    assert.equal(before.store?.drives.length, 1);
    const { statfs: answer } = fs;
    const statfs = t.mock.method(fs, "statfs", (of: string) => hanging.promise.then(() => answer(of)));
    for (let scrapes = 0; scrapes < 4; scrapes++) {
      // The first one waits for it, and no other does.
      drive.isLate = scrapes === 0;
      const { drives, ...others } = await look();
      assert.equal(drives[0]?.state, "up");
      // Jobs go on meanwhile, and may change what it says.
      assert.equal(others.store?.drives.length, 1);
    }
    assert.deepEqual(
      (await store.storeDrives.list()).map(({ state }) => state),
      ["up"],
    );
    drive.isLate = true;
    await store.obstacles();
    assert.ok(statfs.mock.callCount() <= 1, `${statfs.mock.callCount()} questions`);
  } finally {
    // Jobs that ask the drive end with its answer.
    hanging.resolve();
    await store.close();
  }
});
