/**
 * The segment file format, version 1 (docs/formats/segment.md): pure functions from shards to bytes and back.
 *
 * A segment begins with a header and goes on with records, each aligned to 8 bytes. A record is a header, a table with
 * one CRC-32 per block of the body, the body, and zero padding. The record header names its segment and offset, so that
 * bytes at a wrong place (a misdirected write, an old disk block, a forged record inside a client's body) are no record.
 */
import { crc32 } from "node:zlib";
import { assert } from "../core/assert.ts";
import { BLOB_ID_BYTES, CHUNK_ID_BYTES, DRIVE_ID_BYTES, idBytes, idFromBytes } from "../core/ids.ts";
import type { BlobId, ChunkId, DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Shard, ShardOwner, ShardRef } from "./node.ts";

declare const brand: unique symbol;
/** 12 bytes in hex: 8 random ones of the process that writes it, then a counter of that process. */
export type SegmentId = string & { readonly [brand]: "segment" };
export const SEGMENT_ID_BYTES = 12;

/** `append`: shards as they come. `compaction`: copies of shards that stand (or stood) in an older segment. */
export type SegmentKind = "append" | "compaction";
export type SegmentHeader = { readonly drive: DriveId; readonly segment: SegmentId; readonly kind: SegmentKind };

/** Where a record stands: part of what its header says. */
export type RecordPosition = { readonly segment: SegmentId; readonly offset: number };

export type RecordHeader = ShardRef & {
  readonly owner: ShardOwner;
  readonly bodyBytes: number;
  readonly blockBytes: number;
  readonly tableCrc: number;
};

export type Decoded<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly why: string };

export const SEGMENT_HEADER_BYTES = 64;
export const RECORD_HEADER_BYTES = 96;
export const RECORD_ALIGNMENT_BYTES = 8;
export const RECORD_MAGIC = Buffer.from("HFrc", "latin1");
const segmentMagic = Buffer.from("HFsg", "latin1");
const formatVersion = 1;
const kinds: readonly SegmentKind[] = ["append", "compaction"];
/** Blocks smaller than this would make the table larger than the body is worth; larger ones don't fit a chunk. */
const blockBytesMin = 512;

export function blockCount(bodyBytes: number, blockBytes: number): number {
  return Math.ceil(bodyBytes / blockBytes);
}

/** Bytes from a record's start to its body. */
export function headBytes(bodyBytes: number, blockBytes: number): number {
  return RECORD_HEADER_BYTES + 4 * blockCount(bodyBytes, blockBytes);
}

/** Bytes of a whole record, with its padding. */
export function recordBytes(bodyBytes: number, blockBytes: number): number {
  const exact = headBytes(bodyBytes, blockBytes) + bodyBytes;
  return Math.ceil(exact / RECORD_ALIGNMENT_BYTES) * RECORD_ALIGNMENT_BYTES;
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const out = Buffer.alloc(SEGMENT_HEADER_BYTES);
  segmentMagic.copy(out, 0);
  out[4] = formatVersion;
  out[5] = kinds.indexOf(header.kind);
  idBytes(header.drive).copy(out, 8);
  Buffer.from(header.segment, "hex").copy(out, 16);
  out.writeUInt32BE(crc32(out.subarray(0, 60)), 60);
  return out;
}

export function decodeSegmentHeader(bytes: Buffer): Decoded<SegmentHeader> {
  if (bytes.length < SEGMENT_HEADER_BYTES) return { ok: false, why: "the segment header is cut off" };
  if (!bytes.subarray(0, 4).equals(segmentMagic)) return { ok: false, why: "this is no segment" };
  if (crc32(bytes.subarray(0, 60)) !== bytes.readUInt32BE(60))
    return { ok: false, why: "the segment header is damaged" };
  if (bytes[4] !== formatVersion) return { ok: false, why: `segment format version ${bytes[4]} is not known` };
  const kind = kinds[bytes[5]!];
  if (kind === undefined) return { ok: false, why: `segment kind ${bytes[5]} is not known` };
  const drive = idFromBytes<DriveId>(bytes.subarray(8, 8 + DRIVE_ID_BYTES));
  const segment = bytes.toString("hex", 16, 16 + SEGMENT_ID_BYTES) as SegmentId;
  return { ok: true, value: { drive, segment, kind } };
}

/**
 * What every CRC of the body begins with: the shard's name, so that a block of another shard never passes.
 * The block's index goes in as well, so that neither does another block of the same shard.
 */
function blockSeed(identity: Buffer, block: number): number {
  identity.writeUInt32BE(block, CHUNK_ID_BYTES + 1);
  return crc32(identity);
}

/** Of so many blocks of a shard, in order. */
export function blockSeeds(ref: ShardRef, count: number): number[] {
  const identity = identityOf(ref);
  return Array.from({ length: count }, (_, block) => blockSeed(identity, block));
}

function identityOf(ref: ShardRef): Buffer {
  const identity = Buffer.alloc(CHUNK_ID_BYTES + 5);
  idBytes(ref.chunk).copy(identity, 0);
  identity[CHUNK_ID_BYTES] = ref.shardIndex;
  return identity;
}

/** The table of a body given in pieces of any size. */
export function encodeTable(ref: ShardRef, body: readonly Uint8Array[], blockBytes: number): Buffer {
  const bodyBytes = totalBytes(body);
  const table = Buffer.alloc(4 * blockCount(bodyBytes, blockBytes));
  const identity = identityOf(ref);
  let block = 0;
  let filled = 0;
  let crc = blockSeed(identity, 0);
  for (const piece of body) {
    for (let at = 0; at < piece.length;) {
      const take = Math.min(blockBytes - filled, piece.length - at);
      crc = crc32(piece.subarray(at, at + take), crc);
      at += take;
      filled += take;
      if (filled < blockBytes) continue;
      table.writeUInt32BE(crc, 4 * block);
      block += 1;
      filled = 0;
      crc = blockSeed(identity, block);
    }
  }
  if (filled > 0) table.writeUInt32BE(crc, 4 * block);
  return table;
}

export function totalBytes(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, piece) => sum + piece.length, 0);
}

export type RecordContent = ShardRef & {
  readonly owner: ShardOwner;
  readonly body: readonly Uint8Array[];
  readonly blockBytes: number;
  readonly table: Buffer;
};

/** A shard ready to be placed: its table is computed once, whatever position it gets. */
export function recordContent(shard: Shard): RecordContent {
  const blockBytes = limits.segmentBlockBytes;
  const { chunk, shardIndex, owner, body } = shard;
  const known = shard.table?.blockBytes === blockBytes ? shard.table.crcs : undefined;
  return { chunk, shardIndex, owner, body, blockBytes, table: known ?? encodeTable(shard, body, blockBytes) };
}

/** The pieces of one record, to be written one after another at `position.offset`. */
export function encodeRecord(content: RecordContent, position: RecordPosition): Uint8Array[] {
  assert(position.offset % RECORD_ALIGNMENT_BYTES === 0, "records are aligned");
  assert(content.shardIndex >= 0 && content.shardIndex <= 0xff, "a shard index is one byte");
  const bodyBytes = totalBytes(content.body);
  assert(bodyBytes >= 1 && bodyBytes <= limits.chunkBytesMax, "a body has 1..chunkBytesMax bytes");
  const head = Buffer.alloc(RECORD_HEADER_BYTES + content.table.length);
  RECORD_MAGIC.copy(head, 0);
  head[4] = formatVersion;
  head[5] = content.shardIndex;
  Buffer.from(position.segment, "hex").copy(head, 8);
  head.writeUInt32BE(bodyBytes, 20);
  head.writeBigUInt64BE(BigInt(position.offset), 24);
  idBytes(content.chunk).copy(head, 32);
  idBytes(content.owner.blob).copy(head, 48);
  head.writeBigUInt64BE(BigInt(content.owner.chunkIndex), 64);
  head.writeUInt32BE(content.blockBytes, 72);
  head.writeUInt32BE(crc32(content.table), 76);
  head.writeUInt32BE(crc32(head.subarray(0, 92)), 92);
  content.table.copy(head, RECORD_HEADER_BYTES);
  const paddingBytes = recordBytes(bodyBytes, content.blockBytes) - head.length - bodyBytes;
  return paddingBytes === 0 ? [head, ...content.body] : [head, ...content.body, Buffer.alloc(paddingBytes)];
}

export function decodeRecordHeader(bytes: Buffer, position: RecordPosition): Decoded<RecordHeader> {
  if (bytes.length < RECORD_HEADER_BYTES) return { ok: false, why: "the record header is cut off" };
  if (!bytes.subarray(0, 4).equals(RECORD_MAGIC)) return { ok: false, why: "there is no record" };
  if (crc32(bytes.subarray(0, 92)) !== bytes.readUInt32BE(92))
    return { ok: false, why: "the record header is damaged" };
  if (bytes[4] !== formatVersion) return { ok: false, why: `record format version ${bytes[4]} is not known` };
  const elsewhere =
    bytes.toString("hex", 8, 8 + SEGMENT_ID_BYTES) !== position.segment ||
    bytes.readBigUInt64BE(24) !== BigInt(position.offset);
  if (elsewhere) return { ok: false, why: "the record belongs at another place" };
  const bodyBytes = bytes.readUInt32BE(20);
  const blockBytes = bytes.readUInt32BE(72);
  if (bodyBytes < 1 || bodyBytes > limits.chunkBytesMax) return { ok: false, why: "the body length is out of bounds" };
  if (blockBytes < blockBytesMin || blockBytes > limits.chunkBytesMax)
    return { ok: false, why: "the block length is out of bounds" };
  return {
    ok: true,
    value: {
      chunk: idFromBytes<ChunkId>(bytes.subarray(32, 32 + CHUNK_ID_BYTES)),
      shardIndex: bytes[5]!,
      owner: {
        blob: idFromBytes<BlobId>(bytes.subarray(48, 48 + BLOB_ID_BYTES)),
        chunkIndex: Number(bytes.readBigUInt64BE(64)),
      },
      bodyBytes,
      blockBytes,
      tableCrc: bytes.readUInt32BE(76),
    },
  };
}

/** The table that follows a decoded header in `head` (header and table together). */
export function decodeTable(head: Buffer, header: RecordHeader): Decoded<Buffer> {
  const table = head.subarray(RECORD_HEADER_BYTES, headBytes(header.bodyBytes, header.blockBytes));
  if (crc32(table) !== header.tableCrc) return { ok: false, why: "the table of checksums is damaged" };
  return { ok: true, value: table };
}

/** Checks whole blocks that follow one another from `firstBlock`; tells the first one that is wrong. */
export function findBadBlock(
  blocks: Buffer,
  from: ShardRef & { readonly table: Buffer; readonly blockBytes: number; readonly firstBlock: number },
): number | undefined {
  const identity = identityOf(from);
  const count = blockCount(blocks.length, from.blockBytes);
  for (let index = 0; index < count; index++) {
    const block = from.firstBlock + index;
    const bytes = blocks.subarray(index * from.blockBytes, (index + 1) * from.blockBytes);
    if (crc32(bytes, blockSeed(identity, block)) !== from.table.readUInt32BE(4 * block)) return block;
  }
  return undefined;
}

export function sameRef(left: ShardRef, right: ShardRef): boolean {
  return left.chunk === right.chunk && left.shardIndex === right.shardIndex;
}
