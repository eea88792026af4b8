import assert from "node:assert/strict";
import { constants } from "node:os";
import { test } from "node:test";
import { HoldfastError, systemCauses } from "./errors.ts";

test("the system's errors that an error comes from are found, named or by npm lmdb's numbers", () => {
  const named = Object.assign(new Error("It does not open."), { code: "EMFILE" });
  const numbered = Object.assign(new Error("Input/output error"), { code: constants.errno.EIO });
  const own = Object.assign(new Error("MDB_PANIC"), { code: -30_795 });
  assert.deepEqual(systemCauses(named), ["EMFILE"]);
  assert.deepEqual(systemCauses(new HoldfastError("unavailable", "No.", { cause: numbered })), ["EIO"]);
  assert.deepEqual(systemCauses(new Error("One.", { cause: new Error("Two.", { cause: named }) })), ["EMFILE"]);
  for (const none of [own, new Error("Nothing."), "EIO", undefined]) assert.deepEqual(systemCauses(none), []);
});
