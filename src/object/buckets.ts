/**
 * Buckets: making, finding, listing, deleting, counting.
 *
 * *Deleting an empty bucket* must not lose a write that comes at the same time, and emptiness is not a row that a commit
 * could check. So: a commit sets the bucket's state to `deleting`; then heads, past rows and uploads are scanned; then a commit that
 * checks this very row deletes it (or, if something was found, makes it active again: `bucket_not_empty`). Every write
 * checks the bucket's row, so one that read the row before it changed fails its commit and reads again, and one that reads
 * `deleting` waits a moment and then, in its own commit, makes the bucket active again: the last commit of the deletion then
 * fails, and the deletion starts over. So what the scan did not see cannot exist when the row goes, and a deleter that
 * crashed half-way blocks nobody.
 */
import { HoldfastError } from "../core/errors.ts";
import { newBucketId } from "../core/ids.ts";
import type { BucketId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { AskedRedundancies } from "../core/redundancy.ts";
import { absent, readCounters } from "../kv/kv.ts";
import { scanPages } from "../kv/scan_pages.ts";
import type { Commit, Entry, KeyRange, Kv, Write } from "../kv/kv.ts";
import { transact } from "../kv/transact.ts";
import { decodeBucket, encodeBucket, encodeGone, newBucketSettings } from "../meta/buckets.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import { hasConfiguration } from "../meta/configurations.ts";
import { newConversion } from "../meta/conversions.ts";
import {
  goneKey,
  bucketKey,
  bucketNameOf,
  conversionKey,
  headRange,
  pastPrefixRange,
  tagRange,
  tags,
  uploadRange,
  usageRange,
} from "../meta/keys.ts";
import { encodeLifecycle, lifecycleKey } from "../meta/lifecycle.ts";
import { encodeObjectLock } from "../meta/object_lock.ts";
import { accountUsageKey, countedKey } from "../meta/quota_keys.ts";
import { configurationRows, putDocuments } from "./configurations.ts";
import type { ObjectContext } from "./context.ts";
import { checkBucketName } from "./names.ts";
import type { BucketInfo, BucketUsage, Objects } from "./object.ts";
import { leavesAccount, quotaOfNewBucket } from "./quotas.ts";
import { redundanciesIn } from "./storage_class.ts";
import { bucketInfoOf, hasVersions, keepBucketAlive, readBucket, readRows } from "./target.ts";

const deleteAttemptsMax = 8;

/** A bucket that is made with object lock has versions from the first; no retention comes by itself. */
const lockedDocument = ["objectLock", encodeObjectLock(undefined)] as const;

export async function createBucket(
  ctx: ObjectContext,
  name: string,
  { region, account, documents = new Map(), objectLock = false }: Parameters<Objects["createBucket"]>[1],
): Promise<{ readonly created: boolean; readonly bucket: BucketInfo }> {
  checkBucketName(name);
  const { kv, clock, random } = ctx;
  const key = bucketKey(name);
  const work: Parameters<typeof transact<{ created: boolean; bucket: BucketInfo }>>[1] = async (tx) => {
    const [row] = await tx.get([key]);
    if (row !== undefined) {
      const bucket = decodeBucket(row.value);
      await keepBucketAlive(ctx, tx, name, bucket);
      return { created: false, bucket: bucketInfoOf(name, bucket) };
    }
    await refuseTooMany(kv);
    const id = newBucketId(random);
    const createdMs = clock.nowMs();
    const all = objectLock ? new Map([...documents, lockedDocument]) : documents;
    const configured = putDocuments(tx, { id, documents: all, modifiedMs: createdMs });
    const versioning = objectLock ? "enabled" : "unversioned";
    const settings = { ...newBucketSettings, versioning, objectLock } as const;
    const quota = await quotaOfNewBucket(tx, account);
    const bucket: BucketRecord = { ...settings, id, createdMs, region, configured, account, quota };
    tx.put(key, encodeBucket(bucket));
    return { created: true, bucket: bucketInfoOf(name, bucket) };
  };
  const result = await transact(kv, work, { clock, random });
  ctx.bucketIds.learn(name, result.bucket.id, result.bucket.versioning !== "unversioned");
  return result;
}

/** Counts the rows there are: buckets are made rarely, and a counter would be one more thing to keep right. */
async function refuseTooMany(kv: Kv): Promise<void> {
  let count = 0;
  for await (const entries of scanPages(kv, tagRange(tags.bucket))) count += entries.length;
  if (count >= limits.bucketsMax) {
    throw new HoldfastError("too_many_buckets", `There are ${limits.bucketsMax} buckets, the most there can be.`);
  }
}

export async function bucketInfo(ctx: ObjectContext, name: string): Promise<BucketInfo> {
  const { bucket } = await readBucket(ctx, readRows(ctx.kv), name);
  return bucketInfoOf(name, bucket);
}

/** Orders against every write to the bucket, which checks this row. What is there of the classes concerned is converted by a job. */
export async function setRedundancy(
  ctx: ObjectContext,
  name: string,
  asked: Partial<AskedRedundancies>,
): Promise<BucketInfo> {
  const { kv, clock, random } = ctx;
  return transact(
    kv,
    async (tx) => {
      const { entry, bucket } = await readBucket(ctx, (keys) => tx.get(keys), name);
      const changed: BucketRecord = { ...bucket, ...asked };
      tx.put(entry.key, encodeBucket(changed));
      const { standard, reduced } = redundanciesIn(ctx, changed);
      const [earlier] = await tx.get([conversionKey(bucket.id)]);
      // What the reduced class gets may follow from the other.
      const wanted = "redundancy" in asked ? { standard, reduced } : { reduced };
      tx.put(conversionKey(bucket.id), newConversion(wanted, earlier?.value));
      return bucketInfoOf(name, changed);
    },
    { clock, random },
  );
}

/** Every write to the bucket checks its row, so each one happens wholly before or wholly after this. */
export async function setVersioning(
  ctx: ObjectContext,
  name: string,
  versioning: "enabled" | "suspended",
): Promise<BucketInfo> {
  const { kv, clock, random } = ctx;
  return transact(
    kv,
    async (tx) => {
      const { entry, bucket } = await readBucket(ctx, (keys) => tx.get(keys), name);
      if (bucket.objectLock && versioning === "suspended")
        throw new HoldfastError(
          "invalid_bucket_state",
          "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.",
        );
      await keepBucketAlive(ctx, tx, name, bucket);
      const changed: BucketRecord = { ...bucket, state: "active", versioning, revision: bucket.revision + 1 };
      tx.put(entry.key, encodeBucket(changed));
      return bucketInfoOf(name, changed);
    },
    { clock, random },
  );
}

type ListBucketsOptions = Parameters<Objects["listBuckets"]>[0];
type ListBucketsResult = Awaited<ReturnType<Objects["listBuckets"]>>;

export async function listBuckets(ctx: ObjectContext, options: ListBucketsOptions): Promise<ListBucketsResult> {
  const { prefix = "", after, account, limit } = options;
  if (limit <= 0) return { buckets: [], next: undefined };
  const family = tagRange(tags.bucket);
  let start = clippedRow(prefix);
  const pastAfter = after === undefined ? start : Buffer.concat([clippedRow(after), Buffer.of(0)]);
  if (Buffer.compare(pastAfter, start) > 0) start = pastAfter;
  const buckets: BucketInfo[] = [];
  for await (const entries of scanPages(ctx.kv, { start, end: family.end })) {
    for (const entry of entries) {
      const name = bucketNameOf(entry.key);
      if (!name.startsWith(prefix)) return { buckets, next: undefined };
      const info = bucketInfoOf(name, decodeBucket(entry.value));
      if (account !== undefined && account !== (info.account ?? "own")) continue;
      if (buckets.length === limit) return { buckets, next: buckets.at(-1)?.name };
      buckets.push(info);
    }
  }
  return { buckets, next: undefined };
}

/** The same names lie behind it; no longer than any bucket's row, whatever a client sent. */
function clippedRow(name: string): Buffer {
  return bucketKey(name).subarray(0, 1 + limits.bucketNameCharsMax);
}

/**
 * Uploads under way hold no bucket back: they end with it, as with AWS. From the commit on nobody can add to them or
 * complete them, for that needs the bucket's row; a job takes away what they stored.
 *
 * Errors: `no_such_bucket`, `bucket_not_empty`, `operation_aborted` when writes kept coming between.
 */
export async function deleteBucket(ctx: ObjectContext, name: string): Promise<void> {
  for (let attempt = 0; attempt < deleteAttemptsMax; attempt++) {
    const marked = await markDeleting(ctx, name);
    const holds = await heldBy(ctx.kv, marked.bucket);
    const check = { key: marked.entry.key, version: marked.entry.version };
    if (holds.objects) {
      const value = encodeBucket({ ...marked.bucket, state: "active" });
      // If this fails someone else has made it active already, or is deleting it too.
      await ctx.kv.commit({ checks: [check], writes: [{ kind: "put", key: check.key, value }] });
      const details = { bucket: name };
      throw new HoldfastError("bucket_not_empty", "The bucket you tried to delete is not empty.", { details });
    }
    const { id, configured } = marked.bucket;
    const gone = [check.key, ...configurationRows(id, configured)];
    const writes: Write[] = gone.map((key) => ({ kind: "delete", key }));
    if (hasConfiguration(configured, "lifecycle"))
      writes.push({ kind: "put", key: lifecycleKey(id), value: encodeLifecycle({ kind: "clearing" }) });
    if (holds.uploads) writes.push({ kind: "put", key: goneKey(id), value: encodeGone() });
    const leaving = await leaveAccount(ctx.kv, marked.bucket);
    const result = await ctx.kv.commit({
      checks: [check, ...leaving.checks],
      writes: [...writes, ...leaving.writes],
    });
    if (result.outcome === "conflict") continue;
    ctx.bucketIds.forget(name);
    await deleteUsage(ctx, id);
    return;
  }
  throw new HoldfastError("operation_aborted", "Writes to the bucket kept its deletion from ending; try again.");
}

/** What the bucket still counts for its account: no more, once it is gone. */
async function leaveAccount(kv: Kv, bucket: BucketRecord): Promise<Commit> {
  if (bucket.quota === undefined || bucket.quota.account === "none") return { checks: [], writes: [] };
  const key = countedKey(bucket.id);
  const [counted] = await kv.get([key]);
  const deltas = leavesAccount(bucket, counted?.value);
  const checks = [{ key, version: counted?.version ?? absent }];
  return {
    checks,
    writes: deltas === undefined ? [] : [{ kind: "add", key: accountUsageKey(bucket.account ?? ""), deltas }],
  };
}

/** The row in state `deleting`, as it stands in the store. */
async function markDeleting(
  ctx: ObjectContext,
  name: string,
): Promise<{ readonly entry: Entry; readonly bucket: BucketRecord }> {
  for (let attempt = 0; attempt < limits.transactAttemptsMax; attempt++) {
    const seen = await readBucket(ctx, readRows(ctx.kv), name);
    if (seen.bucket.state === "deleting") return seen;
    const { key, version } = seen.entry;
    const value = encodeBucket({ ...seen.bucket, state: "deleting" });
    await ctx.kv.commit({ checks: [{ key, version }], writes: [{ kind: "put", key, value }] });
  }
  throw new HoldfastError("operation_aborted", "Other requests kept changing the bucket; try again.");
}

type Held = { readonly objects: boolean; readonly uploads: boolean };

async function heldBy(kv: Kv, bucket: BucketRecord): Promise<Held> {
  const any = async (range: KeyRange): Promise<boolean> => (await kv.scan(range, { limit: 1 })).length > 0;
  const [heads, past, uploads] = await Promise.all([
    any(headRange(bucket.id)),
    hasVersions(bucket) && any(pastPrefixRange(bucket.id, Buffer.alloc(0))),
    any(uploadRange(bucket.id)),
  ]);
  return { objects: heads || past, uploads };
}

/** Counters of a bucket that is gone; nobody reads them any more, so a failure leaves only a few small rows. */
async function deleteUsage(ctx: ObjectContext, bucket: BucketId): Promise<void> {
  try {
    for await (const entries of scanPages(ctx.kv, usageRange(bucket))) {
      for (let at = 0; at < entries.length; at += limits.jobBatchMax) {
        const batch = entries.slice(at, at + limits.jobBatchMax);
        await ctx.kv.commit({ checks: [], writes: batch.map(({ key }) => ({ kind: "delete", key })) });
      }
    }
  } catch (error) {
    ctx.log.warn({ err: error, bucket }, "usage rows of a deleted bucket stay");
  }
}

export async function bucketUsage(ctx: ObjectContext, name: string): Promise<BucketUsage> {
  const { bucket } = await readBucket(ctx, readRows(ctx.kv), name);
  const total = { objects: 0, versions: 0, bytes: 0 };
  for await (const entries of scanPages(ctx.kv, usageRange(bucket.id))) {
    for (const entry of entries) {
      const [objects = 0, bytes = 0, versions = 0] = readCounters(entry.value);
      total.objects += objects;
      total.versions += versions;
      total.bytes += bytes;
    }
  }
  return total;
}
