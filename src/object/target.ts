/**
 * The rows that every write to a key reads, checks and changes: the bucket's, the head's and what belongs to it. One place
 * knows what must change together: head, body, usage, trash, and the bucket's state when a deletion of it was under way.
 */
import { HoldfastError } from "../core/errors.ts";
import type { BucketId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Entry, Key, Kv } from "../kv/kv.ts";
import { transact } from "../kv/transact.ts";
import type { Transaction } from "../kv/transact.ts";
import { decodeBucket, encodeBucket } from "../meta/buckets.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import { decodeHead, encodeBody, encodeHead } from "../meta/heads.ts";
import type { HeadRecord } from "../meta/heads.ts";
import { bodyKey, bucketKey, headKey, usageKey } from "../meta/keys.ts";
import { fencedError } from "../meta/sessions.ts";
import { trashWrite } from "../meta/trash.ts";
import type { ObjectContext } from "./context.ts";
import type { ObjectInfo } from "./object.ts";

/** How long a write that meets a bucket being deleted waits for the deletion to end. See buckets.ts. */
const deletionGraceMs = 50;

export type Address = { readonly bucket: string; readonly key: Buffer };

type Row = Entry | undefined;
type ReadRows = (keys: readonly Key[]) => Promise<Row[]>;

/** A key's rows as they were read. */
export type Target = {
  readonly name: string;
  readonly bucket: BucketRecord;
  readonly bucketEntry: Entry;
  readonly key: Buffer;
  readonly headKey: Buffer;
  readonly headEntry: Row;
  readonly head: HeadRecord | undefined;
  /** Read only when asked for. */
  readonly bodyEntry: Row;
};

export function noSuchBucket(name: string): HoldfastError {
  return new HoldfastError("no_such_bucket", "The specified bucket does not exist.", { details: { bucket: name } });
}

export function noSuchKey(): HoldfastError {
  return new HoldfastError("no_such_key", "The specified key does not exist.");
}

/** A name from a client may be longer than a row's key. */
function bucketRow(name: string): Buffer {
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

function bucketOf(ctx: ObjectContext, name: string, entry: Row): { entry: Entry; bucket: BucketRecord } {
  if (entry === undefined) {
    ctx.bucketIds.forget(name);
    throw noSuchBucket(name);
  }
  const bucket = decodeBucket(entry.value);
  ctx.bucketIds.learn(name, bucket.id);
  return { entry, bucket };
}

/** One read for bucket, head and (asked for) body when the bucket's id was known, two otherwise. Errors: `no_such_bucket`. */
export async function readTarget(
  ctx: ObjectContext,
  read: ReadRows,
  address: Address,
  options: { readonly body?: boolean } = {},
): Promise<Target> {
  const { bucket: name, key } = address;
  const rowsOf = (id: BucketId): Buffer[] =>
    options.body === true ? [headKey(id, key), bodyKey(id, key)] : [headKey(id, key)];
  const guess = ctx.bucketIds.get(name);
  let keys = guess === undefined ? [] : rowsOf(guess);
  let rows = await read([bucketRow(name), ...keys]);
  const { entry, bucket } = bucketOf(ctx, name, rows[0]);
  if (bucket.id !== guess) {
    keys = rowsOf(bucket.id);
    rows = [entry, ...(await read(keys))];
  }
  const headEntry = rows[1];
  const head = headEntry === undefined ? undefined : decodeHead(headEntry.value);
  return { name, bucket, bucketEntry: entry, key, headKey: keys[0]!, headEntry, head, bodyEntry: rows[2] };
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

export type NewVersion = Omit<HeadRecord, "epoch" | "stamp"> & {
  /** Given exactly when data.kind is `inline`. */
  readonly inline: Uint8Array | undefined;
};

/** Makes `next` the key's current version; what the old one held goes to the trash. */
export function replaceVersion(ctx: ObjectContext, tx: Transaction, target: Target, next: NewVersion): void {
  const { bucket, head: old } = target;
  const stamp = ctx.session.nextStamp();
  const { inline, ...fields } = next;
  tx.put(target.headKey, encodeHead({ ...fields, epoch: bucket.epoch, stamp }));
  if (inline !== undefined) tx.put(bodyKey(bucket.id, target.key), encodeBody(stamp, inline));
  else if (old?.data.kind === "inline") tx.delete(bodyKey(bucket.id, target.key));
  dropBlob(ctx, tx, old, next);
  count(ctx, tx, bucket.id, { objects: old === undefined ? 1 : 0, bytes: next.sizeBytes - (old?.sizeBytes ?? 0) });
}

/** Removes the key's current version, which exists. */
export function removeVersion(ctx: ObjectContext, tx: Transaction, target: Target): void {
  const { bucket, head } = target;
  if (head === undefined) return;
  tx.delete(target.headKey);
  if (head.data.kind === "inline") tx.delete(bodyKey(bucket.id, target.key));
  dropBlob(ctx, tx, head, undefined);
  count(ctx, tx, bucket.id, { objects: -1, bytes: -head.sizeBytes });
}

function dropBlob(
  ctx: ObjectContext,
  tx: Transaction,
  old: HeadRecord | undefined,
  next: Pick<HeadRecord, "data"> | undefined,
): void {
  if (old?.data.kind !== "blob") return;
  // A copy onto a key that has this blob already keeps the reference that is there.
  if (next?.data.kind === "blob" && next.data.blob === old.data.blob) return;
  const trash = trashWrite({ blob: old.data.blob, atMs: ctx.clock.nowMs() }, ctx.random);
  tx.put(trash.key, trash.value);
}

function count(
  ctx: ObjectContext,
  tx: Transaction,
  bucket: BucketId,
  change: { readonly objects: number; readonly bytes: number },
): void {
  if (change.objects === 0 && change.bytes === 0) return;
  tx.add(usageKey(bucket, ctx.session.id), [change.objects, change.bytes]);
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
    if (target === undefined) target = await readTarget(ctx, (keys) => tx.get(keys), address);
    else {
      tx.check(target.bucketEntry.key, target.bucketEntry.version);
      tx.check(target.headKey, target.headEntry?.version ?? 0);
    }
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

export function infoOf(key: Buffer, head: HeadRecord): ObjectInfo {
  const { sizeBytes, etag, modifiedMs, metadata, checksum } = head;
  const dash = etag.indexOf("-");
  const partsCount = dash < 0 ? undefined : Number(etag.slice(dash + 1));
  return { key, sizeBytes, etag, modifiedMs, metadata, checksum, partsCount };
}
