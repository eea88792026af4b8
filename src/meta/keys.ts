/**
 * Where every row of the metadata store lies: one tag byte per family, then the parts of the key. The page that
 * specifies them is docs/formats/records.md; a tag, once released, never changes its meaning.
 *
 * Object keys stand raw at the end of a row's key where nothing follows (`head`, `body`), so that a scan over heads is a
 * listing in byte order. Where something follows they are escaped (00 → 00 FF) and terminated (00 00), which keeps the
 * byte order and makes the end plain.
 */
import { assert } from "../core/assert.ts";
import { BLOB_ID_BYTES, BUCKET_ID_BYTES, DRIVE_ID_BYTES, SESSION_ID_BYTES, UPLOAD_ID_BYTES } from "../core/ids.ts";
import type { BlobId, BucketId, DriveId, SessionId, UploadId } from "../core/ids.ts";
import type { KeyRange } from "../kv/kv.ts";

/** The families. Each number is written in docs/formats/records.md. */
export const tags = {
  store: 0x01,
  raised: 0x02,
  copying: 0x03,
  bucket: 0x10,
  config: 0x11,
  gone: 0x12,
  head: 0x20,
  body: 0x21,
  past: 0x22,
  blob: 0x30,
  trash: 0x31,
  repair: 0x32,
  relocation: 0x33,
  stray: 0x34,
  scrub: 0x35,
  conversion: 0x36,
  mend: 0x37,
  balance: 0x38,
  upload: 0x40,
  part: 0x41,
  finished: 0x42,
  leftover: 0x43,
  abandoned: 0x44,
  session: 0x50,
  heartbeat: 0x51,
  ended: 0x52,
  suspect: 0x53,
  usage: 0x60,
  /** Identity's rows; their codec is src/identity's. */
  accessKey: 0x70,
  user: 0x71,
  policy: 0x72,
  group: 0x73,
  account: 0x74,
  keyring: 0x75,
  role: 0x76,
  /** The one key that temporary credentials are sealed with. */
  seal: 0x77,
  provider: 0x78,
  /** Access keys of accounts themselves, by account. */
  owned: 0x79,
  job: 0x80,
  progress: 0x81,
  node: 0x90,
  drive: 0x91,
  /** Notifications: where they go, what waits, and what could not be delivered. Records in meta/events.ts. */
  destination: 0xa0,
  event: 0xa1,
  sequence: 0xa2,
  queued: 0xa3,
  undelivered: 0xa4,
  departed: 0xa5,
  trouble: 0xa6,
  /** Lifecycle: keys and records in meta/lifecycle.ts. */
  due: 0xb0,
  lifecycle: 0xb1,
  /** Quotas: records in meta/quotas.ts. */
  held: 0xc8,
  quota: 0xc9,
  holding: 0xca,
} as const;

export type Tag = (typeof tags)[keyof typeof tags];

/** A trash row's key after the tag: 6 bytes of Unix milliseconds, 10 random. */
export const TRASH_ID_BYTES = 16;

const headPrefixBytes = 1 + BUCKET_ID_BYTES;

/** Every row of one family. */
export function tagRange(tag: Tag): KeyRange {
  return { start: Buffer.from([tag]), end: Buffer.from([tag + 1]) };
}

/**
 * The least key that is greater than every key with this prefix, or undefined when there is none (all bytes are FF,
 * or there are none).
 */
export function prefixEnd(prefix: Uint8Array): Buffer | undefined {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length -= 1;
  if (length === 0) return undefined;
  const end = Buffer.from(prefix.subarray(0, length));
  end[length - 1]! += 1;
  return end;
}

/** Every row whose key begins so. The prefix begins with a tag, so that there always is an end. */
export function prefixRange(prefix: Uint8Array): KeyRange {
  const end = prefixEnd(prefix);
  assert(end !== undefined, "a row's prefix begins with a tag below FF");
  return { start: prefix, end };
}

export function textKey(tag: Tag, text: string): Buffer {
  const key = Buffer.allocUnsafe(1 + Buffer.byteLength(text));
  key[0] = tag;
  key.write(text, 1, "utf8");
  return key;
}

/** `tag`, the id, and room for what follows. */
export function idKey(tag: Tag, id: string, idBytes: number, extraBytes: number): Buffer {
  const key = Buffer.allocUnsafe(1 + idBytes + extraBytes);
  key[0] = tag;
  const written = key.write(id, 1, "hex");
  assert(written === idBytes, "an id has the bytes its kind says");
  return key;
}

function withRawKey(tag: Tag, bucket: BucketId, objectKey: Uint8Array): Buffer {
  const key = idKey(tag, bucket, BUCKET_ID_BYTES, objectKey.length);
  key.set(objectKey, headPrefixBytes);
  return key;
}

// --- buckets ---

export function bucketKey(name: string): Buffer {
  return textKey(tags.bucket, name);
}

/** A bucket that was deleted while uploads to it were under way. */
export function goneKey(bucket: BucketId): Buffer {
  return idKey(tags.gone, bucket, BUCKET_ID_BYTES, 0);
}

export function bucketNameOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset + 1, key.byteLength - 1).toString("utf8");
}

/** `kind`: a number of meta/configurations.ts. */
export function configurationKey(bucket: BucketId, kind: number): Buffer {
  const key = idKey(tags.config, bucket, BUCKET_ID_BYTES, 1);
  key[headPrefixBytes] = kind;
  return key;
}

export function configurationKindOf(row: Buffer): number {
  assert(row.length === headPrefixBytes + 1, "a configuration row's key ends with its kind");
  return row[headPrefixBytes]!;
}

// --- current versions ---

export function headKey(bucket: BucketId, objectKey: Uint8Array): Buffer {
  return withRawKey(tags.head, bucket, objectKey);
}

export function bodyKey(bucket: BucketId, objectKey: Uint8Array): Buffer {
  return withRawKey(tags.body, bucket, objectKey);
}

/** The object key in a head's (or body's) row key: a view, not a copy. */
export function objectKeyOf(key: Buffer): Buffer {
  return key.subarray(headPrefixBytes);
}

/** All heads of a bucket. */
export function headRange(bucket: BucketId): KeyRange {
  return prefixRange(idKey(tags.head, bucket, BUCKET_ID_BYTES, 0));
}

// --- escaped keys ---

/** 00 → 00 FF, then 00 00. Order of escaped keys is the order of the keys, and none is a prefix of another. */
export function escapeKey(objectKey: Uint8Array): Buffer {
  return escapedBetween(0, objectKey, 0);
}

/** An escaped key with zeroed room before and behind it, for whoever makes a row's key of it: one piece of memory for all of it. */
export function escapedBetween(beforeBytes: number, objectKey: Uint8Array, afterBytes: number): Buffer {
  let nulBytes = 0;
  for (let at = objectKey.indexOf(0); at >= 0; at = objectKey.indexOf(0, at + 1)) nulBytes += 1;
  const end = beforeBytes + objectKey.length + nulBytes + 2;
  const out = Buffer.alloc(end + afterBytes);
  if (nulBytes === 0) out.set(objectKey, beforeBytes);
  else escapeInto(out, beforeBytes, objectKey);
  return out;
}

/** `out` is zeroed: of an escaped 00 only the FF is written. */
function escapeInto(out: Buffer, start: number, objectKey: Uint8Array): void {
  let at = start;
  for (const byte of objectKey) {
    out[at++] = byte;
    if (byte === 0) out[at++] = 0xff;
  }
}

/** Reads an escaped key that starts at `offset`; `end` is where what follows it begins. */
export function unescapeKey(row: Uint8Array, offset: number): { readonly key: Buffer; readonly end: number } {
  const key = Buffer.alloc(row.length - offset);
  let length = 0;
  let at = offset;
  for (;;) {
    const byte = row[at++];
    assert(byte !== undefined, "an escaped key ends with 00 00");
    if (byte === 0) {
      const next = row[at++];
      if (next === 0) return { key: key.subarray(0, length), end: at };
      assert(next === 0xff, "in an escaped key 00 is followed by FF or 00");
    }
    key[length++] = byte;
  }
}

/** `tag`, the bucket, the escaped key, and room for what follows. */
function withEscapedKey(tag: Tag, bucket: BucketId, objectKey: Uint8Array, extraBytes: number): Buffer {
  const key = escapedBetween(headPrefixBytes, objectKey, extraBytes);
  writeBucket(key, tag, bucket);
  return key;
}

/** How a row's key begins that is of a bucket. */
export function writeBucket(key: Buffer, tag: Tag, bucket: BucketId): void {
  key[0] = tag;
  const written = key.write(bucket, 1, BUCKET_ID_BYTES, "hex");
  assert(written === BUCKET_ID_BYTES, "a bucket's id has eight bytes");
}

// --- noncurrent versions and delete markers ---

/** Where a delete marker stands while it is current: before all other versions of its key. No version has this order. */
const currentMarkerOrder = 0xffff_ffff_ffff_ffffn;
const ORDER_BYTES = 8;

/** `order` grows with every version of a key; newer ones sort first. */
export function pastKey(bucket: BucketId, objectKey: Uint8Array, order: bigint): Buffer {
  const key = withEscapedKey(tags.past, bucket, objectKey, ORDER_BYTES);
  key.writeBigUInt64BE(0xffff_ffff_ffff_ffffn - order, key.length - ORDER_BYTES);
  return key;
}

/** The row of a key whose current version is a delete marker. */
export function markerKey(bucket: BucketId, objectKey: Uint8Array): Buffer {
  // The inverse of that order is zero, as the room behind the key is.
  return withEscapedKey(tags.past, bucket, objectKey, ORDER_BYTES);
}

/** `order` is undefined for the row of a marker that is current. */
export function parsePastKey(row: Buffer): { readonly key: Buffer; readonly order: bigint | undefined } {
  const { key, end } = unescapeKey(row, headPrefixBytes);
  assert(row.length === end + ORDER_BYTES, "a past row's key ends with eight bytes of order");
  const order = 0xffff_ffff_ffff_ffffn - row.readBigUInt64BE(end);
  return { key, order: order === currentMarkerOrder ? undefined : order };
}

/** Every past row of one key: the current marker, then newest first. */
export function pastRange(bucket: BucketId, objectKey: Uint8Array): KeyRange {
  return prefixRange(withEscapedKey(tags.past, bucket, objectKey, 0));
}

/** Past rows of every key that begins so. */
export function pastPrefixRange(bucket: BucketId, keyPrefix: Uint8Array): KeyRange {
  const ended = withEscapedKey(tags.past, bucket, keyPrefix, 0);
  return prefixRange(ended.subarray(0, ended.length - 2));
}

// --- blobs ---

export function blobRootKey(blob: BlobId): Buffer {
  return idKey(tags.blob, blob, BLOB_ID_BYTES, 0);
}

function pageKey(tag: Tag, blob: BlobId, page: number): Buffer {
  const key = idKey(tag, blob, BLOB_ID_BYTES, 4);
  key.writeUInt32BE(page, 1 + BLOB_ID_BYTES);
  return key;
}

export function blobPageKey(blob: BlobId, page: number): Buffer {
  return pageKey(tags.blob, blob, page);
}

export function repairKey(blob: BlobId, page: number): Buffer {
  return pageKey(tags.repair, blob, page);
}

/** Without a stamp: the whole drive's row. */
export function strayKey(drive: DriveId, stamp = ""): Buffer {
  return Buffer.concat([idKey(tags.stray, drive, DRIVE_ID_BYTES, 0), Buffer.from(stamp, "hex")]);
}

export function isWholeDrive(row: Uint8Array): boolean {
  return row.length === 1 + DRIVE_ID_BYTES;
}

/** In the order of urgency, then of `place` (2 bytes): see meta/mends.ts. */
export function mendKey(urgency: number, place: number, blob: BlobId, page: number): Buffer {
  return Buffer.concat([mendPrefix(urgency, place), pageKey(tags.blob, blob, page).subarray(1)]);
}

/** Where the rows of a place begin. */
export function mendPrefix(urgency: number, place: number): Buffer {
  return Buffer.of(tags.mend, urgency, place >> 8, place & 0xff);
}

export function parseMendKey(row: Buffer): {
  readonly urgency: number;
  readonly place: number;
  readonly blob: BlobId;
  readonly page: number;
} {
  const { blob, page } = parseBlobKey(row.subarray(3));
  return { urgency: row[1]!, place: row.readUInt16BE(2), blob, page: page! };
}

export function conversionKey(bucket: BucketId): Buffer {
  return idKey(tags.conversion, bucket, BUCKET_ID_BYTES, 0);
}

/** Of rows whose key begins with a bucket's id. */
export function bucketIdOf(row: Uint8Array): BucketId {
  return Buffer.from(row.buffer, row.byteOffset + 1, BUCKET_ID_BYTES).toString("hex") as BucketId;
}

export function scrubKey(drive: DriveId): Buffer {
  return idKey(tags.scrub, drive, DRIVE_ID_BYTES, 0);
}

export function driveIdOf(row: Uint8Array): DriveId {
  return Buffer.from(row.buffer, row.byteOffset + 1, DRIVE_ID_BYTES).toString("hex") as DriveId;
}

export function relocationKey(blob: BlobId, page: number): Buffer {
  return pageKey(tags.relocation, blob, page);
}

/** A relocation of a session that was fenced while its process may have lived: it keeps nobody from the page any more. */
export function hauntedKey(blob: BlobId, page: number, session: SessionId): Buffer {
  return Buffer.concat([relocationKey(blob, page), Buffer.from(session, "hex")]);
}

export function isHaunted(row: Uint8Array): boolean {
  return row.length === 1 + BLOB_ID_BYTES + 4 + SESSION_ID_BYTES;
}

/** The root and every page of one blob. */
export function blobRange(blob: BlobId): KeyRange {
  return prefixRange(blobRootKey(blob));
}

/** Which blob a root's or page's row belongs to, or what is kept of a page elsewhere. `page` is undefined for the root. */
export function parseBlobKey(row: Buffer): { readonly blob: BlobId; readonly page: number | undefined } {
  const blob = row.toString("hex", 1, 1 + BLOB_ID_BYTES) as BlobId;
  return { blob, page: row.length === 1 + BLOB_ID_BYTES ? undefined : row.readUInt32BE(1 + BLOB_ID_BYTES) };
}

export function trashKey(atMs: number, random: Uint8Array): Buffer {
  assert(random.length === TRASH_ID_BYTES - 6, "a trash id has 10 random bytes");
  const key = Buffer.allocUnsafe(1 + TRASH_ID_BYTES);
  key[0] = tags.trash;
  key.writeUIntBE(atMs, 1, 6);
  key.set(random, 7);
  return key;
}

// --- uploads (records in meta/uploads.ts) ---

export function uploadKey(bucket: BucketId, objectKey: Uint8Array, upload: UploadId): Buffer {
  const key = withEscapedKey(tags.upload, bucket, objectKey, UPLOAD_ID_BYTES);
  const written = key.write(upload, key.length - UPLOAD_ID_BYTES, "hex");
  assert(written === UPLOAD_ID_BYTES, "an upload id has the bytes its kind says");
  return key;
}

export function parseUploadKey(row: Buffer): { readonly key: Buffer; readonly upload: UploadId } {
  const { key, end } = unescapeKey(row, headPrefixBytes);
  assert(row.length === end + UPLOAD_ID_BYTES, "an upload row's key ends with an upload id");
  return { key, upload: row.toString("hex", end) as UploadId };
}

/** All uploads of a bucket, by key, then by id (which begins with the time they were started). */
export function uploadRange(bucket: BucketId): KeyRange {
  return prefixRange(idKey(tags.upload, bucket, BUCKET_ID_BYTES, 0));
}

export function partKey(upload: UploadId, partNumber: number): Buffer {
  const key = idKey(tags.part, upload, UPLOAD_ID_BYTES, 2);
  key.writeUInt16BE(partNumber, 1 + UPLOAD_ID_BYTES);
  return key;
}

export function partNumberOf(row: Buffer): number {
  return row.readUInt16BE(1 + UPLOAD_ID_BYTES);
}

export function partRange(upload: UploadId): KeyRange {
  return prefixRange(idKey(tags.part, upload, UPLOAD_ID_BYTES, 0));
}

export function finishedKey(upload: UploadId): Buffer {
  return idKey(tags.finished, upload, UPLOAD_ID_BYTES, 0);
}

export function finishedUploadOf(row: Buffer): UploadId {
  return row.toString("hex", 1) as UploadId;
}

/** Part rows of an upload that has ended, still to be taken away. */
export function leftoverKey(upload: UploadId): Buffer {
  return idKey(tags.leftover, upload, UPLOAD_ID_BYTES, 0);
}

/** Rows of a parts map that was never published, still to be taken away. */
export function abandonedKey(blob: BlobId): Buffer {
  return idKey(tags.abandoned, blob, BLOB_ID_BYTES, 0);
}

/** The blob id in an abandoned row's key. */
export function abandonedBlobOf(row: Buffer): BlobId {
  return row.toString("hex", 1) as BlobId;
}

// --- sessions, usage, jobs ---

export function sessionKey(session: SessionId): Buffer {
  return idKey(tags.session, session, SESSION_ID_BYTES, 0);
}

export function heartbeatKey(session: SessionId): Buffer {
  return idKey(tags.heartbeat, session, SESSION_ID_BYTES, 0);
}

/** A session that is over and whose chunks are still to be looked through. */
export function endedKey(session: SessionId): Buffer {
  return idKey(tags.ended, session, SESSION_ID_BYTES, 0);
}

/** A session that was fenced while its process may have lived. */
export function suspectKey(session: SessionId): Buffer {
  return idKey(tags.suspect, session, SESSION_ID_BYTES, 0);
}

/** The session in a session's, heartbeat's, ended or suspect row key. */
export function sessionIdOf(row: Buffer): SessionId {
  return row.toString("hex", 1, 1 + SESSION_ID_BYTES) as SessionId;
}

/** Stands in a usage row for all sessions that are over. No session has it: its first bytes are a time. */
export const foldedSession = "0".repeat(SESSION_ID_BYTES * 2) as SessionId;

export function usageKey(bucket: BucketId, session: SessionId): Buffer {
  const key = idKey(tags.usage, bucket, BUCKET_ID_BYTES, SESSION_ID_BYTES);
  key.write(session, 1 + BUCKET_ID_BYTES, "hex");
  return key;
}

export function parseUsageKey(row: Buffer): { readonly bucket: BucketId; readonly session: SessionId } {
  const bucket = row.toString("hex", 1, headPrefixBytes) as BucketId;
  return { bucket, session: row.toString("hex", headPrefixBytes) as SessionId };
}

export function usageRange(bucket: BucketId): KeyRange {
  return prefixRange(idKey(tags.usage, bucket, BUCKET_ID_BYTES, 0));
}

export function accessKeyKey(accessKey: string): Buffer {
  return textKey(tags.accessKey, accessKey);
}

/** An access key of an account itself: its 12 digits, then the key. */
export function accountKeyKey(account: string, accessKey: string): Buffer {
  assert(/^\d{12}$/.test(account), "an account has 12 digits");
  return textKey(tags.owned, account + accessKey);
}

/** All keys that accounts have of their own have such rows. */
export function accountKeysDoneKey(): Buffer {
  return Buffer.from([tags.owned]);
}

/** Rows of users, groups, roles and policies: the account's 12 digits, then the name in lower case, for case makes no other name. */
export function namedKey(tag: Tag, account: string, name: string): Buffer {
  assert(/^\d{12}$/.test(account), "an account has 12 digits");
  return textKey(tag, account + name.toLowerCase());
}

/** The one row with the key that seals temporary credentials. */
export function sessionSealKey(): Buffer {
  return Buffer.from([tags.seal]);
}

/** The store's own account has a row without digits too, so that it is found. */
export function accountKey(account: string): Buffer {
  return textKey(tags.account, account);
}

/** A key that seals data keys (meta/keyring.ts). */
export function keyringKey(id: string): Buffer {
  return textKey(tags.keyring, id);
}

export function keyringIdOf(key: Uint8Array): string {
  return bucketNameOf(key);
}

export function progressKey(name: string): Buffer {
  return textKey(tags.progress, name);
}

export function progressNameOf(key: Uint8Array): string {
  return bucketNameOf(key);
}

/** The one row that says which store this is. */
export function storeKey(): Buffer {
  return Buffer.from([tags.store]);
}

export function raisedKey(): Buffer {
  return Buffer.from([tags.raised]);
}

/** Under the address at which other nodes reach it. */
export function nodeKey(url: string): Buffer {
  return textKey(tags.node, url);
}

export function nodeUrlOf(key: Uint8Array): string {
  return bucketNameOf(key);
}

/** The one row of a store that is being copied, to here or away from here. */
export function copyingKey(): Buffer {
  return Buffer.from([tags.copying]);
}

export function jobKey(name: string): Buffer {
  return textKey(tags.job, name);
}
