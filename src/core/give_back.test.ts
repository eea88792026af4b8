import assert from "node:assert/strict";
import { test } from "node:test";
import { giveBack } from "./give_back.ts";

void test("memory is given back that nobody shares, and no other", () => {
  const own = Buffer.allocUnsafeSlow(64 * 1024);
  giveBack(own);
  assert.equal(own.length, 0);
  const whole = Buffer.allocUnsafeSlow(64 * 1024);
  giveBack(whole.subarray(1));
  giveBack(whole.subarray(0, whole.length - 1));
  assert.equal(whole.length, 64 * 1024);
  const shared = new Uint8Array(new SharedArrayBuffer(64 * 1024));
  giveBack(shared);
  assert.equal(shared.length, 64 * 1024);
  giveBack(Buffer.alloc(0));
});
