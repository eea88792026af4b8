/**
 * LIST: a scan over heads, in byte order, that jumps over what a common prefix hides. A page costs what it prints, however
 * many keys the bucket has. Each scan is one state; a page of several scans shows every key that was there throughout.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import type { BucketId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Entry } from "../kv/kv.ts";
import { decodeListed } from "../meta/heads.ts";
import { headKey, headRange, objectKeyOf, prefixEnd, prefixRange } from "../meta/keys.ts";
import type { ObjectContext } from "./context.ts";
import { canBegin, clipMarker, commonPrefixOf, startsWith } from "./markers.ts";
import type { ListedObject, ListOptions, ListResult } from "./object.ts";
import { readBucket, readRows } from "./target.ts";

/** The first scan of a listing with a delimiter; grows while pages are used up, falls back after a jump. */
const firstScanEntries = 64;
const jumpScanEntries = 16;

export async function listObjects(ctx: ObjectContext, options: ListOptions): Promise<ListResult> {
  if (options.limit < 0 || options.limit > limits.listPageKeysMax) {
    throw new HoldfastError("invalid_argument", `A page has 0 to ${limits.listPageKeysMax} keys.`);
  }
  const { bucket } = await readBucket(ctx, readRows(ctx.kv), options.bucket);
  const nothing = options.limit === 0 || (options.prefix !== undefined && !canBegin(options.prefix));
  const { account } = bucket;
  if (nothing) return { account, objects: [], commonPrefixes: [], next: undefined };
  return { account, ...(await listPage(ctx, bucket.id, options)) };
}

/** A page of a bucket whose row was read; the options have been checked. */
export async function listPage(
  ctx: ObjectContext,
  bucket: BucketId,
  options: ListOptions,
): Promise<Omit<ListResult, "account">> {
  const page = new Page(bucket, options);
  const range = options.prefix === undefined ? headRange(bucket) : prefixRange(headKey(bucket, options.prefix));
  let start = page.firstRow(Buffer.from(range.start));
  let scanEntries = options.delimiter === undefined ? options.limit + 1 : firstScanEntries;
  for (;;) {
    const limit = Math.min(scanEntries, page.left + 1);
    if (Buffer.compare(start, range.end) >= 0) return page.result();
    const entries = await ctx.kv.scan({ start, end: range.end }, { limit });
    for (const entry of entries) if (page.take(entry) === "full") return page.result();
    if (entries.length < limit) return page.result();
    const last = entries.at(-1)!.key;
    const jump = page.rowAfterPrefix(last);
    start = jump ?? Buffer.concat([last, Buffer.of(0)]);
    scanEntries = jump === undefined ? Math.min(scanEntries * 2, limits.scanEntriesMax) : jumpScanEntries;
  }
}

/** One page as it fills. */
class Page {
  readonly #bucket: BucketId;
  readonly #options: ListOptions;
  readonly #after: Buffer | undefined;
  readonly #limit: number;
  readonly #objects: ListedObject[] = [];
  readonly #commonPrefixes: Buffer[] = [];
  /** The common prefix under which keys are passed over now. */
  #passing: Buffer | undefined;
  #last: Buffer | undefined;
  #isTruncated = false;

  constructor(bucket: BucketId, options: ListOptions) {
    this.#bucket = bucket;
    this.#options = options;
    this.#after = options.after && clipMarker(options.after);
    this.#limit = options.limit;
    assert(options.limit > 0, "an empty page reads nothing");
  }

  get left(): number {
    return this.#limit - this.#objects.length - this.#commonPrefixes.length;
  }

  /** The first row to look at: past `after`, and past the common prefix that `after` is or lies under. */
  firstRow(rangeStart: Buffer): Buffer {
    const after = this.#after;
    if (after === undefined) return rangeStart;
    const afterRow = headKey(this.#bucket, after);
    if (Buffer.compare(afterRow, rangeStart) < 0) return rangeStart;
    const isBelowPrefix = afterRow.subarray(0, rangeStart.length).equals(rangeStart);
    const rolled = isBelowPrefix ? commonPrefixOf(after, this.#options) : undefined;
    if (rolled !== undefined) return prefixEnd(headKey(this.#bucket, rolled))!;
    return Buffer.concat([afterRow, Buffer.of(0)]);
  }

  take(entry: Entry): "more" | "full" {
    const key = objectKeyOf(entry.key);
    const passing = this.#passing;
    if (passing !== undefined && startsWith(key, passing)) return "more";
    if (this.left === 0) {
      this.#isTruncated = true;
      return "full";
    }
    const commonPrefix = commonPrefixOf(key, this.#options);
    if (commonPrefix === undefined) {
      this.#objects.push(decodeListed(entry));
      this.#last = key;
    } else {
      this.#commonPrefixes.push(commonPrefix);
      this.#passing = commonPrefix;
      this.#last = commonPrefix;
    }
    return "more";
  }

  /** If `row` lies under the common prefix of the moment: the first row that does not. */
  rowAfterPrefix(row: Buffer): Buffer | undefined {
    if (this.#passing === undefined || !startsWith(objectKeyOf(row), this.#passing)) return undefined;
    return prefixEnd(headKey(this.#bucket, this.#passing));
  }

  result(): Omit<ListResult, "account"> {
    const next = this.#isTruncated ? this.#last : undefined;
    return { objects: this.#objects, commonPrefixes: this.#commonPrefixes, next };
  }
}
