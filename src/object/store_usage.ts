/**
 * Objects, versions and bytes of the whole store, by the redundancy that their buckets ask for: from the counters alone, in a bounded
 * number of scans, so that it can be asked often. What a bucket held before it asked for another redundancy counts as what it
 * asks for now.
 */
import type { BucketId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { formatRedundancy, type Redundancy } from "../core/redundancy.ts";
import { readCounters, type Entry, type Kv } from "../kv/kv.ts";
import { decodeBucket } from "../meta/buckets.ts";
import { bucketNameOf, parseUsageKey, tagRange, tags, type Tag } from "../meta/keys.ts";
import { accountUsageKey, countedKey, quotaAccountOf } from "../meta/quota_keys.ts";
import { decodeAccountQuota, isBounded, readCounted, readHeld } from "../meta/quotas.ts";
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

/** `byDefault`: of buckets that say nothing else. */
export async function storeUsage(kv: Kv, byDefault: Redundancy): Promise<StoreUsage> {
  const [buckets, counters] = await Promise.all([someRows(kv, tags.bucket), someRows(kv, tags.usage)]);
  const levels = new Map<string, { buckets: number; objects: number; versions: number; bytes: number }>();
  const levelOf = new Map<BucketId, string>();
  for (const row of buckets.rows) {
    const { id, redundancy = byDefault } = decodeBucket(row.value);
    const level = formatRedundancy(redundancy);
    levelOf.set(id, level);
    const sums = levels.get(level) ?? { buckets: 0, objects: 0, versions: 0, bytes: 0 };
    levels.set(level, { ...sums, buckets: sums.buckets + 1 });
  }
  for (const row of counters.rows) {
    // Counters may outlive their bucket a little.
    const sums = levels.get(levelOf.get(parseUsageKey(row.key).bucket) ?? "");
    if (sums === undefined) continue;
    const [objects = 0, bytes = 0, versions = 0] = readCounters(row.value);
    sums.objects += objects;
    sums.versions += versions;
    sums.bytes += bytes;
  }
  const found = [...levels].map(([redundancy, sums]): UsageLevel => ({ redundancy, ...sums }));
  return { levels: found, isWhole: buckets.isWhole && counters.isWhole };
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
