/**
 * Objects, versions and bytes of the whole store, by the redundancy that their buckets ask for them, for either class: from the
 * counters alone, in a bounded number of scans, so that it can be asked often. What a bucket held before it asked for another
 * redundancy counts as what it asks for now.
 */
import type { BucketId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { formatRedundancy, type AskedRedundancies, type Redundancies } from "../core/redundancy.ts";
import type { Entry, Kv } from "../kv/kv.ts";
import { decodeBucket } from "../meta/buckets.ts";
import { bucketNameOf, parseUsageKey, tagRange, tags, type Tag } from "../meta/keys.ts";
import { accountUsageKey, countedKey, quotaAccountOf } from "../meta/quota_keys.ts";
import { decodeAccountQuota, isBounded, readCounted, readHeld } from "../meta/quotas.ts";
import { isNothing, noUsage, readUsage, sumOf, type UsageCounts } from "../meta/usage.ts";
import type { StoreUsage, UsageLevel } from "./object.ts";
import type { NamedQuota } from "./quota_types.ts";

/** Scans of one family: 8,000 buckets, and as many counters (one for each bucket and process that wrote to it lately). */
const pagesMax = 4;

async function someRows(kv: Kv, tag: Tag): Promise<{ readonly rows: readonly Entry[]; readonly isWhole: boolean }> {
  const { start, end } = tagRange(tag);
  const rows: Entry[] = [];
  for (let page = 0, from: Uint8Array = start; page < pagesMax; page++) {
    const found = await kv.scan({ start: from, end }, { limit: limits.scanEntriesMax });
    rows.push(...found);
    const last = found.at(-1);
    if (last === undefined || found.length < limits.scanEntriesMax) return { rows, isWhole: true };
    from = Buffer.concat([last.key, Buffer.from([0])]);
  }
  return { rows, isWhole: false };
}

/** `redundanciesOf`: what holds for a bucket. */
export async function storeUsage(
  kv: Kv,
  redundanciesOf: (bucket: AskedRedundancies) => Redundancies,
): Promise<StoreUsage> {
  const [buckets, counters] = await Promise.all([someRows(kv, tags.bucket), someRows(kv, tags.usage)]);
  const levels = new Map<string, UsageCounts & { readonly buckets: number }>();
  const add = (level: string, counts: UsageCounts, more = 0): void => {
    const { buckets: count, ...sums } = levels.get(level) ?? { buckets: 0, ...noUsage };
    levels.set(level, { buckets: count + more, ...sumOf(sums, counts) });
  };
  const levelsOf = new Map<BucketId, { readonly standard: string; readonly reduced: string }>();
  for (const row of buckets.rows) {
    const bucket = decodeBucket(row.value);
    const { standard, reduced } = redundanciesOf(bucket);
    const own = { standard: formatRedundancy(standard), reduced: formatRedundancy(reduced) };
    levelsOf.set(bucket.id, own);
    add(own.standard, noUsage, 1);
  }
  for (const row of counters.rows) {
    // Counters may outlive their bucket a little.
    const own = levelsOf.get(parseUsageKey(row.key).bucket);
    if (own === undefined) continue;
    const { reduced, ...all } = readUsage(row.value);
    add(own.standard, sumOf(all, reduced, -1));
    if (!isNothing(reduced)) add(own.reduced, reduced);
  }
  const found = [...levels].map(([redundancy, sums]): UsageLevel => ({ redundancy, ...sums }));
  // What one session counted another one may have taken away.
  const held = found.filter((level) => level.buckets > 0 || !isNothing(level));
  return { levels: held, isWhole: buckets.isWhole && counters.isWhole };
}

/** Of the buckets that storeUsage looks at, and of accounts. Reads beside their rows only the counters of those that have a quota. */
export async function storeQuotas(kv: Kv): Promise<NamedQuota[]> {
  const [buckets, accounts] = await Promise.all([someRows(kv, tags.bucket), someRows(kv, tags.quota)]);
  const found: { readonly key: Buffer; readonly quota: Omit<NamedQuota, "held"> }[] = [];
  for (const row of buckets.rows) {
    const { id, quota } = decodeBucket(row.value);
    if (quota?.isCounted === true && isBounded(quota))
      found.push({ key: countedKey(id), quota: { of: "bucket", name: bucketNameOf(row.key), quota } });
  }
  for (const row of accounts.rows) {
    const quota = decodeAccountQuota(row.value);
    const name = quotaAccountOf(row.key);
    if (quota.isCounted && isBounded(quota))
      found.push({ key: accountUsageKey(name), quota: { of: "account", name, quota } });
  }
  const shown = found.slice(0, limits.quotasShownMax);
  const rows = await kv.get(shown.map(({ key }) => key));
  return shown.map(({ quota }, index) => {
    const value = rows[index]?.value;
    return { ...quota, held: quota.of === "bucket" ? readCounted(value).held : readHeld(value) };
  });
}
