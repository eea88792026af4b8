/**
 * Object lock of buckets and versions. A bucket's is switched on once; then its document (meta/object_lock.ts) says what new
 * versions get, and the commit of each write reads it beside the bucket's row, so that a default that was acknowledged
 * holds for every write that is acknowledged after it. Retention and legal hold of a version are in its own row.
 */
import { HoldfastError } from "../core/errors.ts";
import { transact, type Transaction } from "../kv/transact.ts";
import { encodeBucket, type BucketRecord } from "../meta/buckets.ts";
import {
  configurationKinds,
  decodeConfiguration,
  encodeConfiguration,
  hasConfiguration,
  withConfiguration,
} from "../meta/configurations.ts";
import type { HeadRecord } from "../meta/heads.ts";
import { configurationKey } from "../meta/keys.ts";
import { decodeObjectLock, encodeObjectLock } from "../meta/object_lock.ts";
import { readConfiguration } from "./configurations.ts";
import type { ObjectContext } from "./context.ts";
import { judgeRetentionChange, refuseEnded, requireObjectLock, retentionFrom } from "./locks.ts";
import { checkObjectKey } from "./names.ts";
import type { DefaultRetention, LockedVersion, ObjectLock, Objects } from "./object.ts";
import { currentVersion, namedVersion } from "./read_version.ts";
import { changeTarget, infoOf, keepBucketAlive, readBucket, type Target } from "./target.ts";
import { optionalVersionId } from "./version_ids.ts";
import { findInTransaction, rewriteVersion } from "./versions.ts";

const kind = "objectLock";

/** Errors: `no_such_bucket`. */
export async function objectLockOf(ctx: ObjectContext, name: string): ReturnType<Objects["objectLock"]> {
  const document = await readConfiguration(ctx, name, kind);
  return document && { defaultRetention: decodeObjectLock(document.bytes) };
}

/** Errors: `no_such_bucket`, `invalid_bucket_state`. */
export async function setObjectLock(
  ctx: ObjectContext,
  name: string,
  defaultRetention: DefaultRetention | undefined,
): Promise<void> {
  const { kv, clock, random } = ctx;
  const document = encodeObjectLock(defaultRetention);
  await transact(
    kv,
    async (tx) => {
      const { entry, bucket } = await readBucket(ctx, (keys) => tx.get(keys), name);
      if (bucket.versioning !== "enabled")
        throw new HoldfastError(
          "invalid_bucket_state",
          "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
        );
      await ctx.admitRows?.(document.length);
      await keepBucketAlive(ctx, tx, name, bucket);
      const key = configurationKey(bucket.id, configurationKinds[kind]);
      tx.put(key, encodeConfiguration({ modifiedMs: clock.nowMs(), document }));
      const configured = withConfiguration(bucket.configured, kind, true);
      const revision = bucket.revision + 1;
      tx.put(entry.key, encodeBucket({ ...bucket, state: "active", objectLock: true, configured, revision }));
    },
    { clock, random },
  );
}

/** The lock that a new version gets. The commit depends on what it is taken from. Errors: `invalid_request`. */
export async function newLock(
  ctx: ObjectContext,
  tx: Transaction,
  { name, bucket }: Pick<Target, "name" | "bucket">,
  asked: ObjectLock | undefined,
): Promise<ObjectLock> {
  const { retention, legalHold } = asked ?? {};
  if (retention !== undefined || legalHold !== undefined) requireObjectLock(bucket);
  if (retention !== undefined || !bucket.objectLock) return { retention, legalHold };
  const byDefault = await defaultOf(ctx, tx, name, bucket);
  return { retention: byDefault && retentionFrom(byDefault, ctx.clock.nowMs()), legalHold };
}

async function defaultOf(
  ctx: ObjectContext,
  tx: Transaction,
  name: string,
  bucket: BucketRecord,
): Promise<DefaultRetention | undefined> {
  if (!hasConfiguration(bucket.configured, kind)) return undefined;
  if (ctx.configurations.get(bucket, kind) === undefined) await readConfiguration(ctx, name, kind);
  // The commit checks the bucket's row, and with it the revision that this belongs to.
  const kept = ctx.configurations.get(bucket, kind);
  if (kept !== undefined) return decodeObjectLock(kept.bytes);
  const [row] = await tx.get([configurationKey(bucket.id, configurationKinds[kind])]);
  if (row === undefined)
    throw new HoldfastError("corrupt_record", `The ${kind} document of bucket ${bucket.id} is missing.`);
  return decodeObjectLock(decodeConfiguration(row.value).document);
}

/** Errors: those of a HEAD, `invalid_request`, `invalid_argument`, `access_denied`. */
export function setRetention(ctx: ObjectContext, options: Parameters<Objects["setRetention"]>[0]): Promise<void> {
  const { retention, bypassesGovernance = false } = options;
  return changeLock(ctx, options, (before) => {
    const nowMs = ctx.clock.nowMs();
    refuseEnded(retention, nowMs);
    judgeRetentionChange(before.retention, retention, { nowMs, bypassesGovernance });
    return { ...before, retention };
  });
}

/** Errors: those of a HEAD, `invalid_request`. */
export function setLegalHold(ctx: ObjectContext, options: Parameters<Objects["setLegalHold"]>[0]): Promise<void> {
  const { legalHold } = options;
  return changeLock(ctx, options, (before) => ({ ...before, legalHold }));
}

/** Rewrites the version's row. `change` judges what is there and runs again after a conflict. */
function changeLock(
  ctx: ObjectContext,
  version: LockedVersion,
  change: (before: HeadRecord) => HeadRecord,
): Promise<void> {
  checkObjectKey(version.key);
  const ref = optionalVersionId(version.versionId);
  return changeTarget(ctx, version, { publishesChunks: false }, async (tx, target) => {
    const found = ref && (await findInTransaction(tx, target, ref));
    const { head: before } = ref === undefined ? currentVersion(target) : namedVersion(target, ref, found);
    version.admit?.(infoOf(target.bucket, version.key, before));
    requireObjectLock(target.bucket);
    await ctx.admitRows?.(0);
    const head = change(before);
    const next = found === undefined ? { place: "head" as const, head, inline: undefined } : { ...found, head };
    // There is no event for it.
    await rewriteVersion(ctx, tx, target, { version: next, cause: undefined });
  });
}
