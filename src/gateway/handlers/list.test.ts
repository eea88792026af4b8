import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isoTime } from "./list.ts";

void test("a listing's dates are ISO 8601 in whole seconds, whatever was written before", () => {
  const ms = fc.integer({ min: 0, max: Date.UTC(9999, 11, 31) });
  const near = fc.integer({ min: 0, max: 180_000 });
  fc.assert(
    fc.property(ms, fc.array(near, { maxLength: 20 }), (base, offsets) => {
      for (const offset of [0, ...offsets]) {
        const whole = new Date(base + offset).setUTCMilliseconds(0);
        assert.equal(isoTime(base + offset), new Date(whole).toISOString());
      }
    }),
  );
});
