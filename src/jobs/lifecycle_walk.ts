/**
 * Finds what was in a bucket before its lifecycle document was set, and writes due rows for what the rules will want. It ranges
 * over nothing but what the rules can be about: heads, past rows and uploads below the prefixes of rules that ask for them. What
 * changes meanwhile has its due row from the commit that changes it (object/due.ts).
 *
 * A due row may be too early, never too late: of a past row is only known when it was made, and it was noncurrent later.
 */
import { assert } from "../core/assert.ts";
import type { BucketId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Entry, KeyRange, Kv, Write } from "../kv/kv.ts";
import { keyAfter } from "../kv/scan_pages.ts";
import { decodeHead, decodePast } from "../meta/heads.ts";
import {
  headKey,
  objectKeyOf,
  parsePastKey,
  parseUploadKey,
  pastPrefixRange,
  prefixRange,
  tags,
} from "../meta/keys.ts";
import { dueKey, dueValue, uploadPrefixRange, type Due } from "../meta/lifecycle.ts";
import { decodeUpload } from "../meta/uploads.ts";
import { currentDue, dueOf } from "../object/due.ts";
import { abortOf, rulesForKey, type Calendar, type LifecycleRule } from "../object/lifecycle_rules.ts";

export type WalkStep = {
  readonly writes: readonly Write[];
  /** Where to go on; undefined: this was the end. */
  readonly from: Buffer | undefined;
  readonly rows: number;
  /** Of the objects that were seen. */
  readonly bytes: number;
};

type Walk = {
  readonly bucket: BucketId;
  readonly rules: readonly LifecycleRule[];
  readonly calendar: Calendar;
  readonly from: Buffer | undefined;
};

assert(
  limits.jobBatchMax + 1 < limits.commitOperationsMax &&
    limits.jobBatchMax * limits.metaKeyBytesMax < limits.commitBytesMax,
  "the due rows of a step fit one commit",
);

/** In the order of the rows, and none of them in another. */
export function walkedRanges(bucket: BucketId, rules: readonly LifecycleRule[]): KeyRange[] {
  const enabled = rules.filter(({ isEnabled }) => isEnabled);
  const below = (range: (prefix: Buffer) => KeyRange, wants: (rule: LifecycleRule) => boolean): KeyRange[] =>
    outermost(enabled.filter(wants).map(({ prefix }) => range(prefix)));
  return [
    ...below(
      (prefix) => prefixRange(headKey(bucket, prefix)),
      ({ expiration }) => expiration !== undefined && expiration.kind !== "markers",
    ),
    ...below(
      (prefix) => pastPrefixRange(bucket, prefix),
      ({ expiration, noncurrent }) => expiration !== undefined || noncurrent !== undefined,
    ),
    ...below(
      (prefix) => uploadPrefixRange(bucket, prefix),
      ({ abortDays }) => abortDays !== undefined,
    ),
  ];
}

/** Ranges of prefixes lie apart or one in the other. */
function outermost(ranges: readonly KeyRange[]): KeyRange[] {
  const found: KeyRange[] = [];
  const byStart = ranges.toSorted((a, b) => Buffer.compare(a.start, b.start) || Buffer.compare(b.end, a.end));
  for (const range of byStart) {
    const last = found.at(-1);
    if (last === undefined || Buffer.compare(last.end, range.start) <= 0) found.push(range);
  }
  return found;
}

export async function walkStep(kv: Kv, { bucket, rules, calendar, from }: Walk): Promise<WalkStep> {
  const ranges = walkedRanges(bucket, rules);
  const at = ranges.findIndex(({ end }) => from === undefined || Buffer.compare(from, end) < 0);
  const range = ranges[at];
  if (range === undefined) return { writes: [], from: undefined, rows: 0, bytes: 0 };
  const start = from !== undefined && Buffer.compare(from, range.start) > 0 ? from : range.start;
  const limit = limits.jobBatchMax;
  const rows = await kv.scan({ start, end: range.end }, { limit });
  const writes = new Map<string, Write>();
  let bytes = 0;
  for (const row of rows) {
    const seen = seenIn(row, rules, calendar);
    bytes += seen.sizeBytes;
    if (seen.due === undefined) continue;
    const key = dueKey(bucket, seen.due);
    writes.set(key.toString("latin1"), { kind: "put", key, value: dueValue });
  }
  const isEnd = rows.length < limit && at === ranges.length - 1;
  const next = rows.length < limit ? Buffer.from(range.end) : keyAfter(rows.at(-1)!.key);
  return { writes: [...writes.values()], from: isEnd ? undefined : next, rows: rows.length, bytes };
}

type Seen = { readonly due: Due | undefined; readonly sizeBytes: number };

function seenIn(row: Entry, rules: readonly LifecycleRule[], calendar: Calendar): Seen {
  const tag = row.key[0];
  if (tag === tags.head) {
    const key = objectKeyOf(row.key);
    const head = decodeHead(row.value);
    return seenAt(key, currentDue(rulesForKey(rules, key), head, calendar), head.sizeBytes);
  }
  if (tag === tags.past) {
    const { key, order } = parsePastKey(row.key);
    const { head } = decodePast(row.value);
    const ofKey = rulesForKey(rules, key);
    const atMs = order === undefined ? currentDue(ofKey, head, calendar) : dueOf(ofKey, { rewritten: head }, calendar);
    return seenAt(key, atMs, head.sizeBytes);
  }
  const { key, upload } = parseUploadKey(row.key);
  const ending = abortOf(rulesForKey(rules, key), decodeUpload(row.value).startedMs, calendar);
  return { due: ending && { atMs: ending.atMs, key, upload }, sizeBytes: 0 };
}

function seenAt(key: Buffer, atMs: number | undefined, sizeBytes: number): Seen {
  return { due: atMs === undefined ? undefined : { atMs, key, upload: undefined }, sizeBytes };
}
