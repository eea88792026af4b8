/**
 * Stored bytes of one chunk, from the shards that can be read. A copy is read whole from the nearest drive that gives it. Of a
 * coded chunk each range is read from the data shard it lies in; when one of those cannot be read, what is missing of
 * the wanted range is computed once, from as many others as there are data shards, the nearest first, and kept for the steps
 * that follow. Drives that are slow or away are tried last (shard_order.ts).
 *
 * A read that is late (drive_times.ts) is not waited for alone: of a copy the next one is read too, of a coded step what it
 * needs is computed from other shards too; the first complete answer counts, the others are cancelled and give back what they
 * hold. How many such reads are made is bounded by what others have saved up, up to hedgeAnywayMs. A drive that is known to be
 * slow is treated as one that is away, as long as enough others are not slow.
 *
 * Every byte that comes from a drive was checked against its checksum there, so what is computed from them is right. A shard
 * that is missing or damaged on a drive which is there, or that the chunk map does not name, is told to `onDamage`, once for
 * each chunk read. What was cancelled tells nothing.
 *
 * Where too few shards can be read at this moment, but enough are on drives that somebody alive has (a node that takes no
 * connection for a while, or has too much under way), the read is tried again for heldReadMsMax: what has begun to be sent
 * cannot be taken back, and its end in the middle is the last resort.
 *
 * Memory: a recovery holds up to a whole chunk and its missing shards until the stream has read past it; recoveriesMax of them
 * exist in a process at once, those of late steps included, which hold a step's range of each shard. A stream that finds none
 * free computes each range by itself: slower, in little memory. A late copy costs a second readBytesPerCall. A drive that
 * hangs keeps what was asked of it until it ends: at most what was under way before it was known to be slow.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError, hasReason } from "../core/errors.ts";
import { giveBack } from "../core/give_back.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { BlobCounts } from "../core/metrics.ts";
import { shardsOf } from "../core/redundancy.ts";
import { reconstruct } from "../erasure/erasure.ts";
import type { ByteRange, ChunkNode } from "../node/node.ts";
import type { ChunkPlace, ChunkRef } from "./blob.ts";
import type { DriveTimes } from "./drive_times.ts";
import { cancelled, gather, type Call } from "./hedge.ts";
import { bestFirst } from "./shard_order.ts";
import { shardBytesOf, shardRanges, type ShardRange } from "./shards.ts";

/** How many recoveries a process may hold. */
export class Recoveries {
  #free: number;

  constructor(max: number = limits.recoveriesMax) {
    this.#free = max;
  }

  take(): boolean {
    if (this.#free === 0) return false;
    this.#free -= 1;
    return true;
  }

  giveBack(): void {
    this.#free += 1;
  }
}

export type ChunkReaderParts = {
  readonly node: ChunkNode;
  readonly log: Log;
  readonly times: DriveTimes;
  readonly recoveries: Recoveries;
  readonly counts?: BlobCounts | undefined;
};

/** Bytes of one range of several data shards, by their indexes. */
type Recovered = { readonly range: ByteRange; readonly shards: ReadonlyMap<number, readonly Buffer[]> };

/** What is computed at once: a range of each wanted shard, without waiting for those that are late already. */
type Slice = {
  readonly wanted: readonly number[];
  readonly late: ReadonlySet<number>;
  readonly range: ByteRange;
};

/** For drives that cannot be asked just now. */
type Wait = { readonly untilMs: number; readonly pauseMs: number };

const none: ReadonlySet<number> = new Set();

export class ChunkReader {
  readonly chunk: ChunkRef;
  /** What the stream wants of the chunk's stored bytes, all steps together. */
  readonly #wanted: ByteRange;
  readonly #parts: ChunkReaderParts;
  readonly #onDamage: () => void;
  #places: readonly (ChunkPlace | undefined)[] | undefined;
  #damaged = false;
  #isDegraded = false;
  #isUnreadable = false;
  #recovery: Promise<Recovered> | undefined;
  #ended = false;
  /** Calls that failed and may do better in a moment. */
  #passing = 0;

  constructor(parts: ChunkReaderParts, chunk: ChunkRef, wanted: ByteRange, onDamage: () => void) {
    this.#parts = parts;
    this.chunk = chunk;
    this.#wanted = wanted;
    this.#onDamage = onDamage;
  }

  /**
   * What `use` makes of the pieces of `stored`, which lies in what is wanted and is at most readBytesPerCall long. A copy that
   * `use` finds wrong is passed over. Errors: that of the last shard tried, when too few can be read; those of `use`.
   */
  async read<T>(stored: ByteRange, signal: AbortSignal, use: (pieces: readonly Buffer[]) => T): Promise<T> {
    const { redundancy, places } = this.chunk;
    if (places.length < shardsOf(redundancy)) this.#tellDamage();
    let wait: Wait | undefined;
    for (;;) {
      const passing = this.#passing;
      try {
        return redundancy.dataShards === 1
          ? await this.#readCopy(stored, signal, use)
          : use(await this.#readCoded(stored, signal));
      } catch (error) {
        wait = signal.aborted || this.#passing === passing ? undefined : this.#nextWait(wait, error);
        if (wait === undefined) throw this.#unreadable(error, signal);
      }
      await this.#parts.times.clock.sleep(wait.pauseMs, signal);
    }
  }

  #unreadable(error: unknown, signal: AbortSignal): unknown {
    if (!signal.aborted && !this.#isUnreadable) this.#parts.counts?.unreadableChunk();
    this.#isUnreadable = true;
    return error;
  }

  /** Undefined: too few shards are on drives that somebody has, or they were waited for long enough. */
  #nextWait(before: Wait | undefined, error: unknown): Wait | undefined {
    const { node, times, log } = this.#parts;
    const { places, redundancy, id } = this.chunk;
    const held = places.filter(({ drive }) => node.isHeld?.(drive) === true);
    if (held.length < redundancy.dataShards) return undefined;
    const nowMs = times.clock.monotonicMs();
    if (before === undefined) {
      log.warn({ chunk: id, error }, "Too few shards of a chunk can be read just now; it is tried again.");
      return { untilMs: nowMs + limits.heldReadMsMax, pauseMs: limits.peerRetryMsMin };
    }
    if (nowMs >= before.untilMs) return undefined;
    return { ...before, pauseMs: Math.min(2 * before.pauseMs, limits.slowDriveMsMin) };
  }

  async #readCoded(stored: ByteRange, signal: AbortSignal): Promise<readonly Buffer[]> {
    const { redundancy, storedBytes } = this.chunk;
    const ranges = shardRanges(stored, shardBytesOf(storedBytes, redundancy));
    if (this.#recovery !== undefined) return fromRecovered(await this.#recovery, ranges);
    const drives = this.#drivesOf(ranges);
    if (drives === undefined || this.#avoidsSlow()) return this.#readDegraded(ranges, signal);
    const { times, recoveries, counts } = this.#parts;
    const unanswered = new Set(ranges.map(({ shardIndex }) => shardIndex));
    let isHedged = false;
    const healthy = {
      lateMs: Math.max(...drives.map((drive) => times.lateMs("read", drive))),
      run: (inner: AbortSignal) => this.#readRanges(ranges, inner, unanswered),
    };
    const other = {
      lateMs: Infinity,
      run: (inner: AbortSignal) =>
        isHedged ? this.#recoverOnce(ranges, inner, unanswered) : this.#readDegraded(ranges, signal),
    };
    return firstOf({
      times,
      signal,
      counts,
      calls: [healthy, other],
      mayHedge: (elapsedMs) => {
        if (!recoveries.take()) return false;
        isHedged = elapsedMs >= limits.hedgeAnywayMs || times.spare("read", redundancy.dataShards);
        if (!isHedged) recoveries.giveBack();
        return isHedged;
      },
    });
  }

  /** The drives of the shards that are wanted and these ranges lie in; undefined if one of those is known not to be there. */
  #drivesOf(ranges: readonly ShardRange[]): DriveId[] | undefined {
    const { drives } = this.#parts.node;
    if (!this.#wantedPlaces().every((place) => place !== undefined && drives.includes(place.drive))) return undefined;
    return ranges.map(({ shardIndex }) => this.#placeOf(shardIndex)!.drive);
  }

  #placeOf(shardIndex: number): ChunkPlace | undefined {
    return this.chunk.places.find((each) => each.shardIndex === shardIndex);
  }

  /** Of the data shards that the stream wants something of: the same for each step. */
  #wantedPlaces(): readonly (ChunkPlace | undefined)[] {
    if (this.#places !== undefined) return this.#places;
    const { storedBytes, redundancy } = this.chunk;
    const wanted = shardRanges(this.#wanted, shardBytesOf(storedBytes, redundancy));
    return (this.#places = wanted.map(({ shardIndex }) => this.#placeOf(shardIndex)));
  }

  /** Whether a wanted shard is on a slow drive, and enough others are on drives that are not: then it is as good as away. */
  #avoidsSlow(): boolean {
    const { node, times } = this.#parts;
    const { places, redundancy } = this.chunk;
    const { drives } = node;
    const isWell = ({ drive }: ChunkPlace): boolean => drives.includes(drive) && !times.isSlow(drive);
    if (this.#wantedPlaces().every((place) => place === undefined || isWell(place))) return false;
    return places.filter(isWell).length >= redundancy.dataShards;
  }

  async #readRanges(
    ranges: readonly ShardRange[],
    signal: AbortSignal,
    unanswered: Set<number>,
  ): Promise<readonly Buffer[]> {
    const [first, ...others] = ranges;
    // Most steps lie in one shard.
    if (first !== undefined && others.length === 0)
      return [await this.#readShard(first.shardIndex, first.range, signal)];
    const outcomes = await Promise.allSettled(
      ranges.map(async ({ shardIndex, range }) => {
        const bytes = await this.#readShard(shardIndex, range, signal);
        unanswered.delete(shardIndex);
        return bytes;
      }),
    );
    const pieces = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
    if (pieces.length === ranges.length && !signal.aborted) return pieces;
    for (const piece of pieces) giveBack(piece);
    if (signal.aborted) throw cancelled(signal);
    throw outcomes.find((outcome) => outcome.status === "rejected")!.reason;
  }

  /** When the stream has read past the chunk, or ends. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#letGo(this.#recovery);
  }

  #letGo(recovery: Promise<Recovered> | undefined): void {
    if (recovery === undefined || recovery !== this.#recovery) return;
    this.#recovery = undefined;
    this.#parts.recoveries.giveBack();
  }

  async #readCopy<T>(range: ByteRange, signal: AbortSignal, use: (pieces: readonly Buffer[]) => T): Promise<T> {
    const { node, times, counts } = this.#parts;
    const places = bestFirst(this.chunk.places, { node, times });
    return firstOf({
      times,
      signal,
      counts,
      calls: places.map(({ drive, shardIndex }) => ({
        lateMs: times.lateMs("read", drive),
        run: async (inner) => use([await this.#readShard(shardIndex, range, inner)]),
      })),
      mayHedge: (elapsedMs) => this.#mayDouble(elapsedMs),
    });
  }

  #mayDouble(elapsedMs: number): boolean {
    return elapsedMs >= limits.hedgeAnywayMs || this.#parts.times.spare("read");
  }

  async #readShard(shardIndex: number, range: ByteRange, signal: AbortSignal): Promise<Buffer> {
    const { node, times } = this.#parts;
    const { id } = this.chunk;
    const place = this.#placeOf(shardIndex);
    if (place === undefined) throw new HoldfastError("no_such_chunk", `Shard ${shardIndex} of chunk ${id} is nowhere.`);
    if (signal.aborted) throw cancelled(signal);
    const call = times.begin("read", place.drive);
    try {
      const bytes = await node.read(place.drive, { chunk: id, shardIndex }, range, signal);
      if (signal.aborted) {
        giveBack(bytes);
        throw cancelled(signal);
      }
      if (bytes.length !== range.length) throw new HoldfastError("corrupt_chunk", `Chunk ${id} was read short.`);
      return bytes;
    } catch (error) {
      if (!signal.aborted) this.#onUnreadable(place, error);
      throw error;
    } finally {
      call.end(signal.aborted ? "cancelled" : "answered");
    }
  }

  #onUnreadable({ drive, shardIndex }: ChunkPlace, error: unknown): void {
    // That a drive is away is seen and told elsewhere, once, and not for every read.
    if (hasReason(error, "drive_missing", "unavailable", "slow_down")) this.#passing += 1;
    const isAway = hasReason(error, "drive_missing", "drive_failed");
    const fields = { drive, chunk: this.chunk.id, shardIndex, error };
    this.#parts.log[isAway ? "debug" : "warn"](fields, "A shard cannot be read.");
    if (!isAway) this.#tellDamage();
  }

  #tellDamage(): void {
    if (this.#damaged) return;
    this.#damaged = true;
    this.#onDamage();
  }

  async #readDegraded(ranges: readonly ShardRange[], signal: AbortSignal): Promise<Buffer[]> {
    if (!this.#isDegraded) this.#parts.counts?.degradedRead();
    this.#isDegraded = true;
    if (this.#recovery === undefined && !this.#ended && this.#parts.recoveries.take()) {
      const { storedBytes, redundancy } = this.chunk;
      const recovery = this.#recover(shardRanges(this.#wanted, shardBytesOf(storedBytes, redundancy)), signal);
      this.#recovery = recovery;
      // Its error is met by whoever waits for it; by nobody if the stream has ended. The next try begins another.
      recovery.catch(() => this.#letGo(recovery));
    }
    return fromRecovered(await (this.#recovery ?? this.#recover(ranges, signal)), ranges);
  }

  /** The bytes of all data shards in `ranges`, of the least range of shards that has them all. */
  async #recover(
    ranges: readonly ShardRange[],
    signal: AbortSignal,
    late: ReadonlySet<number> = none,
  ): Promise<Recovered> {
    const offset = Math.min(...ranges.map(({ range }) => range.offset));
    const end = Math.max(...ranges.map(({ range }) => range.offset + range.length));
    const wanted = [...new Set(ranges.map(({ shardIndex }) => shardIndex))];
    const slices: Promise<ReadonlyMap<number, Buffer>>[] = [];
    for (let at = offset; at < end; at += limits.readBytesPerCall) {
      const range = { offset: at, length: Math.min(limits.readBytesPerCall, end - at) };
      slices.push(this.#recoverSlice({ wanted, late, range }, signal));
    }
    const done = await Promise.allSettled(slices);
    const found = done.map((outcome) => {
      if (outcome.status === "rejected") throw outcome.reason;
      return outcome.value;
    });
    const shards = new Map(wanted.map((shardIndex) => [shardIndex, found.map((slice) => slice.get(shardIndex)!)]));
    return { range: { offset, length: end - offset }, shards };
  }

  /** What a late step needs, while its place among the recoveries is held. */
  async #recoverOnce(ranges: readonly ShardRange[], signal: AbortSignal, late: ReadonlySet<number>): Promise<Buffer[]> {
    try {
      return fromRecovered(await this.#recover(ranges, signal, late), ranges);
    } finally {
      this.#parts.recoveries.giveBack();
    }
  }

  /** Reads the wanted shards first, then others, until there are as many as it takes; computes what is still missing. */
  async #recoverSlice(slice: Slice, signal: AbortSignal): Promise<ReadonlyMap<number, Buffer>> {
    const { redundancy } = this.chunk;
    const { wanted, range } = slice;
    const found: (Buffer | undefined)[] = Array.from({ length: shardsOf(redundancy) });
    try {
      await this.#readEnough(slice, found, signal);
      const missing = wanted.filter((shardIndex) => found[shardIndex] === undefined);
      const computed = missing.map(() => Buffer.allocUnsafeSlow(range.length));
      if (missing.length > 0) reconstruct(redundancy, found, missing, computed);
      return new Map(
        wanted.map((shardIndex) => [shardIndex, found[shardIndex] ?? computed[missing.indexOf(shardIndex)]!]),
      );
    } finally {
      found.forEach((bytes, shardIndex) => {
        if (bytes !== undefined && (signal.aborted || !wanted.includes(shardIndex))) giveBack(bytes);
      });
    }
  }

  async #readEnough({ wanted, late, range }: Slice, found: (Buffer | undefined)[], signal: AbortSignal): Promise<void> {
    const { redundancy, places } = this.chunk;
    const { node, times } = this.#parts;
    const shards = bestFirst(places, { node, times, wanted, late });
    let count = 0;
    await gather({
      clock: times.clock,
      alarm: times.alarm,
      signal,
      calls: shards.map(({ drive, shardIndex }) => ({
        lateMs: times.lateMs("read", drive),
        run: (inner) => this.#readShard(shardIndex, range, inner),
      })),
      missing: () => (wanted.every((shardIndex) => found[shardIndex]) ? 0 : Math.max(redundancy.dataShards - count, 0)),
      onAnswer: (index, bytes) => {
        found[shards[index]!.shardIndex] = bytes;
        count += 1;
      },
      mayHedge: (elapsedMs) => this.#mayDouble(elapsedMs),
    });
  }
}

/** The first answer of several calls; where one was doubled because it was late, that is counted. */
async function firstOf<T>(options: {
  readonly times: DriveTimes;
  readonly signal: AbortSignal;
  readonly counts: Pick<BlobCounts, "hedgedRead"> | undefined;
  readonly calls: readonly Call<T>[];
  readonly mayHedge: (elapsedMs: number) => boolean;
}): Promise<T> {
  const answers: { readonly index: number; readonly value: T }[] = [];
  let isHedged = false;
  await gather<T>({
    clock: options.times.clock,
    alarm: options.times.alarm,
    signal: options.signal,
    calls: options.calls,
    missing: () => (answers.length === 0 ? 1 : 0),
    onAnswer: (index, value) => void answers.push({ index, value }),
    mayHedge: (elapsedMs) => {
      const may = options.mayHedge(elapsedMs);
      isHedged ||= may;
      return may;
    },
  });
  const [first] = answers;
  if (isHedged) options.counts?.hedgedRead(first!.index === 0 ? "first" : "second");
  return first!.value;
}

/**
 * Views: the ranges of a stream's steps don't overlap, so that each byte is handed out once, and whoever gives the memory of a
 * whole slice back takes it from nobody.
 */
function fromRecovered({ range: of, shards }: Recovered, ranges: readonly ShardRange[]): Buffer[] {
  return ranges.flatMap(({ shardIndex, range }) => {
    const slices = shards.get(shardIndex);
    assert(slices && range.offset >= of.offset, "what is read lies in what was recovered");
    const pieces: Buffer[] = [];
    let filled = 0;
    for (let at = of.offset, index = 0; index < slices.length && filled < range.length; index++) {
      const slice = slices[index]!;
      const from = range.offset + filled - at;
      at += slice.length;
      if (from >= slice.length) continue;
      const piece = slice.subarray(from, from + range.length - filled);
      pieces.push(piece);
      filled += piece.length;
    }
    assert(filled === range.length, "what is read lies in what was recovered");
    return pieces;
  });
}
