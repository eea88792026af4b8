/**
 * Writes when the lifecycle rules of a bucket want a key looked at, in the commit that changes the key: so for everything that
 * rules will want there is a row no later than that (meta/lifecycle.ts). The row is put without a look at what is there; a change
 * that rules want nothing of writes none, nor does one whose key has an earlier row already, as that of an object that is replaced
 * before it expires. A bucket without rules pays nothing: its row, which is in hand, says so.
 *
 * What a change makes due: what is current now, in its time; what became noncurrent, in its time; where a rule keeps a number of
 * noncurrent versions, an older one of them, at the next midnight.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import type { UploadId } from "../core/ids.ts";
import type { Version } from "../kv/kv.ts";
import type { Transaction } from "../kv/transact.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import { hasConfiguration } from "../meta/configurations.ts";
import type { HeadRecord } from "../meta/heads.ts";
import { dueKey, dueValue } from "../meta/lifecycle.ts";
import { configurationIn, readConfiguration } from "./configurations.ts";
import type { ObjectContext } from "./context.ts";
import {
  abortOf,
  daysAfter,
  expiryOf,
  markerExpiryOf,
  noncurrentExpiriesOf,
  realDays,
  rulesForKey,
  shortDays,
  type Calendar,
  type Ending,
  type LifecycleRule,
} from "./lifecycle_rules.ts";
import type { Target } from "./target.ts";

const none: readonly LifecycleRule[] = [];

/** By which the store acts. What clients are told is always in real days. */
export function calendarOf({ lifecycleDayMs }: Pick<ObjectContext, "lifecycleDayMs">): Calendar {
  return lifecycleDayMs === undefined ? realDays : shortDays(lifecycleDayMs);
}

type BucketState = { readonly name: string; readonly bucket: BucketRecord; readonly bucketVersion: Version };

/** The rules of a key, as the bucket's row in hand has them; the commit checks that row. */
export async function rulesOf(
  ctx: ObjectContext,
  tx: Transaction,
  { name, bucket, bucketVersion }: BucketState,
  key: Buffer,
): Promise<readonly LifecycleRule[]> {
  if (!hasConfiguration(bucket.configured, "lifecycle")) return none;
  const document =
    ctx.configurations.get(bucket, "lifecycle") ??
    (await configurationIn(ctx, tx, { name, bucket, version: bucketVersion }, "lifecycle"));
  if (document === undefined) return none;
  assert(ctx.lifecycleRules !== undefined, "who can set a lifecycle document can read one");
  return rulesForKey(ctx.lifecycleRules(document), key);
}

/** When the object that is current will expire, as clients are told. For answers: no commit depends on it. */
export async function endingOf(
  ctx: ObjectContext,
  { name, bucket }: Pick<BucketState, "name" | "bucket">,
  key: Buffer,
  object: Pick<HeadRecord, "sizeBytes" | "modifiedMs" | "tags" | "data">,
): Promise<Ending | undefined> {
  return expiryOf(await shownRules(ctx, { name, bucket }, key), object, realDays);
}

/** When an upload will end. As above. */
export async function abortingOf(
  ctx: ObjectContext,
  { name, bucket }: Pick<BucketState, "name" | "bucket">,
  key: Buffer,
  startedMs: number,
): Promise<Ending | undefined> {
  return abortOf(await shownRules(ctx, { name, bucket }, key), startedMs, realDays);
}

async function shownRules(
  ctx: ObjectContext,
  { name, bucket }: Pick<BucketState, "name" | "bucket">,
  key: Buffer,
): Promise<readonly LifecycleRule[]> {
  if (!hasConfiguration(bucket.configured, "lifecycle")) return none;
  const document =
    ctx.configurations.get(bucket, "lifecycle") ?? (await readConfiguration(ctx, name, "lifecycle").catch(onlyIfGone));
  return document === undefined ? none : rulesForKey(ctx.lifecycleRules?.(document) ?? none, key);
}

/** The bucket went while its object was read: nothing more is said of that. */
function onlyIfGone(error: unknown): undefined {
  if (error instanceof HoldfastError && error.reason === "no_such_bucket") return undefined;
  throw error;
}

/** An upload is begun by this commit. */
export async function noteUploadDue(
  ctx: ObjectContext,
  tx: Transaction,
  state: BucketState,
  upload: { readonly key: Buffer; readonly id: UploadId; readonly startedMs: number },
): Promise<void> {
  if (!hasConfiguration(state.bucket.configured, "lifecycle")) return;
  const { key, id, startedMs } = upload;
  const ending = abortOf(await rulesOf(ctx, tx, state, key), startedMs, calendarOf(ctx));
  if (ending !== undefined) tx.put(dueKey(state.bucket.id, { atMs: ending.atMs, key, upload: id }), dueValue);
}

export type KeyChange = {
  /** What is current after it, as far as the change is about that. */
  readonly current?: HeadRecord | undefined;
  /** What became noncurrent by it, when the current one was made. */
  readonly displaced?: HeadRecord | undefined;
  /** A noncurrent version of which something else is said now. */
  readonly rewritten?: HeadRecord | undefined;
};

export async function noteDue(ctx: ObjectContext, tx: Transaction, target: Target, change: KeyChange): Promise<void> {
  if (!hasConfiguration(target.bucket.configured, "lifecycle")) return;
  const rules = await rulesOf(ctx, tx, target, target.key);
  const calendar = calendarOf(ctx);
  const atMs = dueOf(rules, change, calendar);
  if (atMs === undefined || isDueBefore(target, rules, { atMs, calendar })) return;
  tx.put(dueKey(target.bucket.id, { atMs, key: target.key, upload: undefined }), dueValue);
}

/**
 * Whether the key has a row no later than that already: the one of the object that was current, which stands as long as it is
 * current (or the walk through the bucket has yet to come by the key, and sees what is there then). A lock would let whoever looked
 * put the row off, so nothing is concluded where there may be locks; nor from a marker, which waits for what stands behind it.
 */
function isDueBefore(
  { bucket, head }: Target,
  rules: readonly LifecycleRule[],
  { atMs, calendar }: { readonly atMs: number; readonly calendar: Calendar },
): boolean {
  if (head === undefined || bucket.objectLock) return false;
  const earlierMs = currentDue(rules, head, calendar);
  return earlierMs !== undefined && earlierMs <= atMs;
}

/** The earliest time at which the rules may want something because of the change. */
export function dueOf(
  rules: readonly LifecycleRule[],
  { current, displaced, rewritten }: KeyChange,
  calendar: Calendar,
): number | undefined {
  if (rules.length === 0) return undefined;
  const times: number[] = [];
  const end = current && currentDue(rules, current, calendar);
  if (end !== undefined) times.push(end);
  if (current !== undefined && displaced !== undefined) {
    const sinceMs = current.modifiedMs;
    times.push(...noncurrentExpiriesOf(rules, displaced, sinceMs, calendar).map(({ atMs }) => atMs));
    if (rules.some(({ noncurrent }) => (noncurrent?.newerVersions ?? 0) > 0))
      times.push(daysAfter(calendar, sinceMs, 0));
  }
  // Since when it is noncurrent says its successor; it was no earlier than it was made.
  if (rewritten !== undefined)
    times.push(...noncurrentExpiriesOf(rules, rewritten, rewritten.modifiedMs, calendar).map(({ atMs }) => atMs));
  return times.length === 0 ? undefined : Math.min(...times);
}

/** Of an object, or of a delete marker. */
export function currentDue(rules: readonly LifecycleRule[], head: HeadRecord, calendar: Calendar): number | undefined {
  return head.data.kind === "marker" ? markerExpiryOf(rules, head, calendar) : expiryOf(rules, head, calendar)?.atMs;
}
