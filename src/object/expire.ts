/**
 * Does what lifecycle rules want of a key or an upload that is due (due.ts), judged as it is now, by the same functions as a
 * client's DELETE: so versions, locks, counters, trash and events are as they would be. A locked version stays; it is looked at
 * again when its retention has ended.
 *
 * A look is a few commits, each whole: some noncurrent versions, the object that is current, the marker that is left. The last
 * one takes the due row away and writes the next one, if there will be something to do. All check the row: a change that made
 * the key due again meanwhile is not lost.
 */
import { hasReason } from "../core/errors.ts";
import { sessionOf, type BucketId } from "../core/ids.ts";
import { transact, type Transaction } from "../kv/transact.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import { dueKey, dueValue, parseDueKey, type Due } from "../meta/lifecycle.ts";
import { sessionKey, uploadKey } from "../meta/keys.ts";
import { decodeUpload } from "../meta/uploads.ts";
import { readConfigurations } from "./configurations.ts";
import type { ObjectContext } from "./context.ts";
import { calendarOf, currentDue, rulesOf } from "./due.ts";
import { abortOf, type Calendar, type LifecycleRule } from "./lifecycle_rules.ts";
import { heldUntil } from "./locks.ts";
import { dueVersions, noncurrentRange, type Judging } from "./noncurrent.ts";
import { hasVersions, keepBucketAlive, readBucket, readTarget, type Target } from "./target.ts";
import { giveBackParts } from "./uploads.counts.ts";
import { endUpload } from "./uploads.rows.ts";
import { addMarker, removeVersion, replacedBy, type StoredVersion } from "./versions.ts";

/** A bucket is made again under its name with another id. */
export type LifecycleBucket = { readonly name: string; readonly id: BucketId };

/** What the job works with that carries the rules out. */
export type LifecycleWork = {
  readonly calendar: Calendar;
  /** Undefined: the bucket is gone, or has no rules. */
  rules(bucket: LifecycleBucket): Promise<readonly LifecycleRule[] | undefined>;
  /** Does what the row has due, and takes it away. Resolves to the number of versions, markers and uploads that went or came. */
  look(bucket: LifecycleBucket, row: Buffer, signal: AbortSignal): Promise<number>;
};

/** How long an upload is left to whoever is completing it. */
const completingMs = 3_600_000;

export function lifecycleWork(ctx: ObjectContext): LifecycleWork {
  return {
    calendar: calendarOf(ctx),
    rules: (bucket) => bucketRules(ctx, bucket),
    look: (bucket, row, signal) => look(ctx, bucket, row, signal),
  };
}

async function bucketRules(
  ctx: ObjectContext,
  { name, id }: LifecycleBucket,
): Promise<readonly LifecycleRule[] | undefined> {
  try {
    const { bucket, documents } = await readConfigurations(ctx, name, ["lifecycle"]);
    const document = documents.get("lifecycle");
    return bucket.id === id && document !== undefined ? ctx.lifecycleRules?.(document) : undefined;
  } catch (error) {
    if (hasReason(error, "no_such_bucket")) return undefined;
    throw error;
  }
}

async function look(ctx: ObjectContext, bucket: LifecycleBucket, row: Buffer, signal: AbortSignal): Promise<number> {
  const { clock, random } = ctx;
  const due = parseDueKey(row);
  let done = 0;
  while (!signal.aborted) {
    const acted = await transact(ctx.kv, (tx) => step(ctx, tx, bucket, { row, due }), { clock, random, signal });
    done += acted;
    if (acted === 0) break;
  }
  return done;
}

/** What is done now, or else when the next look is due. */
type Plan =
  | { readonly kind: "act"; readonly count: number; readonly act: () => Promise<void> }
  | { readonly kind: "wait"; readonly untilMs: number | undefined };

/** Returns how much was done; 0: the row is gone. */
async function step(
  ctx: ObjectContext,
  tx: Transaction,
  bucket: LifecycleBucket,
  { row, due }: { readonly row: Buffer; readonly due: Due },
): Promise<number> {
  const [found] = await tx.get([row]);
  if (found === undefined) return 0;
  const plan = await planFor(ctx, tx, bucket, due);
  if (plan.kind === "act") {
    await plan.act();
    return plan.count;
  }
  tx.delete(row);
  if (plan.untilMs !== undefined) tx.put(dueKey(bucket.id, { ...due, atMs: plan.untilMs }), dueValue);
  return 0;
}

const nothing: Plan = { kind: "wait", untilMs: undefined };

async function planFor(ctx: ObjectContext, tx: Transaction, { name, id }: LifecycleBucket, due: Due): Promise<Plan> {
  const read = (keys: Parameters<Transaction["get"]>[0]): ReturnType<Transaction["get"]> => tx.get(keys);
  try {
    if (due.upload !== undefined) {
      const { entry, bucket } = await readBucket(ctx, read, name);
      const rules = await rulesOf(ctx, tx, { name, bucket, bucketVersion: entry.version }, due.key);
      return bucket.id === id ? await planUpload(ctx, tx, bucket, { due, rules }) : nothing;
    }
    const target = await readTarget(ctx, read, { bucket: name, key: due.key }, { body: "kept" });
    if (target.bucket.id !== id) return nothing;
    const judging = {
      rules: await rulesOf(ctx, tx, target, due.key),
      calendar: calendarOf(ctx),
      nowMs: ctx.clock.nowMs(),
    };
    return await planKey(ctx, tx, target, judging);
  } catch (error) {
    if (hasReason(error, "no_such_bucket")) return nothing;
    throw error;
  }
}

async function planUpload(
  ctx: ObjectContext,
  tx: Transaction,
  bucket: BucketRecord,
  { due: { key, upload }, rules }: { readonly due: Due; readonly rules: readonly LifecycleRule[] },
): Promise<Plan> {
  const nowMs = ctx.clock.nowMs();
  const id = upload!;
  const rowKey = uploadKey(bucket.id, key, id);
  const [row] = await tx.get([rowKey]);
  const record = row && decodeUpload(row.value);
  const ending = record && abortOf(rules, record.startedMs, calendarOf(ctx));
  if (record === undefined || ending === undefined) return nothing;
  if (ending.atMs > nowMs) return { kind: "wait", untilMs: ending.atMs };
  if (record.state.kind === "completing") {
    const [attempting] = await tx.peek([sessionKey(sessionOf(record.state.partsMap))]);
    if (attempting !== undefined) return { kind: "wait", untilMs: nowMs + completingMs };
  }
  const act = async (): Promise<void> => {
    await giveBackParts(tx, { bucket, id });
    endUpload(tx, { key: rowKey, id, record }, nowMs);
  };
  return { kind: "act", count: 1, act };
}

async function planKey(ctx: ObjectContext, tx: Transaction, target: Target, judging: Judging): Promise<Plan> {
  const { rules, calendar, nowMs } = judging;
  const { head, marker } = target;
  const current = head ?? marker;
  if (rules.length === 0 || current === undefined) return nothing;
  const times: number[] = [];
  const endMs = currentDue(rules, current, calendar);
  if (head !== undefined && endMs !== undefined) {
    const plan = endMs > nowMs ? waitUntil(endMs) : await planCurrent(ctx, tx, target, head);
    if (plan.kind === "act") return plan;
    times.push(plan.untilMs ?? endMs);
  }
  if (!hasVersions(target.bucket)) return waitUntil(...times);
  const { versions, nextMs } = await dueVersions(tx, target, { ...judging, currentMs: current.modifiedMs });
  if (versions.length > 0) return removal(ctx, tx, target, versions);
  if (nextMs !== undefined) times.push(nextMs);
  // The removal of the last version behind a marker has the key looked at again.
  if (marker !== undefined && endMs !== undefined && (await isAlone(tx, target))) {
    if (endMs <= nowMs) return removal(ctx, tx, target, [{ place: "marker", head: marker, inline: undefined }]);
    times.push(endMs);
  }
  return waitUntil(...times);
}

function waitUntil(...times: readonly number[]): Plan {
  return times.length === 0 ? nothing : { kind: "wait", untilMs: Math.min(...times) };
}

/** A version cannot come without a change of what is current, which is checked. */
async function isAlone(tx: Transaction, target: Target): Promise<boolean> {
  return (await tx.scan(noncurrentRange(target), { limit: 1 })).length === 0;
}

/** Where there are versions a marker says that the object is gone, as with a DELETE. */
async function planCurrent(
  ctx: ObjectContext,
  tx: Transaction,
  target: Target,
  head: NonNullable<Target["head"]>,
): Promise<Plan> {
  const replaced = await replacedBy(tx, target);
  const untilMs = replaced && heldUntil(replaced.head, ctx.clock.nowMs());
  if (untilMs !== undefined) return { kind: "wait", untilMs };
  if (!hasVersions(target.bucket)) return removal(ctx, tx, target, [{ place: "head", head, inline: undefined }]);
  const cause = { event: "LifecycleExpiration:DeleteMarkerCreated", origin: undefined } as const;
  const act = async (): Promise<void> => {
    await addMarker(ctx, tx, target, { replaced, cause });
    await keepBucketAlive(ctx, tx, target.name, target.bucket);
  };
  return { kind: "act", count: 1, act };
}

function removal(ctx: ObjectContext, tx: Transaction, target: Target, versions: readonly StoredVersion[]): Plan {
  const cause = { event: "LifecycleExpiration:Delete", origin: undefined } as const;
  const act = async (): Promise<void> => {
    for (const version of versions) await removeVersion(ctx, tx, target, { version, bypassesGovernance: false, cause });
    await keepBucketAlive(ctx, tx, target.name, target.bucket);
  };
  return { kind: "act", count: versions.length, act };
}
