import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { killRounds } from "./kill_rounds.ts";

test(
  "kill -9 of a worker or of the whole tree under mixed load loses nothing",
  { skip: process.platform !== "linux" && "needs /proc" },
  async (t) => {
    const directory = mkdtempSync(path.join(tmpdir(), "holdfast-kill-"));
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    const seed = Number(process.env["HOLDFAST_TEST_SEED"] ?? 20_261_123);
    const report = await killRounds(directory, { rounds: 5, seed, lanes: 6, log: (line) => t.diagnostic(line) });
    assert.deepEqual(report.wrong, [], `seed ${seed}`);
    assert.ok(report.acknowledged > 50, "the load did something");
    const findings = report.doctor.split("\n").filter((line) => line.includes('"finding"'));
    assert.deepEqual(findings, [], report.doctor);
    assert.match(report.doctor, /"summary"/);
  },
);
