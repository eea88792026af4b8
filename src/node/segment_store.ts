/**
 * The shards of one drive, as one process sees them: its own segment to append to, every process's segments to read,
 * the index they share. This file only puts the parts together:
 *
 *   appender.ts        group commit             shard_reader.ts   reads with checks
 *   segment_writer.ts  one file being written   segment_files.ts  open files
 *   compactor.ts       space given back         drive_state.ts    failed, full
 *   drive_index.ts     what stands where
 */
import { hasReason, HoldfastError, systemCode } from "../core/errors.ts";
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import { Appender } from "./appender.ts";
import { Compactor } from "./compactor.ts";
import type { Disk, DiskSpace } from "./disk.ts";
import type { DriveIndex } from "./drive_index.ts";
import { DriveState, reserveBytes } from "./drive_state.ts";
import type {
  ByteRange,
  DriveStatus,
  ListedShard,
  RecordBytes,
  Removal,
  Shard,
  ShardRef,
  VerifyResult,
} from "./node.ts";
import type { Processes } from "./processes.ts";
import type { SegmentId, SegmentKind } from "./segment.ts";
import { SegmentFiles, segmentPath } from "./segment_files.ts";
import { SegmentWriter } from "./segment_writer.ts";
import { ShardReader } from "./shard_reader.ts";

export type SegmentStoreOptions = {
  readonly disk: Disk;
  readonly drive: DriveId;
  readonly drivePath: string;
  readonly index: DriveIndex;
  readonly processes: Processes;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

/** A shard that is looked at is moved by a compaction, or made anew by somebody else. */
const discardAttemptsMax = 10;

export class SegmentStore {
  readonly #options: SegmentStoreOptions;
  readonly #state: DriveState;
  readonly #files: SegmentFiles;
  readonly #reader: ShardReader;
  readonly #appender: Appender;
  readonly #compactor: Compactor;
  readonly #segmentPrefix: string;
  #segmentsMade = 0;
  #status: Promise<DriveStatus> | undefined;

  constructor(options: SegmentStoreOptions) {
    const { disk, drive, drivePath, index, clock, log } = options;
    this.#options = options;
    this.#segmentPrefix = Buffer.from(options.random.bytes(8)).toString("hex");
    this.#state = new DriveState({ disk, drive, path: drivePath, clock });
    this.#files = new SegmentFiles({ disk, drivePath, openMax: limits.openSegmentsMax });
    this.#reader = new ShardReader(index, this.#files);
    this.#appender = new Appender({ index, state: this.#state, newWriter: () => this.#newWriter("append") });
    this.#compactor = new Compactor({
      disk,
      drivePath,
      index,
      state: this.#state,
      files: this.#files,
      reader: this.#reader,
      newWriter: () => this.#newWriter("compaction"),
      log,
    });
  }

  #newWriter(kind: SegmentKind): Promise<SegmentWriter> {
    this.#segmentsMade += 1;
    const segment = (this.#segmentPrefix + this.#segmentsMade.toString(16).padStart(8, "0")) as SegmentId;
    const { disk, index, drive, drivePath, processes } = this.#options;
    return SegmentWriter.create(segment, kind, { disk, index, drive, drivePath, process: processes.self });
  }

  async append(shard: Shard, signal?: AbortSignal): Promise<void> {
    try {
      await this.#appender.append(shard, signal);
    } catch (error) {
      if (error instanceof HoldfastError && error.reason === "drive_full") await this.#letGoOfSpace();
      throw error;
    }
  }

  /** What this process holds back of a full drive: removed files still open, a segment that is mostly dead. */
  async #letGoOfSpace(): Promise<void> {
    const open = this.#files.openSegments();
    const known = await this.#options.index.stats(open);
    await Promise.all(open.filter((_, index) => !known[index]).map((segment) => this.#files.drop(segment)));
    await this.#appender.sealIfMostlyDead();
  }

  async read(ref: ShardRef, range: ByteRange): Promise<Buffer> {
    try {
      return await this.#reader.read(ref, range);
    } catch (error) {
      throw hasReason(error, "corrupt_chunk") ? await this.#damageOrFailure(error) : error;
    }
  }

  async readRecord(ref: ShardRef, storedBytes: number): Promise<RecordBytes> {
    try {
      return await this.#reader.readRecord(ref, storedBytes);
    } catch (error) {
      throw hasReason(error, "corrupt_chunk") ? await this.#damageOrFailure(error) : error;
    }
  }

  /** What a drive that has failed, or is not there any more, does not give is no damage of its shards: it is not to be mended there. */
  async #damageOrFailure(error: unknown): Promise<unknown> {
    await this.#state.space().catch(() => undefined);
    const { failure } = this.#state;
    return failure === undefined ? error : new HoldfastError("drive_failed", failure.message, { cause: error });
  }

  remove(shards: readonly Removal[]): Promise<void> {
    return this.#options.index.remove(shards);
  }

  list(after: ShardRef | undefined, limit: number): Promise<ListedShard[]> {
    return this.#options.index.list(after, limit);
  }

  verify(ref: ShardRef): Promise<VerifyResult | undefined> {
    return this.#reader.verify(ref);
  }

  async discard(ref: ShardRef): Promise<"good" | "missing"> {
    const { index } = this.#options;
    for (let attempt = 0; attempt < discardAttemptsMax; attempt++) {
      const before = await index.findOne(ref);
      const result = await this.#reader.verify(ref);
      if (before === undefined || result === undefined) return "missing";
      // As long as the row is the one that was found before, it is its record that was read.
      const isGood = result.outcome === "good";
      if (isGood && (await index.takeOver(ref, before))) return "good";
      if (!isGood && (await index.removeFound(ref, before))) return "missing";
    }
    throw new HoldfastError("operation_aborted", "The shard is being moved; try again.");
  }

  async compact(signal?: AbortSignal, pause?: (bytes: number) => Promise<void>): Promise<number> {
    await this.sealAbandoned();
    await this.#letGoOfSpace();
    return this.#compactor.compact(signal, pause);
  }

  /**
   * Seals the segments of processes that died. What they wrote and did not index was never acknowledged: it counts as
   * dead. (After a stop of the whole server, recovery indexes it instead; see recovery.ts.)
   */
  async sealAbandoned(): Promise<void> {
    const { index, processes, disk, drivePath } = this.#options;
    for (const [segment, process] of await index.owned()) {
      if (process === processes.self || (await processes.isAlive(process))) continue;
      await index.seal(segment, await fileBytes(disk, segmentPath(drivePath, segment)));
    }
  }

  /** Whoever asks while it is being found out gets the same answer: in a drive that hangs no more hangs than one question. */
  status(): Promise<DriveStatus> {
    this.#status ??= this.#findStatus().finally(() => (this.#status = undefined));
    return this.#status;
  }

  async #findStatus(): Promise<DriveStatus> {
    await this.#letGoOfSpace();
    let [liveBytes, deadBytes, segments] = [0, 0, 0];
    for await (const stats of this.#options.index.segments()) {
      liveBytes += stats.liveBytes;
      deadBytes += stats.deadBytes;
      segments += 1;
    }
    const { drive: id, drivePath: path } = this.#options;
    const { totalBytes, freeBytes } = await this.#spaceOrLast();
    // As soon as it does not take every chunk: one that refuses most of them has to be compacted for any dead byte.
    const full = freeBytes < reserveBytes(totalBytes) + limits.chunkBytesMax;
    const state = this.#state.failure ? "failed" : full ? "full" : "up";
    return { id, path, state, totalBytes, freeBytes, liveBytes, deadBytes, segments };
  }

  /** Of a drive that is not there any more, what was known of it. */
  async #spaceOrLast(): Promise<DiskSpace> {
    try {
      return await this.#state.space();
    } catch (error) {
      if (this.#state.failure === undefined) throw error;
      return this.#state.lastSpace ?? { totalBytes: 0, freeBytes: 0 };
    }
  }

  async close(): Promise<void> {
    await this.#appender.close();
    await this.#compactor.close();
    await this.#files.close();
    await this.#options.index.close();
  }
}

async function fileBytes(disk: Disk, path: string): Promise<number> {
  try {
    const file = await disk.open(path, "read");
    try {
      return await file.sizeBytes();
    } finally {
      await file.close();
    }
  } catch (error) {
    if (systemCode(error) === "ENOENT") return 0;
    throw error;
  }
}
