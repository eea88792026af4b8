/**
 * What object lock forbids, without any I/O. `refuseLocked` is the one judge of whether a version may go: versions.ts asks it
 * in the commit of everything that takes a version away, so no way of removing or replacing one leads past it.
 *
 * Times are the server's clock's: whoever may set it forward ends retentions. A lock is on one version; a delete marker
 * over it, or a newer version, is no removal and always allowed.
 *
 * Source: "How Object Lock works" of the S3 User Guide; the messages are AWS's.
 */
import { HoldfastError } from "../core/errors.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import type { HeadRecord } from "../meta/heads.ts";
import type { DefaultRetention, ObjectLock, Retention } from "./object.ts";

export type LockJudge = { readonly nowMs: number; readonly bypassesGovernance: boolean };

function denied(): HoldfastError {
  return new HoldfastError("access_denied", "Access Denied because object protected by object lock.");
}

/** Throws `access_denied` for a version that must stay. */
export function refuseLocked({ retention, legalHold }: HeadRecord, { nowMs, bypassesGovernance }: LockJudge): void {
  if (legalHold === true) throw denied();
  if (retention === undefined || retention.untilMs <= nowMs) return;
  if (retention.mode === "COMPLIANCE" || !bypassesGovernance) throw denied();
}

/** Until when the version must stay for whoever has no bypass: undefined if it may go now, infinite under a legal hold. */
export function heldUntil({ retention, legalHold }: HeadRecord, nowMs: number): number | undefined {
  if (legalHold === true) return Infinity;
  return retention === undefined || retention.untilMs <= nowMs ? undefined : retention.untilMs;
}

/**
 * Throws `access_denied` where `next` in the place of `before` would let the version go earlier, or more easily, than it was
 * promised. A change of mode without shortening needs the bypass too, as with AWS.
 */
export function judgeRetentionChange(
  before: Retention | undefined,
  next: Retention | undefined,
  { nowMs, bypassesGovernance }: LockJudge,
): void {
  if (before === undefined || before.untilMs <= nowMs) return;
  if (next?.mode === before.mode && next.untilMs >= before.untilMs) return;
  if (before.mode === "COMPLIANCE" || !bypassesGovernance) throw denied();
}

/** Throws `invalid_argument` for a retention that has ended already. */
export function refuseEnded(retention: Retention | undefined, nowMs: number): void {
  if (retention === undefined || retention.untilMs > nowMs) return;
  throw new HoldfastError("invalid_argument", "The retain until date must be in the future!");
}

/** Throws `invalid_request` where nothing can be locked. */
export function requireObjectLock({ objectLock }: Pick<BucketRecord, "objectLock">): void {
  if (objectLock) return;
  throw new HoldfastError("invalid_request", "Bucket is missing Object Lock Configuration");
}

/** What a request asks for with a new version. Throws `invalid_request`, `invalid_argument`. */
export function judgeNewLock(bucket: BucketRecord, lock: ObjectLock | undefined, nowMs: number): void {
  if (lock?.retention === undefined && lock?.legalHold === undefined) return;
  requireObjectLock(bucket);
  refuseEnded(lock.retention, nowMs);
}

/** A year is one of the calendar. */
export function retentionFrom({ mode, unit, count }: DefaultRetention, fromMs: number): Retention {
  const until = new Date(fromMs);
  if (unit === "Days") until.setUTCDate(until.getUTCDate() + count);
  else until.setUTCFullYear(until.getUTCFullYear() + count);
  return { mode, untilMs: until.getTime() };
}
