/**
 * ListObjectVersions: every version and delete marker, by key, the newest first. A page costs what it prints, however many
 * versions a key or a common prefix has: it goes on in the middle of a key, and jumps over what a common prefix hides.
 *
 * Where a page ends is said by the place of its last version in the key's history, not by `null`, which may be another one
 * by the time the next page is asked for.
 */
import { HoldfastError } from "../core/errors.ts";
import type { BucketId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { keyAfter } from "../kv/scan_pages.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import { orderOf } from "../meta/heads.ts";
import { headKey, markerKey, pastKey, pastPrefixRange, pastRange, prefixRange } from "../meta/keys.ts";
import { placeAfterKey, walkRange, walkVersions, type WalkedVersion, type WalkPlace } from "../meta/version_walk.ts";
import type { ObjectContext } from "./context.ts";
import { listPage } from "./list.ts";
import { canBegin, clipMarker, commonPrefixOf, startsWith } from "./markers.ts";
import type { ListedVersion, ListOptions, ListVersionsOptions, ListVersionsResult } from "./object.ts";
import { lookUp } from "./read_version.ts";
import { hasVersions, readBucket, readRows } from "./target.ts";
import { optionalVersionId, placeIdOf, versionIdOf, type VersionRef } from "./version_ids.ts";

/** Rows of one scan: past rows bear the bytes of small objects, so that this bounds memory. */
const scanRowsMax = 128;
/** As in list.ts. */
const firstScanRows = 64;
const jumpScanRows = 16;

type ListedPage = Omit<ListVersionsResult, "account">;

const nothing: ListedPage = { versions: [], commonPrefixes: [], next: undefined };

export async function listVersions(ctx: ObjectContext, options: ListVersionsOptions): Promise<ListVersionsResult> {
  const { limit } = options;
  if (limit < 0 || limit > limits.listPageKeysMax)
    throw new HoldfastError("invalid_argument", `A page has 0 to ${limits.listPageKeysMax} versions.`);
  const after = optionalVersionId(options.afterVersionId);
  const { bucket } = await readBucket(ctx, readRows(ctx.kv), options.bucket);
  return { account: bucket.account, ...(await listPageOf(ctx, bucket, options, after)) };
}

async function listPageOf(
  ctx: ObjectContext,
  bucket: BucketRecord,
  options: ListVersionsOptions,
  after: VersionRef | undefined,
): Promise<ListedPage> {
  const { limit, prefix } = options;
  if (limit === 0 || (prefix !== undefined && !canBegin(prefix))) return nothing;
  if (!hasVersions(bucket)) return onlyVersions(ctx, bucket.id, options);
  const page = new Page(bucket.id, options);
  const { end, start } = walkRange(bucket.id, prefix ?? Buffer.alloc(0));
  let from = later(start, await firstPlace(ctx, bucket.id, options, after));
  let scanRows = options.delimiter === undefined ? scanRowsMax : firstScanRows;
  for (;;) {
    const rows = Math.min(scanRows, page.left + 1);
    const { versions, next } = await walkVersions(ctx.kv, bucket.id, { start: from, end }, rows);
    for (const version of versions) if (page.take(version) === "full") return page.result();
    if (next === undefined) return page.result();
    const jump = page.placeAfterPrefix();
    from = jump === undefined ? next : later(next, jump);
    scanRows = jump === undefined ? Math.min(scanRows * 2, scanRowsMax) : jumpScanRows;
  }
}

/** Where there are no versions every object is its own and only one, called `null`. */
async function onlyVersions(
  ctx: ObjectContext,
  bucket: BucketId,
  { afterKey, ...options }: ListVersionsOptions,
): Promise<ListedPage> {
  const asked: ListOptions = { ...options, ...(afterKey === undefined ? {} : { after: afterKey }) };
  const { objects, commonPrefixes, next } = await listPage(ctx, bucket, asked);
  const versions = objects.map((object) => ({ ...object, versionId: "null", isLatest: true, isMarker: false }));
  const isPrefix = next !== undefined && commonPrefixes.at(-1)?.equals(next) === true;
  return { versions, commonPrefixes, next: next && { key: next, versionId: isPrefix ? undefined : "null" } };
}

function later(a: WalkPlace, b: WalkPlace): WalkPlace {
  return {
    heads: Buffer.compare(a.heads, b.heads) < 0 ? b.heads : a.heads,
    past: Buffer.compare(a.past, b.past) < 0 ? b.past : a.past,
  };
}

/** Past the marker, and past the common prefix that it is or lies under. */
async function firstPlace(
  ctx: ObjectContext,
  bucket: BucketId,
  options: ListVersionsOptions,
  afterVersion: VersionRef | undefined,
): Promise<WalkPlace> {
  const { afterKey, prefix } = options;
  if (afterKey === undefined) return walkRange(bucket, Buffer.alloc(0)).start;
  const key = clipMarker(afterKey);
  const rolled = prefix === undefined || startsWith(key, prefix) ? commonPrefixOf(key, options) : undefined;
  if (rolled !== undefined) return placeAfterPrefix(bucket, rolled);
  const whole = placeAfterKey(bucket, key);
  if (afterVersion === undefined || key.length < afterKey.length) return whole;
  if (afterVersion.kind === "id") return { ...whole, past: keyAfter(pastKey(bucket, key, BigInt(afterVersion.order))) };
  const address = { bucket: options.bucket, key, ref: afterVersion };
  const { version } = await lookUp(ctx, readRows(ctx.kv), address, { body: false });
  if (version === undefined) return whole;
  const { place, head } = version;
  if (place === "head") return { ...whole, past: pastRange(bucket, key).start };
  const row = place === "marker" ? markerKey(bucket, key) : pastKey(bucket, key, BigInt(orderOf(head)));
  return { ...whole, past: keyAfter(row) };
}

function placeAfterPrefix(bucket: BucketId, prefix: Buffer): WalkPlace {
  return { heads: prefixRange(headKey(bucket, prefix)).end, past: pastPrefixRange(bucket, prefix).end };
}

/** One page as it fills. */
class Page {
  readonly #bucket: BucketId;
  readonly #options: ListVersionsOptions;
  readonly #versions: ListedVersion[] = [];
  readonly #commonPrefixes: Buffer[] = [];
  /** The common prefix under which versions are passed over now. */
  #passing: Buffer | undefined;
  #last: ListVersionsResult["next"];
  #isTruncated = false;

  constructor(bucket: BucketId, options: ListVersionsOptions) {
    this.#bucket = bucket;
    this.#options = options;
  }

  get left(): number {
    return this.#options.limit - this.#versions.length - this.#commonPrefixes.length;
  }

  take(version: WalkedVersion): "more" | "full" {
    const { key, head } = version;
    if (this.#passing !== undefined && startsWith(key, this.#passing)) return "more";
    if (this.left === 0) {
      this.#isTruncated = true;
      return "full";
    }
    const commonPrefix = commonPrefixOf(key, this.#options);
    this.#passing = commonPrefix;
    if (commonPrefix === undefined) {
      this.#versions.push(listed(version));
      this.#last = { key, versionId: placeIdOf(head) };
    } else {
      this.#commonPrefixes.push(commonPrefix);
      this.#last = { key: commonPrefix, versionId: undefined };
    }
    return "more";
  }

  /** Behind the common prefix of the moment; undefined where the last version lies under none. */
  placeAfterPrefix(): WalkPlace | undefined {
    return this.#passing && placeAfterPrefix(this.#bucket, this.#passing);
  }

  result(): ListedPage {
    const next = this.#isTruncated ? this.#last : undefined;
    return { versions: this.#versions, commonPrefixes: this.#commonPrefixes, next };
  }
}

function listed({ key, head, isCurrent }: WalkedVersion): ListedVersion {
  const { sizeBytes, etag, modifiedMs, checksum, metadata, data, acl } = head;
  return {
    key,
    sizeBytes,
    etag,
    modifiedMs,
    storageClass: metadata.headers["x-amz-storage-class"],
    checksum: checksum && { algorithm: checksum.algorithm, type: checksum.type },
    owner: acl?.owner,
    versionId: versionIdOf(head),
    isLatest: isCurrent,
    isMarker: data.kind === "marker",
  };
}
