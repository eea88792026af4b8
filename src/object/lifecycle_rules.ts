/**
 * Lifecycle rules: which of them a key, a version or an upload falls under, and when what they want is due. Pure.
 *
 * Days are counted from when an object was made, from when a version became noncurrent (its successor was made), from when an
 * upload was begun; and the end is rounded up to the next midnight UTC, as AWS does. Where several rules want the same, the
 * earliest counts.
 *
 * Source: "Lifecycle configuration elements" and "Setting an S3 Lifecycle configuration" of the S3 user guide.
 */
import type { HeadRecord } from "../meta/heads.ts";
import { startsWith } from "./markers.ts";

export type LifecycleRule = {
  readonly id: string;
  readonly isEnabled: boolean;
  /** Empty: every key. */
  readonly prefix: Buffer;
  /** All of them. */
  readonly tags: ReadonlyMap<string, string>;
  readonly sizeGreaterThan: number | undefined;
  readonly sizeLessThan: number | undefined;
  readonly expiration: Expiration | undefined;
  readonly noncurrent: NoncurrentExpiration | undefined;
  /** Days after which an upload that is not completed ends. */
  readonly abortDays: number | undefined;
};

export type Expiration =
  | { readonly kind: "days"; readonly days: number }
  | { readonly kind: "date"; readonly atMs: number }
  /** Takes delete markers away that no version stands behind; false: says that it does not. */
  | { readonly kind: "markers"; readonly removes: boolean };

export type NoncurrentExpiration = {
  readonly days: number;
  /** So many noncurrent versions, the newest ones, are kept however old they are. */
  readonly newerVersions: number;
};

/** What is told of an object, or an upload, that rules will end: `x-amz-expiration`, `x-amz-abort-date`. */
export type Ending = { readonly atMs: number; readonly ruleId: string };

/** How long a day of a rule is, and to what its end is rounded up. */
export type Calendar = { readonly dayMs: number; readonly roundMs: number };

const dayMs = 24 * 3_600_000;
export const realDays: Calendar = { dayMs, roundMs: dayMs };

/** For tests: days of so many milliseconds, with nothing rounded. */
export function shortDays(milliseconds: number): Calendar {
  return { dayMs: milliseconds, roundMs: 1 };
}

/** The year 10000, in which every count of days that a rule can have ends at the latest. */
const farMs = 253_402_300_800_000;

export function daysAfter({ dayMs: ofDay, roundMs }: Calendar, fromMs: number, days: number): number {
  return Math.min(farMs, Math.ceil((fromMs + days * ofDay) / roundMs) * roundMs);
}

type Version = Pick<HeadRecord, "sizeBytes" | "modifiedMs" | "tags" | "data">;

/** The rules that count for a key at all. */
export function rulesForKey(rules: readonly LifecycleRule[], key: Buffer): readonly LifecycleRule[] {
  return rules.filter(({ isEnabled, prefix }) => isEnabled && startsWith(key, prefix));
}

/** A delete marker has no tags and no size: what asks for either is not about it. */
export function fitsVersion(rule: LifecycleRule, { sizeBytes, tags, data }: Version): boolean {
  const { sizeGreaterThan: above, sizeLessThan: below } = rule;
  if (data.kind === "marker") return rule.tags.size === 0 && above === undefined && below === undefined;
  if (above !== undefined && sizeBytes <= above) return false;
  if (below !== undefined && sizeBytes >= below) return false;
  for (const [name, value] of rule.tags) if (tags?.get(name) !== value) return false;
  return true;
}

/** When the rules expire the object that is current. Undefined: never. The rules are those of its key, here and below. */
export function expiryOf(rules: readonly LifecycleRule[], object: Version, calendar: Calendar): Ending | undefined {
  return earliest(
    rules.flatMap((rule) => {
      const { expiration, id } = rule;
      if (expiration === undefined || expiration.kind === "markers" || !fitsVersion(rule, object)) return [];
      return [{ atMs: endOf(expiration, object.modifiedMs, calendar), ruleId: id }];
    }),
  );
}

function endOf(expiration: Exclude<Expiration, { kind: "markers" }>, fromMs: number, calendar: Calendar): number {
  return expiration.kind === "date" ? expiration.atMs : daysAfter(calendar, fromMs, expiration.days);
}

/** When the rules take the delete marker away that is current, if nothing stands behind it. */
export function markerExpiryOf(
  rules: readonly LifecycleRule[],
  marker: Version,
  calendar: Calendar,
): number | undefined {
  const ends = rules.flatMap((rule) => {
    const { expiration } = rule;
    if (expiration === undefined || !fitsVersion(rule, marker)) return [];
    if (expiration.kind !== "markers") return [endOf(expiration, marker.modifiedMs, calendar)];
    return expiration.removes ? [daysAfter(calendar, marker.modifiedMs, 0)] : [];
  });
  return ends.length === 0 ? undefined : Math.min(...ends);
}

/** When the rules remove a noncurrent version, each if so many newer ones are kept. */
export function noncurrentExpiriesOf(
  rules: readonly LifecycleRule[],
  version: Version,
  sinceMs: number,
  calendar: Calendar,
): { readonly atMs: number; readonly newerVersions: number }[] {
  return rules.flatMap((rule) => {
    const { noncurrent } = rule;
    if (noncurrent === undefined || !fitsVersion(rule, version)) return [];
    return [{ atMs: daysAfter(calendar, sinceMs, noncurrent.days), newerVersions: noncurrent.newerVersions }];
  });
}

/** When the rules end an upload that was begun then. Tags and sizes are of objects: rules that ask for them end none. */
export function abortOf(rules: readonly LifecycleRule[], startedMs: number, calendar: Calendar): Ending | undefined {
  return earliest(
    rules.flatMap(({ abortDays, id }) =>
      abortDays === undefined ? [] : [{ atMs: daysAfter(calendar, startedMs, abortDays), ruleId: id }],
    ),
  );
}

function earliest(ends: readonly Ending[]): Ending | undefined {
  let found: Ending | undefined;
  for (const end of ends) if (found === undefined || end.atMs < found.atMs) found = end;
  return found;
}
