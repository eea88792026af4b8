/**
 * Stored bytes of one chunk, from the shards that can be read. A copy is read whole from the first drive that gives it. Of a
 * coded chunk each range is read from the data shard it lies in; when one of those cannot be read, what is missing of
 * the wanted range is computed once, from as many others as there are data shards, and kept for the steps that follow.
 *
 * Every byte that comes from a drive was checked against its checksum there, so what is computed from them is right. A shard
 * that is missing or damaged on a drive which is there is told to `onDamage`, once for each chunk read.
 *
 * Memory: a recovery holds up to a whole chunk and its missing shards until the stream has read past it; recoveriesMax of them
 * exist in a process at once. A stream that finds none free computes each range by itself: slower, in little memory.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError, hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import { shardsOf } from "../core/redundancy.ts";
import { reconstruct } from "../erasure/erasure.ts";
import type { ByteRange, ChunkNode } from "../node/node.ts";
import type { ChunkRef } from "./blob.ts";
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

export type ChunkReaderParts = { readonly node: ChunkNode; readonly log: Log; readonly recoveries: Recoveries };

/** Bytes of one range of several data shards, by their indexes. */
type Recovered = { readonly range: ByteRange; readonly shards: ReadonlyMap<number, readonly Buffer[]> };

function cancelled(signal: AbortSignal): HoldfastError {
  return new HoldfastError("cancelled", "The request was cancelled.", { cause: signal.reason });
}

export class ChunkReader {
  readonly chunk: ChunkRef;
  /** What the stream wants of the chunk's stored bytes, all steps together. */
  readonly #wanted: ByteRange;
  readonly #parts: ChunkReaderParts;
  readonly #onDamage: () => void;
  #damaged = false;
  #recovery: Promise<Recovered> | undefined;
  #ended = false;

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
    return this.chunk.redundancy.dataShards === 1
      ? this.#readCopy(stored, signal, use)
      : use(await this.#readCoded(stored, signal));
  }

  async #readCoded(stored: ByteRange, signal: AbortSignal): Promise<readonly Buffer[]> {
    const { redundancy, storedBytes } = this.chunk;
    const ranges = shardRanges(stored, shardBytesOf(storedBytes, redundancy));
    if (this.#recovery !== undefined) return fromRecovered(await this.#recovery, ranges);
    if (this.#lacksWanted()) return this.#readDegraded(ranges, signal);
    const outcomes = await Promise.allSettled(
      ranges.map(({ shardIndex, range }) => this.#readShard(shardIndex, range, signal)),
    );
    const pieces: Buffer[] = [];
    for (const outcome of outcomes) {
      if (outcome.status === "fulfilled") pieces.push(outcome.value);
      else if (signal.aborted) throw cancelled(signal);
      else return this.#readDegraded(ranges, signal);
    }
    return pieces;
  }

  /** Whether it is known, before anything is read, that a shard the stream wants cannot be. */
  #lacksWanted(): boolean {
    const { storedBytes, redundancy, places } = this.chunk;
    const { drives } = this.#parts.node;
    return shardRanges(this.#wanted, shardBytesOf(storedBytes, redundancy)).some(({ shardIndex }) => {
      const place = places.find((each) => each.shardIndex === shardIndex);
      return place === undefined || !drives.includes(place.drive);
    });
  }

  /** When the stream has read past the chunk, or ends. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#recovery === undefined) return;
    this.#recovery = undefined;
    this.#parts.recoveries.giveBack();
  }

  async #readCopy<T>(range: ByteRange, signal: AbortSignal, use: (pieces: readonly Buffer[]) => T): Promise<T> {
    let failure: unknown;
    for (const { shardIndex } of this.chunk.places) {
      try {
        return use([await this.#readShard(shardIndex, range, signal)]);
      } catch (error) {
        if (signal.aborted) throw cancelled(signal);
        failure = error;
      }
    }
    throw failure;
  }

  async #readShard(shardIndex: number, range: ByteRange, signal: AbortSignal): Promise<Buffer> {
    const { node, log } = this.#parts;
    const { id, places } = this.chunk;
    const place = places.find((each) => each.shardIndex === shardIndex);
    // Known to be missing: its repair is under way.
    if (place === undefined) throw new HoldfastError("no_such_chunk", `Shard ${shardIndex} of chunk ${id} is nowhere.`);
    if (signal.aborted) throw cancelled(signal);
    try {
      const bytes = await node.read(place.drive, { chunk: id, shardIndex }, range, signal);
      if (bytes.length !== range.length) throw new HoldfastError("corrupt_chunk", `Chunk ${id} was read short.`);
      return bytes;
    } catch (error) {
      if (!signal.aborted) {
        // That a drive is away is seen and told elsewhere, once, and not for every read.
        const isAway = hasReason(error, "drive_missing", "drive_failed");
        log[isAway ? "debug" : "warn"]({ drive: place.drive, chunk: id, shardIndex, error }, "A shard cannot be read.");
        if (!isAway) this.#tellDamage();
      }
      throw error;
    }
  }

  #tellDamage(): void {
    if (this.#damaged) return;
    this.#damaged = true;
    this.#onDamage();
  }

  async #readDegraded(ranges: readonly ShardRange[], signal: AbortSignal): Promise<Buffer[]> {
    if (this.#recovery === undefined && !this.#ended && this.#parts.recoveries.take()) {
      const { storedBytes, redundancy } = this.chunk;
      this.#recovery = this.#recover(shardRanges(this.#wanted, shardBytesOf(storedBytes, redundancy)), signal);
      // Met by whoever waits for it; by nobody if the stream has ended.
      this.#recovery.catch(() => undefined);
    }
    return fromRecovered(await (this.#recovery ?? this.#recover(ranges, signal)), ranges);
  }

  /** The bytes of all data shards in `ranges`, of the least range of shards that has them all. */
  async #recover(ranges: readonly ShardRange[], signal: AbortSignal): Promise<Recovered> {
    const offset = Math.min(...ranges.map(({ range }) => range.offset));
    const end = Math.max(...ranges.map(({ range }) => range.offset + range.length));
    const wanted = [...new Set(ranges.map(({ shardIndex }) => shardIndex))];
    const slices: Promise<ReadonlyMap<number, Buffer>>[] = [];
    for (let at = offset; at < end; at += limits.readBytesPerCall)
      slices.push(
        this.#recoverSlice(wanted, { offset: at, length: Math.min(limits.readBytesPerCall, end - at) }, signal),
      );
    const done = await Promise.allSettled(slices);
    const found = done.map((outcome) => {
      if (outcome.status === "rejected") throw outcome.reason;
      return outcome.value;
    });
    const shards = new Map(wanted.map((shardIndex) => [shardIndex, found.map((slice) => slice.get(shardIndex)!)]));
    return { range: { offset, length: end - offset }, shards };
  }

  /** Reads the wanted shards first, then others, until there are as many as it takes; computes what is still missing. */
  async #recoverSlice(
    wanted: readonly number[],
    range: ByteRange,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<number, Buffer>> {
    const { redundancy, places } = this.chunk;
    const { dataShards } = redundancy;
    const untried = [
      ...wanted,
      ...places.map(({ shardIndex }) => shardIndex).filter((shardIndex) => !wanted.includes(shardIndex)),
    ];
    const found: (Buffer | undefined)[] = Array.from({ length: shardsOf(redundancy) });
    let count = 0;
    let failure: unknown;
    const isEnough = (): boolean => count >= dataShards || wanted.every((shardIndex) => found[shardIndex]);
    while (!isEnough()) {
      const batch = untried.splice(0, Math.max(dataShards - count, 1));
      if (batch.length === 0) throw failure;
      const outcomes = await Promise.allSettled(batch.map((index) => this.#readShard(index, range, signal)));
      if (signal.aborted) throw cancelled(signal);
      outcomes.forEach((outcome, position) => {
        if (outcome.status === "rejected") return (failure = outcome.reason);
        found[batch[position]!] = outcome.value;
        return (count += 1);
      });
    }
    const missing = wanted.filter((shardIndex) => found[shardIndex] === undefined);
    const computed = missing.map(() => Buffer.allocUnsafeSlow(range.length));
    if (missing.length > 0) reconstruct(redundancy, found, missing, computed);
    return new Map(
      wanted.map((shardIndex) => [shardIndex, found[shardIndex] ?? computed[missing.indexOf(shardIndex)]!]),
    );
  }
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
