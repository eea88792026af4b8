/**
 * The chunk node over the drives of this machine. The drives must have been prepared (`prepareDrive`) by the holder of
 * their locks; any number of processes may then open a node on them at once.
 */
import { assert, AssertionError } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { HoldfastError, systemCauses } from "../core/errors.ts";
import type { BlobId, DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { Disk } from "./disk.ts";
import { openPreparedIndex, readDriveId, type OpenIndex } from "./drive.ts";
import { FailedDrive, type DriveStore } from "./failed_drive.ts";
import { driveMissing } from "./node.ts";
import type {
  ByteRange,
  ChunkNode,
  DriveStatus,
  ListedShard,
  RecordBytes,
  Removal,
  Shard,
  ShardCopy,
  ShardRef,
  VerifyResult,
} from "./node.ts";
import type { Processes } from "./processes.ts";
import { SegmentStore } from "./segment_store.ts";
import { copyShard } from "./shard_copy.ts";

export type LocalNodeOptions = {
  /** Folders of prepared drives. */
  readonly drives: readonly string[];
  readonly disk: Disk;
  readonly openIndex: OpenIndex;
  readonly processes: Processes;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** With it a drive that cannot be opened any more does not keep the others from being used, as long as one is left. */
  readonly failing?: FailingDrives;
};

export type FailingDrives = {
  /** As the drive was prepared; undefined: it has to be opened, or nothing is. */
  idOf(drivePath: string): DriveId | undefined;
  /** It is not tried. */
  isGivenUp(drivePath: string): boolean;
  /** It was tried, and is done without. */
  onFailed(drivePath: string): void;
};

export class LocalNode implements ChunkNode {
  readonly drives: readonly DriveId[];
  readonly #stores: ReadonlyMap<DriveId, DriveStore>;
  #closed = false;

  constructor(stores: ReadonlyMap<DriveId, DriveStore>) {
    this.drives = [...stores.keys()];
    this.#stores = stores;
  }

  #store(drive: DriveId, signal?: AbortSignal): DriveStore {
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

  async remove(drive: DriveId, shards: readonly Removal[]): Promise<void> {
    await this.#store(drive).remove(shards);
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

  async discard(drive: DriveId, ref: ShardRef): Promise<"good" | "missing"> {
    return this.#store(drive).discard(ref);
  }

  async compact(drive: DriveId, signal?: AbortSignal, pause?: (bytes: number) => Promise<void>): Promise<number> {
    return this.#store(drive, signal).compact(signal, pause);
  }

  async status(drive: DriveId): Promise<DriveStatus> {
    return this.#store(drive).status();
  }

  async copy(drive: DriveId, shard: ShardCopy, signal?: AbortSignal): Promise<void> {
    const { from, chunk, storedBytes } = shard;
    const ref = { chunk, shardIndex: from.shardIndex };
    await copyShard(
      { target: this, read: () => this.readRecord(from.drive, ref, storedBytes, signal) },
      drive,
      shard,
      signal,
    );
  }

  async readRecord(drive: DriveId, ref: ShardRef, storedBytes: number, signal?: AbortSignal): Promise<RecordBytes> {
    return this.#store(drive, signal).readRecord(ref, storedBytes);
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const store of this.#stores.values()) await store.close();
  }
}

/** Errors: those of a drive that cannot be opened, where it is not done without. */
export async function openLocalNode(options: LocalNodeOptions): Promise<LocalNode> {
  const stores = new Map<DriveId, DriveStore>();
  let failure: unknown;
  try {
    for (const drivePath of options.drives) {
      const opened = await openDrive(options, drivePath);
      assert(!stores.has(opened.id), "a drive is opened once");
      stores.set(opened.id, opened.store);
      if (opened.kind === "failed") failure ??= opened.error;
    }
    if (stores.size > 0 && [...stores.values()].every((store) => store instanceof FailedDrive)) throw failure;
  } catch (error) {
    for (const store of stores.values()) await store.close();
    throw error;
  }
  return new LocalNode(stores);
}

type Opened =
  | { readonly kind: "open"; readonly id: DriveId; readonly store: SegmentStore }
  | { readonly kind: "failed"; readonly id: DriveId; readonly store: FailedDrive; readonly error: unknown };

async function openDrive(options: LocalNodeOptions, drivePath: string): Promise<Opened> {
  const { failing, log } = options;
  const id = failing?.idOf(drivePath);
  if (failing === undefined || id === undefined) return openStore(options, drivePath);
  const failed = (error: unknown): Opened => {
    return { kind: "failed", id, store: new FailedDrive({ id, path: drivePath }), error };
  };
  if (failing.isGivenUp(drivePath)) return failed(driveFailed(`The drive ${drivePath} was given up.`));
  try {
    return await openStore(options, drivePath, id);
  } catch (error) {
    if (error instanceof AssertionError || isOfProcess(error)) throw error;
    log.error(
      { err: error, drive: id },
      `The drive ${drivePath} failed: it is done without until the server is restarted.`,
    );
    failing.onFailed(drivePath);
    return failed(error);
  }
}

/** It says nothing about the drive. */
function isOfProcess(error: unknown): boolean {
  return systemCauses(error).some((code) => ["EMFILE", "ENFILE", "ENOMEM"].includes(code));
}

/** `expected`: the drive that was prepared there. */
async function openStore(options: LocalNodeOptions, drivePath: string, expected?: DriveId): Promise<Opened> {
  const drive = await readDriveId(options.disk, drivePath);
  if (expected !== undefined && drive !== expected)
    throw driveFailed(`The drive failed: ${drivePath} does not hold it any more.`);
  assert(drive !== undefined, "a drive is prepared before it is opened");
  const index = await openPreparedIndex(drivePath, options);
  const store = new SegmentStore({ ...options, drive, drivePath, index });
  try {
    await store.sealAbandoned();
  } catch (error) {
    await store.close().catch(() => undefined);
    throw error;
  }
  return { kind: "open", id: drive, store };
}

function driveFailed(message: string): HoldfastError {
  return new HoldfastError("drive_failed", message);
}
