/** What doctor finds of one chunk: whether its record makes sense, and whether its shards are where that says. */
import type { BlobId, ChunkId, DriveId } from "../core/ids.ts";
import { formatRedundancy, shardsOf } from "../core/redundancy.ts";
import { shardBytesOf } from "../blob/shards.ts";
import type { BlobRoot } from "../meta/blobs.ts";
import type { ChunkRecord } from "../meta/chunk_pages.ts";
import { SHARD_INDEX_MAX, type ChunkNode, type ListedShard, type ShardRef } from "../node/node.ts";
import type { Finding } from "./doctor.ts";
import { chunkFault } from "./doctor_blobs.ts";

export type ChunkCheck = {
  readonly node: ChunkNode;
  /** Reads every shard whole and checks its blocks. */
  readonly deep: boolean;
  /** Drives that are not looked at. */
  readonly elsewhere: ReadonlySet<DriveId>;
  readonly blob: BlobId;
  readonly root: BlobRoot & { readonly kind: "chunks" };
  readonly index: number;
  readonly chunk: ChunkRecord;
};

export async function* checkChunk(check: ChunkCheck): AsyncGenerator<Finding> {
  const { blob, root, index, chunk } = check;
  const where = `chunk ${chunk.id} of blob ${blob}`;
  const fault = chunkFault(root, index, chunk);
  if (fault !== undefined) yield { kind: "wrong_size", where, message: `It cannot be read. ${fault}` };
  yield* placesFinding(chunk, where);
  for (const { drive, shardIndex } of chunk.places) yield* checkShard(check, drive, shardIndex);
}

function* placesFinding({ redundancy, places }: ChunkRecord, where: string): Generator<Finding> {
  if (places.length === 0) {
    yield { kind: "missing_chunk", where, message: "The record names no drive that has it." };
    return;
  }
  const { dataShards } = redundancy;
  const shards = shardsOf(redundancy);
  if (places.length === shards) return;
  const spare = places.length - dataShards;
  const meaning = spare < 0 ? `it takes ${dataShards} to read it` : `the loss of ${spare} more loses nothing`;
  const message = `The record names ${places.length} of its ${shards} shards (${formatRedundancy(redundancy)}); ${meaning}.`;
  yield { kind: "missing_chunk", where, message };
}

async function* checkShard(check: ChunkCheck, drive: DriveId, shardIndex: number): AsyncGenerator<Finding> {
  const { node, deep, elsewhere, blob, index, chunk } = check;
  if (elsewhere.has(drive)) return;
  const ref = { chunk: chunk.id, shardIndex };
  const which = shardsOf(chunk.redundancy) === 1 ? "" : `shard ${shardIndex} of `;
  const where = `${which}chunk ${chunk.id} of blob ${blob} on drive ${drive}`;
  if (!node.drives.includes(drive)) {
    yield { kind: "missing_chunk", where, message: "The drive is not there; the bytes cannot be read from it." };
    return;
  }
  const listed = await findShard(node, drive, ref);
  if (listed === undefined) {
    yield { kind: "missing_chunk", where, message: "The drive does not have it; the bytes cannot be read from it." };
    return;
  }
  const { owner, storedBytes } = listed;
  const wantedBytes = shardBytesOf(chunk.storedBytes, chunk.redundancy);
  if (owner.blob !== blob || owner.chunkIndex !== index || storedBytes !== wantedBytes) {
    const found = `${storedBytes} bytes, chunk ${owner.chunkIndex} of blob ${owner.blob}`;
    const wanted = `${wantedBytes} bytes, chunk ${index}`;
    yield { kind: "corrupt_chunk", where, message: `The drive has ${found}; the record says ${wanted}.` };
  } else if (deep) yield* verify(node, drive, ref, where);
}

async function* verify(node: ChunkNode, drive: DriveId, ref: ShardRef, where: string): AsyncGenerator<Finding> {
  const { outcome, why } = await node.verify(drive, ref);
  if (outcome === "missing") yield { kind: "missing_chunk", where, message: "It went away while it was looked at." };
  if (outcome === "corrupt")
    yield { kind: "corrupt_chunk", where, message: `Its bytes are damaged: ${why ?? "a checksum does not match"}.` };
}

/** What the drive's index has of one shard; undefined if it is not there. */
export async function findShard(node: ChunkNode, drive: DriveId, ref: ShardRef): Promise<ListedShard | undefined> {
  const [listed] = await node.list(drive, { after: before(ref), limit: 1 });
  return listed?.chunk === ref.chunk && listed.shardIndex === ref.shardIndex ? listed : undefined;
}

/** The greatest reference below this one. */
function before({ chunk, shardIndex }: ShardRef): ShardRef {
  if (shardIndex > 0) return { chunk, shardIndex: shardIndex - 1 };
  const previous = BigInt(`0x${chunk}`) - 1n;
  return { chunk: previous.toString(16).padStart(chunk.length, "0") as ChunkId, shardIndex: SHARD_INDEX_MAX };
}
