import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../core/clock.ts";
import { limits } from "../core/limits.ts";
import { CommonRows } from "./common_rows.ts";

/** Reads in ten minutes by one of so many processes, each of which looks every 10 ms. */
async function readsInTenMinutes(processes: number, rows: number): Promise<number> {
  let nowMs = 0;
  const clock: Clock = { nowMs: () => nowMs, monotonicMs: () => nowMs, sleep: async () => undefined };
  let reads = 0;
  const common = new CommonRows(clock, async () => {
    reads += 1;
    return Array.from({ length: rows }, (_, index) => index);
  });
  for (; nowMs < 600_000; nowMs += 10) {
    const before = reads;
    assert.equal(await common.look(processes), reads > before);
    assert.equal(common.rows.length, rows);
  }
  return reads;
}

void test("few processes read at each look, many so seldom that together they read a bounded number of rows", async () => {
  assert.equal(await readsInTenMinutes(6, 12), 60_000);
  for (const [processes, rows] of [
    [60, 120],
    [200, 400],
    [600, 100],
  ] as const) {
    const rowsPerSecond = ((await readsInTenMinutes(processes, rows)) * processes * rows) / 600;
    assert.ok(rowsPerSecond <= limits.commonRowsPerSecond && rowsPerSecond > limits.commonRowsPerSecond / 2);
  }
  assert.equal(await readsInTenMinutes(2_000, 4_000), 600_000 / limits.commonRowsMsMax, "but not less often than that");
});
