/**
 * Who is to be told of what: the rules of a bucket's notification document, and which of them an event falls under. Pure.
 *
 * Source: "Amazon S3 Event Notifications" of the S3 user guide.
 */
import type { EventName } from "../meta/events.ts";

export type EventRule = {
  readonly id: string;
  /** A destination's name. */
  readonly destination: string;
  /** As S3 spells them: `s3:ObjectCreated:Put`, `s3:ObjectCreated:*`. */
  readonly events: readonly string[];
  readonly prefix: string | undefined;
  readonly suffix: string | undefined;
};

/** What a rule may ask for: what happens here. */
export const knownEvents: readonly string[] = [
  "s3:ObjectCreated:*",
  "s3:ObjectCreated:Put",
  "s3:ObjectCreated:Post",
  "s3:ObjectCreated:Copy",
  "s3:ObjectCreated:CompleteMultipartUpload",
  "s3:ObjectRemoved:*",
  "s3:ObjectRemoved:Delete",
  "s3:ObjectRemoved:DeleteMarkerCreated",
  "s3:ObjectTagging:*",
  "s3:ObjectTagging:Put",
  "s3:ObjectTagging:Delete",
  "s3:LifecycleExpiration:*",
  "s3:LifecycleExpiration:Delete",
  "s3:LifecycleExpiration:DeleteMarkerCreated",
];

/** `wanted` may end with `*`. */
function covers(wanted: string, event: string): boolean {
  return wanted === event || (wanted.endsWith("*") && event.startsWith(wanted.slice(0, -1)));
}

function fits({ prefix = "", suffix = "" }: EventRule, key: Buffer): boolean {
  const [head, tail] = [Buffer.from(prefix), Buffer.from(suffix)];
  return (
    head.length <= key.length &&
    tail.length <= key.length &&
    key.subarray(0, head.length).equals(head) &&
    key.subarray(key.length - tail.length).equals(tail)
  );
}

/** For each destination that is to be told, the first rule that says so. */
export function rulesFor(rules: readonly EventRule[], name: EventName, key: Buffer): readonly EventRule[] {
  const found = new Map<string, EventRule>();
  for (const rule of rules)
    if (!found.has(rule.destination) && rule.events.some((wanted) => covers(wanted, `s3:${name}`)) && fits(rule, key))
      found.set(rule.destination, rule);
  return [...found.values()];
}

/**
 * Whether one event could fall under both. AWS refuses such rules; here only those of one destination are, which would be told
 * twice: there is nothing behind the destinations that could hand an event on to several.
 */
export function overlap(left: EventRule, right: EventRule): boolean {
  if (left.destination !== right.destination) return false;
  const { prefix: leftPrefix = "", suffix: leftSuffix = "" } = left;
  const { prefix: rightPrefix = "", suffix: rightSuffix = "" } = right;
  return (
    left.events.some((one) => right.events.some((other) => covers(one, other) || covers(other, one))) &&
    (leftPrefix.startsWith(rightPrefix) || rightPrefix.startsWith(leftPrefix)) &&
    (leftSuffix.endsWith(rightSuffix) || rightSuffix.endsWith(leftSuffix))
  );
}

/** The names of all destinations that the rules name, each once. */
export function destinationsOf(rules: readonly EventRule[]): string[] {
  return [...new Set(rules.map(({ destination }) => destination))];
}
