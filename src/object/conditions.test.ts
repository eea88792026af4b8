import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { HoldfastError } from "../core/errors.ts";
import { judgeCopySource, judgeDelete, judgeRead, judgeWrite } from "./conditions.ts";
import type { ReadConditions } from "./object.ts";
import { resolveRange } from "./ranges.ts";

const current = { etag: "a".repeat(32), modifiedMs: 10_500, sizeBytes: 7 };
const other = ["b".repeat(32)];
const same = [...other, current.etag];

function outcome(run: () => unknown): unknown {
  try {
    return run() ?? "proceed";
  } catch (error) {
    assert(error instanceof HoldfastError);
    return error.reason;
  }
}

test("reads: the precedence of RFC 9110", () => {
  const cases: [ReadConditions | undefined, string][] = [
    [undefined, "proceed"],
    [{ ifMatch: "*" }, "proceed"],
    [{ ifMatch: same }, "proceed"],
    [{ ifMatch: other }, "precondition_failed"],
    [{ ifMatch: same, ifUnmodifiedSinceMs: 1_000 }, "proceed"],
    [{ ifUnmodifiedSinceMs: 10_000 }, "proceed"],
    [{ ifUnmodifiedSinceMs: 9_000 }, "precondition_failed"],
    [{ ifNoneMatch: same }, "not_modified"],
    [{ ifNoneMatch: "*" }, "not_modified"],
    [{ ifNoneMatch: other, ifModifiedSinceMs: 11_000 }, "proceed"],
    [{ ifModifiedSinceMs: 10_000 }, "not_modified"],
    [{ ifModifiedSinceMs: 9_000 }, "proceed"],
    [{ ifMatch: other, ifNoneMatch: same }, "precondition_failed"],
    [{ ifMatch: same, ifNoneMatch: same }, "not_modified"],
  ];
  for (const [conditions, expected] of cases) {
    assert.equal(
      outcome(() => judgeRead(current, conditions)),
      expected,
      JSON.stringify(conditions),
    );
    const copy = expected === "not_modified" ? "precondition_failed" : expected;
    assert.equal(
      outcome(() => judgeCopySource(current, conditions)),
      copy,
    );
  }
});

test("writes and deletes: what S3 says", () => {
  assert.equal(
    outcome(() => judgeWrite(undefined, { ifMatch: same })),
    "no_such_key",
  );
  assert.equal(
    outcome(() => judgeWrite(undefined, { ifNoneMatch: "*" })),
    "proceed",
  );
  assert.equal(
    outcome(() => judgeWrite(current, { ifNoneMatch: "*" })),
    "precondition_failed",
  );
  assert.equal(
    outcome(() => judgeWrite(current, { ifNoneMatch: other })),
    "proceed",
  );
  assert.equal(
    outcome(() => judgeWrite(current, { ifMatch: same })),
    "proceed",
  );
  assert.equal(
    outcome(() => judgeWrite(current, { ifMatch: other })),
    "precondition_failed",
  );
  assert.equal(
    outcome(() => judgeDelete(current, { sizeBytes: 7, modifiedMs: 10_000 })),
    "proceed",
  );
  assert.equal(
    outcome(() => judgeDelete(current, { sizeBytes: 8 })),
    "precondition_failed",
  );
  assert.equal(
    outcome(() => judgeDelete(current, { modifiedMs: 11_000 })),
    "precondition_failed",
  );
  assert.equal(
    outcome(() => judgeDelete(undefined, { sizeBytes: 8 })),
    "proceed",
  );
});

test("a range sends what slicing sends, and an empty slice is invalid_range", () => {
  const range = fc.oneof(
    fc.record({
      kind: fc.constant("from" as const),
      first: fc.nat(12),
      last: fc.option(fc.nat(12), { nil: undefined }),
    }),
    fc.record({ kind: fc.constant("suffix" as const), length: fc.nat(12) }),
  );
  fc.assert(
    fc.property(range, fc.nat(8), (asked, sizeBytes) => {
      const bytes = Array.from({ length: sizeBytes }, (_, index) => index);
      const slice =
        asked.kind === "from"
          ? bytes.slice(asked.first, asked.last === undefined ? undefined : asked.last + 1)
          : bytes.slice(Math.max(0, sizeBytes - asked.length));
      const expected = slice.length === 0 ? "invalid_range" : { offset: slice[0], length: slice.length };
      assert.deepEqual(
        outcome(() => resolveRange(asked, sizeBytes)),
        expected,
      );
    }),
  );
});
