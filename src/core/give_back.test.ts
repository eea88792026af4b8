import assert from "node:assert/strict";
import { test } from "node:test";
import { giveBack, soleView } from "./give_back.ts";

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

void test("the only view of memory gives back all of it, a view of that view nothing, and one of shared memory nothing", () => {
  const whole = Buffer.allocUnsafeSlow(64 * 1024);
  const view = soleView(whole, 10, 20);
  giveBack(view.subarray(0));
  assert.equal(whole.length, 64 * 1024);
  giveBack(view);
  assert.equal(whole.length, 0);
  const part = Buffer.allocUnsafeSlow(64 * 1024).subarray(1);
  giveBack(soleView(part, 0, 100));
  assert.equal(part.length, 64 * 1024 - 1);
});
