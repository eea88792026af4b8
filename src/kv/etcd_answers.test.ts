import assert from "node:assert/strict";
import { test } from "node:test";
import { meaningOf } from "./etcd_answers.ts";
import type { Meaning } from "./etcd_answers.ts";

void test("only what certainly was not carried out may be sent again", () => {
  const meanings: [number, string, Meaning][] = [
    [14, "etcdserver: no leader", "elsewhere"],
    [8, "etcdserver: too many requests", "elsewhere"],
    [14, "etcdserver: leader changed", "unknown"],
    [14, "etcdserver: request timed out", "unknown"],
    [14, "etcdserver: request timed out, possibly due to previous leader failure", "unknown"],
    [14, "etcdserver: server stopped", "unknown"],
    [4, "context deadline exceeded", "unknown"],
    [2, "something new", "unknown"],
    [8, "etcdserver: mvcc: database space exceeded", "full"],
    [8, "grpc: received message larger than max (5 vs. 4)", "refused"],
    [3, "etcdserver: request is too large", "refused"],
    [7, "etcdserver: permission denied", "refused"],
    [16, "etcdserver: invalid auth token", "authenticate"],
    [3, "etcdserver: user name is empty", "authenticate"],
    [11, "etcdserver: mvcc: required revision has been compacted", "compacted"],
  ];
  for (const [code, text, meaning] of meanings) assert.equal(meaningOf({ kind: "refused", code, text }), meaning, text);
  const cause = new Error("gone");
  assert.equal(meaningOf({ kind: "lost", sent: false, cause }), "elsewhere");
  assert.equal(meaningOf({ kind: "lost", sent: true, cause }), "unknown");
});
