/** What the tests of whole servers stand on. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { temporaryFolder } from "./harness.ts";

void test("a folder goes after everything else that its test leaves behind: until then somebody may write into it", async (t) => {
  let folder = "";
  const seen: boolean[] = [];
  await t.test("a test whose server is ended after it", async (inner) => {
    folder = temporaryFolder(inner);
    for (let servers = 0; servers < 2; servers++) inner.after(async () => void seen.push(existsSync(folder)));
  });
  assert.deepEqual([seen, existsSync(folder)], [[true, true], false]);
});
