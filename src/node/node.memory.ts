/**
 * A chunk node that keeps shards in memory: for tests and for `createServer({ memory: true })`. Nothing survives the
 * process, so "synced" means nothing here; all other promises of the contract hold.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { newDriveId, RECORD_ID_BYTES, type DriveId, type RecordId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { systemRandom } from "../core/random.ts";
import { driveMissing, SHARD_INDEX_MAX } from "./node.ts";
import type {
  ByteRange,
  ChunkNode,
  DriveStatus,
  ListedShard,
  RecordBytes,
  Removal,
  Shard,
  ShardRef,
  VerifyResult,
} from "./node.ts";
import { encodeTable } from "./segment.ts";
import { sealRecord } from "./shard_copy.ts";

type StoredShard = { readonly listed: ListedShard; readonly bytes: Buffer };

type MemoryDrive = {
  readonly shards: Map<string, StoredShard>;
  /** Keys of `shards` in order; undefined after a change. */
  sorted: string[] | undefined;
  liveBytes: number;
};

export type MemoryNodeOptions = {
  /** One drive with a random id by default. */
  readonly drives?: readonly DriveId[];
  /** Space of each drive; a shard that does not fit is refused with `drive_full`. */
  readonly totalBytes?: number;
};

/** Chunk ids are of one length and the index is padded, so the order of these strings is the contract's order. */
function keyOf({ chunk, shardIndex }: ShardRef): string {
  assert(shardIndex <= SHARD_INDEX_MAX, "a shard index is one byte");
  return chunk + shardIndex.toString(16).padStart(4, "0");
}

function failIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new HoldfastError("cancelled", "The request was cancelled.", { cause: signal.reason });
}

class MemoryNode implements ChunkNode {
  readonly drives: readonly DriveId[];
  readonly #drives: ReadonlyMap<DriveId, MemoryDrive>;
  readonly #totalBytes: number;
  #records = 0;
  #closed = false;

  constructor({ drives = [newDriveId(systemRandom)], totalBytes = 2 ** 40 }: MemoryNodeOptions) {
    this.drives = drives;
    this.#drives = new Map(drives.map((id) => [id, { shards: new Map(), sorted: undefined, liveBytes: 0 }]));
    this.#totalBytes = totalBytes;
  }

  #drive(id: DriveId): MemoryDrive {
    assert(!this.#closed, "the chunk node is open");
    const drive = this.#drives.get(id);
    if (drive === undefined) throw driveMissing(id);
    return drive;
  }

  #newRecord(): RecordId {
    this.#records += 1;
    return this.#records.toString(16).padStart(2 * RECORD_ID_BYTES, "0") as RecordId;
  }

  #shard(id: DriveId, ref: ShardRef): StoredShard {
    const shard = this.#drive(id).shards.get(keyOf(ref));
    if (shard === undefined) throw new HoldfastError("no_such_chunk", `Drive ${id} has no chunk ${ref.chunk}.`);
    return shard;
  }

  async append(id: DriveId, shard: Shard, signal?: AbortSignal): Promise<void> {
    const drive = this.#drive(id);
    failIfAborted(signal);
    const { chunk, shardIndex, owner } = shard;
    const key = keyOf(shard);
    assert(!drive.shards.has(key), "a shard is appended once");
    // Copied: the caller may reuse its bytes as soon as the call has ended.
    const bytes = Buffer.concat(shard.body);
    assert(bytes.length >= 1 && bytes.length <= limits.chunkBytesMax, "a shard has 1 to chunkBytesMax bytes");
    if (drive.liveBytes + bytes.length > this.#totalBytes)
      throw new HoldfastError("drive_full", `Drive ${id} has too little free space.`);
    const listed = { chunk, shardIndex, owner, storedBytes: bytes.length, record: this.#newRecord() };
    drive.shards.set(key, { listed, bytes });
    drive.sorted = undefined;
    drive.liveBytes += bytes.length;
  }

  async read(id: DriveId, ref: ShardRef, range: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    failIfAborted(signal);
    const { bytes } = this.#shard(id, ref);
    const { offset, length } = range;
    assert(offset >= 0 && length >= 0 && offset + length <= bytes.length, "the range lies within the shard");
    assert(length <= limits.readBytesPerCall, "one read is at most readBytesPerCall long");
    return Buffer.from(bytes.subarray(offset, offset + length));
  }

  async readRecord(id: DriveId, ref: ShardRef, storedBytes: number, signal?: AbortSignal): Promise<RecordBytes> {
    failIfAborted(signal);
    const { bytes } = this.#shard(id, ref);
    if (bytes.length !== storedBytes)
      throw new HoldfastError("corrupt_chunk", `Chunk ${ref.chunk} has another length.`);
    const blockBytes = limits.segmentBlockBytes;
    const record = sealRecord({ blockBytes, table: encodeTable(ref, [bytes], blockBytes), body: bytes });
    return { bytes: record, release: () => undefined };
  }

  async remove(id: DriveId, shards: readonly Removal[]): Promise<void> {
    const drive = this.#drive(id);
    for (const removal of shards) {
      const key = keyOf(removal);
      const shard = drive.shards.get(key);
      if (shard === undefined || (removal.record ?? shard.listed.record) !== shard.listed.record) continue;
      drive.shards.delete(key);
      drive.sorted = undefined;
      drive.liveBytes -= shard.bytes.length;
    }
  }

  async list(
    id: DriveId,
    { after, limit }: { readonly after?: ShardRef; readonly limit: number },
  ): Promise<ListedShard[]> {
    const drive = this.#drive(id);
    const sorted = (drive.sorted ??= [...drive.shards.keys()].sort());
    const last = after === undefined ? "" : keyOf(after);
    const first = sorted.findIndex((key) => key > last);
    if (first < 0) return [];
    return sorted.slice(first, first + limit).map((key) => drive.shards.get(key)!.listed);
  }

  async verify(id: DriveId, ref: ShardRef): Promise<VerifyResult> {
    const shard = this.#drive(id).shards.get(keyOf(ref));
    const { chunk, shardIndex } = ref;
    if (shard !== undefined) {
      const { owner, storedBytes } = shard.listed;
      return { chunk, shardIndex, owner, storedBytes, outcome: "good" };
    }
    const owner = { blob: "" as ListedShard["owner"]["blob"], chunkIndex: 0 };
    return { chunk, shardIndex, owner, storedBytes: 0, outcome: "missing" };
  }

  /** Nothing rots in memory. */
  async discard(id: DriveId, ref: ShardRef): Promise<"good" | "missing"> {
    const { shards } = this.#drive(id);
    const shard = shards.get(keyOf(ref));
    if (shard === undefined) return "missing";
    shards.set(keyOf(ref), { ...shard, listed: { ...shard.listed, record: this.#newRecord() } });
    return "good";
  }

  async compact(id: DriveId): Promise<number> {
    this.#drive(id);
    return 0;
  }

  async status(id: DriveId): Promise<DriveStatus> {
    const { liveBytes } = this.#drive(id);
    const freeBytes = this.#totalBytes - liveBytes;
    const state = freeBytes > 0 ? "up" : "full";
    return { id, path: "memory", state, totalBytes: this.#totalBytes, freeBytes, liveBytes, deadBytes: 0, segments: 0 };
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const drive of this.#drives.values()) drive.shards.clear();
  }
}

export function createMemoryNode(options: MemoryNodeOptions = {}): ChunkNode {
  return new MemoryNode(options);
}
