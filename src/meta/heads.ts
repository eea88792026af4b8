/**
 * `head/<bucket id><key>`: the current version of an object with all its metadata, and `body/<bucket id><key>`: its bytes
 * when they are few. What LIST prints stands first, so that a listing decodes the front of each row and nothing else.
 *
 * A body is written and deleted by the commit that writes or deletes its head; both bear that write's stamp, and a reader
 * refuses a pair that does not agree.
 *
 * `past/<bucket id><escaped key><newest first>`: what is not an object's current version, its bytes included, and every
 * delete marker. A head stands exactly where the current version is an object: so a listing never walks over markers. A
 * marker that is current stands before the other past rows of its key, whatever its order: so two reads by key find what is
 * current, and every change to a key that has a history changes one of these two rows.
 */
import { assert } from "../core/assert.ts";
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { HoldfastError } from "../core/errors.ts";
import { BLOB_ID_BYTES } from "../core/ids.ts";
import type { BlobId } from "../core/ids.ts";
import type { Entry } from "../kv/kv.ts";
import { objectKeyOf } from "./keys.ts";
import { extrasOf, readExtras, writeExtras } from "./extras.ts";
import type { Extras } from "./extras.ts";
import {
  checksumBytes,
  checksumKindOfCode,
  formatEtag,
  MD5_BYTES,
  readChecksum,
  readMetadata,
  writeChecksum,
  writeMetadata,
} from "./fields.ts";
import type { ChecksumRecord, MetadataRecord } from "./fields.ts";

export type HeadData =
  | { readonly kind: "empty" }
  /** The bytes are in the body row. */
  | { readonly kind: "inline" }
  /**
   * `isReduced`: the blob is stored as the reduced class of its bucket, with everything in it. It is said beside the blob's id, and
   * goes with it, so all who refer to a blob say the same. The storage class among the headers is a label: it says what was asked for.
   */
  | { readonly kind: "blob"; readonly blob: BlobId; readonly isReduced?: true }
  /** A delete marker: only in past rows. */
  | { readonly kind: "marker" };

/** Where a version stands in its key's history. A write to a bucket that was never versioned has none of this. */
export type VersionRecord = {
  /** 1, 2, 3 … of one key. What was there before versioning was switched on stands at 0. */
  readonly order: number;
  /** Written while versioning was suspended (or not yet on): the one that is called `null`. */
  readonly isNull: boolean;
  /** In the newest row of a key: where among its past versions the null version is, if it has one. May point nowhere, never to another one. */
  readonly nullOrder: number | undefined;
};

export type HeadRecord = {
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  /** `<32 hex digits>`, or `<32 hex digits>-<parts>` of a multipart object. */
  readonly etag: string;
  readonly checksum: ChecksumRecord | undefined;
  readonly metadata: MetadataRecord;
  readonly data: HeadData;
  /** The bucket's epoch at the write. */
  readonly epoch: number;
  /** Unique to the write: see Session.nextStamp. */
  readonly stamp: string;
  readonly version?: VersionRecord | undefined;
} & Extras;

/** What LIST prints of a head. */
export type ListedHead = {
  readonly key: Buffer;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  readonly etag: string;
  readonly storageClass: string | undefined;
  readonly checksum: Pick<ChecksumRecord, "algorithm" | "type"> | undefined;
  /** The canonical id of its owner; undefined: the bucket's. */
  readonly owner: string | undefined;
};

/** Session id (8 bytes), then a counter of that session (6 bytes). */
export const STAMP_BYTES = 14;

const newestVersion = 1;
const dataKinds = ["empty", "inline", "blob", "marker"] as const;
const dataMask = 0x03;
const checksumFlag = 0x04;
const storageClassFlag = 0x08;
const versionFlag = 0x10;
const extrasFlag = 0x20;
const reducedFlag = 0x40;
/** A head that has other bits is not read. */
const knownFlags = dataMask | checksumFlag | storageClassFlag | versionFlag | extrasFlag | reducedFlag;
const nullVersion = 0x01;
const hasNullOrder = 0x02;
const storageClassHeader = "x-amz-storage-class";

/** How many parts an ETag tells of; 0 when it is no multipart object's. */
export function partsCountOf(etag: string): number {
  return etag.length > MD5_BYTES * 2 ? Number(etag.slice(MD5_BYTES * 2 + 1)) : 0;
}

export function encodeHead(head: HeadRecord): Buffer {
  const storageClass = head.metadata.headers[storageClassHeader];
  const extras = extrasOf(head);
  const flags =
    dataKinds.indexOf(head.data.kind) |
    (head.checksum === undefined ? 0 : checksumFlag) |
    (storageClass === undefined ? 0 : storageClassFlag) |
    (head.version === undefined ? 0 : versionFlag) |
    (extras.length === 0 ? 0 : extrasFlag) |
    (isReduced(head) ? reducedFlag : 0);
  const writer = new ByteWriter()
    .u8(newestVersion)
    .u8(flags)
    .varint(head.sizeBytes)
    .varint(head.modifiedMs)
    .hex(head.etag.slice(0, MD5_BYTES * 2))
    .varint(partsCountOf(head.etag));
  if (head.checksum !== undefined) writeChecksum(writer, head.checksum);
  if (storageClass !== undefined) writer.string(storageClass);
  // The listed part ends here.
  writer.varint(head.epoch).hex(head.stamp);
  if (head.data.kind === "blob") writer.hex(head.data.blob);
  writeMetadata(writer, storageClass === undefined ? head.metadata : withoutStorageClass(head.metadata));
  if (head.version !== undefined) writeVersion(writer, head.version);
  if (extras.length > 0) writeExtras(writer, extras);
  return writer.finish();
}

function writeVersion(writer: ByteWriter, { order, isNull, nullOrder }: VersionRecord): void {
  writer.varint(order).u8((isNull ? nullVersion : 0) | (nullOrder === undefined ? 0 : hasNullOrder));
  if (nullOrder !== undefined) writer.varint(nullOrder);
}

function readVersion(reader: ByteReader): VersionRecord {
  const order = reader.varint();
  const flags = reader.u8();
  if (flags > (nullVersion | hasNullOrder)) throw reader.corrupt("its version has flags that are not known");
  const nullOrder = (flags & hasNullOrder) === 0 ? undefined : reader.varint();
  return { order, isNull: (flags & nullVersion) !== 0, nullOrder };
}

function withoutStorageClass(metadata: MetadataRecord): MetadataRecord {
  const { [storageClassHeader]: _listed, ...headers } = metadata.headers;
  return { headers, user: metadata.user };
}

function readData(reader: ByteReader, flags: number): HeadData {
  const kind = dataKinds[flags & dataMask];
  if (kind === undefined) throw reader.corrupt("its kind of data is not known");
  const hasReduced = (flags & reducedFlag) !== 0;
  if (kind === "blob") return blobData(reader.hex(BLOB_ID_BYTES) as BlobId, hasReduced);
  if (hasReduced) throw reader.corrupt("it has no blob that could be of the reduced class");
  return { kind };
}

export function blobData(blob: BlobId, reduced: boolean): HeadData & { readonly kind: "blob" } {
  return { kind: "blob", blob, ...(reduced && { isReduced: true }) };
}

/** Whether its bytes are a blob of the reduced class. */
export function isReduced({ data }: Pick<HeadRecord, "data">): boolean {
  return data.kind === "blob" && data.isReduced === true;
}

export function decodeHead(value: Uint8Array): HeadRecord {
  const reader = new ByteReader(value, "head");
  const head = readHead(reader);
  reader.end();
  return head;
}

function readHead(reader: ByteReader): HeadRecord {
  reader.version(newestVersion);
  const flags = reader.u8();
  if ((flags & ~knownFlags) !== 0) throw reader.corrupt("it has flags that are not known");
  const sizeBytes = reader.varint();
  const modifiedMs = reader.varint();
  const md5 = reader.hex(MD5_BYTES);
  const etag = formatEtag(md5, reader.varint());
  const checksum = (flags & checksumFlag) === 0 ? undefined : readChecksum(reader);
  const storageClass = (flags & storageClassFlag) === 0 ? undefined : reader.string();
  const epoch = reader.varint();
  const stamp = reader.hex(STAMP_BYTES);
  const data = readData(reader, flags);
  const rest = readMetadata(reader);
  const metadata =
    storageClass === undefined
      ? rest
      : { headers: { ...rest.headers, [storageClassHeader]: storageClass }, user: rest.user };
  const head = { sizeBytes, modifiedMs, etag, checksum, metadata, data, epoch, stamp };
  if ((flags & (versionFlag | extrasFlag)) === 0) return head;
  const version = (flags & versionFlag) === 0 ? undefined : readVersion(reader);
  return { ...head, version, ...((flags & extrasFlag) === 0 ? {} : readExtras(reader)) };
}

/**
 * The front of a head row, for LIST. Reads the bytes by hand: it is called for every key of every listing, and a
 * ByteReader per row costs more than the decoding. What lies behind the listed part is not looked at.
 */
export function decodeListed(entry: Entry): ListedHead {
  const value = entry.value;
  const flags = value.length < 2 ? 0x80 : value[1]!;
  if (value[0] !== newestVersion || (flags & ~knownFlags) !== 0) throw corruptHead("it is of a form that is not known");
  let at = 2;
  const varint = (): number => {
    let number = 0;
    let factor = 1;
    for (;;) {
      const byte = value[at++];
      if (byte === undefined || factor > Number.MAX_SAFE_INTEGER) throw corruptHead("a number is not whole");
      number += (byte & 0x7f) * factor;
      if (byte < 0x80) return number;
      factor *= 128;
    }
  };
  const sizeBytes = varint();
  const modifiedMs = varint();
  const md5 = value.toString("hex", at, (at += MD5_BYTES));
  const partsCount = varint();
  const checksum = (flags & checksumFlag) === 0 ? undefined : checksumKindOfCode(value[at++] ?? 0xff);
  if (checksum !== undefined) at += checksumBytes(checksum.algorithm);
  let storageClass: string | undefined;
  if ((flags & storageClassFlag) !== 0) {
    const length = varint();
    storageClass = value.toString("utf8", at, (at += length));
  }
  if (at > value.length) throw corruptHead("it ends too early");
  const etag = partsCount === 0 ? md5 : formatEtag(md5, partsCount);
  // Who owns it stands at the row's end: only few have an owner of their own, or anything there.
  const owner = (flags & extrasFlag) === 0 ? undefined : decodeHead(value).acl?.owner;
  return { key: objectKeyOf(entry.key), sizeBytes, modifiedMs, etag, storageClass, checksum, owner };
}

function corruptHead(why: string): HoldfastError {
  return new HoldfastError("corrupt_record", `The head record is corrupt: ${why}.`);
}

// --- bodies ---

/** A body row: version byte, stamp, then the bytes to the end. */
export function encodeBody(stamp: string, bytes: Uint8Array): Buffer {
  const value = Buffer.allocUnsafe(1 + STAMP_BYTES + bytes.length);
  value[0] = newestVersion;
  const written = value.write(stamp, 1, "hex");
  assert(written === STAMP_BYTES, "a stamp has 14 bytes");
  value.set(bytes, 1 + STAMP_BYTES);
  return value;
}

/** The inline bytes (a view) that belong to this head. Errors: `corrupt_record` when they do not. */
export function decodeBody(head: HeadRecord, value: Buffer | undefined): Buffer {
  const fault = (why: string): HoldfastError =>
    new HoldfastError("corrupt_record", `The body record is corrupt: ${why}.`);
  if (value === undefined) throw fault("it is missing");
  if (value[0] !== newestVersion) throw fault("its format version is not known");
  if (value.length !== 1 + STAMP_BYTES + head.sizeBytes) throw fault("its length is not the object's");
  if (value.toString("hex", 1, 1 + STAMP_BYTES) !== head.stamp) throw fault("it belongs to another write");
  return value.subarray(1 + STAMP_BYTES);
}

// --- noncurrent versions and delete markers ---

/** Where a version stands; what was written before versioning was switched on stands at 0. */
export function orderOf(head: HeadRecord): number {
  return head.version?.order ?? 0;
}

/** Whether it is the version that is called `null`. */
export function isNullVersion(head: HeadRecord): boolean {
  return head.version?.isNull ?? true;
}

export type PastRecord = { readonly head: HeadRecord; readonly inline: Buffer | undefined };

export function encodePast(past: PastRecord): Buffer {
  assert((past.head.data.kind === "inline") === (past.inline !== undefined), "an inline version brings its bytes");
  return pastOf(encodeHead(past.head), past.inline);
}

/**
 * The past row of a version whose head row is at hand: the bytes of both go on as they are. `inline`: those that the head says
 * are inline, which decodeBody has confirmed to be its own.
 */
export function pastOf(headRow: Uint8Array, inline: Uint8Array | undefined): Buffer {
  const front = new ByteWriter().u8(newestVersion).bytes(headRow);
  return inline === undefined ? front.finish() : front.finish(inline);
}

export function decodePast(value: Uint8Array): PastRecord {
  const reader = new ByteReader(value, "past");
  reader.version(newestVersion);
  const head = decodeHead(reader.bytes());
  const inline = head.data.kind === "inline" ? reader.raw(head.sizeBytes) : undefined;
  reader.end();
  return { head, inline };
}
