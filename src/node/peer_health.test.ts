import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../core/clock.ts";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { silentLog, type LogFields } from "../core/log.ts";
import { PeerHealth } from "./peer_health.ts";
import { InFlight } from "./peer_in_flight.ts";
import { RefusalLog } from "./peer_refusals.ts";

const failure = (nowMs: number, wasTry = false) => ({ nowMs, wasTry, jitter: 0 });

test("a peer that failed is refused at once, then tried by one call, ever later", () => {
  const health = new PeerHealth();
  assert.deepEqual(health.begin(0), { kind: "go" });
  assert.equal(health.failed("fell", failure(0)), true);
  let [nowMs, waitMs] = [0, limits.peerRetryMsMin as number];
  for (let round = 0; round < 12; round++) {
    assert.deepEqual(health.begin(nowMs + waitMs - 1), { kind: "refused", why: "fell" });
    nowMs += waitMs;
    assert.deepEqual(health.begin(nowMs), { kind: "try" });
    assert.deepEqual(health.begin(nowMs), { kind: "refused", why: "fell" });
    assert.equal(health.failed("fell", failure(nowMs, true)), false);
    waitMs = Math.min(waitMs * 2, limits.peerRetryMsMax);
  }
  assert.equal(health.begin(nowMs + waitMs).kind, "try");
  assert.equal(health.answered(), true);
  assert.equal(health.isWell, true);
  assert.equal(health.answered(), false);
  assert.equal(health.failed("fell", failure(nowMs)), true);
  assert.equal(health.begin(nowMs + limits.peerRetryMsMin).kind, "try");
});

test("calls that began before the peer was away neither end the try nor put it off", () => {
  const health = new PeerHealth();
  health.failed("fell", failure(0));
  assert.equal(health.failed("fell too", failure(50)), false);
  assert.equal(health.begin(limits.peerRetryMsMin).kind, "try");
  assert.equal(health.failed("fell late", failure(limits.peerRetryMsMin)), false);
  assert.equal(health.begin(limits.peerRetryMsMin).kind, "refused");
  health.leftOpen(limits.peerRetryMsMin);
  assert.equal(health.begin(limits.peerRetryMsMin).kind, "try");
});

test("jitter only makes a wait shorter, by a quarter at most", () => {
  const health = new PeerHealth();
  health.failed("fell", { nowMs: 0, wasTry: false, jitter: 0.999 });
  assert.equal(health.begin(limits.peerRetryMsMin * 0.75 - 1).kind, "refused");
  assert.equal(health.begin(limits.peerRetryMsMin * 0.76).kind, "try");
});

test("calls under way are bounded: of one node, of all, and in bytes", () => {
  const inFlight = new InFlight();
  const isBusy = (error: unknown): boolean => hasReason(error, "slow_down");
  const leave = Array.from({ length: limits.callsOfOnePeerInFlightMax }, () => inFlight.enter("a", 0));
  assert.throws(() => inFlight.enter("a", 0), isBusy);
  leave.pop()!();
  leave.push(inFlight.enter("a", 0));
  for (let index = leave.length; index < limits.peerCallsInFlightMax; index++)
    leave.push(inFlight.enter(`${index}`, 0));
  assert.throws(() => inFlight.enter("last", 0), isBusy);
  for (const each of leave) each();
  const full = limits.peerBodyBytesInFlightMax;
  const end = inFlight.enter("a", full - 1);
  assert.throws(() => inFlight.enter("b", 2), isBusy);
  inFlight.enter("b", 1)();
  end();
  inFlight.enter("b", full)();
});

test("who is refused fills neither log nor memory", () => {
  let nowMs = 0;
  const lines: LogFields[] = [];
  const clock: Clock = { nowMs: () => 0, monotonicMs: () => nowMs, sleep: () => Promise.resolve() };
  const refusals = new RefusalLog(clock, { ...silentLog, warn: (fields) => lines.push(fields) });
  for (let index = 0; index < 1_000; index++) refusals.note("10.0.0.1", "refused");
  assert.deepEqual(lines.splice(0), [{ address: "10.0.0.1" }]);
  nowMs += limits.peerRefusalLogMs;
  refusals.note("10.0.0.1", "refused");
  assert.deepEqual(lines.splice(0), [{ address: "10.0.0.1", refusedBefore: 999 }]);
  for (let index = 0; index < 3 * limits.peerRefusalAddressesMax; index++) refusals.note(`${index}`, "refused");
  assert.equal(lines.splice(0).length, limits.peerRefusalAddressesMax - 1);
  nowMs += limits.peerRefusalLogMs;
  refusals.note(undefined, "refused");
  assert.deepEqual(lines, [{ address: "unknown" }]);
});
