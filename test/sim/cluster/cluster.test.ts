import assert from "node:assert/strict";
import { test } from "node:test";
import { runClusterSeed } from "./cluster.ts";

const seeds = process.env["HOLDFAST_TEST_SEED"]
  ? [Number(process.env["HOLDFAST_TEST_SEED"])]
  : Array.from({ length: 3 }, (_, index) => index + 1);

void test("nodes that die, stop, are cut off and are lost lose no acknowledged write and leave nothing behind", async () => {
  let acknowledged = 0;
  for (const seed of seeds) {
    const report = await runClusterSeed(seed);
    assert.deepEqual(report.wrong, [], `seed ${seed}`);
    acknowledged += report.acknowledged;
    // The same seed is the same run.
    if (seed === seeds[0]) assert.deepEqual(await runClusterSeed(seed), report);
  }
  assert.ok(acknowledged > seeds.length, "the nodes did something");
});
