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
import { HoldfastError } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { ChunkNode, RecordBytes, ShardCopy, ShardRef } from "./node.ts";
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
  const opened = openRecord(record.bytes, storedBytes);
  const isGood =
    opened !== undefined && findBadBlock(opened.body, { ...there, ...opened, firstBlock: 0 }) === undefined;
  if (!isGood)
    throw new HoldfastError(
      "corrupt_chunk",
      `Chunk ${chunk}/${from.shardIndex} is corrupt on the drive it is copied from.`,
    );
  const table = { blockBytes: opened.blockBytes, crcs: renamedTable(opened, there, { chunk, shardIndex }) };
  await target.append(drive, { chunk, shardIndex, owner, body: [opened.body], table }, signal);
  // An append that failed may still read them.
  record.release();
}
