/**
 * The rows of a key as a request reads them, and the commit of a change to it. What such a change writes is in versions.ts.
 *
 * What is current in a key is found in two rows: its head, where that is an object, and the row of a current delete marker.
 * Every change of a key that has a history changes one of the two, so that a commit which checks both has checked all of it.
 * Keys of buckets that never were versioned have no such second row, and it is not read.
 */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { absent, type Check, type Entry, type Key, type Kv, type Version } from "../kv/kv.ts";
import { transact } from "../kv/transact.ts";
import type { Transaction } from "../kv/transact.ts";
import { encodeBucket } from "../meta/buckets.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import { decodeHead, decodePast } from "../meta/heads.ts";
import type { HeadRecord } from "../meta/heads.ts";
import { bodyKey, bucketKey, headKey, markerKey } from "../meta/keys.ts";
import { fencedError } from "../meta/sessions.ts";
import type { BucketGuess } from "./bucket_ids.ts";
import type { ObjectContext } from "./context.ts";
import { encryptionInfo } from "./encryption.ts";
import type { BucketInfo, ObjectInfo } from "./object.ts";
import { versionIdOf } from "./version_ids.ts";

/** How long a write that meets a bucket being deleted waits for the deletion to end. See buckets.ts. */
const deletionGraceMs = 50;

export type Address = { readonly bucket: string; readonly key: Buffer };

type Row = Entry | undefined;
export type ReadRows = (keys: readonly Key[]) => Promise<Row[]>;

/** A key's rows as they were read. */
export type Target = {
  readonly name: string;
  readonly bucket: BucketRecord;
  /** Of the bucket's row. */
  readonly bucketVersion: Version;
  readonly key: Buffer;
  readonly headEntry: Row;
  readonly head: HeadRecord | undefined;
  /** The delete marker that is current; then there is no head. */
  readonly marker: HeadRecord | undefined;
  readonly markerEntry: Row;
  /** Read only when asked for. */
  readonly bodyEntry: Row;
  /** What a commit must check if the target was read outside of its transaction. */
  readonly checks: readonly Check[];
};

/** Whether its objects have versions, or had: switched on once, versioning can only be suspended. */
export function hasVersions(bucket: BucketRecord): boolean {
  return bucket.versioning !== "unversioned";
}

export function noSuchBucket(name: string): HoldfastError {
  return new HoldfastError("no_such_bucket", "The specified bucket does not exist.", { details: { bucket: name } });
}

/** `marker`: the delete marker that is current; clients are told of it. */
export function noSuchKey(marker?: HeadRecord): HoldfastError {
  const details = marker === undefined ? {} : { markerId: versionIdOf(marker) };
  return new HoldfastError("no_such_key", "The specified key does not exist.", { details });
}

/** A name from a client may be longer than a row's key. */
export function bucketRow(name: string): Buffer {
  if (name.length > limits.bucketNameCharsMax) throw noSuchBucket(name);
  return bucketKey(name);
}

/** A bucket's row. Errors: `no_such_bucket`. */
export async function readBucket(
  ctx: ObjectContext,
  read: ReadRows,
  name: string,
): Promise<{ readonly entry: Entry; readonly bucket: BucketRecord }> {
  const [entry] = await read([bucketRow(name)]);
  return bucketOf(ctx, name, entry);
}

/** Of a bucket's row that was read. Errors: `no_such_bucket`. */
export function bucketOf(ctx: ObjectContext, name: string, entry: Row): { entry: Entry; bucket: BucketRecord } {
  if (entry === undefined) {
    ctx.bucketIds.forget(name);
    ctx.loggedBuckets?.forget(name);
    throw noSuchBucket(name);
  }
  const bucket = ctx.buckets.of(entry);
  ctx.bucketIds.learn(name, bucket.id, hasVersions(bucket));
  ctx.loggedBuckets?.note(name, bucket);
  if ((ctx.judged?.get(name) ?? bucket.id) !== bucket.id) throw noSuchBucket(name);
  return { entry, bucket };
}

export type TargetOptions = {
  /** Whether the body row is read too: `kept` where a write may have to keep what it replaces, so where there are versions. */
  readonly body?: "always" | "kept";
};

type KeyRows = { readonly head: Buffer; readonly body: Buffer | undefined; readonly marker: Buffer | undefined };

function rowsOf({ id, hasVersions: has }: BucketGuess, key: Buffer, body: TargetOptions["body"]): KeyRows {
  const wantsBody = body === "always" || (body === "kept" && has);
  return {
    head: headKey(id, key),
    body: wantsBody ? bodyKey(id, key) : undefined,
    marker: has ? markerKey(id, key) : undefined,
  };
}

/** One read if it was known which bucket that is, two otherwise. Errors: `no_such_bucket`. */
export async function readTarget(
  ctx: ObjectContext,
  read: ReadRows,
  address: Address,
  options: TargetOptions = {},
): Promise<Target> {
  const { bucket: name, key } = address;
  const guess = ctx.bucketIds.get(name);
  let wanted = guess && rowsOf(guess, key, options.body);
  let found = await read([bucketRow(name), ...keysOf(wanted)]);
  const { entry, bucket } = bucketOf(ctx, name, found[0]);
  if (wanted === undefined || bucket.id !== guess?.id || hasVersions(bucket) !== guess.hasVersions) {
    wanted = rowsOf({ id: bucket.id, hasVersions: hasVersions(bucket) }, key, options.body);
    found = [entry, ...(await read(keysOf(wanted)))];
  }
  const headEntry = found[1];
  const bodyEntry = wanted.body && found[2];
  const markerEntry = wanted.marker && found.at(-1);
  const checks = [
    { key: entry.key, version: entry.version },
    { key: wanted.head, version: headEntry?.version ?? absent },
    // Where there is a head there is no marker, and none comes without the head's going.
    ...(wanted.marker && !headEntry ? [{ key: wanted.marker, version: markerEntry?.version ?? absent }] : []),
  ];
  const head = headEntry && decodeHead(headEntry.value);
  const marker = markerEntry && decodePast(markerEntry.value).head;
  const bucketVersion = entry.version;
  return { name, bucket, bucketVersion, key, headEntry, head, marker, markerEntry, bodyEntry, checks };
}

function keysOf(rows: KeyRows | undefined): Buffer[] {
  if (rows === undefined) return [];
  return [rows.head, rows.body, rows.marker].filter((key) => key !== undefined);
}

export function readRows(kv: Kv): ReadRows {
  return (keys) => kv.get(keys);
}

/** The write goes on though the bucket is being deleted: it makes it active again, and the deletion finds that out. */
export async function keepBucketAlive(
  ctx: ObjectContext,
  tx: Transaction,
  name: string,
  bucket: BucketRecord,
): Promise<void> {
  if (bucket.state === "active") return;
  await ctx.clock.sleep(deletionGraceMs);
  tx.put(bucketKey(name), encodeBucket({ ...bucket, state: "active" }));
}

export type ChangeOptions = {
  /** What was read before, if anything: the first attempt builds on it instead of reading again. */
  readonly early?: Target | undefined;
  /** Whether the change publishes chunks of this session. */
  readonly publishesChunks: boolean;
  readonly signal?: AbortSignal | undefined;
};

/**
 * The commit of a change to one key. `change` judges the target and buffers writes; it runs again after a conflict. Rows that
 * it bases its decision on are checked by the commit. Errors: those of `change` and transact, `session_fenced`.
 */
export async function changeTarget<T>(
  ctx: ObjectContext,
  address: Address,
  options: ChangeOptions,
  change: (tx: Transaction, target: Target) => T | Promise<T>,
): Promise<T> {
  let attempts = 0;
  const work = async (tx: Transaction): Promise<T> => {
    attempts += 1;
    let target = attempts === 1 ? options.early : undefined;
    if (target === undefined) target = await readTarget(ctx, (keys) => tx.get(keys), address, { body: "kept" });
    else for (const { key, version } of target.checks) tx.check(key, version);
    if (options.publishesChunks) await checkSession(ctx, tx, attempts);
    const result = await change(tx, target);
    await keepBucketAlive(ctx, tx, target.name, target.bucket);
    return result;
  };
  const { clock, random } = ctx;
  return transact(
    ctx.kv,
    work,
    options.signal === undefined ? { clock, random } : { clock, random, signal: options.signal },
  );
}

/** The first attempt only checks; a later one looks whether it was the session that conflicted. Errors: `session_fenced`. */
export async function checkSession(ctx: ObjectContext, tx: Transaction, attempt: number): Promise<void> {
  const { key, version } = ctx.session.check;
  if (attempt === 1) return tx.check(key, version);
  const [row] = await tx.get([key]);
  if (row?.version !== version) throw fencedError(ctx.session.id);
}

export function infoOf(bucket: BucketRecord, key: Buffer, head: HeadRecord): ObjectInfo {
  const { sizeBytes, etag, modifiedMs, metadata, checksum, tags, acl, retention, legalHold } = head;
  const encryption = encryptionInfo(head.encryption);
  const dash = etag.indexOf("-");
  const partsCount = dash < 0 ? undefined : Number(etag.slice(dash + 1));
  const versionId = hasVersions(bucket) ? versionIdOf(head) : undefined;
  const lock = { retention, legalHold };
  return { key, sizeBytes, etag, modifiedMs, metadata, checksum, encryption, partsCount, versionId, tags, lock, acl };
}

export function bucketInfoOf(name: string, bucket: BucketRecord): BucketInfo {
  const { id, createdMs, region, redundancy, reducedRedundancy, versioning, objectLock, account } = bucket;
  return { name, id, createdMs, region, redundancy, reducedRedundancy, versioning, objectLock, account };
}
