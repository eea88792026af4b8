/**
 * The chunk node over the drives of this machine. The drives must have been prepared (`prepareDrive`) by the holder of
 * their locks; any number of processes may then open a node on them at once.
 */
import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import type { BlobId, DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { Disk } from "./disk.ts";
import { openPreparedIndex, readDriveId, type OpenIndex } from "./drive.ts";
import { driveMissing } from "./node.ts";
import type { ByteRange, ChunkNode, DriveStatus, ListedShard, Shard, ShardRef, VerifyResult } from "./node.ts";
import type { Processes } from "./processes.ts";
import { SegmentStore } from "./segment_store.ts";

export type LocalNodeOptions = {
  /** Folders of prepared drives. */
  readonly drives: readonly string[];
  readonly disk: Disk;
  readonly openIndex: OpenIndex;
  readonly processes: Processes;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

export class LocalNode implements ChunkNode {
  readonly drives: readonly DriveId[];
  readonly #stores: ReadonlyMap<DriveId, SegmentStore>;
  #closed = false;

  constructor(stores: ReadonlyMap<DriveId, SegmentStore>) {
    this.drives = [...stores.keys()];
    this.#stores = stores;
  }

  #store(drive: DriveId, signal?: AbortSignal): SegmentStore {
    if (this.#closed) throw new HoldfastError("unavailable", "The chunk node is closed.");
    if (signal?.aborted) throw new HoldfastError("cancelled", "The call was cancelled.", { cause: signal.reason });
    const store = this.#stores.get(drive);
    if (store === undefined) throw driveMissing(drive);
    return store;
  }

  async append(drive: DriveId, shard: Shard, signal?: AbortSignal): Promise<void> {
    await this.#store(drive, signal).append(shard, signal);
  }

  async read(drive: DriveId, ref: ShardRef, range: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    assert(range.length <= limits.readBytesPerCall, "one read is at most readBytesPerCall long");
    return this.#store(drive, signal).read(ref, range);
  }

  async remove(drive: DriveId, refs: readonly ShardRef[]): Promise<void> {
    await this.#store(drive).remove(refs);
  }

  async list(drive: DriveId, options: { readonly after?: ShardRef; readonly limit: number }): Promise<ListedShard[]> {
    return this.#store(drive).list(options.after, options.limit);
  }

  async verify(drive: DriveId, ref: ShardRef): Promise<VerifyResult> {
    const found = await this.#store(drive).verify(ref);
    const { chunk, shardIndex } = ref;
    // Of a shard that is not there nobody knows the owner.
    const owner = { blob: "" as BlobId, chunkIndex: 0 };
    return found ?? { chunk, shardIndex, owner, storedBytes: 0, outcome: "missing" };
  }

  async compact(drive: DriveId, signal?: AbortSignal): Promise<number> {
    return this.#store(drive, signal).compact(signal);
  }

  async status(drive: DriveId): Promise<DriveStatus> {
    return this.#store(drive).status();
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const store of this.#stores.values()) await store.close();
  }
}

export async function openLocalNode(options: LocalNodeOptions): Promise<LocalNode> {
  const stores = new Map<DriveId, SegmentStore>();
  try {
    for (const drivePath of options.drives) {
      const drive = await readDriveId(options.disk, drivePath);
      assert(drive !== undefined, "a drive is prepared before it is opened");
      assert(!stores.has(drive), "a drive is opened once");
      const index = await openPreparedIndex(drivePath, options.openIndex);
      const store = new SegmentStore({ ...options, drive, drivePath, index });
      stores.set(drive, store);
      await store.sealAbandoned();
    }
  } catch (error) {
    for (const store of stores.values()) await store.close();
    throw error;
  }
  return new LocalNode(stores);
}
