/**
 * `blob/<blob id>/<page>` of a blob of chunks: which chunks it has, how each was packed and coded, and which drive has
 * which shard. A page is written with its blob; after that only its places change, when shards move or are made again.
 */
import { assert } from "../core/assert.ts";
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { CHUNK_ID_BYTES, DRIVE_ID_BYTES } from "../core/ids.ts";
import type { ChunkId, DriveId } from "../core/ids.ts";
import { isRedundancy, shardsOf, type Redundancy } from "../core/redundancy.ts";

export type PlaceRecord = { readonly drive: DriveId; readonly shardIndex: number };

/** A chunk as a page keeps it; blob.ts's ChunkRef has the same shape. */
export type ChunkRecord = {
  readonly id: ChunkId;
  readonly rawBytes: number;
  readonly storedBytes: number;
  /** Stored length of each block, or undefined: neither compressed nor encrypted. */
  readonly blockBytes: readonly number[] | undefined;
  /** Encrypted: its blocks open with the key of its blob. All chunks of a blob are, or none. */
  readonly isSealed?: true;
  readonly redundancy: Redundancy;
  /** In the order of shard indexes, each at most once; fewer than there should be while some are lost. */
  readonly places: readonly PlaceRecord[];
};

/**
 * Version 1 knew whole copies only, and wrote one of each chunk. Version 3 is version 2 of chunks that are encrypted: what is
 * not is written as version 2 still, which needs no other word for it.
 */
const newestVersion = 3;
const plainVersion = 2;

/** Whether shards are missing that should be somewhere. */
export function isIncomplete({ redundancy, places }: ChunkRecord): boolean {
  return places.length < shardsOf(redundancy);
}

/** Distinct drives stand once at the front of a page; places name them by position. */
export function encodeChunkPage(chunks: readonly ChunkRecord[]): Buffer {
  const drives = new Map<DriveId, number>();
  for (const chunk of chunks)
    for (const place of chunk.places) if (!drives.has(place.drive)) drives.set(place.drive, drives.size);
  const isSealed = chunks[0]?.isSealed === true;
  const writer = new ByteWriter().u8(isSealed ? newestVersion : plainVersion).varint(drives.size);
  for (const drive of drives.keys()) writer.hex(drive);
  writer.varint(chunks.length);
  for (const chunk of chunks) {
    writer.hex(chunk.id).varint(chunk.rawBytes).varint(chunk.storedBytes);
    const blocks = chunk.blockBytes;
    assert(blocks === undefined || blocks.length > 0, "a compressed chunk has blocks");
    assert((chunk.isSealed === true) === isSealed, "all chunks of a page are encrypted, or none");
    assert(!isSealed || blocks !== undefined, "an encrypted chunk has blocks");
    writer.varint(blocks?.length ?? 0);
    for (const block of blocks ?? []) writer.varint(block);
    writePlaces(writer, chunk, drives);
  }
  return writer.finish();
}

/** Which shards there are as bits, then the drive of each: the shard's index costs nothing. */
function writePlaces(writer: ByteWriter, chunk: ChunkRecord, drives: ReadonlyMap<DriveId, number>): void {
  const { redundancy, places } = chunk;
  assert(isRedundancy(redundancy), "a chunk's redundancy lies within its bounds");
  writer.u8(redundancy.dataShards).u8(redundancy.parityShards);
  const shards = shardsOf(redundancy);
  const present = Buffer.alloc(Math.ceil(shards / 8));
  let previous = -1;
  for (const { shardIndex } of places) {
    assert(shardIndex > previous && shardIndex < shards, "places stand in the order of their shards, each once");
    present[shardIndex >>> 3]! |= 1 << (shardIndex & 7);
    previous = shardIndex;
  }
  writer.raw(present);
  for (const { drive } of places) writer.varint(drives.get(drive)!);
}

export function decodeChunkPage(value: Uint8Array): ChunkRecord[] {
  const reader = new ByteReader(value, "chunk page");
  const version = reader.version(newestVersion);
  const drives: DriveId[] = [];
  for (let left = reader.varint(); left > 0; left--) drives.push(reader.hex(DRIVE_ID_BYTES) as DriveId);
  const chunks: ChunkRecord[] = [];
  for (let left = reader.varint(); left > 0; left--) chunks.push(readChunk(reader, version, drives));
  reader.end();
  return chunks;
}

function readChunk(reader: ByteReader, version: number, drives: readonly DriveId[]): ChunkRecord {
  const id = reader.hex(CHUNK_ID_BYTES) as ChunkId;
  const rawBytes = reader.varint();
  const storedBytes = reader.varint();
  const blocks: number[] = [];
  for (let left = reader.varint(); left > 0; left--) blocks.push(reader.varint());
  const coded = version === 1 ? readCopies(reader, drives) : readPlaces(reader, drives);
  const chunk = { id, rawBytes, storedBytes, blockBytes: blocks.length === 0 ? undefined : blocks, ...coded };
  if (version <= plainVersion) return chunk;
  if (blocks.length === 0) throw reader.corrupt("an encrypted chunk has no blocks");
  return { ...chunk, isSealed: true };
}

type Coded = Pick<ChunkRecord, "redundancy" | "places">;

function readDrive(reader: ByteReader, drives: readonly DriveId[]): DriveId {
  const drive = drives[reader.varint()];
  if (drive === undefined) throw reader.corrupt("a place names a drive that the page does not list");
  return drive;
}

function readPlaces(reader: ByteReader, drives: readonly DriveId[]): Coded {
  const redundancy = { dataShards: reader.u8(), parityShards: reader.u8() };
  if (!isRedundancy(redundancy)) throw reader.corrupt("a chunk has a redundancy that there is not");
  const shards = shardsOf(redundancy);
  const present = reader.raw(Math.ceil(shards / 8));
  const places: PlaceRecord[] = [];
  for (let shardIndex = 0; shardIndex < present.length * 8; shardIndex++) {
    if ((present[shardIndex >>> 3]! & (1 << (shardIndex & 7))) === 0) continue;
    if (shardIndex >= shards) throw reader.corrupt("a chunk has a shard beyond its last");
    places.push({ drive: readDrive(reader, drives), shardIndex });
  }
  return { redundancy, places };
}

function readCopies(reader: ByteReader, drives: readonly DriveId[]): Coded {
  const places: PlaceRecord[] = [];
  for (let left = reader.varint(); left > 0; left--) {
    const drive = readDrive(reader, drives);
    places.push({ drive, shardIndex: reader.varint() });
  }
  if (places.some(({ shardIndex }, index) => shardIndex !== index)) throw reader.corrupt("a copy has a wrong index");
  return { redundancy: { dataShards: 1, parityShards: Math.max(0, places.length - 1) }, places };
}
