/**
 * Blobs: bytes in, chunks on drives; a chunk map in, verified bytes out. Knows drives through ChunkNode, and nothing of
 * buckets or of the metadata store: it returns the chunk map, and whoever called publishes it in a commit.
 *
 * Invariants: `write` resolves only after every chunk is durable; a write that fails or is cancelled removes what it had
 * stored (best effort: the orphan sweep of the session is the safety net); memory per stream is bounded by
 * writeChunksInFlightMax chunks, and by readAheadBytesMax when reading. (What the appends and reads hold that nobody waits
 * for any more is bounded for the process: chunk_buffers.ts, chunk_reader.ts.)
 *
 * Drives may lie on several machines, be slow, hang or vanish: reads take the nearest that answers (chunk_reader.ts), writes
 * wait for a quorum and not for the slowest (shard_writer.ts).
 */
import type { BlobId, ChunkId, DriveId } from "../core/ids.ts";
import type { Redundancy } from "../core/redundancy.ts";
import type { DataKey } from "../crypto/data_key.ts";
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
  /** Bytes as stored, after compression and encryption. */
  readonly storedBytes: number;
  /**
   * Stored length of each block, or undefined: neither compressed nor encrypted. A block that has its raw length (and the tag's,
   * where it is encrypted) was not compressed.
   */
  readonly blockBytes: readonly number[] | undefined;
  /** Encrypted: its blocks open with the key of its blob. All chunks of a blob are, or none. */
  readonly isSealed?: true;
  readonly redundancy: Redundancy;
  /** In the order of shard indexes, each at most once; fewer than there should be while some are lost. */
  readonly places: readonly ChunkPlace[];
};

/** A shard that may be, or may come to be, on a drive where its chunk's places do not name it. */
export type StrayShard = ChunkPlace & { readonly chunk: ChunkId; readonly chunkIndex: number };

export type ChunkedBlob = {
  readonly id: BlobId;
  readonly sizeBytes: number;
  readonly chunkBytes: number;
  readonly chunks: readonly ChunkRef[];
  /** Left by appends that were not waited for: the commit that publishes the blob notes them, so that they are removed. */
  readonly strays: readonly StrayShard[];
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
  /** What its chunks are encrypted with, by a key of the blob derived from this one; what is returned inline is not. */
  readonly dataKey?: DataKey | undefined;
  readonly signal?: AbortSignal | undefined;
};

/** Hands the reader the chunk references it needs, a page at a time, so that a large map is never whole in memory. */
export type ChunkSource = {
  readonly blob: BlobId;
  readonly chunkBytes: number;
  readonly sizeBytes: number;
  /** What the blob was written with. `corrupt_record` where its chunks are encrypted and there is none, or the other way round. */
  readonly dataKey?: DataKey | undefined;
  /** References of `count` chunks from `first` on, or fewer (at least one) where a page ends. */
  chunks(first: number, count: number): Promise<readonly ChunkRef[]>;
};

export type BlobStore = {
  write(body: BodySource, options: WriteBodyOptions): Promise<WrittenBody>;
  /** Bytes `offset` to `offset + length` of a blob, in order, in pieces of up to readBytesPerCall that belong to the caller. */
  read(source: ChunkSource, offset: number, length: number, signal?: AbortSignal): AsyncIterable<Buffer>;
  /** Removes a blob that was not published: its chunks, and those of its strays that are there. */
  discard(blob: ChunkedBlob): Promise<void>;
  /** Removes chunks that nothing refers to any more. Idempotent. Resolves to drives that are away: they keep what they have. */
  remove(chunks: readonly ChunkRef[]): Promise<readonly DriveId[]>;
};
