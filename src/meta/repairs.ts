/**
 * `repair/<blob id>/<page>`: these chunks of the page, by their position in it, lack shards or have damaged ones. Written by
 * the commit that publishes such a page, or by whoever meets the damage; a job makes the shards anew and deletes the row.
 * What lies on drives that are lost or leave is found otherwise (mends.ts).
 *
 * `relocation/<blob id>/<page>`: a session is putting shards of this page where the page does not say yet. Written before the
 * first of them is stored, deleted by the commit that puts them into the page. So whoever sweeps can tell a shard on its way
 * into a page from one that nobody wants, and finds the latter when the session has ended: the shards bear the id of the
 * session that wrote the chunk, not of this one. One at a time for a page.
 *
 * `stray/<drive id>/<stamp>`: these shards on the drive are named by no page any more, or never were: a write did not wait for
 * the drive, which may or may not have them. They are removed when no read can want them. `stray/<drive id>`: the drive was away
 * when a session's unpublished chunks were looked for, or was taken out of the store; it is looked through as a whole when it
 * is back.
 */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { BLOB_ID_BYTES, CHUNK_ID_BYTES, DRIVE_ID_BYTES, SESSION_ID_BYTES } from "../core/ids.ts";
import type { BlobId, ChunkId, DriveId, SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Kv, Write } from "../kv/kv.ts";
import { relocationKey, repairKey, strayKey } from "./keys.ts";

export type RelocatedShard = { readonly chunk: ChunkId; readonly shardIndex: number; readonly drive: DriveId };

export type RelocationRecord = { readonly session: SessionId; readonly shards: readonly RelocatedShard[] };

export type RepairRecord = {
  /** Positions of chunks whose shards' bytes are in doubt: each has to be read. */
  readonly damaged: readonly number[];
  /** Of chunks that were published without some of their shards: the page says which. */
  readonly incomplete: readonly number[];
};

const newestVersion = 1;
/** Version 1 had one list, of chunks to be read. */
const newestRepairVersion = 2;

export function encodeRepair({ damaged, incomplete }: RepairRecord): Buffer {
  const writer = new ByteWriter().u8(newestRepairVersion);
  for (const positions of [damaged, incomplete]) writePositions(writer, positions);
  return writer.finish();
}

export function decodeRepair(value: Uint8Array): RepairRecord {
  const reader = new ByteReader(value, "repair");
  const version = reader.version(newestRepairVersion);
  const record = { damaged: readPositions(reader), incomplete: version === 1 ? [] : readPositions(reader) };
  reader.end();
  return record;
}

export function writePositions(writer: ByteWriter, positions: readonly number[]): void {
  writer.varint(positions.length);
  for (const position of positions) writer.varint(position);
}

export function readPositions(reader: ByteReader): number[] {
  const positions: number[] = [];
  for (let left = reader.varint(); left > 0; left--) positions.push(reader.varint());
  return positions;
}

export function repairWrite(blob: BlobId, page: number, record: RepairRecord): Write & { readonly kind: "put" } {
  return { kind: "put", key: repairKey(blob, page), value: encodeRepair(record) };
}

export function encodeRelocation({ session, shards }: RelocationRecord): Buffer {
  const writer = new ByteWriter().u8(newestVersion).hex(session).varint(shards.length);
  for (const { chunk, shardIndex, drive } of shards) writer.hex(chunk).u8(shardIndex).hex(drive);
  return writer.finish();
}

export function relocationWrite(blob: BlobId, page: number, relocation: RelocationRecord): Write {
  return { kind: "put", key: relocationKey(blob, page), value: encodeRelocation(relocation) };
}

export type StrayRecord = {
  /** Where the shards were named, or would have been. */
  readonly blob: BlobId;
  readonly page: number;
  readonly shards: readonly Omit<RelocatedShard, "drive">[];
};

export function encodeStray({ blob, page, shards }: StrayRecord): Buffer {
  const writer = new ByteWriter().u8(newestVersion).hex(blob).varint(page).varint(shards.length);
  for (const { chunk, shardIndex } of shards) writer.hex(chunk).u8(shardIndex);
  return writer.finish();
}

export function decodeStray(value: Uint8Array): StrayRecord {
  const reader = new ByteReader(value, "stray");
  reader.version(newestVersion);
  const blob = reader.hex(BLOB_ID_BYTES) as BlobId;
  const page = reader.varint();
  const shards: Omit<RelocatedShard, "drive">[] = [];
  for (let left = reader.varint(); left > 0; left--)
    shards.push({ chunk: reader.hex(CHUNK_ID_BYTES) as ChunkId, shardIndex: reader.u8() });
  reader.end();
  return { blob, page, shards };
}

/** One row for each drive. `nextStamp`: Session.nextStamp, or as unique. */
export function strayWrites(
  blob: BlobId,
  page: number,
  shards: readonly RelocatedShard[],
  nextStamp: () => string,
): (Write & { readonly kind: "put" })[] {
  return [...Map.groupBy(shards, ({ drive }) => drive)].map(([drive, ofDrive]) => ({
    kind: "put",
    key: strayKey(drive, nextStamp()),
    value: encodeStray({ blob, page, shards: ofDrive }),
  }));
}

export function wholeStrayWrite(drive: DriveId): Write {
  return { kind: "put", key: strayKey(drive), value: new ByteWriter().u8(newestVersion).finish() };
}

/** All that is on these drives and that nothing names is to be looked for. */
export async function noteWholeStrays(kv: Pick<Kv, "commit">, drives: readonly DriveId[]): Promise<void> {
  for (let at = 0; at < drives.length; at += limits.jobBatchMax)
    await kv.commit({ checks: [], writes: drives.slice(at, at + limits.jobBatchMax).map(wholeStrayWrite) });
}

export function decodeRelocation(value: Uint8Array): RelocationRecord {
  const reader = new ByteReader(value, "relocation");
  reader.version(newestVersion);
  const session = reader.hex(SESSION_ID_BYTES) as SessionId;
  const shards: RelocatedShard[] = [];
  for (let left = reader.varint(); left > 0; left--) {
    const chunk = reader.hex(CHUNK_ID_BYTES) as ChunkId;
    shards.push({ chunk, shardIndex: reader.u8(), drive: reader.hex(DRIVE_ID_BYTES) as DriveId });
  }
  reader.end();
  return { session, shards };
}
