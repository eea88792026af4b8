/**
 * Gives the space of removed shards back: sealed segments that are at least half dead are rewritten.
 *
 * The order for each segment: live records read and verified → copied to a compaction segment → synced → rows moved,
 * each only if it still points at the old place and the new segment is still this process's → the old file removed → the folder synced → the segment's rows removed.
 * Stopped at any step, every shard is still found, at the old place or the new one.
 *
 * A live record that is damaged stays where it is, and with it its segment: what is left of it may yet be of use, and
 * the scrub reports it. So does a segment that cannot be read. Two compactions at once (of two processes) waste work but lose nothing.
 */
import { HoldfastError, systemCode } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { Disk, DiskFile } from "./disk.ts";
import { placeBytes, shardsPerCommitMax } from "./drive_index.ts";
import type { DriveIndex, Found, SegmentStats } from "./drive_index.ts";
import type { DriveState } from "./drive_state.ts";
import type { ShardRef } from "./node.ts";
import { SEGMENT_HEADER_BYTES, type RecordContent, type SegmentId } from "./segment.ts";
import { segmentPath, tooManyFiles, type SegmentFiles } from "./segment_files.ts";
import { walkSegment } from "./segment_walk.ts";
import { removeIfThere, type SegmentWriter } from "./segment_writer.ts";
import type { ShardReader } from "./shard_reader.ts";

/** Body bytes held in memory by a compaction, give or take one chunk. */
const batchBytesMax = 8 * 1024 * 1024;

/** Awaited after bytes were copied. */
type Pause = (bytes: number) => Promise<void>;

type Live = { readonly ref: ShardRef; readonly from: Found };

export type CompactorOptions = {
  readonly disk: Disk;
  readonly drivePath: string;
  readonly index: DriveIndex;
  readonly state: DriveState;
  readonly files: SegmentFiles;
  readonly reader: ShardReader;
  readonly newWriter: () => Promise<SegmentWriter>;
  readonly log: Log;
};

export class Compactor {
  readonly #options: CompactorOptions;
  /** Live bytes of segments that a damaged record kept from being removed, or that cannot be read: not tried again until that changes. */
  readonly #kept = new Map<SegmentId, number>();
  #writer: SegmentWriter | undefined;
  #running: Promise<number> | undefined;

  constructor(options: CompactorOptions) {
    this.#options = options;
  }

  /** Returns bytes given back to the file system. A second call joins the first. Errors: `drive_failed`. */
  async compact(signal?: AbortSignal, pause: Pause = async () => undefined): Promise<number> {
    this.#running ??= this.#compactAll(signal, pause).finally(() => (this.#running = undefined));
    return this.#running;
  }

  async #compactAll(signal: AbortSignal | undefined, pause: Pause): Promise<number> {
    this.#options.state.assertWritable();
    let freedBytes = 0;
    try {
      for (const stats of await this.#candidates()) {
        if (signal?.aborted) break;
        const bytes = await this.#compactSegment(stats, signal, pause);
        freedBytes += bytes;
      }
    } catch (error) {
      if (error instanceof HoldfastError) this.#options.state.note(error);
      if (!(error instanceof HoldfastError) || error.reason !== "drive_full") throw error;
      this.#options.log.warn({ drive: this.#options.drivePath }, "no space left to compact into");
    } finally {
      const writer = this.#writer;
      this.#writer = undefined;
      await writer?.seal();
    }
    return freedBytes;
  }

  /** Least to copy first: what is wholly dead gives space at once. */
  async #candidates(): Promise<SegmentStats[]> {
    const candidates: SegmentStats[] = [];
    for await (const stats of this.#options.index.segments()) {
      const mostlyDead = stats.liveBytes === 0 || stats.deadBytes >= stats.liveBytes;
      if (mostlyDead && this.#kept.get(stats.segment) !== stats.liveBytes) candidates.push(stats);
    }
    // Afterwards, so that a segment made meanwhile is known to be somebody's.
    const owned = await this.#options.index.owned();
    const sealed = candidates.filter(({ segment }) => !owned.has(segment));
    return sealed.sort((left, right) => left.liveBytes - right.liveBytes);
  }

  async #compactSegment(stats: SegmentStats, signal: AbortSignal | undefined, pause: Pause): Promise<number> {
    const { segment } = stats;
    const { log } = this.#options;
    let copiedBytes = 0;
    try {
      if (stats.liveBytes > 0) {
        copiedBytes = await this.#options.files.with(segment, (file) =>
          this.#copyLive(file, segment, { signal, pause }),
        );
      }
    } catch (error) {
      // Another process was faster.
      if (systemCode(error) === "ENOENT" && !(await this.#options.index.stats([segment]))[0]) return 0;
      // Errors of writing have a reason. One segment that cannot be read must not keep the space of all others.
      if (systemCode(error) === undefined) throw error;
      log.warn({ segment, code: systemCode(error) }, "a segment that cannot be read is left in place");
      if (!tooManyFiles(error)) this.#kept.set(segment, stats.liveBytes);
      return 0;
    }
    // Read together with its owner, whatever the candidates said: what is removed here must never become live again.
    const after = await this.#options.index.sealedStats(segment);
    if (!after) return -copiedBytes;
    if (after.liveBytes > 0) {
      if (!signal?.aborted) this.#kept.set(segment, after.liveBytes);
      return -copiedBytes;
    }
    await this.#removeSegment(segment);
    return after.indexedBytes - copiedBytes;
  }

  async #removeSegment(segment: SegmentId): Promise<void> {
    const { disk, drivePath, index, files } = this.#options;
    await files.drop(segment);
    await removeIfThere(disk, segmentPath(drivePath, segment));
    await disk.syncDirectory(`${drivePath}/segments`);
    await index.forgetSegment(segment);
    this.#kept.delete(segment);
  }

  /** Returns the bytes copied. */
  async #copyLive(
    file: DiskFile,
    segment: SegmentId,
    { signal, pause }: { readonly signal: AbortSignal | undefined; readonly pause: Pause },
  ): Promise<number> {
    const range = { from: SEGMENT_HEADER_BYTES, end: await file.sizeBytes() };
    let refs: (ShardRef & { offset: number })[] = [];
    let waitingBytes = 0;
    let copiedBytes = 0;
    const copy = async (): Promise<void> => {
      const bytes = await this.#copyBatch(file, await this.#liveOf(segment, refs));
      refs = [];
      waitingBytes = 0;
      copiedBytes += bytes;
      await pause(bytes);
    };
    for await (const step of walkSegment(file, segment, range)) {
      if (signal?.aborted) return copiedBytes;
      if (step.kind === "gap") continue;
      const { chunk, shardIndex } = step.header;
      refs.push({ chunk, shardIndex, offset: step.offset });
      waitingBytes += step.bytes;
      if (refs.length >= shardsPerCommitMax || waitingBytes >= batchBytesMax) await copy();
    }
    await copy();
    return copiedBytes;
  }

  async #liveOf(segment: SegmentId, refs: readonly (ShardRef & { offset: number })[]): Promise<Live[]> {
    if (refs.length === 0) return [];
    const found = await this.#options.index.find(refs);
    return refs.flatMap(({ chunk, shardIndex, offset }, index) => {
      const from = found[index];
      if (!from || from.segment !== segment || from.offset !== offset) return [];
      return [{ ref: { chunk, shardIndex }, from }];
    });
  }

  async #copyBatch(file: DiskFile, live: readonly Live[]): Promise<number> {
    const { index, reader, log } = this.#options;
    const good: Live[] = [];
    const contents: RecordContent[] = [];
    for (const one of live) {
      const whole = await reader.readWhole(file, one.ref, one.from);
      if (!whole.ok) {
        log.warn({ ...one.ref, segment: one.from.segment, why: whole.why }, "damaged shard left in place");
        continue;
      }
      const { owner, blockBytes } = one.from;
      contents.push({ ...one.ref, owner, blockBytes, body: [whole.value.body], table: whole.value.table });
      good.push(one);
    }
    if (contents.length === 0) return 0;
    const bytes = good.reduce((sum, { from }) => sum + placeBytes(from), 0);
    const writer = await this.#writerFor(bytes);
    const places = await writer.append(contents);
    await index.move(
      writer.lease,
      good.map(({ ref, from }, at) => ({ ref, from, place: places[at]! })),
    );
    this.#options.state.wrote(bytes);
    return bytes;
  }

  async #writerFor(bytes: number): Promise<SegmentWriter> {
    const max = await this.#options.state.segmentBytesMax();
    if (this.#writer && this.#writer.endBytes + bytes <= max) return this.#writer;
    const full = this.#writer;
    this.#writer = undefined;
    await full?.seal();
    this.#writer = await this.#options.newWriter();
    return this.#writer;
  }

  async close(): Promise<void> {
    // The one who called `compact` gets its error.
    await this.#running?.catch(() => 0);
  }
}
