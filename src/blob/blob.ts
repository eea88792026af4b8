/**
 * Blobs: bytes in, chunks on drives; a chunk map in, verified bytes out. Knows drives through ChunkNode, and nothing of
 * buckets or of the metadata store: it returns the chunk map, and whoever called publishes it in a commit.
 *
 * Invariants: `write` resolves only after every chunk is durable; a write that fails or is cancelled removes what it had
 * stored (best effort: the orphan sweep of the session is the safety net); memory per stream is bounded by
 * writeChunksInFlightMax chunks, and by readAheadBytesMax when reading.
 */
import type { BlobId, ChunkId, DriveId } from "../core/ids.ts";
import type { Redundancy } from "../core/redundancy.ts";
import type { DigestAlgorithm, Digests } from "../digest/digest.ts";

/** A body on its way in. Consumed once, through exactly one of the two. */
export type BodySource = {
  /** Decoded bytes that will come, where the client said so. */
  readonly sizeBytes: number | undefined;
  /** The whole body, which is at most `bytesMax` long (`entity_too_large` otherwise). */
  collect(bytesMax: number): Promise<Buffer>;
  /** Pieces of any size. Fails with `incomplete_body`, `request_timeout`, a checksum error … Bytes belong to the reader. */
  stream(): AsyncIterable<Uint8Array>;
};

export type ChunkPlace = { readonly drive: DriveId; readonly shardIndex: number };

export type ChunkRef = {
  readonly id: ChunkId;
  /** Bytes of the blob in this chunk. All chunks but a blob's last have the blob's chunkBytes. */
  readonly rawBytes: number;
  /** Bytes as stored, after compression. */
  readonly storedBytes: number;
  /** Stored length of each compression block (equal to the raw length: stored as it is), or undefined: not compressed. */
  readonly blockBytes: readonly number[] | undefined;
  readonly redundancy: Redundancy;
  /** In the order of shard indexes, each at most once; fewer than there should be while some are lost. */
  readonly places: readonly ChunkPlace[];
};

export type ChunkedBlob = {
  readonly id: BlobId;
  readonly sizeBytes: number;
  readonly chunkBytes: number;
  readonly chunks: readonly ChunkRef[];
};

export type WrittenBody = { readonly sizeBytes: number; readonly digests: Digests } & (
  { readonly kind: "inline"; readonly bytes: Buffer } | { readonly kind: "chunked"; readonly blob: ChunkedBlob }
);

export type WriteBodyOptions = {
  readonly digests: readonly DigestAlgorithm[];
  /** Bodies up to this many bytes are returned inline; 0 stores every body in chunks (an empty one has no chunks). */
  readonly inlineBytesMax: number;
  /** `entity_too_large` beyond. */
  readonly bytesMax: number;
  /** What its chunks are stored with; the store's default if left out. */
  readonly redundancy?: Redundancy | undefined;
  readonly signal?: AbortSignal | undefined;
};

/** Hands the reader the chunk references it needs, a page at a time, so that a large map is never whole in memory. */
export type ChunkSource = {
  readonly blob: BlobId;
  readonly chunkBytes: number;
  readonly sizeBytes: number;
  /** References of `count` chunks from `first` on, or fewer (at least one) where a page ends. */
  chunks(first: number, count: number): Promise<readonly ChunkRef[]>;
};

export type BlobStore = {
  write(body: BodySource, options: WriteBodyOptions): Promise<WrittenBody>;
  /** Bytes `offset` to `offset + length` of a blob, in order, in pieces of up to readBytesPerCall that belong to the caller. */
  read(source: ChunkSource, offset: number, length: number, signal?: AbortSignal): AsyncIterable<Buffer>;
  /** Removes chunks that nothing refers to any more. Idempotent. Resolves to drives that are away: they keep what they have. */
  remove(chunks: readonly ChunkRef[]): Promise<readonly DriveId[]>;
};
