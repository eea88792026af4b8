/** Ids of files: whatever the clock does, one that is made later is listed later. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../core/clock.ts";
import { seededRandom } from "../core/random.ts";
import { FileIds, isFileId } from "./names.ts";

test("ids are in the order in which they were made, within a millisecond and when the time of day goes back", () => {
  let nowMs = Date.UTC(2026, 10, 28);
  const ids = new FileIds({ ...systemClock, nowMs: () => nowMs }, seededRandom(1));
  const made: string[] = [];
  for (const stepMs of [0, 1, -3_600_000, 0, 3_600_000, 5]) {
    nowMs += stepMs;
    for (let count = 0; count < 100; count++) made.push(ids.next());
  }
  assert.deepEqual(made, made.toSorted());
  assert.equal(new Set(made).size, made.length);
  assert.ok(made.every(isFileId));
});

test("an id begins with the time, and two processes make different ones", () => {
  const nowMs = Date.UTC(2026, 10, 28);
  const [one, other] = [1, 2].map((seed) =>
    new FileIds({ ...systemClock, nowMs: () => nowMs }, seededRandom(seed)).next(),
  );
  assert.notEqual(one, other);
  for (const id of [one, other]) assert.equal(Number.parseInt(id!.slice(0, 12), 16), nowMs);
});
