import assert from "node:assert/strict";
import { test } from "node:test";
import { checkHistory } from "./checker.ts";
import type { Operation } from "./checker.ts";

type Call = Operation["call"];
type Answer = Operation["answer"];
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
