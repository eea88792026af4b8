import assert from "node:assert/strict";
import { promises as fs } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { systemClock } from "../core/clock.ts";
import { silentLog } from "../core/log.ts";
import { createMetrics } from "../core/metrics.ts";
import { systemRandom } from "../core/random.ts";
import { oneCopy } from "../core/redundancy.ts";
import { prepareServer } from "./prepare.ts";
import { standingOf } from "./standing.ts";
import { openStore } from "./store.ts";

test("how the node stands is told while a drive hangs, and what hangs in it is one question, however often it is asked", async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), "holdfast-hanging-"));
  t.after(() => rm(folder, { recursive: true }));
  const common = { clock: systemClock, random: systemRandom, log: silentLog };
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
  const look = () => standingOf({ store, startedMs: 0, clock: systemClock, log: silentLog });
  try {
    const before = await look();
    assert.equal(before.drives[0]?.state, "up");
    const { statfs: answer } = fs;
    const statfs = t.mock.method(fs, "statfs", (of: string) => hanging.promise.then(() => answer(of)));
    // The first may say nothing of the store, for which it waits as long as for the drive.
    assert.equal((await look()).drives[0]?.state, "up");
    for (let scrapes = 0; scrapes < 3; scrapes++) {
      const { drives, ...others } = await look();
      assert.equal(drives[0]?.state, "up");
      // Jobs go on meanwhile, and may change what it says.
      assert.equal(others.store?.drives.length, before.store?.drives.length);
    }
    assert.deepEqual(
      (await store.storeDrives.list()).map(({ state }) => state),
      ["up"],
    );
    await store.obstacles();
    assert.ok(statfs.mock.callCount() <= 1, `${statfs.mock.callCount()} questions`);
  } finally {
    // Jobs that ask the drive end with its answer.
    hanging.resolve();
    await store.close();
  }
});
