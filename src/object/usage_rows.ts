/**
 * Folding usage rows: those of sessions that are over, or all of a bucket that is to be counted in one place, become part of one
 * row. A commit deletes rows at the versions it read and adds their sums, so that nothing is counted twice or lost, whatever
 * comes between or cuts it off. It checks the buckets' rows, for these say which the one row is.
 */
import { assert } from "../core/assert.ts";
import type { BucketId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Entry, Kv } from "../kv/kv.ts";
import { transact } from "../kv/transact.ts";
import { decodeBucket, type BucketRecord } from "../meta/buckets.ts";
import { bucketKey, foldedSession, parseUsageKey, usageKey } from "../meta/keys.ts";
import { countedKey } from "../meta/quota_keys.ts";
import { readUsage, usageDeltas } from "../meta/usage.ts";

/** Each row costs a check, a delete, and the check of a bucket and an addition if every one is another bucket's. */
export const usageRowsPerCommit = Math.min(128, Math.floor(limits.commitOperationsMax / 4));

/** Rows of a bucket that is not there by that name (any more) are left. */
export function foldUsage(
  kv: Kv,
  seen: readonly Entry[],
  nameOf: (bucket: BucketId) => string | undefined,
): Promise<void> {
  assert(seen.length <= usageRowsPerCommit, "the rows fit a commit");
  const names = new Set(seen.flatMap(({ key }) => nameOf(parseUsageKey(key).bucket) ?? []));
  return transact(kv, async (tx) => {
    const rows = await tx.get([...[...names].map(bucketKey), ...seen.map(({ key }) => key)]);
    const buckets = new Map<BucketId, BucketRecord>();
    for (const row of rows.slice(0, names.size)) {
      const bucket = row && decodeBucket(row.value);
      if (bucket !== undefined) buckets.set(bucket.id, bucket);
    }
    for (const row of rows.slice(names.size)) {
      const bucket = row && buckets.get(parseUsageKey(row.key).bucket);
      if (row === undefined || bucket === undefined) continue;
      tx.delete(row.key);
      const usage = readUsage(row.value);
      const { objects, bytes, versions } = usage;
      if (bucket.quota === undefined) tx.add(usageKey(bucket.id, foldedSession), usageDeltas(usage));
      else tx.add(countedKey(bucket.id), usageDeltas(usage, [objects + versions, bytes]));
    }
  });
}
