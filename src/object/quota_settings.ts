/**
 * Setting quotas, and how a bucket comes to be counted in one place (docs/decisions/0021-quotas.md).
 *
 *  1. A commit writes the quota into the bucket's row. Every write checks that row, so from now on all count in the one row, and the
 *     rows of the sessions stand still. Nothing is refused yet.
 *  2. Those rows are folded into the one, each by a commit that deletes it and adds what it said.
 *  3. The parts of uploads that were under way are added, an upload at a time. A part that comes to such an upload meanwhile writes the
 *     upload's row anew, so that the sum of its parts is taken again.
 *  4. A commit says in the bucket's row that it is counted: the quota holds.
 *
 * An account is counted likewise: its row first, then every bucket of it *joins*. From a commit on the bucket's changes count for the
 * account too, and beside that in two counters of the bucket's row; so what the bucket held before is the difference of two
 * counters of one row, which stays the same, and is added to the account's by the commit that says that the bucket has joined. A new
 * bucket has joined from the beginning, for its commit checks the account's row.
 *
 * Every step can be done again, by anybody: a job finishes what a process that died has begun.
 */
import type { Entry, Kv } from "../kv/kv.ts";
import { scanPages } from "../kv/scan_pages.ts";
import { transact, type Transaction } from "../kv/transact.ts";
import { decodeBucket, encodeBucket, type BucketRecord } from "../meta/buckets.ts";
import {
  bucketKey,
  bucketNameOf,
  parseUploadKey,
  partRange,
  tagRange,
  tags,
  uploadRange,
  usageRange,
  type Tag,
} from "../meta/keys.ts";
import { accountQuotaKey, accountUsageKey, countedKey, heldKey, quotaAccountOf } from "../meta/quota_keys.ts";
import {
  decodeAccountQuota,
  encodeAccountQuota,
  encodeCounter,
  isBounded,
  noQuota,
  readCounted,
  readHeld,
  type BucketQuota,
  type Quota,
} from "../meta/quotas.ts";
import { decodePart } from "../meta/uploads.ts";
import type { ObjectContext } from "./context.ts";
import type { QuotaView } from "./quota_types.ts";
import { countParts } from "./quotas.ts";
import { readBucket, readRows } from "./target.ts";
import { foldUsage, usageRowsPerCommit } from "./usage_rows.ts";

type Parts = Pick<ObjectContext, "kv" | "clock" | "random">;

/** What a bucket that was never counted begins with. */
const uncounted: BucketQuota = { ...noQuota, isCounted: false, account: "none" };

export async function bucketQuota(ctx: ObjectContext, name: string): Promise<QuotaView> {
  const { bucket } = await readBucket(ctx, readRows(ctx.kv), name);
  if (bucket.quota?.isCounted !== true) return { quota: quotaOf(bucket.quota), held: undefined };
  const [row] = await ctx.kv.get([countedKey(bucket.id)]);
  return { quota: quotaOf(bucket.quota), held: readCounted(row?.value).held };
}

function quotaOf({ bytesMax, objectsMax }: Quota = noQuota): Quota {
  return { bytesMax, objectsMax };
}

export async function setBucketQuota(ctx: ObjectContext, name: string, wanted: Quota): Promise<QuotaView> {
  const quota = quotaOf(wanted);
  await transact(
    ctx.kv,
    async (tx) => {
      const { entry, bucket } = await readBucket(ctx, (keys) => tx.get(keys), name);
      if (bucket.quota === undefined && !isBounded(quota)) return;
      tx.put(entry.key, encodeBucket({ ...bucket, quota: { ...uncounted, ...bucket.quota, ...quota } }));
    },
    ctx,
  );
  await finishBucket(ctx, name);
  return bucketQuota(ctx, name);
}

export async function accountQuota({ kv }: Pick<Parts, "kv">, account: string | undefined): Promise<QuotaView> {
  const [row, held] = await kv.get([accountQuotaKey(account ?? ""), accountUsageKey(account ?? "")]);
  const found = row && decodeAccountQuota(row.value);
  return { quota: quotaOf(found), held: found?.isCounted === true ? readHeld(held?.value) : undefined };
}

export async function setAccountQuota(parts: Parts, account: string | undefined, wanted: Quota): Promise<QuotaView> {
  const quota = quotaOf(wanted);
  const key = accountQuotaKey(account ?? "");
  await transact(
    parts.kv,
    async (tx) => {
      const [row] = await tx.get([key]);
      if (row === undefined && !isBounded(quota)) return;
      const isCounted = row !== undefined && decodeAccountQuota(row.value).isCounted;
      tx.put(key, encodeAccountQuota({ ...quota, isCounted }));
    },
    parts,
  );
  await finishAccount(parts, account ?? "");
  return accountQuota(parts, account);
}

/**
 * Finishes what was begun, of every bucket and account; what cannot be finished holds up no other. Returns how many there were. Errors:
 * the first that there was, when all have been tried.
 */
export async function finishQuotas(parts: Parts, signal: AbortSignal): Promise<number> {
  let done = 0;
  let failure: { readonly error: unknown } | undefined;
  const each = async (tag: Tag, finish: (row: Entry) => Promise<boolean>): Promise<void> => {
    for await (const rows of scanPages(parts.kv, tagRange(tag)))
      for (const row of rows) {
        if (signal.aborted) return;
        try {
          if (await finish(row)) done += 1;
        } catch (error) {
          failure ??= { error };
        }
      }
  };
  await each(tags.bucket, async ({ key, value }) => {
    if (isFinished(decodeBucket(value).quota)) return false;
    await finishBucket(parts, bucketNameOf(key));
    return true;
  });
  await each(tags.quota, async ({ key, value }) => {
    if (decodeAccountQuota(value).isCounted) return false;
    await finishAccount(parts, quotaAccountOf(key));
    return true;
  });
  if (failure !== undefined) throw failure.error;
  return done;
}

function isFinished(quota: BucketQuota | undefined): boolean {
  return quota === undefined || (quota.isCounted && quota.account !== "joining");
}

/** Steps 2 to 4, and then the join. Nothing where the bucket is gone or finished. */
async function finishBucket(parts: Parts, name: string): Promise<void> {
  const [row] = await parts.kv.get([bucketKey(name)]);
  const bucket = row && decodeBucket(row.value);
  if (bucket === undefined || isFinished(bucket.quota)) return;
  if (!bucket.quota!.isCounted) {
    await foldAll(parts.kv, name, bucket);
    await countUploads(parts, name, bucket);
  }
  await changeQuota(parts, name, bucket, (quota) => (quota.isCounted ? undefined : { ...quota, isCounted: true }));
  await changeQuota(parts, name, bucket, async (quota, tx, now) => {
    if (quota.account !== "joining") return undefined;
    const [counted] = await tx.peek([countedKey(now.id)]);
    const { held, since } = readCounted(counted?.value);
    const before = [held.objects - since.objects, held.bytes - since.bytes];
    if (before.some((count) => count !== 0)) tx.add(accountUsageKey(now.account ?? ""), before);
    return { ...quota, account: "joined" };
  });
}

type Change = (
  quota: BucketQuota,
  tx: Transaction,
  bucket: BucketRecord,
) => BucketQuota | undefined | Promise<BucketQuota | undefined>;

/** Of that very bucket, if it is there still. */
async function changeQuota(parts: Parts, name: string, { id }: BucketRecord, change: Change): Promise<void> {
  await transact(
    parts.kv,
    async (tx) => {
      const key = bucketKey(name);
      const [row] = await tx.get([key]);
      const bucket = row && decodeBucket(row.value);
      if (bucket?.id !== id) return;
      const quota = await change(bucket.quota ?? uncounted, tx, bucket);
      if (quota !== undefined) tx.put(key, encodeBucket({ ...bucket, quota }));
    },
    parts,
  );
}

async function foldAll(kv: Kv, name: string, { id }: BucketRecord): Promise<void> {
  const counted = countedKey(id);
  for await (const rows of scanPages(kv, usageRange(id))) {
    const others = rows.filter(({ key }) => !key.equals(counted));
    for (let at = 0; at < others.length; at += usageRowsPerCommit)
      await foldUsage(kv, others.slice(at, at + usageRowsPerCommit), () => name);
  }
}

async function countUploads(parts: Parts, name: string, { id }: BucketRecord): Promise<void> {
  for await (const rows of scanPages(parts.kv, uploadRange(id))) {
    const held = await parts.kv.get(rows.map(({ key }) => heldKey(parseUploadKey(key).upload)));
    for (const [index, row] of rows.entries())
      if (held[index] === undefined) await countUpload(parts, name, { bucket: id, row });
  }
}

/** A part that comes meanwhile changes the upload's row, and so does this: the sum is of all parts, or is taken again. */
function countUpload(
  { kv, clock, random }: Parts,
  name: string,
  { bucket: id, row }: { readonly bucket: BucketRecord["id"]; readonly row: Entry },
): Promise<void> {
  const { upload } = parseUploadKey(row.key);
  return transact(
    kv,
    async (tx) => {
      const [bucketRow, uploadRow, held] = await tx.get([bucketKey(name), row.key, heldKey(upload)]);
      const bucket = bucketRow && decodeBucket(bucketRow.value);
      if (bucket?.id !== id || uploadRow === undefined || held !== undefined) return;
      let bytes = 0;
      for await (const parts of scanPages(kv, partRange(upload)))
        for (const part of parts) bytes += decodePart(part.value).sizeBytes;
      tx.put(heldKey(upload), encodeCounter(bytes));
      tx.put(row.key, uploadRow.value);
      await countParts(tx, bucket, { bytes, mayRefuse: false });
    },
    { clock, random },
  );
}

/** Every bucket of it joins; then the account is counted. */
async function finishAccount(parts: Parts, account: string): Promise<void> {
  const { kv } = parts;
  const [row] = await kv.get([accountQuotaKey(account)]);
  if (row === undefined || decodeAccountQuota(row.value).isCounted) return;
  for await (const rows of scanPages(kv, tagRange(tags.bucket))) {
    for (const each of rows) {
      const bucket = decodeBucket(each.value);
      if ((bucket.account ?? "") !== account) continue;
      const name = bucketNameOf(each.key);
      await changeQuota(parts, name, bucket, (quota) =>
        quota.account === "none" ? { ...quota, account: "joining" } : undefined,
      );
      await finishBucket(parts, name);
    }
  }
  await transact(kv, async (tx) => {
    const [now] = await tx.get([accountQuotaKey(account)]);
    if (now !== undefined)
      tx.put(accountQuotaKey(account), encodeAccountQuota({ ...decodeAccountQuota(now.value), isCounted: true }));
  });
}
