import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { checkHistory, isInconclusive } from "./checker.ts";
import type { Answer, Call, Operation, State } from "./checker.ts";

const op = (startMs: number, endMs: number, call: Call, answer: Answer): Operation => ({
  startMs,
  endMs,
  call,
  answer,
});
const get = (startMs: number, endMs: number, etag: string | undefined) =>
  op(startMs, endMs, { kind: "get" }, { kind: "value", etag });
const put = (startMs: number, endMs: number, etag: string) =>
  op(startMs, endMs, { kind: "put", etag }, { kind: "done" });
const complete = (startMs: number, endMs: number, etag: string, kind: "done" | "refused") =>
  op(startMs, endMs, { kind: "complete", etag, ifNoneMatch: "*" }, { kind });
const remove = (startMs: number, endMs: number) => op(startMs, endMs, { kind: "delete" }, { kind: "done" });
const unanswered = (startMs: number, call: Call) => op(startMs, Infinity, call, { kind: "unknown" });
const create = (startMs: number, endMs: number, etag: string, kind: "done" | "refused") =>
  op(startMs, endMs, { kind: "put", etag, ifNoneMatch: "*" }, { kind });

test("accepts what one copy could have answered", () => {
  assert.equal(
    checkHistory(undefined, [
      put(0, 10, "a"),
      get(5, 6, undefined),
      get(5, 7, "a"),
      put(11, 12, "b"),
      get(13, 14, "b"),
    ]),
    undefined,
  );
  assert.equal(
    checkHistory(undefined, [create(0, 10, "a", "done"), create(0, 10, "b", "refused"), get(11, 12, "a")]),
    undefined,
  );
});

test("an unanswered write may have happened late, or never", () => {
  const lost = op(0, Infinity, { kind: "put", etag: "x" }, { kind: "unknown" });
  assert.equal(checkHistory("a", [lost, get(5, 6, "a"), get(7, 8, "x")]), undefined);
  assert.equal(checkHistory("a", [lost, get(5, 6, "a"), get(7, 8, "a")]), undefined);
  assert.match(checkHistory("a", [lost, get(5, 6, "x"), get(7, 8, "a")]) ?? "", /no order/);
});

test("rejects a stale read", () => {
  assert.match(checkHistory("a", [put(0, 1, "b"), get(2, 3, "a")]) ?? "", /no order/);
});

test("rejects two winners of If-None-Match: *", () => {
  assert.match(checkHistory(undefined, [create(0, 10, "a", "done"), create(0, 10, "b", "done")]) ?? "", /no order/);
});

test("rejects a lost update under If-Match", () => {
  const swap = (etag: string) => op(0, 10, { kind: "put", etag, ifMatch: "a" }, { kind: "done" });
  assert.match(checkHistory("a", [swap("b"), swap("c")]) ?? "", /no order/);
});

test("rejects a refusal that had no reason", () => {
  assert.match(checkHistory(undefined, [create(0, 1, "a", "refused")]) ?? "", /no order/);
});

test("rejects reads that go back and forth", () => {
  assert.match(checkHistory("a", [put(0, 20, "b"), get(1, 2, "b"), get(3, 4, "a")]) ?? "", /no order/);
});

test("rejects a body that outlives its delete, and a copy that is not there", () => {
  assert.match(checkHistory("a", [remove(0, 1), get(2, 3, "a")]) ?? "", /no order/);
  const copy = op(0, 1, { kind: "copy", etag: "b" }, { kind: "done" });
  assert.match(checkHistory("a", [copy, get(2, 3, "a")]) ?? "", /no order/);
  assert.equal(checkHistory("a", [copy, get(2, 3, "b"), remove(4, 5), get(6, 7, undefined)]), undefined);
});

test("rejects two completed uploads of which each found nothing there", () => {
  assert.match(checkHistory(undefined, [complete(0, 10, "a", "done"), complete(0, 10, "b", "done")]) ?? "", /no order/);
  assert.equal(checkHistory(undefined, [complete(0, 10, "a", "done"), complete(0, 10, "b", "refused")]), undefined);
});

test("rejects what a copy could not have found at its source", () => {
  const asked = (etag: string, answer: Answer) => op(2, 3, { kind: "get", ifMatch: etag }, answer);
  assert.match(checkHistory("a", [put(0, 1, "b"), asked("a", { kind: "value", etag: "a" })]) ?? "", /no order/);
  assert.match(checkHistory("a", [put(0, 1, "b"), asked("b", { kind: "refused" })]) ?? "", /no order/);
  assert.equal(checkHistory("a", [put(0, 1, "b"), asked("a", { kind: "refused" })]), undefined);
});

test("an unanswered write happens once", () => {
  const lost = unanswered(0, { kind: "complete", etag: "x" });
  assert.equal(checkHistory("a", [lost, put(1, 2, "b"), get(3, 4, "x")]), undefined);
  assert.match(checkHistory("a", [lost, get(1, 2, "x"), put(3, 4, "b"), get(5, 6, "x")]) ?? "", /no order/);
});

test("unanswered operations that only others of them could have seen are taken in too", () => {
  const first = unanswered(0, { kind: "put", etag: "x", ifMatch: "a" });
  const second = unanswered(0, { kind: "copy", etag: "y", ifMatch: "x" });
  assert.equal(checkHistory("a", [first, second, get(5, 6, "y")]), undefined);
  assert.match(checkHistory("b", [first, second, get(5, 6, "y")]) ?? "", /no order/);
  const removed = unanswered(0, { kind: "delete" });
  assert.equal(checkHistory("a", [removed, create(5, 6, "b", "done")]), undefined);
  assert.equal(
    checkHistory(undefined, [first, unanswered(0, { kind: "put", etag: "z" }), complete(5, 6, "b", "refused")]),
    undefined,
  );
});

test("many unanswered operations do not make it give up", () => {
  const lost = Array.from({ length: 200 }, (_, index) => unanswered(index, { kind: "put", etag: `x${index}` }));
  const reads = [7, 150, 40].map((etag, index) => get(1_000 + index, 1_000.5 + index, `x${etag}`));
  assert.equal(checkHistory("a", [...lost, ...reads]), undefined);
  const found = checkHistory("a", [...lost, ...reads, get(2_000, 2_001, "x7")]);
  assert.match(found ?? "", /no order/);
  assert.equal(isInconclusive(found), false);
});

const etag = fc.constantFrom("a", "b", "c");
const state = fc.option(etag, { nil: undefined });
const condition = fc.oneof(
  fc.constant({}),
  etag.map((ifMatch) => ({ ifMatch })),
  fc.constant({ ifNoneMatch: "*" as const }),
);
const operation: fc.Arbitrary<Operation> = fc
  .record({
    startMs: fc.nat(20),
    lengthMs: fc.integer({ min: 1, max: 12 }),
    call: fc.oneof(
      fc.constant<Call>({ kind: "get" }),
      etag.map((ifMatch): Call => ({ kind: "get", ifMatch })),
      fc.tuple(etag, condition).map(([written, also]): Call => ({ kind: "put", etag: written, ...also })),
      fc.constant<Call>({ kind: "delete" }),
      etag.map((ifMatch): Call => ({ kind: "delete", ifMatch })),
    ),
    refused: fc.boolean(),
    lost: fc.boolean(),
    value: state,
  })
  .map(({ startMs, lengthMs, call, refused, lost, value }) => {
    const isConditional = "ifMatch" in call || "ifNoneMatch" in call;
    if (refused && isConditional) return op(startMs, startMs + lengthMs, call, { kind: "refused" });
    if (call.kind === "get") return op(startMs, startMs + lengthMs, call, { kind: "value", etag: value });
    return lost ? unanswered(startMs, call) : op(startMs, startMs + lengthMs, call, { kind: "done" });
  });

/** What one copy does with an operation, spelt out once more: the answer it gives and the state it leaves. */
function single(found: State, call: Call): { readonly answer: Answer; readonly next: State } {
  const { ifMatch, ifNoneMatch } = { ifMatch: undefined, ifNoneMatch: undefined, ...call };
  const isRefused = (ifMatch !== undefined && ifMatch !== found) || (ifNoneMatch === "*" && found !== undefined);
  if (isRefused) return { answer: { kind: "refused" }, next: found };
  if (call.kind === "get") return { answer: { kind: "value", etag: found }, next: found };
  return { answer: { kind: "done" }, next: call.kind === "delete" ? undefined : call.etag };
}

/** Tries every order, leaving out any of the unanswered ones. */
function someOrder(found: State, left: readonly Operation[]): boolean {
  if (left.every(({ answer }) => answer.kind === "unknown")) return true;
  return left.some((each) => {
    if (left.some((other) => other.endMs < each.startMs)) return false;
    const { answer, next } = single(found, each.call);
    const fits = each.answer.kind === "unknown" || JSON.stringify(answer) === JSON.stringify(each.answer);
    return (
      fits &&
      someOrder(
        next,
        left.filter((other) => other !== each),
      )
    );
  });
}

test("says of any short history what trying every order says", () => {
  let rejected = 0;
  const anyHistory = fc.array(operation, { maxLength: 6 });
  fc.assert(
    fc.property(state, anyHistory, (initial, history) => {
      const isRight = someOrder(initial, history);
      if (!isRight) rejected += 1;
      assert.equal(checkHistory(initial, history) === undefined, isRight);
    }),
    { numRuns: 5_000 },
  );
  assert.ok(rejected > 100, "both verdicts were met");
});
