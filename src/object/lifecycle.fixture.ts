/** Lifecycle documents for tests, from as little as a test wants to say; and rules that fast-check makes. */
import fc from "fast-check";
import { normalised } from "../gateway/documents/document.ts";
import { lifecycle, lifecycleRules } from "../gateway/documents/lifecycle.ts";
import { xmlElement } from "../gateway/xml.ts";
import type { LifecycleRule } from "./lifecycle_rules.ts";

export const dayMs = 24 * 3_600_000;

export type RuleText = {
  readonly prefix?: string | undefined;
  readonly tag?: readonly [name: string, value: string] | undefined;
  readonly above?: number | undefined;
  readonly below?: number | undefined;
  readonly isEnabled?: boolean;
  readonly days?: number | undefined;
  readonly dateMs?: number | undefined;
  readonly markers?: boolean | undefined;
  readonly noncurrentDays?: number | undefined;
  readonly newer?: number | undefined;
  readonly abortDays?: number | undefined;
};

const said = <T>(value: T | undefined, print: (value: T) => string): string =>
  value === undefined ? "" : print(value);

function ruleText(rule: RuleText): string {
  const { prefix = "", tag, above, below, days, dateMs, markers, noncurrentDays, newer, abortDays } = rule;
  const filter =
    xmlElement("Prefix", prefix) +
    said(tag, ([name, value]) => `<Tag>${xmlElement("Key", name)}${xmlElement("Value", value)}</Tag>`) +
    said(above, (bytes) => xmlElement("ObjectSizeGreaterThan", bytes)) +
    said(below, (bytes) => xmlElement("ObjectSizeLessThan", bytes));
  const expiration =
    said(days, (count) => xmlElement("Days", count)) +
    said(dateMs, (ms) => xmlElement("Date", new Date(ms).toISOString())) +
    said(markers, (removes) => xmlElement("ExpiredObjectDeleteMarker", removes));
  const kept = said(newer, (count) => xmlElement("NewerNoncurrentVersions", count));
  return (
    `<Rule><Filter><And>${filter}</And></Filter><Status>${rule.isEnabled === false ? "Disabled" : "Enabled"}</Status>` +
    (expiration === "" ? "" : `<Expiration>${expiration}</Expiration>`) +
    said(
      noncurrentDays,
      (count) =>
        `<NoncurrentVersionExpiration>${xmlElement("NoncurrentDays", count)}${kept}</NoncurrentVersionExpiration>`,
    ) +
    said(
      abortDays,
      (count) =>
        `<AbortIncompleteMultipartUpload>${xmlElement("DaysAfterInitiation", count)}</AbortIncompleteMultipartUpload>`,
    ) +
    "</Rule>"
  );
}

/** As it would be stored. */
export function lifecycleDocument(rules: readonly RuleText[]): Buffer {
  const text = `<LifecycleConfiguration>${rules.map(ruleText).join("")}</LifecycleConfiguration>`;
  return normalised(lifecycle, Buffer.from(text)).bytes;
}

export function rulesFrom(...rules: readonly RuleText[]): readonly LifecycleRule[] {
  return lifecycleRules({ bytes: lifecycleDocument(rules), modifiedMs: 0 });
}

const few = fc.integer({ min: 1, max: 4 });

/** Rules of every kind that go together. `prefixes` and `tags` are the ones that the test's objects have. */
export function anyRule(prefixes: readonly string[], tagValues: readonly string[], dates: readonly number[]) {
  const base = {
    prefix: fc.constantFrom(...prefixes),
    isEnabled: fc.boolean().map((off) => !off || prefixes.length > 2),
  };
  const value = fc.constantFrom(...tagValues);
  const wants = fc.record({
    tag: fc.option(
      value.map((text): [string, string] => ["t", text]),
      { nil: undefined },
    ),
    above: fc.option(fc.constantFrom(0, 3), { nil: undefined }),
    below: fc.option(fc.constantFrom(5, 30), { nil: undefined }),
  });
  const newer = fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined });
  const rule = fc.oneof(
    fc.record({ ...base, days: few }),
    fc.record({ ...base, dateMs: fc.constantFrom(...dates) }),
    fc.record({ ...base, markers: fc.constant(true), noncurrentDays: few }),
    fc.record({ ...base, noncurrentDays: few, newer }),
    fc.record({ ...base, abortDays: few }),
  );
  return fc.tuple(rule, wants, fc.boolean()).map(([each, filter, isNarrow]): RuleText => {
    const mayBeNarrow = !("markers" in each) && !("abortDays" in each);
    return isNarrow && mayBeNarrow ? { ...each, ...filter } : each;
  });
}
