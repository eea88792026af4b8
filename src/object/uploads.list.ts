/**
 * Listing of uploads under way: by key, then by upload id (which begins with the time of the start). Costs what the page
 * costs: uploads behind a common prefix are skipped with one seek. A common prefix counts as one entry and is listed if
 * it lies after the marker, as in a listing of objects.
 */
import { assert } from "../core/assert.ts";
import { limits } from "../core/limits.ts";
import type { Entry, Kv } from "../kv/kv.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import { escapeKey, parseUploadKey, prefixEnd, uploadKey, uploadRange } from "../meta/keys.ts";
import { decodeUpload } from "../meta/uploads.ts";
import { canBegin, clipMarker } from "./markers.ts";
import type { ListUploadsOptions, ListUploadsResult, UploadInfo } from "./object.ts";
import { parseUploadId } from "./uploads.rows.ts";

type Item =
  { readonly kind: "upload"; readonly upload: UploadInfo } | { readonly kind: "prefix"; readonly prefix: Buffer };

const batchEntries = 200;

/** `limit` 0 lists nothing. Errors: `no_such_upload` for a marker that is no upload id; those of the store. */
export async function listUploads(
  kv: Kv,
  bucket: BucketRecord,
  options: ListUploadsOptions,
): Promise<ListUploadsResult> {
  assert(options.limit >= 0 && options.limit <= limits.listPageKeysMax, "a page has 0 to listPageKeysMax entries");
  const items: Item[] = [];
  if (options.limit > 0 && canBegin(options.prefix ?? Buffer.alloc(0))) {
    for await (const item of itemsOf(kv, bucket, options)) {
      items.push(item);
      if (items.length > options.limit) break;
    }
  }
  const page = items.slice(0, options.limit);
  const last = items.length > options.limit ? page.at(-1) : undefined;
  return {
    account: bucket.account,
    uploads: page.flatMap((item) => (item.kind === "upload" ? [item.upload] : [])),
    commonPrefixes: page.flatMap((item) => (item.kind === "prefix" ? [item.prefix] : [])),
    next: last && (last.kind === "upload" ? lastUpload(last.upload) : { key: last.prefix, uploadId: undefined }),
  };
}

const lastUpload = ({ key, id }: UploadInfo) => ({ key, uploadId: id });

async function* itemsOf(kv: Kv, bucket: BucketRecord, options: ListUploadsOptions): AsyncGenerator<Item> {
  const end = prefixEnd(startingWith(bucket, options.prefix ?? Buffer.alloc(0)));
  assert(end !== undefined, "an upload's row key begins with a tag below FF");
  let start: Buffer | undefined = firstKey(bucket, options);
  while (start !== undefined && start.compare(end) < 0) {
    const limit: number = Math.min(batchEntries, options.limit + 1);
    const entries: Entry[] = await kv.scan({ start, end }, { limit });
    start = entries.length < limit ? undefined : after(entries.at(-1)!.key);
    let skipped: Buffer | undefined;
    for (const entry of entries) {
      const { key, upload: id } = parseUploadKey(entry.key);
      if (skipped !== undefined && startsWith(key, skipped)) continue;
      skipped = commonPrefixOf(key, options);
      if (skipped === undefined) yield { kind: "upload", upload: uploadInfo(entry, key, id) };
      else yield { kind: "prefix", prefix: skipped };
    }
    // The batch ended behind a common prefix: what is left behind it need not be read.
    if (skipped !== undefined && start !== undefined) start = prefixEnd(startingWith(bucket, skipped));
  }
}

function uploadInfo(entry: Entry, key: Buffer, id: UploadInfo["id"]): UploadInfo {
  const { startedMs, metadata, checksum, acl } = decodeUpload(entry.value);
  return { id, key, startedMs, metadata, checksum, acl };
}

/** Where rows of keys with this prefix begin. */
function startingWith(bucket: BucketRecord, prefix: Buffer): Buffer {
  return Buffer.concat([uploadRange(bucket.id).start, escapeKey(prefix).subarray(0, -2)]);
}

function after(key: Buffer): Buffer {
  return Buffer.concat([key, Buffer.from([0])]);
}

function firstKey(bucket: BucketRecord, options: ListUploadsOptions): Buffer | undefined {
  const first = startingWith(bucket, options.prefix ?? Buffer.alloc(0));
  if (options.afterKey === undefined || options.afterKey.length === 0) return first;
  const afterKey = clipMarker(options.afterKey);
  // What no key can be has no uploads.
  const afterUploadId = afterKey.length === options.afterKey.length ? options.afterUploadId : undefined;
  const marker = afterMarker(bucket, afterKey, { ...options, afterUploadId });
  return marker === undefined || marker.compare(first) > 0 ? marker : first;
}

function afterMarker(
  bucket: BucketRecord,
  afterKey: Buffer,
  options: Pick<ListUploadsOptions, "prefix" | "delimiter"> & { readonly afterUploadId: string | undefined },
): Buffer | undefined {
  const rolledUp = commonPrefixOf(afterKey, options);
  if (rolledUp !== undefined) return prefixEnd(startingWith(bucket, rolledUp));
  if (options.afterUploadId !== undefined && options.afterUploadId !== "")
    return after(uploadKey(bucket.id, afterKey, parseUploadId(options.afterUploadId)));
  return prefixEnd(Buffer.concat([uploadRange(bucket.id).start, escapeKey(afterKey)]));
}

/** The key up to and with the first delimiter behind the prefix. */
function commonPrefixOf(key: Buffer, { prefix, delimiter }: Pick<ListUploadsOptions, "prefix" | "delimiter">) {
  if (delimiter === undefined || delimiter.length === 0) return undefined;
  if (prefix !== undefined && !startsWith(key, prefix)) return undefined;
  const at = key.indexOf(delimiter, prefix?.length ?? 0);
  return at < 0 ? undefined : key.subarray(0, at + delimiter.length);
}

function startsWith(key: Buffer, prefix: Buffer): boolean {
  return key.length >= prefix.length && key.subarray(0, prefix.length).equals(prefix);
}
