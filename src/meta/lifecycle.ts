/**
 * `due/<bucket id><time><escaped key>`: from that time on somebody has to look whether lifecycle rules want anything of the key;
 * with an upload's id behind it, of the upload. It is written by the commit that makes the rules want something, as an
 * unconditional put, and is only a hint: who looks judges the key as it is then. A row that is there for nothing costs one look.
 *
 * `lifecycle/<bucket id>`: there are due rows of this bucket, or may be. It is written by the commit that sets or takes away the
 * bucket's document, or deletes the bucket: `walking` until due rows were written for what was there before the document,
 * `clearing` when no rules are left, until the due rows are gone. So both families are empty where no bucket has rules.
 */
import { assert } from "../core/assert.ts";
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { BUCKET_ID_BYTES, UPLOAD_ID_BYTES } from "../core/ids.ts";
import type { BucketId, UploadId } from "../core/ids.ts";
import type { Key, KeyRange } from "../kv/kv.ts";
import { escapedBetween, escapeKey, prefixRange, tags, unescapeKey, uploadRange, writeBucket } from "./keys.ts";

/** `bucket`: its name. */
export type LifecycleRecord =
  /** `from`: the row of a head, past row or upload to go on with; undefined: the walk has not begun. */
  | { readonly kind: "walking"; readonly bucket: string; readonly from: Buffer | undefined }
  | { readonly kind: "settled"; readonly bucket: string }
  | { readonly kind: "clearing" };

const newestVersion = 1;
const kinds = ["walking", "settled", "clearing"] as const;
const TIME_BYTES = 6;
const timeAt = 1 + BUCKET_ID_BYTES;
/** The last moment that a due row can name. */
export const dueMsMax = 2 ** 48 - 1;

function bucketRow(tag: number, bucket: BucketId): Buffer {
  return Buffer.concat([Buffer.of(tag), Buffer.from(bucket, "hex")]);
}

export function lifecycleKey(bucket: BucketId): Buffer {
  return bucketRow(tags.lifecycle, bucket);
}

function timeBytes(atMs: number): Buffer {
  const bytes = Buffer.alloc(TIME_BYTES);
  bytes.writeUIntBE(clippedTime(atMs), 0, TIME_BYTES);
  return bytes;
}

function clippedTime(atMs: number): number {
  return Math.min(Math.max(0, atMs), dueMsMax);
}

export type Due = { readonly atMs: number; readonly key: Buffer; readonly upload: UploadId | undefined };

export function dueKey(bucket: BucketId, { atMs, key, upload }: Due): Buffer {
  const uploadBytes = upload === undefined ? 0 : UPLOAD_ID_BYTES;
  const row = escapedBetween(timeAt + TIME_BYTES, key, uploadBytes);
  writeBucket(row, tags.due, bucket);
  row.writeUIntBE(clippedTime(atMs), timeAt, TIME_BYTES);
  if (upload === undefined) return row;
  const written = row.write(upload, row.length - UPLOAD_ID_BYTES, "hex");
  assert(written === UPLOAD_ID_BYTES, "an upload id has the bytes its kind says");
  return row;
}

export function parseDueKey(row: Buffer): Due {
  const { key, end } = unescapeKey(row, timeAt + TIME_BYTES);
  assert(row.length === end || row.length === end + UPLOAD_ID_BYTES, "a due row's key ends with a key or an upload id");
  const upload = row.length === end ? undefined : (row.toString("hex", end) as UploadId);
  return { atMs: row.readUIntBE(timeAt, TIME_BYTES), key, upload };
}

/** Every due row of a bucket. */
export function dueRange(bucket: BucketId): KeyRange {
  return prefixRange(bucketRow(tags.due, bucket));
}

/** Those that are due at this time. */
export function dueUntil(bucket: BucketId, nowMs: number): KeyRange {
  const { start } = dueRange(bucket);
  return { start, end: Buffer.concat([start, timeBytes(nowMs + 1)]) };
}

/** Uploads to every key that begins so. */
export function uploadPrefixRange(bucket: BucketId, keyPrefix: Uint8Array): KeyRange {
  const escaped = escapeKey(keyPrefix);
  return prefixRange(Buffer.concat([uploadRange(bucket).start, escaped.subarray(0, escaped.length - 2)]));
}

/** A due row says everything in its key; its value is a format version. */
export const dueValue: Uint8Array = Buffer.of(newestVersion);

export function decodeDue(value: Uint8Array): void {
  const reader = new ByteReader(value, "due");
  reader.version(newestVersion);
  reader.end();
}

export function encodeLifecycle(record: LifecycleRecord): Buffer {
  const writer = new ByteWriter().u8(newestVersion).u8(kinds.indexOf(record.kind));
  if (record.kind !== "clearing") writer.string(record.bucket);
  if (record.kind === "walking") writer.bytes(record.from ?? Buffer.alloc(0));
  return writer.finish();
}

export function decodeLifecycle(value: Uint8Array): LifecycleRecord {
  const reader = new ByteReader(value, "lifecycle");
  reader.version(newestVersion);
  const kind = kinds[reader.u8()];
  if (kind === undefined) throw reader.corrupt("its state is not known");
  const record = readRest(kind, reader);
  reader.end();
  return record;
}

function readRest(kind: LifecycleRecord["kind"], reader: ByteReader): LifecycleRecord {
  if (kind === "clearing") return { kind };
  const bucket = reader.string();
  if (kind === "settled") return { kind, bucket };
  const from: Key = reader.bytes();
  return { kind, bucket, from: from.length === 0 ? undefined : Buffer.from(from) };
}
