/**
 * The chunk node's contract: a place that keeps shards on drives and knows nothing of objects or metadata.
 *
 * Promises (node.conformance.ts):
 *  1. `append` resolves only after the shard is synced on its drive. Appends under way together share syncs.
 *  2. `read` returns exactly the bytes appended, each block verified against its checksum, or fails with `corrupt_chunk`.
 *  3. A shard is immutable. Appending one that exists already fails with an assertion (ids are never reused).
 *  4. `remove` is idempotent, and a removed shard is not found afterwards. After a power loss a removed shard may be
 *     there again: the caller's orphan sweep finds it (`list`).
 *  5. A failed write or sync marks the drive failed for good (`drive_failed`); nothing is retried into the same file.
 *  6. A drive that the node does not have is `drive_missing`, in every call.
 *  7. A drive with less than its reserve free refuses `append` with `drive_full`; reads and removes go on.
 */
import { HoldfastError } from "../core/errors.ts";
import type { BlobId, ChunkId, DriveId } from "../core/ids.ts";

/** Which bytes of which chunk. Index 0 for a whole copy. */
export type ShardRef = { readonly chunk: ChunkId; readonly shardIndex: number };

/** Who the shard belongs to, kept with it on disk so that orphans can be told without any index. */
export type ShardOwner = { readonly blob: BlobId; readonly chunkIndex: number };

export type Shard = ShardRef & {
  readonly owner: ShardOwner;
  /** The stored bytes, in order, as pieces of any size; 1..chunkBytesMax together. Not changed until the call ends. */
  readonly body: readonly Uint8Array[];
};

export type ByteRange = { readonly offset: number; readonly length: number };

export type ListedShard = ShardRef & { readonly owner: ShardOwner; readonly storedBytes: number };

export type DriveStatus = {
  readonly id: DriveId;
  readonly path: string;
  readonly state: "up" | "full" | "failed";
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** Bytes of shards that are referenced by the drive's index, and of those removed but not yet compacted away. */
  readonly liveBytes: number;
  readonly deadBytes: number;
  readonly segments: number;
};

/** The result of re-reading one shard. */
export type VerifyResult = ListedShard & { readonly outcome: "good" | "corrupt" | "missing"; readonly why?: string };

/** Every call that names a drive which the node does not have fails with it: a chunk map may name one that is away. */
export function driveMissing(drive: DriveId): HoldfastError {
  return new HoldfastError("drive_missing", `Drive ${drive} is not there.`);
}

export type ChunkNode = {
  /** Drives in a fixed order. */
  readonly drives: readonly DriveId[];
  append(drive: DriveId, shard: Shard, signal?: AbortSignal): Promise<void>;
  /**
   * Bytes of the range, which lies within the shard and is at most readBytesPerCall long. Owned by the caller.
   * Errors: `no_such_chunk`, `corrupt_chunk`, `drive_failed`.
   */
  read(drive: DriveId, ref: ShardRef, range: ByteRange, signal?: AbortSignal): Promise<Buffer>;
  remove(drive: DriveId, refs: readonly ShardRef[]): Promise<void>;
  /** Shards in the order of chunk id then shard index, after the given one; fewer than `limit` means the end. */
  list(drive: DriveId, options: { readonly after?: ShardRef; readonly limit: number }): Promise<ListedShard[]>;
  /** Re-reads one shard whole and checks header and every block. */
  verify(drive: DriveId, ref: ShardRef): Promise<VerifyResult>;
  /** Rewrites the drive's segments that are mostly dead. Returns bytes given back to the file system. */
  compact(drive: DriveId, signal?: AbortSignal): Promise<number>;
  status(drive: DriveId): Promise<DriveStatus>;
  close(): Promise<void>;
};
