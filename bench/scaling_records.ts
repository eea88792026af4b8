/** The metadata rows of objects of several shapes, made by the encoders that the store uses, as a PUT would write them. */
import { randomBytes } from "node:crypto";
import { IdSource, newBucketId, newDriveId, type DriveId, type SessionId } from "../src/core/ids.ts";
import { parseRedundancy, shardsOf } from "../src/core/redundancy.ts";
import { seededRandom } from "../src/core/random.ts";
import { newChunkedBlobWrites, newPartsBlobWrites, type PartRecord } from "../src/meta/blobs.ts";
import type { ChunkRecord } from "../src/meta/chunk_pages.ts";
import { encodeBody, encodeHead, type HeadData, type HeadRecord } from "../src/meta/heads.ts";
import { bodyKey, headKey } from "../src/meta/keys.ts";

export type Row = { readonly key: Uint8Array; readonly value: Uint8Array };

export type Shape = {
  readonly name: string;
  readonly bytes: number;
  /** Objects to measure an engine with. */
  readonly count: number;
  readonly redundancy?: string;
  readonly parts?: number;
  readonly isCompressed?: boolean;
};

const KiB = 1_024;
const MiB = 1_024 * KiB;
const chunkBytes = 4 * MiB;
const blockBytes = 128 * KiB;

export const shapes: readonly Shape[] = [
  { name: "1 KiB, in the metadata", bytes: KiB, count: 50_000 },
  { name: "4 KiB, in the metadata", bytes: 4 * KiB, count: 20_000 },
  { name: "16 KiB, in the metadata", bytes: 16 * KiB, count: 6_000 },
  { name: "1 MiB, ec:4+2", bytes: MiB, redundancy: "ec:4+2", count: 40_000 },
  { name: "1 MiB, replica:3", bytes: MiB, redundancy: "replica:3", count: 40_000 },
  { name: "8 MiB, ec:4+2", bytes: 8 * MiB, redundancy: "ec:4+2", count: 40_000 },
  { name: "64 MiB, ec:4+2", bytes: 64 * MiB, redundancy: "ec:4+2", count: 20_000 },
  { name: "64 MiB, ec:4+2, compressed", bytes: 64 * MiB, redundancy: "ec:4+2", isCompressed: true, count: 20_000 },
  { name: "64 MiB in 8 parts, ec:4+2", bytes: 64 * MiB, parts: 8, redundancy: "ec:4+2", count: 6_000 },
  { name: "5 GiB in 640 parts, ec:4+2", bytes: 5 * KiB * MiB, parts: 640, redundancy: "ec:4+2", count: 60 },
];

const random = seededRandom(1);
const bucket = newBucketId(random);
/** Workers that write at the same time: their blobs' ids grow in as many places. */
const sources = Array.from(
  { length: 8 },
  (_, worker) => new IdSource((0x19abcdef01234000n + BigInt(worker)).toString(16).padStart(16, "0") as SessionId),
);
const drives: readonly DriveId[] = Array.from({ length: 10_000 }, () => newDriveId(random));

function someDrives(count: number): DriveId[] {
  const chosen = new Set<DriveId>();
  while (chosen.size < count) chosen.add(drives[random.below(drives.length)]!);
  return [...chosen];
}

function chunkOf(source: IdSource, rawBytes: number, shape: Shape): ChunkRecord {
  const redundancy = parseRedundancy(shape.redundancy!);
  const blocks = Array.from({ length: Math.ceil(rawBytes / blockBytes) }, () => 60_000 + random.below(20_000));
  return {
    id: source.chunk(),
    rawBytes,
    storedBytes: shape.isCompressed ? blocks.reduce((sum, bytes) => sum + bytes, 0) : rawBytes,
    blockBytes: shape.isCompressed ? blocks : undefined,
    redundancy,
    places: someDrives(shardsOf(redundancy)).map((drive, shardIndex) => ({ drive, shardIndex })),
  };
}

function blobRows(source: IdSource, sizeBytes: number, shape: Shape): { readonly rows: Row[]; readonly blob: string } {
  const id = source.blob();
  const chunks: ChunkRecord[] = [];
  for (let at = 0; at < sizeBytes; at += chunkBytes)
    chunks.push(chunkOf(source, Math.min(chunkBytes, sizeBytes - at), shape));
  return { rows: newChunkedBlobWrites({ id, sizeBytes, chunkBytes, chunks }, () => "00".repeat(14)), blob: id };
}

function headOf(shape: Shape, data: HeadData): HeadRecord {
  const md5 = Buffer.from(random.bytes(16)).toString("hex");
  return {
    sizeBytes: shape.bytes,
    modifiedMs: 1_795_000_000_000,
    etag: shape.parts === undefined ? md5 : `${md5}-${shape.parts}`,
    // What the AWS SDKs send by themselves.
    checksum: { algorithm: "crc64nvme", type: "FULL_OBJECT", value: Buffer.from(random.bytes(8)) },
    metadata: { headers: { "content-type": "application/octet-stream" }, user: {} },
    data,
    epoch: 0,
    stamp: Buffer.from(random.bytes(14)).toString("hex"),
  };
}

function partsRows(source: IdSource, shape: Shape): { readonly rows: Row[]; readonly blob: string } {
  const sizeBytes = shape.bytes / shape.parts!;
  const rows: Row[] = [];
  const parts = Array.from({ length: shape.parts! }, (_, index): PartRecord => {
    const part = blobRows(source, sizeBytes, shape);
    rows.push(...part.rows);
    const md5 = Buffer.from(random.bytes(16)).toString("hex");
    const checksum = { algorithm: "crc64nvme" as const, value: Buffer.from(random.bytes(8)) };
    const blob = part.blob as PartRecord["blob"];
    return { partNumber: index + 1, blob, sizeBytes, modifiedMs: 1_795_000_000_000, md5, checksum };
  });
  const blob = source.blob();
  return { rows: [...rows, ...newPartsBlobWrites(blob, parts)], blob };
}

/** One object, with a key of 40 bytes. The key's order says nothing of the order of writing. */
export function rowsOf(shape: Shape, index: number): Row[] {
  const key = Buffer.from(`photos/2026/${Buffer.from(random.bytes(12)).toString("hex")}.jpg`);
  const source = sources[index % sources.length]!;
  if (shape.redundancy === undefined) {
    const head = headOf(shape, { kind: "inline" });
    return [
      { key: headKey(bucket, key), value: encodeHead(head) },
      { key: bodyKey(bucket, key), value: encodeBody(head.stamp, randomBytes(shape.bytes)) },
    ];
  }
  const { rows, blob } = shape.parts === undefined ? blobRows(source, shape.bytes, shape) : partsRows(source, shape);
  const head = headOf(shape, { kind: "blob", blob: blob as PartRecord["blob"] });
  return [{ key: headKey(bucket, key), value: encodeHead(head) }, ...rows];
}
