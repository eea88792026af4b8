/**
 * Buckets: making, finding, listing, deleting, counting.
 *
 * *Deleting an empty bucket* must not lose a write that comes at the same time, and emptiness is not a row that a commit
 * could check. So: a commit sets the bucket's state to `deleting`; then heads and uploads are scanned; then a commit that
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
import { oneCopy, type Redundancy } from "../core/redundancy.ts";
import { readCounters } from "../kv/kv.ts";
import type { Entry, KeyRange, Kv } from "../kv/kv.ts";
import { transact } from "../kv/transact.ts";
import { decodeBucket, encodeBucket } from "../meta/buckets.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import { encodeConversion } from "../meta/conversions.ts";
import {
  bucketKey,
  bucketNameOf,
  conversionKey,
  headRange,
  tagRange,
  tags,
  uploadRange,
  usageRange,
} from "../meta/keys.ts";
import type { ObjectContext } from "./context.ts";
import { checkBucketName } from "./names.ts";
import type { BucketInfo, Objects } from "./object.ts";
import { keepBucketAlive, readBucket, readRows } from "./target.ts";

const deleteAttemptsMax = 8;

function infoOf(name: string, bucket: BucketRecord): BucketInfo {
  const { id, createdMs, region, redundancy } = bucket;
  return { name, id, createdMs, region, redundancy };
}

export async function createBucket(
  ctx: ObjectContext,
  name: string,
  region: string,
): Promise<{ readonly created: boolean; readonly bucket: BucketInfo }> {
  checkBucketName(name);
  const { kv, clock, random } = ctx;
  const key = bucketKey(name);
  const work: Parameters<typeof transact<{ created: boolean; bucket: BucketInfo }>>[1] = async (tx) => {
    const [row] = await tx.get([key]);
    if (row !== undefined) {
      const bucket = decodeBucket(row.value);
      await keepBucketAlive(ctx, tx, name, bucket);
      return { created: false, bucket: infoOf(name, bucket) };
    }
    await refuseTooMany(kv);
    const id = newBucketId(random);
    const bucket: BucketRecord = {
      id,
      createdMs: clock.nowMs(),
      region,
      state: "active",
      epoch: 0,
      redundancy: undefined,
    };
    tx.put(key, encodeBucket(bucket));
    return { created: true, bucket: infoOf(name, bucket) };
  };
  const result = await transact(kv, work, { clock, random });
  ctx.bucketIds.learn(name, result.bucket.id);
  return result;
}

/** Counts the rows there are: buckets are made rarely, and a counter would be one more thing to keep right. */
async function refuseTooMany(kv: Kv): Promise<void> {
  let count = 0;
  for await (const entries of pages(kv, tagRange(tags.bucket))) count += entries.length;
  if (count >= limits.bucketsMax) {
    throw new HoldfastError("too_many_buckets", `There are ${limits.bucketsMax} buckets, the most there can be.`);
  }
}

async function* pages(kv: Kv, range: KeyRange): AsyncGenerator<Entry[]> {
  let start = range.start;
  for (;;) {
    const entries = await kv.scan({ start, end: range.end }, { limit: limits.scanEntriesMax });
    if (entries.length > 0) yield entries;
    if (entries.length < limits.scanEntriesMax) return;
    start = Buffer.concat([entries.at(-1)!.key, Buffer.of(0)]);
  }
}

export async function bucketInfo(ctx: ObjectContext, name: string): Promise<BucketInfo> {
  const { bucket } = await readBucket(ctx, readRows(ctx.kv), name);
  return infoOf(name, bucket);
}

/** Orders against every write to the bucket, which checks this row. What is there is converted by a job. */
export async function setRedundancy(
  ctx: ObjectContext,
  name: string,
  redundancy: Redundancy | undefined,
): Promise<BucketInfo> {
  const { kv, clock, random } = ctx;
  return transact(
    kv,
    async (tx) => {
      const { entry, bucket } = await readBucket(ctx, (keys) => tx.get(keys), name);
      const changed: BucketRecord = { ...bucket, redundancy };
      tx.put(entry.key, encodeBucket(changed));
      const conversion = { redundancy: redundancy ?? ctx.redundancy ?? oneCopy, after: undefined, isWaiting: false };
      tx.put(conversionKey(bucket.id), encodeConversion(conversion));
      return infoOf(name, changed);
    },
    { clock, random },
  );
}

type ListBucketsOptions = Parameters<Objects["listBuckets"]>[0];
type ListBucketsResult = Awaited<ReturnType<Objects["listBuckets"]>>;

export async function listBuckets(ctx: ObjectContext, options: ListBucketsOptions): Promise<ListBucketsResult> {
  const { prefix = "", after, limit } = options;
  if (limit <= 0) return { buckets: [], next: undefined };
  const family = tagRange(tags.bucket);
  let start = clippedRow(prefix);
  const pastAfter = after === undefined ? start : Buffer.concat([clippedRow(after), Buffer.of(0)]);
  if (Buffer.compare(pastAfter, start) > 0) start = pastAfter;
  const buckets: BucketInfo[] = [];
  for await (const entries of pages(ctx.kv, { start, end: family.end })) {
    for (const entry of entries) {
      const name = bucketNameOf(entry.key);
      if (!name.startsWith(prefix)) return { buckets, next: undefined };
      if (buckets.length === limit) return { buckets, next: buckets.at(-1)?.name };
      buckets.push(infoOf(name, decodeBucket(entry.value)));
    }
  }
  return { buckets, next: undefined };
}

/** The same names lie behind it; no longer than any bucket's row, whatever a client sent. */
function clippedRow(name: string): Buffer {
  return bucketKey(name).subarray(0, 1 + limits.bucketNameCharsMax);
}

/** Errors: `no_such_bucket`, `bucket_not_empty`, `operation_aborted` when writes kept coming between. */
export async function deleteBucket(ctx: ObjectContext, name: string): Promise<void> {
  for (let attempt = 0; attempt < deleteAttemptsMax; attempt++) {
    const marked = await markDeleting(ctx, name);
    const isEmpty = await isBucketEmpty(ctx.kv, marked.bucket.id);
    const check = { key: marked.entry.key, version: marked.entry.version };
    if (!isEmpty) {
      const value = encodeBucket({ ...marked.bucket, state: "active" });
      // If this fails someone else has made it active already, or is deleting it too.
      await ctx.kv.commit({ checks: [check], writes: [{ kind: "put", key: check.key, value }] });
      const details = { bucket: name };
      throw new HoldfastError("bucket_not_empty", "The bucket you tried to delete is not empty.", { details });
    }
    const result = await ctx.kv.commit({ checks: [check], writes: [{ kind: "delete", key: check.key }] });
    if (result.outcome === "conflict") continue;
    ctx.bucketIds.forget(name);
    await deleteUsage(ctx, marked.bucket.id);
    return;
  }
  throw new HoldfastError("operation_aborted", "Writes to the bucket kept its deletion from ending; try again.");
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

async function isBucketEmpty(kv: Kv, bucket: BucketId): Promise<boolean> {
  const [heads, uploads] = await Promise.all([
    kv.scan(headRange(bucket), { limit: 1 }),
    kv.scan(uploadRange(bucket), { limit: 1 }),
  ]);
  return heads.length === 0 && uploads.length === 0;
}

/** Counters of a bucket that is gone; nobody reads them any more, so a failure leaves only a few small rows. */
async function deleteUsage(ctx: ObjectContext, bucket: BucketId): Promise<void> {
  try {
    for await (const entries of pages(ctx.kv, usageRange(bucket))) {
      for (let at = 0; at < entries.length; at += limits.jobBatchMax) {
        const batch = entries.slice(at, at + limits.jobBatchMax);
        await ctx.kv.commit({ checks: [], writes: batch.map(({ key }) => ({ kind: "delete", key })) });
      }
    }
  } catch (error) {
    ctx.log.warn({ err: error, bucket }, "usage rows of a deleted bucket stay");
  }
}

export async function bucketUsage(
  ctx: ObjectContext,
  name: string,
): Promise<{ readonly objects: number; readonly bytes: number }> {
  const { bucket } = await readBucket(ctx, readRows(ctx.kv), name);
  const total = { objects: 0, bytes: 0 };
  for await (const entries of pages(ctx.kv, usageRange(bucket.id))) {
    for (const entry of entries) {
      const [objects = 0, bytes = 0] = readCounters(entry.value);
      total.objects += objects;
      total.bytes += bytes;
    }
  }
  return total;
}
