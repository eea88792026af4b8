import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { temporaryFolder } from "../server/harness.ts";
import { killRounds } from "./kill_rounds.ts";

const skip = process.platform !== "linux" && "needs /proc";

async function assertNothingLost(t: TestContext, drives: 1 | 6): Promise<void> {
  const directory = temporaryFolder(t);
  const seed = Number(process.env["HOLDFAST_TEST_SEED"] ?? 20_261_123);
  const report = await killRounds(directory, { rounds: 5, seed, lanes: 6, drives, log: (line) => t.diagnostic(line) });
  assert.deepEqual(report.wrong, [], `seed ${seed}`);
  assert.ok(report.acknowledged > 50, "the load did something");
  const findings = report.doctor.split("\n").filter((line) => line.includes('"finding"'));
  assert.deepEqual(findings, [], report.doctor);
  assert.match(report.doctor, /"summary"/);
}

test("kill -9 of a worker or of the whole tree under mixed load loses nothing", { skip }, (t) =>
  assertNothingLost(t, 1),
);

test("nor does it on six drives with erasure coding, of which some lose everything", { skip }, (t) =>
  assertNothingLost(t, 6),
);
