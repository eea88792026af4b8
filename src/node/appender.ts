/**
 * The group commit of one drive in one process: appends that arrive while a batch is being synced wait and go together
 * in the next one. One batch is one vectored write, one fdatasync and one commit to the index; then all are answered.
 *
 * What waits is bounded by appendQueueBytesMax; more is refused with `slow_down`. Whoever leaves while waiting gives the place
 * back at once, so that a drive that hangs does not stay full of what nobody wants; what is in the batch stays in it.
 */
import { assert, AssertionError } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { DriveIndex } from "./drive_index.ts";
import type { DriveState } from "./drive_state.ts";
import type { Shard } from "./node.ts";
import { recordBytes, recordContent, totalBytes } from "./segment.ts";
import type { RecordContent } from "./segment.ts";
import { driveError } from "./segment_writer.ts";
import type { SegmentWriter } from "./segment_writer.ts";

/** Each takes one write of the index commit. */
const batchRecordsMax = 256;
assert(batchRecordsMax + 1 <= limits.commitOperationsMax, "a batch's rows fit a commit");

type Waiting = {
  readonly shard: Shard;
  readonly key: string;
  readonly bytes: number;
  /** It is in a batch from now on. */
  readonly taken: () => void;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
};

export type AppenderOptions = {
  readonly index: DriveIndex;
  readonly state: DriveState;
  readonly newWriter: () => Promise<SegmentWriter>;
};

export class Appender {
  readonly #index: DriveIndex;
  readonly #state: DriveState;
  readonly #newWriter: () => Promise<SegmentWriter>;
  readonly #queue: Waiting[] = [];
  /** Shards that wait or are being written: their ids must not come a second time. */
  readonly #underWay = new Set<string>();
  #underWayBytes = 0;
  #batchBytesMax = limits.appendBatchBytesMax;
  #writer: SegmentWriter | undefined;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(options: AppenderOptions) {
    this.#index = options.index;
    this.#state = options.state;
    this.#newWriter = options.newWriter;
  }

  /** Resolves when the shard is durable and indexed. Errors: see ChunkNode.append. */
  async append(shard: Shard, signal?: AbortSignal): Promise<void> {
    const bodyBytes = totalBytes(shard.body);
    assert(bodyBytes >= 1 && bodyBytes <= limits.chunkBytesMax, "a body has 1..chunkBytesMax bytes");
    this.#refuseIfStopped(signal);
    const bytes = recordBytes(bodyBytes, limits.segmentBlockBytes);
    const key = `${shard.chunk}/${shard.shardIndex}`;
    assert(!this.#underWay.has(key), "a shard is appended once");
    if (this.#underWayBytes + bytes > limits.appendQueueBytesMax)
      throw new HoldfastError("slow_down", "Too many writes wait for the drive.");
    const waitingBytes = this.#underWayBytes;
    this.#underWay.add(key);
    this.#underWayBytes += bytes;
    try {
      await this.#state.admit(bytes, waitingBytes);
      // On a small drive segments are small, and a batch must fit one.
      this.#batchBytesMax = Math.min(limits.appendBatchBytesMax, await this.#state.segmentBytesMax());
      this.#refuseIfStopped(signal);
      await this.#wait({ shard, key, bytes }, signal);
    } finally {
      this.#underWay.delete(key);
      this.#underWayBytes -= bytes;
    }
  }

  #refuseIfStopped(signal: AbortSignal | undefined): void {
    if (this.#closed) throw new HoldfastError("unavailable", "The chunk node is closed.");
    if (signal?.aborted) throw cancelled();
    this.#state.assertWritable();
  }

  /** Until the shard was written in a batch; or until the signal aborts, if none has taken it by then. */
  #wait(what: Pick<Waiting, "shard" | "key" | "bytes">, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        const place = this.#queue.indexOf(waiting);
        assert(place >= 0, "an append that no batch has taken waits");
        this.#queue.splice(place, 1);
        reject(cancelled());
      };
      const taken = (): void => signal?.removeEventListener("abort", leave);
      const waiting: Waiting = { ...what, taken, resolve, reject };
      signal?.addEventListener("abort", leave, { once: true });
      this.#queue.push(waiting);
      this.#running ??= this.#run();
    });
  }

  async #run(): Promise<void> {
    // Lets the appends that begin in the same turn of the event loop join the first batch.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#queue.length > 0) await this.#runBatch(this.#takeBatch());
    this.#running = undefined;
  }

  #takeBatch(): Waiting[] {
    const batch: Waiting[] = [];
    let bytes = 0;
    while (batch.length < batchRecordsMax) {
      const next = this.#queue[0];
      if (!next || (batch.length > 0 && bytes + next.bytes > this.#batchBytesMax)) break;
      this.#queue.shift();
      next.taken();
      batch.push(next);
      bytes += next.bytes;
    }
    return batch;
  }

  /** Never fails: every error goes to the appends that wait for the batch. */
  async #runBatch(batch: readonly Waiting[]): Promise<void> {
    let rest = batch;
    try {
      rest = await this.#withoutExisting(batch);
      if (rest.length === 0) return;
      await this.#write(rest.map((waiting) => recordContent(waiting.shard)));
      for (const waiting of rest) waiting.resolve();
    } catch (error) {
      if (error instanceof HoldfastError) this.#state.note(error);
      for (const waiting of rest) waiting.reject(error);
    }
  }

  async #withoutExisting(batch: readonly Waiting[]): Promise<Waiting[]> {
    if (batch.length === 0) return [];
    const found = await this.#index.find(batch.map((waiting) => waiting.shard));
    return batch.filter((waiting, index) => {
      if (!found[index]) return true;
      waiting.reject(new AssertionError(`shard ${waiting.key} exists already`));
      return false;
    });
  }

  async #write(contents: readonly RecordContent[]): Promise<void> {
    this.#state.assertWritable();
    const bytes = contents.reduce((sum, { body, blockBytes }) => sum + recordBytes(totalBytes(body), blockBytes), 0);
    const writer = await this.#writerFor(bytes);
    try {
      // Durable first, then findable, then acknowledged.
      const places = await writer.append(contents);
      await this.#index.addRows(
        writer.lease,
        places.map((place, index) => ({ ref: contents[index]!, place })),
      );
      this.#state.wrote(bytes);
    } catch (error) {
      // The segment and its counters may disagree now; a new one is cheaper than finding out.
      this.#writer = undefined;
      await writer.seal().catch(() => undefined);
      throw driveOr(error);
    }
  }

  async #writerFor(bytes: number): Promise<SegmentWriter> {
    const max = await this.#state.segmentBytesMax();
    const current = this.#writer;
    if (current && current.endBytes + bytes <= max) return current;
    this.#writer = undefined;
    await current?.seal();
    this.#writer = await this.#newWriter();
    return this.#writer;
  }

  /** Seals the current segment if at least half of it is dead, so that a compaction can take it. */
  async sealIfMostlyDead(): Promise<void> {
    const writer = this.#writer;
    if (!writer || this.#running) return;
    const [stats] = await this.#index.stats([writer.segment]);
    const mostlyDead = stats !== undefined && stats.deadBytes > 0 && stats.deadBytes >= stats.liveBytes;
    // An append may have begun while the index answered; then the segment is in use.
    if (!mostlyDead || this.#running || this.#writer !== writer) return;
    this.#writer = undefined;
    await writer.seal();
  }

  /** Waits for what was taken in, then seals the current segment. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
    const writer = this.#writer;
    this.#writer = undefined;
    await writer?.seal();
  }
}

function cancelled(): HoldfastError {
  return new HoldfastError("cancelled", "The append was cancelled.");
}

/** Errors of the index stay what they are; system errors become errors of the drive. */
function driveOr(error: unknown): unknown {
  return error instanceof HoldfastError ? error : driveError(error, "a batch of appends failed");
}
