import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "../core/limits.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import type { DriveStatus } from "../node/node.ts";
import { altered, drives } from "./blob.fixture.ts";
import { DriveQuestions } from "./drive_questions.ts";
import { TestClock } from "./slow.fixture.ts";

void test("a drive that hangs holds up nobody for long: it is told as it was, then as failed, and asked once; a new one is left out", async () => {
  const memory = createMemoryNode(drives(2));
  const [first, second] = memory.drives;
  let [isHanging, asked] = [false, 0];
  const node = altered(memory, {
    status: async (drive) => {
      if (drive === first && isHanging) {
        asked += 1;
        await new Promise(() => undefined);
      }
      return memory.status(drive);
    },
  });
  const clock = new TestClock();
  const states = async (questions: DriveQuestions): Promise<DriveStatus["state"][]> => {
    // Others look at the same time, and one of them a little later.
    const looks = [questions.statuses(), questions.statuses()];
    await clock.work();
    looks.push(questions.statuses());
    clock.pass(limits.driveStatusMsMax);
    await clock.work();
    const seen = (await Promise.all(looks)).map((found) => found.map(({ id, state }) => ({ id, state })));
    assert.deepEqual(seen[1], seen[0]);
    assert.deepEqual(seen[2], seen[0]);
    assert.ok(seen[0]!.some(({ id }) => id === second));
    return seen[0]!.map(({ state }) => state);
  };
  const questions = new DriveQuestions(node, clock);
  assert.deepEqual(await states(questions), ["up", "up"]);
  isHanging = true;
  assert.deepEqual(await states(questions), ["up", "up"]);
  assert.deepEqual(await states(new DriveQuestions(node, clock)), ["up"]);
  clock.pass(limits.driveSilentMsMax);
  asked = 0;
  assert.deepEqual(await states(questions), ["failed", "up"]);
  assert.equal(asked, 0, "one question at a time");
});
