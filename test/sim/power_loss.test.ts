import assert from "node:assert/strict";
import { test } from "node:test";
import { watchSystem } from "./alone.ts";
import { runSeed } from "./power_loss.ts";

const seeds = process.env["HOLDFAST_TEST_SEED"]
  ? [Number(process.env["HOLDFAST_TEST_SEED"])]
  : Array.from({ length: 54 }, (_, index) => index + 1);

test("no acknowledged write is lost and nothing leaks when the power goes off at any call and drives are lost", async (t) => {
  const assertAlone = watchSystem(t);
  let acknowledged = 0;
  for (const seed of seeds) {
    const report = await runSeed(seed);
    assert.deepEqual(report.wrong, [], `seed ${seed}`);
    acknowledged += report.acknowledged;
  }
  assertAlone();
  assert.ok(acknowledged > seeds.length, "the lives did something");
});
