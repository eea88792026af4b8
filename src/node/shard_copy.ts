/**
 * A shard as it goes from drive to drive: its bytes come with the checksums of its record, and who stores them compares each block
 * before it does. So every byte is compared once on its way, whatever happened to it on the drive or between the two, and
 * what is stored is vouched for by the checksums of the one it was copied from.
 *
 * The checksums begin with the shard's name (segment.ts), and a copy of a whole chunk has another index than the one it is copied
 * from. A CRC is affine in what it begins with: two that begin differently over the same bytes differ by what depends on the two beginnings
 * and the length alone. So the checksums under the new name are computed from those that were compared.
 */
import { crc32 } from "node:zlib";
import { hasReason, HoldfastError } from "../core/errors.ts";
import { giveBack } from "../core/give_back.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { ChunkNode, RecordBytes, ShardCopy, ShardRef } from "./node.ts";
import { takeRoom } from "./record_rooms.ts";
import { blockCount, blockSeeds, findBadBlock, RECORD_HEADER_BYTES } from "./segment.ts";

/** A record's bytes, as they go from node to node: the length of its blocks, its table, its body. */
export type OpenRecord = { readonly blockBytes: number; readonly table: Buffer; readonly body: Buffer };

const lengthBytes = 4;
/** Where the length of blocks is put in a record that was read whole: over the end of its header, of which nothing else is told. */
export const recordStartBytes = RECORD_HEADER_BYTES - lengthBytes;
/** Records of an older build may have smaller blocks. */
const blockBytesMin = 512;

/** What bytes a record of `bodyBytes` may have at most, between nodes. */
export function recordBytesMax(bodyBytes: number): number {
  return lengthBytes + 4 * blockCount(bodyBytes, blockBytesMin) + bodyBytes;
}

export function sealRecord({ blockBytes, table, body }: OpenRecord): Buffer {
  const length = Buffer.alloc(lengthBytes);
  length.writeUInt32BE(blockBytes);
  return Buffer.concat([length, table, body]);
}

/** Undefined: they are not the bytes of a record with such a body. */
export function openRecord(bytes: Buffer, bodyBytes: number): OpenRecord | undefined {
  if (bytes.length < lengthBytes) return undefined;
  const blockBytes = bytes.readUInt32BE(0);
  if (blockBytes < blockBytesMin || blockBytes > limits.chunkBytesMax) return undefined;
  const bodyStart = lengthBytes + 4 * blockCount(bodyBytes, blockBytes);
  if (bytes.length !== bodyStart + bodyBytes) return undefined;
  return { blockBytes, table: bytes.subarray(lengthBytes, bodyStart), body: bytes.subarray(bodyStart) };
}

/** The table of the same bytes under another name. Only for a table that was compared with them. */
export function renamedTable({ blockBytes, table, body }: OpenRecord, from: ShardRef, to: ShardRef): Buffer {
  if (from.chunk === to.chunk && from.shardIndex === to.shardIndex) return table;
  const count = blockCount(body.length, blockBytes);
  const [before, after] = [blockSeeds(from, count), blockSeeds(to, count)];
  const renamed = Buffer.allocUnsafe(table.length);
  for (let block = 0; block < count; block++) {
    const bytes = body.subarray(block * blockBytes, (block + 1) * blockBytes);
    const crc =
      bytes.length === limits.segmentBlockBytes
        ? table.readUInt32BE(4 * block) ^ carried(before[block]! ^ after[block]!)
        : crc32(bytes, after[block]);
    renamed.writeUInt32BE(crc >>> 0, 4 * block);
  }
  return renamed;
}

/** For each bit of two beginnings in which they differ, in which bits the CRCs of a block differ. */
let carriedBits: readonly number[] | undefined;

function carried(difference: number): number {
  if (carriedBits === undefined) {
    const zeros = Buffer.alloc(limits.segmentBlockBytes);
    const none = crc32(zeros, 0);
    carriedBits = Array.from({ length: 32 }, (_, bit) => crc32(zeros, (1 << bit) >>> 0) ^ none);
  }
  let sum = 0;
  for (let bit = 0; bit < 32; bit++) if ((difference >>> bit) & 1) sum ^= carriedBits[bit]!;
  return sum;
}

/** A shard's bytes, in one piece. */
export type WholeShard = {
  readonly body: Buffer;
  /** The buffer may be used again: nobody reads the bytes any more. */
  release(): void;
};

/** Pieces that are asked for at the same time, of a shard whose node gives no records. */
const piecesAtOnce = 2;

/**
 * A whole shard, each block compared with its checksum: in one call where the node gives records, in pieces where it does not.
 * Errors: those of `read`.
 */
export async function readWholeShard(
  node: Pick<ChunkNode, "read" | "readRecord">,
  drive: DriveId,
  ref: ShardRef,
  storedBytes: number,
  signal: AbortSignal,
): Promise<WholeShard> {
  if (node.readRecord === undefined) return readInPieces(node, drive, ref, storedBytes, signal);
  let record: RecordBytes;
  try {
    record = await node.readRecord(drive, ref, storedBytes, signal);
  } catch (error) {
    // The node that has the drive may be of an older build.
    if (signal.aborted || !hasReason(error, "unavailable")) throw error;
    return readInPieces(node, drive, ref, storedBytes, signal);
  }
  const opened = goodRecord(record, ref, storedBytes);
  if (opened === undefined) throw corrupt(ref);
  return { body: opened.body, release: () => record.release() };
}

async function readInPieces(
  node: Pick<ChunkNode, "read">,
  drive: DriveId,
  ref: ShardRef,
  storedBytes: number,
  signal: AbortSignal,
): Promise<WholeShard> {
  const { bytes: body, release } = takeRoom(storedBytes);
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let offset = next; offset < storedBytes; offset = next) {
      const range = { offset, length: Math.min(limits.readBytesPerCall, storedBytes - offset) };
      next += range.length;
      const piece = await node.read(drive, ref, range, signal);
      if (piece.length !== range.length) throw corrupt(ref);
      piece.copy(body, offset);
      giveBack(piece);
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: piecesAtOnce }, lane));
  for (const outcome of lanes) if (outcome.status === "rejected") throw outcome.reason;
  return { body, release };
}

/** Undefined: not all of its blocks are those of its checksums. */
function goodRecord({ bytes }: RecordBytes, ref: ShardRef, storedBytes: number): OpenRecord | undefined {
  const opened = openRecord(bytes, storedBytes);
  if (opened === undefined || findBadBlock(opened.body, { ...ref, ...opened, firstBlock: 0 }) !== undefined)
    return undefined;
  return opened;
}

function corrupt({ chunk, shardIndex }: ShardRef): HoldfastError {
  return new HoldfastError("corrupt_chunk", `Chunk ${chunk}/${shardIndex} is corrupt on the drive it is copied from.`);
}

export type CopyEnds = {
  /** The record of `copy.from`. */
  readonly read: () => Promise<RecordBytes>;
  /** What has the drive. */
  readonly target: Pick<ChunkNode, "append">;
};

/** Errors: those of reading and appending; `corrupt_chunk` when the bytes are not those of their checksums: nothing is stored then. */
export async function copyShard(
  { read, target }: CopyEnds,
  drive: DriveId,
  { chunk, shardIndex, owner, storedBytes, from }: ShardCopy,
  signal?: AbortSignal,
): Promise<void> {
  const record = await read();
  const there = { chunk, shardIndex: from.shardIndex };
  const opened = goodRecord(record, there, storedBytes);
  if (opened === undefined) throw corrupt(there);
  const table = { blockBytes: opened.blockBytes, crcs: renamedTable(opened, there, { chunk, shardIndex }) };
  await target.append(drive, { chunk, shardIndex, owner, body: [opened.body], table }, signal);
  // An append that failed may still read them.
  record.release();
}
