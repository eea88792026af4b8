/** When rules want something: days, midnights, filters, and that the earliest end counts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { HeadRecord } from "../meta/heads.ts";
import { anyRule, dayMs, rulesFrom } from "./lifecycle.fixture.ts";
import {
  abortOf,
  daysAfter,
  expiryOf,
  fitsVersion,
  markerExpiryOf,
  noncurrentExpiriesOf,
  realDays,
  rulesForKey,
  shortDays,
} from "./lifecycle_rules.ts";

type Facts = Pick<HeadRecord, "sizeBytes" | "modifiedMs" | "tags" | "data">;
const object = (facts: Partial<Facts> = {}): Facts => ({
  sizeBytes: 10,
  modifiedMs: 0,
  tags: undefined,
  data: { kind: "empty" },
  ...facts,
});
const marker = object({ sizeBytes: 0, data: { kind: "marker" } });
const times = fc.integer({ min: 0, max: 4_000_000_000_000 });

test("AWS's example: three days after 10:30 end at the fourth midnight", () => {
  const made = Date.UTC(2014, 0, 15, 10, 30);
  assert.equal(daysAfter(realDays, made, 3), Date.UTC(2014, 0, 19));
});

test("days end at a midnight, no earlier than they have passed and less than a day later", () => {
  fc.assert(
    fc.property(times, fc.integer({ min: 0, max: 36_500 }), (fromMs, days) => {
      const endMs = daysAfter(realDays, fromMs, days);
      assert.equal(endMs % dayMs, 0);
      assert.ok(endMs >= fromMs + days * dayMs && endMs < fromMs + (days + 1) * dayMs);
    }),
  );
});

test("the most days that a rule can say have an end that is a date", () => {
  const [rule] = rulesFrom({ days: 0x7fff_ffff });
  const end = expiryOf([rule!], object({ modifiedMs: Date.UTC(2026, 0, 1) }), realDays)!;
  assert.equal(new Date(end.atMs).getUTCFullYear(), 10_000);
});

test("a shortened day is not rounded", () => {
  assert.equal(daysAfter(shortDays(10_000), 12_345, 3), 42_345);
});

test("prefixes are bytes, and disabled rules are about no key", () => {
  const rules = rulesFrom(
    { prefix: "a/", days: 1 },
    { prefix: "", days: 2, isEnabled: false },
    { prefix: "é", days: 3 },
  );
  const idsOf = (key: Buffer): number[] => rulesForKey(rules, key).map((rule) => rules.indexOf(rule));
  assert.deepEqual(idsOf(Buffer.from("a/b")), [0]);
  assert.deepEqual(idsOf(Buffer.from("a")), []);
  assert.deepEqual(idsOf(Buffer.from("éa")), [2]);
  assert.deepEqual(idsOf(Buffer.from("é").subarray(0, 1)), []);
});

test("every tag must be there, and sizes are beyond their bounds", () => {
  const [rule] = rulesFrom({ tag: ["t", "x"], above: 3, below: 10, days: 1 });
  const tags = new Map([
    ["t", "x"],
    ["u", "y"],
  ]);
  const fits = (facts: Partial<Facts>): boolean => fitsVersion(rule!, object({ tags, ...facts }));
  assert.ok(fits({ sizeBytes: 4 }) && fits({ sizeBytes: 9 }));
  assert.ok(!fits({ sizeBytes: 3 }) && !fits({ sizeBytes: 10 }));
  assert.ok(!fits({ sizeBytes: 4, tags: new Map([["t", "y"]]) }) && !fits({ sizeBytes: 4, tags: undefined }));
  assert.ok(!fitsVersion(rule!, marker), "a marker has neither");
});

test("a marker goes by days, by date, or as one that stands alone", () => {
  assert.equal(markerExpiryOf(rulesFrom({ days: 2 }), { ...marker, modifiedMs: 1 }, realDays), 3 * dayMs);
  assert.equal(markerExpiryOf(rulesFrom({ dateMs: dayMs }), { ...marker, modifiedMs: 1 }, realDays), dayMs);
  assert.equal(markerExpiryOf(rulesFrom({ markers: true }), { ...marker, modifiedMs: 1 }, realDays), dayMs);
  assert.equal(markerExpiryOf(rulesFrom({ markers: false }), marker, realDays), undefined);
  assert.equal(markerExpiryOf(rulesFrom({ noncurrentDays: 1 }), marker, realDays), undefined);
  assert.equal(expiryOf(rulesFrom({ markers: true }), object(), realDays), undefined);
});

test("of several rules the earliest end counts, and it is one of them", () => {
  const rule = anyRule(["", "a"], ["x", "y"], [dayMs, 9 * dayMs]);
  fc.assert(
    fc.property(fc.array(rule, { minLength: 1, maxLength: 6 }), times, fc.nat(40), (texts, modifiedMs, sizeBytes) => {
      const rules = rulesForKey(rulesFrom(...texts), Buffer.from("ab"));
      const version = object({ modifiedMs, sizeBytes, tags: new Map([["t", "x"]]) });
      const each = rules.flatMap((one) => expiryOf([one], version, realDays) ?? []);
      const together = expiryOf(rules, version, realDays);
      assert.equal(together?.atMs, each.length === 0 ? undefined : Math.min(...each.map(({ atMs }) => atMs)));
      if (together !== undefined) assert.ok(each.some(({ ruleId }) => ruleId === together.ruleId));
      const noncurrent = noncurrentExpiriesOf(rules, version, modifiedMs, realDays);
      assert.equal(noncurrent.length, rules.filter((one) => one.noncurrent && fitsVersion(one, version)).length);
      const aborts = rules.flatMap((one) => abortOf([one], modifiedMs, realDays) ?? []);
      assert.equal(
        abortOf(rules, modifiedMs, realDays)?.atMs,
        aborts.length === 0 ? undefined : Math.min(...aborts.map(({ atMs }) => atMs)),
      );
    }),
  );
});
