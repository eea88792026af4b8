/**
 * What a change counts, and the quotas that bound it (docs/decisions/0021-quotas.md).
 *
 * Most buckets have no quota: every session counts in a row of its own, and nothing else is read or written for it. A bucket that has
 * one, or whose account has, is counted in one row (and one of its account), to which the metadata store adds under a bound. So
 * the commit itself decides whether there is room: it is judged on the very state that it changes, and what lowers a counter always
 * goes through. The early look at a body's length is a hint; it reads everything in one state, so it refuses nothing that fits.
 */
import { HoldfastError } from "../core/errors.ts";
import type { Key, Kv } from "../kv/kv.ts";
import type { AddBound, Transaction } from "../kv/transact.ts";
import { decodeBucket, type BucketRecord } from "../meta/buckets.ts";
import { bucketKey, usageKey } from "../meta/keys.ts";
import { accountQuotaKey, accountUsageKey, countedKey } from "../meta/quota_keys.ts";
import {
  decodeAccountQuota,
  isBounded,
  noQuota,
  readCounted,
  readHeld,
  type Held,
  type Quota,
} from "../meta/quotas.ts";
import type { Session } from "../meta/sessions.ts";
import { noUsage, usageDeltas, type Usage, type UsageCounts } from "../meta/usage.ts";

/** `objects`: current ones; `pastRows`: noncurrent versions and delete markers. */
export type CountedChange = {
  readonly objects: number;
  readonly bytes: number;
  readonly pastRows: number;
  /** What of it is of the reduced class. */
  readonly reduced: UsageCounts;
  /** Whether a quota can refuse it. What a DELETE adds (a delete marker) is counted and never refused. */
  readonly isBounded: boolean;
};

/** In the commit of a change to a key. Its commit fails with `quota_exceeded` where there is no room. */
export async function countChange(
  { session }: { readonly session: Pick<Session, "id"> },
  tx: Transaction,
  bucket: BucketRecord,
  change: CountedChange,
): Promise<void> {
  const { objects, bytes, pastRows, reduced, isBounded: mayRefuse } = change;
  const usage = { objects, bytes, versions: pastRows, reduced };
  if (bucket.quota !== undefined) {
    const held = { objects: objects + pastRows, bytes };
    return addCounted(tx, bucket, { usage, held, mayRefuse });
  }
  const deltas = usageDeltas(usage);
  if (deltas.some((delta) => delta !== 0)) tx.add(usageKey(bucket.id, session.id), deltas);
}

/** Bytes of parts, which are no object's yet, or are not any more. Nothing in a bucket that is not counted. */
export async function countParts(
  tx: Transaction,
  bucket: BucketRecord,
  { bytes, mayRefuse }: { readonly bytes: number; readonly mayRefuse: boolean },
): Promise<void> {
  if (bucket.quota !== undefined)
    await addCounted(tx, bucket, {
      usage: { ...noUsage, reduced: noUsage },
      held: { objects: 0, bytes },
      mayRefuse,
    });
}

type Counted = { readonly usage: Usage; readonly held: Held; readonly mayRefuse: boolean };

async function addCounted(tx: Transaction, bucket: BucketRecord, { usage, held, mayRefuse }: Counted): Promise<void> {
  const quota = bucket.quota!;
  const { objects, bytes } = held;
  const since = quota.account === "joining" ? [objects, bytes] : [];
  const deltas = usageDeltas(usage, [objects, bytes, ...since]);
  if (deltas.every((delta) => delta === 0)) return;
  const bound = quota.isCounted && mayRefuse ? boundOf(quota, "bucket", [undefined, undefined, undefined]) : undefined;
  tx.add(countedKey(bucket.id), deltas, bound);
  if (quota.account === "none") return;
  const account = bucket.account ?? "";
  const [row] = await tx.get([accountQuotaKey(account)]);
  const ofAccount = row && decodeAccountQuota(row.value);
  const accountBound = ofAccount?.isCounted === true && mayRefuse ? boundOf(ofAccount, "account") : undefined;
  tx.add(accountUsageKey(account), [objects, bytes], accountBound);
}

type Whose = "bucket" | "account";

/** `before`: counters of the row that have no bound. */
function boundOf(quota: Quota, whose: Whose, before: readonly undefined[] = []): AddBound | undefined {
  if (!isBounded(quota)) return undefined;
  return { max: [...before, quota.objectsMax, quota.bytesMax], refusal: () => exceeded(quota, whose) };
}

function exceeded({ bytesMax, objectsMax }: Quota, whose: Whose): HoldfastError {
  const message = `This would go beyond the quota of the ${whose}.`;
  const details = {
    ...(bytesMax === undefined ? {} : { quotaBytes: bytesMax }),
    ...(objectsMax === undefined ? {} : { quotaObjects: objectsMax }),
  };
  return new HoldfastError("quota_exceeded", message, { details });
}

/** A body that is about to be read: what it would take the place of, and what it needs. */
export type Coming = {
  readonly name: string;
  readonly bucket: BucketRecord;
  /** Rows that say what it takes the place of, in the same state as the counters. */
  readonly rows: readonly Key[];
  /** Undefined: that cannot be told before the commit. */
  readonly growth: (rows: readonly (Buffer | undefined)[]) => Held | undefined;
};

/** Refuses what surely has no room at this moment. Errors: `quota_exceeded`. Reads nothing where nothing is bounded. */
export async function refuseBeyondQuota({ kv }: { readonly kv: Kv }, coming: Coming): Promise<void> {
  const { quota } = coming.bucket;
  if (quota === undefined || (quota.account === "none" && !isBounded(quota))) return;
  const account = coming.bucket.account ?? "";
  const [bucketRow, countedRow, quotaRow, accountRow, ...rows] = await kv.get([
    bucketKey(coming.name),
    countedKey(coming.bucket.id),
    accountQuotaKey(account),
    accountUsageKey(account),
    ...coming.rows,
  ]);
  const bucket = bucketRow && decodeBucket(bucketRow.value);
  // Another bucket by now: the commit finds out.
  if (bucket?.id !== coming.bucket.id || bucket.versioning !== coming.bucket.versioning) return;
  const growth = coming.growth(rows.map((row) => row?.value));
  if (growth === undefined || bucket.quota === undefined) return;
  if (bucket.quota.isCounted) refuse(bucket.quota, "bucket", { held: readCounted(countedRow?.value).held, growth });
  const ofAccount = quotaRow && decodeAccountQuota(quotaRow.value);
  if (bucket.quota.account === "none" || ofAccount?.isCounted !== true) return;
  refuse(ofAccount, "account", { held: readHeld(accountRow?.value), growth });
}

function refuse(quota: Quota, whose: Whose, { held, growth }: { readonly held: Held; readonly growth: Held }): void {
  const { bytesMax = Infinity, objectsMax = Infinity } = quota;
  const isBeyond =
    (growth.bytes > 0 && held.bytes + growth.bytes > bytesMax) ||
    (growth.objects > 0 && held.objects + growth.objects > objectsMax);
  if (isBeyond) throw exceeded(quota, whose);
}

/** What a bucket's row begins with: it counts for its account where that has a quota. Makes the commit depend on that. */
export async function quotaOfNewBucket(tx: Transaction, account: string | undefined): Promise<BucketRecord["quota"]> {
  const [row] = await tx.get([accountQuotaKey(account ?? "")]);
  return row && { ...noQuota, isCounted: true, account: "joined" };
}

/** What goes from the account's counters with a bucket that is deleted: parts of uploads under way. */
export function leavesAccount(bucket: BucketRecord, counted: Uint8Array | undefined): readonly number[] | undefined {
  const { account = "none" } = bucket.quota ?? {};
  if (account === "none") return undefined;
  const { held, since } = readCounted(counted);
  const { objects, bytes } = account === "joined" ? held : since;
  return objects === 0 && bytes === 0 ? undefined : [-objects, -bytes];
}
