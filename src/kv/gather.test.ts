import assert from "node:assert/strict";
import { test } from "node:test";
import { gathered, gatherMsMax } from "./gather.ts";

/** Turns of the event loop until `gathered` ends, when the turns bring these many; afterwards nothing comes. */
async function turnsUntilGathered(arrivals: readonly number[], msPerTurn = 0): Promise<number> {
  let [count, turns, nowMs] = [1, 0, 0];
  let isOver = false;
  const done = gathered(() => count, { monotonicMs: () => nowMs }).then(() => (isOver = true));
  while (!isOver) {
    count += arrivals[turns] ?? 0;
    turns += 1;
    nowMs += msPerTurn;
    assert.ok(turns < 1_000, "gathering ends");
    await new Promise((resolve) => setImmediate(resolve));
  }
  await done;
  return turns;
}

void test("a lone commit waits one turn", async () => {
  assert.equal(await turnsUntilGathered([]), 1);
});

void test("as long as each turn brings more, gathering goes on", async () => {
  assert.equal(await turnsUntilGathered([3, 1, 7]), 4);
  assert.equal(await turnsUntilGathered([3, 0, 7]), 2);
});

void test("unbroken load does not put a batch off for ever", async () => {
  const turns = await turnsUntilGathered(
    Array.from({ length: 500 }, () => 1),
    1,
  );
  assert.equal(turns, gatherMsMax);
});
