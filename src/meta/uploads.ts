/**
 * Multipart uploads, by row (keys in keys.ts):
 *
 *   upload/<bucket id><key><upload id>   the upload: open, or being completed by one attempt
 *   part/<upload id><part number>        a part's blob; holds one reference to it
 *   finished/<upload id>                 the answer of a completed upload, kept for requests that are sent again
 *   leftover/<upload id>                 written by the commit that ends an upload: part rows that a job takes away. The
 *                                        parts listed gave their reference to the object's parts map; the blobs of all
 *                                        others become trash.
 *   abandoned/<blob id>                  the pages of a parts map that was given up before it was published
 *
 * An attempt to complete is named by the blob id of the parts map it writes, whose first bytes tell its session.
 */
import { assert } from "../core/assert.ts";
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { BLOB_ID_BYTES, BUCKET_ID_BYTES } from "../core/ids.ts";
import type { BlobId, BucketId } from "../core/ids.ts";
import { readPart, writePart } from "./blobs.ts";
import type { PartRecord } from "./blobs.ts";
import { extrasOf, readExtras, writeExtras } from "./extras.ts";
import type { Extras } from "./extras.ts";
import {
  checksumKindCode,
  checksumKindOfCode,
  readChecksum,
  readMetadata,
  writeChecksum,
  writeMetadata,
} from "./fields.ts";
import type { ChecksumRecord, MetadataRecord } from "./fields.ts";

export type UploadState =
  | { readonly kind: "open" }
  /** No part may be added or replaced. `partsMap` is the attempt: the blob whose pages it writes. */
  | { readonly kind: "completing"; readonly partsMap: BlobId };

export type UploadRecord = {
  readonly state: UploadState;
  readonly startedMs: number;
  readonly metadata: MetadataRecord;
  /** What the client chose at the start. */
  readonly checksum: Pick<ChecksumRecord, "algorithm" | "type"> | undefined;
} & Extras;

export type FinishedRecord = {
  readonly bucket: BucketId;
  readonly key: Buffer;
  readonly sizeBytes: number;
  readonly etag: string;
  readonly modifiedMs: number;
  readonly checksum: ChecksumRecord | undefined;
  /** SHA-256 of the parts asked for: another list is another request. */
  readonly fingerprint: Buffer;
  readonly atMs: number;
  /** Of the version that was made, where there are versions. */
  readonly versionId: string | undefined;
};

/** `listed`: one bit per part number (bit n of the bytes, least significant first) that the object took. */
export type LeftoverRecord = { readonly listed: Buffer; readonly atMs: number };

const newestVersion = 1;
/** Version 2 of a finished row ends with the version's id, and is only written where there is one. */
const finishedVersion = 2;
/** Version 2 of an upload's own row ends with its extras, and is only written where there are some. */
const uploadVersion = 2;
const FINGERPRINT_BYTES = 32;
const noChecksum = 0xff;

export function encodeUpload(upload: UploadRecord): Buffer {
  // Before the writer: writers are not nested.
  const extras = extrasOf(upload);
  const writer = new ByteWriter().u8(extras.length === 0 ? newestVersion : uploadVersion);
  if (upload.state.kind === "open") writer.u8(0);
  else writer.u8(1).hex(upload.state.partsMap);
  writer.varint(upload.startedMs);
  writer.u8(upload.checksum === undefined ? noChecksum : checksumKindCode(upload.checksum));
  writeMetadata(writer, upload.metadata);
  if (extras.length > 0) writeExtras(writer, extras);
  return writer.finish();
}

export function decodeUpload(value: Uint8Array): UploadRecord {
  const reader = new ByteReader(value, "upload");
  const version = reader.version(uploadVersion);
  const state = readState(reader);
  const startedMs = reader.varint();
  const code = reader.u8();
  const checksum = code === noChecksum ? undefined : checksumKindOfCode(code);
  if (checksum === undefined && code !== noChecksum) throw reader.corrupt("its checksum algorithm is not known");
  const metadata = readMetadata(reader);
  const extras = version === 1 ? {} : readExtras(reader);
  reader.end();
  return { state, startedMs, metadata, checksum, ...extras };
}

function readState(reader: ByteReader): UploadState {
  const code = reader.u8();
  if (code === 0) return { kind: "open" };
  if (code === 1) return { kind: "completing", partsMap: reader.hex(BLOB_ID_BYTES) as BlobId };
  throw reader.corrupt("its state is not known");
}

/** A part's row holds what a page of the object's parts map will. */
export function encodePart(part: PartRecord): Buffer {
  const writer = new ByteWriter().u8(newestVersion);
  writePart(writer, part);
  return writer.finish();
}

/** The checksum's value is a view of the record. */
export function decodePart(bytes: Uint8Array): PartRecord {
  const reader = new ByteReader(bytes, "part");
  reader.version(newestVersion);
  const part = readPart(reader);
  reader.end();
  return part;
}

export function encodeFinished(finished: FinishedRecord): Buffer {
  assert(finished.fingerprint.length === FINGERPRINT_BYTES, "a fingerprint has 32 bytes");
  const version = finished.versionId === undefined ? 1 : finishedVersion;
  const writer = new ByteWriter().u8(version).hex(finished.bucket).bytes(finished.key);
  writer.varint(finished.sizeBytes).string(finished.etag).varint(finished.modifiedMs);
  writer.raw(finished.fingerprint).varint(finished.atMs);
  writer.u8(finished.checksum === undefined ? 0 : 1);
  if (finished.checksum !== undefined) writeChecksum(writer, finished.checksum);
  if (finished.versionId !== undefined) writer.string(finished.versionId);
  return writer.finish();
}

export function decodeFinished(value: Uint8Array): FinishedRecord {
  const reader = new ByteReader(value, "finished upload");
  const version = reader.version(finishedVersion);
  const bucket = reader.hex(BUCKET_ID_BYTES) as BucketId;
  const key = reader.bytes();
  const result = { sizeBytes: reader.varint(), etag: reader.string(), modifiedMs: reader.varint() };
  const fingerprint = reader.raw(FINGERPRINT_BYTES);
  const atMs = reader.varint();
  const checksum = reader.u8() === 0 ? undefined : readChecksum(reader);
  const versionId = version === 1 ? undefined : reader.string();
  reader.end();
  return { bucket, key, ...result, checksum, fingerprint, atMs, versionId };
}

export function encodeLeftover(leftover: LeftoverRecord): Buffer {
  return new ByteWriter().u8(newestVersion).varint(leftover.atMs).bytes(leftover.listed).finish();
}

export function decodeLeftover(value: Uint8Array): LeftoverRecord {
  const reader = new ByteReader(value, "leftover");
  reader.version(newestVersion);
  const atMs = reader.varint();
  const listed = reader.bytes();
  reader.end();
  return { listed, atMs };
}

/** Which part numbers a completed object took, one bit each, so that what is left over can be told without a map. */
export function listedBits(parts: readonly { readonly partNumber: number }[]): Buffer {
  const bits = Buffer.alloc(((parts.at(-1)?.partNumber ?? 0) >>> 3) + 1);
  for (const { partNumber } of parts) {
    const index = partNumber >>> 3;
    assert(index < bits.length, "parts are in ascending order");
    bits[index] = bits[index]! | (1 << (partNumber & 7));
  }
  return bits;
}

export function isListedPart(bits: Uint8Array, partNumber: number): boolean {
  return ((bits[partNumber >>> 3] ?? 0) & (1 << (partNumber & 7))) !== 0;
}

/** An abandoned row says everything in its key; its value is a format version. */
export function encodeAbandoned(): Buffer {
  return new ByteWriter().u8(newestVersion).finish();
}

export function decodeAbandoned(value: Uint8Array): void {
  const reader = new ByteReader(value, "abandoned");
  reader.version(newestVersion);
  reader.end();
}
