/** Lines of the log where they cannot be written, or not at once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LogLines } from "./log.ts";

type Outcome = number | "EAGAIN" | "ENOSPC" | "EIO" | "EPIPE";

/** A log that takes so many bytes in each call, or fails so; and everything when there are no outcomes left. */
function logOf(...outcomes: Outcome[]): { readonly lines: LogLines; written(): string } {
  let written = "";
  // Each look at the clock is a tenth of a second later.
  let nowMs = 0;
  const clock = { monotonicMs: () => (nowMs += 100) };
  const writeSome = (bytes: Buffer): number => {
    const outcome = outcomes.shift() ?? bytes.length;
    if (typeof outcome === "string") throw Object.assign(new Error(outcome), { code: outcome });
    written += bytes.toString("utf8", 0, outcome);
    return Math.min(outcome, bytes.length);
  };
  return { lines: new LogLines({ writeSome, clock }), written: () => written };
}

for (const error of ["ENOSPC", "EIO", "EPIPE"] as const)
  test(`a line that meets ${error} is dropped, and the next ones are written`, () => {
    const { lines, written } = logOf(error, error);
    for (const line of ["1\n", "2\n", "3\n", "4\n"]) lines.write(line);
    assert.equal(written(), "3\n4\n");
  });

test("what was written of a dropped line stands on a line of its own", () => {
  const { lines, written } = logOf(3, "ENOSPC", "ENOSPC");
  for (const line of ["first\n", "second\n", "third\n", "fourth\n"]) lines.write(line);
  assert.equal(written(), "fir\nthird\nfourth\n");
});

test("a line is written whole, in as many pieces and tries as it takes", () => {
  const { lines, written } = logOf("EAGAIN", 2, "EAGAIN", "EAGAIN", 1);
  for (const line of ["first\n", "second\n"]) lines.write(line);
  assert.equal(written(), "first\nsecond\n");
});

test("a reader that takes nothing is waited for once, for a bounded time", () => {
  let asked = 0;
  let nowMs = 0;
  const writeSome = (): number => {
    asked += 1;
    throw Object.assign(new Error("EAGAIN"), { code: "EAGAIN" });
  };
  const lines = new LogLines({ writeSome, clock: { monotonicMs: () => (nowMs += 100) } });
  lines.write("1\n");
  assert.ok(asked > 2 && asked < 20);
  const before = asked;
  lines.write("2\n");
  assert.equal(asked, before + 1);
});
