/**
 * The calls between nodes and their results as bytes (docs/formats/node-protocol.md). Pure, and strict in reading: the
 * other side has proven the secret, but it may be of another build.
 *
 * A call is its name, a few bytes of arguments, and a body; only `append` (the shard) and `remove` (what goes) have one.
 */
import { assert } from "../core/assert.ts";
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { HoldfastError } from "../core/errors.ts";
import { BLOB_ID_BYTES, CHUNK_ID_BYTES, DRIVE_ID_BYTES, RECORD_ID_BYTES } from "../core/ids.ts";
import type { BlobId, ChunkId, DriveId, RecordId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type {
  ByteRange,
  DriveStatus,
  ListedShard,
  Removal,
  Shard,
  ShardCopy,
  ShardOwner,
  ShardRef,
  VerifyResult,
} from "./node.ts";
import { recordBytesMax } from "./shard_copy.ts";

export type PeerRequest =
  | { readonly call: "append"; readonly drive: DriveId; readonly shard: Shard }
  | { readonly call: "read"; readonly drive: DriveId; readonly ref: ShardRef; readonly range: ByteRange }
  | { readonly call: "copy"; readonly drive: DriveId; readonly shard: ShardCopy }
  | { readonly call: "record"; readonly drive: DriveId; readonly ref: ShardRef; readonly storedBytes: number }
  | { readonly call: "remove"; readonly drive: DriveId; readonly shards: readonly Removal[] }
  | {
      readonly call: "list";
      readonly drive: DriveId;
      readonly after: ShardRef | undefined;
      readonly limit: number;
    }
  | { readonly call: "verify"; readonly drive: DriveId; readonly ref: ShardRef }
  | { readonly call: "discard"; readonly drive: DriveId; readonly ref: ShardRef }
  | { readonly call: "status"; readonly drive: DriveId }
  | { readonly call: "drives" };

export type PeerCall = PeerRequest["call"];

/** With whether it names a record, and the record. */
const removalBytesMax = CHUNK_ID_BYTES + 2 + RECORD_ID_BYTES;

/** What a body may have, by call. */
const bodyBytes: Readonly<Record<PeerCall, { readonly min: number; readonly max: number }>> = {
  append: { min: 1, max: limits.chunkBytesMax },
  read: { min: 0, max: 0 },
  copy: { min: 0, max: 0 },
  record: { min: 0, max: 0 },
  remove: { min: 0, max: limits.peerRemoveRefsMax * removalBytesMax },
  list: { min: 0, max: 0 },
  verify: { min: 0, max: 0 },
  discard: { min: 0, max: 0 },
  status: { min: 0, max: 0 },
  drives: { min: 0, max: 0 },
};

/** Errors: `invalid_request`, for a call that this build does not know or a body that it cannot have. */
export function checkCall(name: string, givenBytes: number): PeerCall {
  if (!Object.hasOwn(bodyBytes, name)) throw unknownCall();
  const call = name as PeerCall;
  const { min, max } = bodyBytes[call];
  if (givenBytes < min || givenBytes > max) throw invalid(`The body of ${call} has ${min} to ${max} bytes.`);
  return call;
}

export function unknownCall(): HoldfastError {
  return invalid("This node does not know the call; it may be of an older version.");
}

function invalid(message: string): HoldfastError {
  return new HoldfastError("invalid_request", message);
}

function writeRef(writer: ByteWriter, { chunk, shardIndex }: ShardRef): ByteWriter {
  assert(chunk.length === 2 * CHUNK_ID_BYTES, "a chunk id has 16 bytes");
  return writer.hex(chunk).u8(shardIndex);
}

function readRef(reader: ByteReader): ShardRef {
  return { chunk: reader.hex(CHUNK_ID_BYTES) as ChunkId, shardIndex: reader.u8() };
}

function writeOwner(writer: ByteWriter, { blob, chunkIndex }: ShardOwner): ByteWriter {
  assert(blob.length === 2 * BLOB_ID_BYTES, "a blob id has 16 bytes");
  return writer.hex(blob).varint(chunkIndex);
}

function readOwner(reader: ByteReader): ShardOwner {
  return { blob: reader.hex(BLOB_ID_BYTES) as BlobId, chunkIndex: reader.varint() };
}

/** Of a shard that is to be moved whole. */
function readStoredBytes(reader: ByteReader): number {
  const bytes = reader.varint();
  if (bytes < 1 || bytes > limits.chunkBytesMax) throw reader.corrupt("no shard has so many bytes");
  return bytes;
}

function writeRecord(writer: ByteWriter, record: RecordId): ByteWriter {
  assert(record.length === 2 * RECORD_ID_BYTES, "a record id has 8 bytes");
  return writer.hex(record);
}

function readRecord(reader: ByteReader): RecordId {
  return reader.hex(RECORD_ID_BYTES) as RecordId;
}

export function encodeArgs(request: PeerRequest): Buffer {
  const writer = new ByteWriter();
  if (request.call === "drives") return writer.finish();
  assert(request.drive.length === 2 * DRIVE_ID_BYTES, "a drive id has 8 bytes");
  writer.hex(request.drive);
  switch (request.call) {
    case "append":
      writeOwner(writeRef(writer, request.shard), request.shard.owner);
      break;
    case "copy": {
      const { owner, storedBytes, from } = request.shard;
      assert(from.drive.length === 2 * DRIVE_ID_BYTES, "a drive id has 8 bytes");
      writeOwner(writeRef(writer, request.shard), owner).varint(storedBytes).hex(from.drive).u8(from.shardIndex);
      break;
    }
    case "record":
      writeRef(writer, request.ref).varint(request.storedBytes);
      break;
    case "read":
      writeRef(writer, request.ref).varint(request.range.offset).varint(request.range.length);
      break;
    case "list":
      writer.varint(request.limit).u8(request.after === undefined ? 0 : 1);
      if (request.after !== undefined) writeRef(writer, request.after);
      break;
    case "verify":
    case "discard":
      writeRef(writer, request.ref);
      break;
    case "remove":
    case "status":
  }
  return writer.finish();
}

/** The pieces of an append are the caller's own: nothing is copied. */
export function bodyOf(request: PeerRequest): readonly Uint8Array[] {
  if (request.call === "append") return request.shard.body;
  if (request.call !== "remove" || request.shards.length === 0) return [];
  assert(request.shards.length <= limits.peerRemoveRefsMax, "removals are sent in bounded batches");
  const writer = new ByteWriter();
  for (const { record, ...ref } of request.shards) {
    writeRef(writer, ref).u8(record === undefined ? 0 : 1);
    if (record !== undefined) writeRecord(writer, record);
  }
  return [writer.finish()];
}

/** Errors: `invalid_request`. */
export function decodeRequest(call: PeerCall, args: Uint8Array, body: readonly Uint8Array[]): PeerRequest {
  return strictly(call, args, (reader) => {
    if (call === "drives") return { call };
    const drive = reader.hex(DRIVE_ID_BYTES) as DriveId;
    switch (call) {
      case "append":
        return { call, drive, shard: { ...readRef(reader), owner: readOwner(reader), body } };
      case "copy":
        return { call, drive, shard: readCopy(reader) };
      case "record":
        return { call, drive, ref: readRef(reader), storedBytes: readStoredBytes(reader) };
      case "read":
        return { call, drive, ref: readRef(reader), range: readRange(reader) };
      case "remove":
        return { call, drive, shards: readRemovals(body) };
      case "list":
        return { call, drive, ...readPage(reader) };
      case "verify":
      case "discard":
        return { call, drive, ref: readRef(reader) };
      case "status":
        return { call, drive };
    }
  });
}

function strictly<T>(call: string, bytes: Uint8Array, read: (reader: ByteReader) => T): T {
  try {
    const reader = new ByteReader(bytes, call);
    const value = read(reader);
    reader.end();
    return value;
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    throw new HoldfastError("invalid_request", `A call or reply of a node cannot be read: ${error.message}`);
  }
}

function readCopy(reader: ByteReader): ShardCopy {
  const named = { ...readRef(reader), owner: readOwner(reader), storedBytes: readStoredBytes(reader) };
  return { ...named, from: { drive: reader.hex(DRIVE_ID_BYTES) as DriveId, shardIndex: reader.u8() } };
}

function readRange(reader: ByteReader): ByteRange {
  const [offset, length] = [reader.varint(), reader.varint()];
  if (length > limits.readBytesPerCall || offset > limits.chunkBytesMax) throw reader.corrupt("no such range is read");
  return { offset, length };
}

function readRemovals(body: readonly Uint8Array[]): Removal[] {
  const reader = new ByteReader(Buffer.concat(body), "remove");
  const shards: Removal[] = [];
  while (!reader.isAtEnd) {
    if (shards.length === limits.peerRemoveRefsMax) throw reader.corrupt("there are too many entries");
    const ref = readRef(reader);
    shards.push(readFlag(reader) ? { ...ref, record: readRecord(reader) } : ref);
  }
  return shards;
}

function readPage(reader: ByteReader): { readonly limit: number; readonly after: ShardRef | undefined } {
  const limit = reader.varint();
  if (limit < 1 || limit > limits.scanEntriesMax) throw reader.corrupt("a page has no such size");
  return { limit, after: readFlag(reader) ? readRef(reader) : undefined };
}

function readFlag(reader: ByteReader): boolean {
  const flag = reader.u8();
  if (flag > 1) throw reader.corrupt("a flag is 0 or 1");
  return flag === 1;
}

type OwnedShard = Omit<ListedShard, "record">;

/** Of a shard that is not there nobody knows the owner: its id is empty. */
function writeOwned(writer: ByteWriter, { owner, storedBytes, ...ref }: OwnedShard): ByteWriter {
  return writeRef(writer, ref).bytes(Buffer.from(owner.blob, "hex")).varint(owner.chunkIndex).varint(storedBytes);
}

function readOwned(reader: ByteReader): OwnedShard {
  const ref = readRef(reader);
  const blob = reader.bytes();
  if (blob.length !== 0 && blob.length !== BLOB_ID_BYTES) throw reader.corrupt("a blob id has 16 bytes");
  const owner = { blob: blob.toString("hex") as BlobId, chunkIndex: reader.varint() };
  return { ...ref, owner, storedBytes: reader.varint() };
}

function readListed(reader: ByteReader): ListedShard {
  return { ...readOwned(reader), record: readRecord(reader) };
}

function readMany<T>(reader: ByteReader, countMax: number, read: (reader: ByteReader) => T): T[] {
  const count = reader.varint();
  if (count > countMax) throw reader.corrupt("there are too many entries");
  return Array.from({ length: count }, () => read(reader));
}

export function encodeListed(listed: readonly ListedShard[]): Buffer {
  const writer = new ByteWriter().varint(listed.length);
  for (const { record, ...each } of listed) writeRecord(writeOwned(writer, each), record);
  return writer.finish();
}

export function decodeListed(bytes: Uint8Array): ListedShard[] {
  return strictly("list", bytes, (reader) => readMany(reader, limits.scanEntriesMax, readListed));
}

const outcomes = ["good", "corrupt", "missing"] as const;

export function encodeVerified({ outcome, why, ...owned }: VerifyResult): Buffer {
  const writer = new ByteWriter().u8(outcomes.indexOf(outcome));
  writeOwned(writer, owned);
  return (why === undefined ? writer.u8(0) : writer.u8(1).string(clipped(why))).finish();
}

export function decodeVerified(bytes: Uint8Array): VerifyResult {
  return strictly("verify", bytes, (reader) => {
    const outcome = outcomes[reader.u8()];
    if (outcome === undefined) throw reader.corrupt("the outcome is not known");
    const owned = readOwned(reader);
    return readFlag(reader) ? { ...owned, outcome, why: reader.string() } : { ...owned, outcome };
  });
}

const leftovers = ["good", "missing"] as const;

export function encodeDiscarded(left: "good" | "missing"): Buffer {
  return new ByteWriter().u8(leftovers.indexOf(left)).finish();
}

export function decodeDiscarded(bytes: Uint8Array): "good" | "missing" {
  return strictly("discard", bytes, (reader) => {
    const left = leftovers[reader.u8()];
    if (left === undefined) throw reader.corrupt("what is left is not known");
    return left;
  });
}

const states = ["up", "full", "failed"] as const;

export function encodeStatus(status: DriveStatus): Buffer {
  const { id, path, state, totalBytes, freeBytes, liveBytes, deadBytes, segments } = status;
  const writer = new ByteWriter().hex(id).string(path).u8(states.indexOf(state));
  for (const figure of [totalBytes, freeBytes, liveBytes, deadBytes, segments]) writer.varint(figure);
  return writer.finish();
}

export function decodeStatus(bytes: Uint8Array): DriveStatus {
  return strictly("status", bytes, (reader) => {
    const [id, path, state] = [reader.hex(DRIVE_ID_BYTES) as DriveId, reader.string(), states[reader.u8()]];
    if (state === undefined) throw reader.corrupt("the state is not known");
    const figures = { totalBytes: reader.varint(), freeBytes: reader.varint(), liveBytes: reader.varint() };
    return { id, path, state, ...figures, deadBytes: reader.varint(), segments: reader.varint() };
  });
}

export function encodeDrives(drives: readonly DriveId[]): Buffer {
  const writer = new ByteWriter().varint(drives.length);
  for (const drive of drives) writer.hex(drive);
  return writer.finish();
}

export function decodeDrives(bytes: Uint8Array): DriveId[] {
  const read = (reader: ByteReader): DriveId => reader.hex(DRIVE_ID_BYTES) as DriveId;
  return strictly("drives", bytes, (reader) => readMany(reader, limits.peerDrivesMax, read));
}

const textCharsMax = 1_024;

export function clipped(text: string): string {
  return text.length <= textCharsMax ? text : `${text.slice(0, textCharsMax)}…`;
}

/** No reply of the other side is longer. */
export const replyBytesMax = Math.max(recordBytesMax(limits.chunkBytesMax), limits.scanEntriesMax * 64, 64 * 1024);
