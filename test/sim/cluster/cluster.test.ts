import assert from "node:assert/strict";
import { test } from "node:test";
import { watchSystem } from "../alone.ts";
import { runClusterSeed, type ClusterReport } from "./cluster.ts";

const seeds = process.env["HOLDFAST_TEST_SEED"]
  ? [Number(process.env["HOLDFAST_TEST_SEED"])]
  : Array.from({ length: 3 }, (_, index) => index + 1);

void test("nodes that die, stop, are cut off and are lost lose no acknowledged write and leave nothing behind", async (t) => {
  const assertAlone = watchSystem(t);
  const reports: ClusterReport[] = [];
  for (const seed of seeds) {
    const report = await runClusterSeed(seed);
    assert.deepEqual(report.wrong, [], `seed ${seed}`);
    reports.push(report);
  }
  // The same seed is the same run, whatever ran before it.
  assert.deepEqual(await runClusterSeed(seeds[0]!), reports[0]);
  assertAlone();
  const acknowledged = reports.reduce((sum, report) => sum + report.acknowledged, 0);
  assert.ok(acknowledged > seeds.length, "the nodes did something");
});
