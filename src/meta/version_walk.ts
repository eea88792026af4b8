/**
 * All versions of a bucket's keys in order: by key, the newest first. Heads and past rows are two families, so they are read
 * by two scans, and a version may move from one to the other in between. Heads are read before the past rows, for an
 * overwrite moves a head there, and once more after them, for a delete of what is current moves the newest past row back. So
 * a version that is there throughout is seen, unless it moves there and back again in between.
 *
 * A step costs the rows that it reads: three scans of `limit` rows at most.
 */
import type { BucketId } from "../core/ids.ts";
import type { Entry, Key, Kv } from "../kv/kv.ts";
import { keyAfter } from "../kv/scan_pages.ts";
import { decodeHead, decodePast, isNullVersion, orderOf } from "./heads.ts";
import type { HeadRecord } from "./heads.ts";
import { headKey, objectKeyOf, parsePastKey, pastPrefixRange, pastRange, prefixRange } from "./keys.ts";

/** A row in each of the two families. */
export type WalkPlace = { readonly heads: Key; readonly past: Key };
export type WalkRange = { readonly start: WalkPlace; readonly end: WalkPlace };

export type WalkedVersion = {
  readonly key: Buffer;
  readonly head: HeadRecord;
  /** It is the newest one of its key. */
  readonly isCurrent: boolean;
};

/** `stop`: the last key that the step came to, undefined at the end; `next`: where to go on behind it, or in the middle of it. */
export type WalkStep = { readonly versions: readonly WalkedVersion[] } & (
  { readonly stop: Buffer; readonly next: WalkPlace } | { readonly stop: undefined; readonly next: undefined }
);

/** Every version of every key that begins so. */
export function walkRange(bucket: BucketId, keyPrefix: Uint8Array): WalkRange {
  const heads = prefixRange(headKey(bucket, keyPrefix));
  const past = pastPrefixRange(bucket, keyPrefix);
  return { start: { heads: heads.start, past: past.start }, end: { heads: heads.end, past: past.end } };
}

/** Where the walk goes on behind all versions of a key. */
export function placeAfterKey(bucket: BucketId, key: Uint8Array): WalkPlace {
  return { heads: keyAfter(headKey(bucket, key)), past: pastRange(bucket, key).end };
}

/** Some versions from `start` on. */
export async function walkVersions(
  kv: Kv,
  bucket: BucketId,
  { start, end }: WalkRange,
  limit: number,
): Promise<WalkStep> {
  const scan = async (from: Key, to: Key): Promise<Entry[]> =>
    Buffer.compare(from, to) < 0 ? kv.scan({ start: from, end: to }, { limit }) : [];
  const before = await scan(start.heads, end.heads);
  const past = await scan(start.past, end.past);
  const after = await scan(start.heads, end.heads);
  const reached = reach(bucket, { before, past, after, limit });
  const { stop } = reached;
  const seen = [...before.map(currentOf), ...past.map(pastOf), ...after.map(currentOf)];
  const within = stop === undefined ? seen : seen.filter(({ key }) => Buffer.compare(key, stop) <= 0);
  return { versions: inOrder(within), ...reached };
}

function currentOf(row: Entry): WalkedVersion {
  return { key: objectKeyOf(row.key), head: decodeHead(row.value), isCurrent: true };
}

function pastOf(row: Entry): WalkedVersion {
  const { key, order } = parsePastKey(row.key);
  return { key, head: decodePast(row.value).head, isCurrent: order === undefined };
}

type Scans = {
  readonly before: readonly Entry[];
  readonly past: readonly Entry[];
  readonly after: readonly Entry[];
  readonly limit: number;
};

type Reached = { stop: Buffer; next: WalkPlace } | { stop: undefined; next: undefined };

/** The last key that all scans came to, and what follows it. A scan that is not full came to the end. */
function reach(bucket: BucketId, scans: Scans): Reached {
  const lastOf = (rows: readonly Entry[]): Entry | undefined => (rows.length < scans.limit ? undefined : rows.at(-1));
  const heads = [scans.before, scans.after]
    .map(lastOf)
    .filter((row) => row !== undefined)
    .map((row) => objectKeyOf(row.key))
    .toSorted(Buffer.compare);
  const lastPast = lastOf(scans.past);
  const [stop] = heads;
  const pastStop = lastPast && parsePastKey(lastPast.key).key;
  if (pastStop !== undefined && (stop === undefined || Buffer.compare(pastStop, stop) <= 0))
    // The key may have more past rows.
    return { stop: pastStop, next: { heads: keyAfter(headKey(bucket, pastStop)), past: keyAfter(lastPast!.key) } };
  if (stop === undefined) return { stop, next: undefined };
  return { stop, next: placeAfterKey(bucket, stop) };
}

/** Each version once, and of a null version that was replaced meanwhile only the newer one. */
function inOrder(seen: readonly WalkedVersion[]): WalkedVersion[] {
  const sorted = seen.toSorted((a, b) => Buffer.compare(a.key, b.key) || orderOf(b.head) - orderOf(a.head));
  const versions: WalkedVersion[] = [];
  let hasNull = false;
  for (const version of sorted) {
    const last = versions.at(-1);
    if (last === undefined || !last.key.equals(version.key)) {
      versions.push(version);
      hasNull = isNullVersion(version.head);
    } else if (last.head.stamp === version.head.stamp) {
      // Of the first of a key it is enough that it was current in one of the scans.
      const isFirst = versions.at(-2)?.key.equals(version.key) !== true;
      if (isFirst && version.isCurrent) versions[versions.length - 1] = version;
    } else if (!hasNull || !isNullVersion(version.head)) {
      versions.push({ ...version, isCurrent: false });
      hasNull ||= isNullVersion(version.head);
    }
  }
  return versions;
}
