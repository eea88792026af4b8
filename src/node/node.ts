/**
 * The chunk node's contract: a place that keeps shards on drives and knows nothing of objects or metadata.
 *
 * Promises (node.conformance.ts):
 *  1. `append` resolves only after the shard is synced on its drive. Appends under way together share syncs.
 *  2. `read` returns exactly the bytes appended, each block verified against its checksum, or fails with `corrupt_chunk`.
 *  3. A shard is immutable. Appending one that exists already fails with an assertion (ids are never reused).
 *  4. `remove` is idempotent, and a removed shard is not found afterwards. After a power loss a removed shard may be
 *     there again: the caller's orphan sweep finds it (`list`). A removal that names a record takes no other one away: what
 *     was put there since, or taken over by `discard`, stays, however late the removal is carried out.
 *  5. A failed write or sync marks the drive failed for good (`drive_failed`); nothing is retried into the same file.
 *  6. A drive that the node does not have is `drive_missing`, in every call. So is one that it could not open, in every call but
 *     `status`, which says that it failed.
 *  7. A drive with less than its reserve free refuses `append` with `drive_full`; reads and removes go on.
 */
import { HoldfastError } from "../core/errors.ts";
import type { BlobId, ChunkId, DriveId, RecordId } from "../core/ids.ts";

/** A shard's index is one byte, on disk and between nodes; that of a place in the order of shards too (`list`). */
export const SHARD_INDEX_MAX = 0xff;

/** Which bytes of which chunk. Index 0 for a whole copy. */
export type ShardRef = { readonly chunk: ChunkId; readonly shardIndex: number };

/** Who the shard belongs to, kept with it on disk so that orphans can be told without any index. */
export type ShardOwner = { readonly blob: BlobId; readonly chunkIndex: number };

export type Shard = ShardRef & {
  readonly owner: ShardOwner;
  /** The stored bytes, in order, as pieces of any size; 1..chunkBytesMax together. Not changed until the call ends. */
  readonly body: readonly Uint8Array[];
  /** Checksums of the body in blocks, as this shard's record has them, where they are known already (shard_copy.ts). */
  readonly table?: { readonly blockBytes: number; readonly crcs: Buffer };
};

/** A shard that is to be on a drive as it is on another one, or, of a chunk that is kept in copies, as another copy is. */
export type ShardCopy = ShardRef & {
  readonly owner: ShardOwner;
  readonly storedBytes: number;
  readonly from: { readonly drive: DriveId; readonly shardIndex: number };
};

/** A record as it stands on its drive: whoever takes it compares its blocks with its checksums (shard_copy.ts). */
export type RecordBytes = {
  readonly bytes: Buffer;
  /** The buffer may be used again: nobody reads the bytes any more. */
  release(): void;
};

export type ByteRange = { readonly offset: number; readonly length: number };

export type ListedShard = ShardRef & {
  readonly owner: ShardOwner;
  readonly storedBytes: number;
  /** Of this shard as it stands there now: the same one put there again, or taken over, has another. */
  readonly record: RecordId;
};

/**
 * What is to be removed: with a record only that one. Without, whatever stands there, which is for shards that nobody can want
 * any more: those of a blob that is gone, or of a chunk that never will be published.
 */
export type Removal = ShardRef & { readonly record?: RecordId };

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
export type VerifyResult = Omit<ListedShard, "record"> & {
  readonly outcome: "good" | "corrupt" | "missing";
  readonly why?: string;
};

/** Every call that names a drive which the node does not have fails with it: a chunk map may name one that is away. */
export function driveMissing(drive: DriveId): HoldfastError {
  return new HoldfastError("drive_missing", `Drive ${drive} is not there.`);
}

export type ChunkNode = {
  /**
   * The drives that can be asked now, in a fixed order. Of several machines they come and go: the list is a new one then, never
   * changed in place.
   */
  readonly drives: readonly DriveId[];
  /** 0: on this machine, 1: in the same zone, 2: elsewhere. Left out where all drives are on this machine. */
  distance?(drive: DriveId): 0 | 1 | 2;
  /**
   * Whether the drive is not lost: somebody who is alive has it, be it that nobody can ask it just now. Left out where all drives
   * are on this machine, of which one that is away has nobody.
   */
  isHeld?(drive: DriveId): boolean;
  append(drive: DriveId, shard: Shard, signal?: AbortSignal): Promise<void>;
  /**
   * Bytes of the range, which lies within the shard and is at most readBytesPerCall long. Owned by the caller.
   * Errors: `no_such_chunk`, `corrupt_chunk`, `drive_failed`.
   */
  read(drive: DriveId, ref: ShardRef, range: ByteRange, signal?: AbortSignal): Promise<Buffer>;
  remove(drive: DriveId, shards: readonly Removal[]): Promise<void>;
  /** Shards in the order of chunk id then shard index, after the given one; fewer than `limit` means the end. */
  list(drive: DriveId, options: { readonly after?: ShardRef; readonly limit: number }): Promise<ListedShard[]>;
  /** Re-reads one shard whole and checks header and every block. */
  verify(drive: DriveId, ref: ShardRef): Promise<VerifyResult>;
  /**
   * Re-reads one shard whole and removes it if it is corrupt: the very record that was found so, and not another that somebody
   * has put there meanwhile. One that is good is taken over: it counts as another record from then on, so that nobody who had
   * decided to remove it does. Resolves to what is there afterwards. So who makes a shard anew takes nothing good away, however
   * late it comes, and who wants a shard to stay has it.
   */
  discard(drive: DriveId, ref: ShardRef): Promise<"good" | "missing">;
  /**
   * Rewrites the drive's segments that are mostly dead. Returns bytes given back to the file system. `pause` is awaited after
   * bytes were copied.
   */
  compact(drive: DriveId, signal?: AbortSignal, pause?: (bytes: number) => Promise<void>): Promise<number>;
  status(drive: DriveId): Promise<DriveStatus>;
  /**
   * Appends to the drive what is read from another one, by the node that has the drive: the bytes do not pass through who asks.
   * Every block is compared with its checksum on its way. Errors: those of `append`, and of reading; nothing is stored where
   * reading fails. Left out by a node that cannot.
   */
  copy?(drive: DriveId, shard: ShardCopy, signal?: AbortSignal): Promise<void>;
  /** The record of a shard that has so many bytes. Errors: those of `read`. Left out by a node that has no records. */
  readRecord?(drive: DriveId, ref: ShardRef, storedBytes: number, signal?: AbortSignal): Promise<RecordBytes>;
  close(): Promise<void>;
};
