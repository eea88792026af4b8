/**
 * A simulation that asked the machine for the time or for chance would go on as fast as this process happens to be, which depends on
 * what ran in it before: its seed alone would be another run.
 */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import { systemRandom } from "../../src/core/random.ts";

type Asked = { readonly calls: readonly { readonly stack: Error }[] };

/** Call the result when the simulations have ended: nothing in them has asked the system's clock, waited by it, or drawn by its chance. */
export function watchSystem(t: TestContext): () => void {
  const asked: Asked[] = [
    ...(["nowMs", "monotonicMs", "sleep"] as const).map((name) => t.mock.method(systemClock, name).mock),
    ...(["bytes", "below"] as const).map((name) => t.mock.method(systemRandom, name).mock),
  ];
  return () => {
    const [first] = asked.flatMap(({ calls }) => calls.map(({ stack }) => stack.stack));
    assert.equal(first, undefined);
  };
}
