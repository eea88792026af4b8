/**
 * Puts the shards of one chunk on drives, all at once, each on a drive of its own: the chunk's best drives, and where one
 * refuses the best that keeps them spread over zones and nodes (placement.ts). It is stored when a quorum of shards is
 * durable (core/redundancy.ts: losing any one of them loses nothing); those that found no drive are missing from the
 * places, and the page that names the chunk is noted for repair by the commit that publishes it (meta/blobs.ts).
 *
 * Nobody waits for a drive that hangs while there is another way:
 * - With a quorum durable the others get a fair time more, measured by what the quorum took; then they are given up.
 * - Without one, a shard whose append is late is appended to the next best drive too; whichever is first counts.
 * - Drives that are slow (drive_times.ts) get a shard only where a quorum may not be had without them.
 *
 * What was given up is cancelled, and may be on its drive all the same, at once or later: it is told as a *stray*, as is an
 * append of unknown outcome, so that the commit can note it. One that is found to have been stored only after the chunk was
 * done is told to `onLanded`: the note of the commit may have been worked off by then.
 *
 * The bytes of the shards must not change until every append has ended, given up or not: `idle`. A drive with an append that
 * hangs is slow and gets no more, so that what it holds is what was under way when it began to hang.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError, hasReason, type ErrorReason } from "../core/errors.ts";
import type { ChunkId, DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { BlobCounts } from "../core/metrics.ts";
import { shardsOf, writeQuorum, type Redundancy } from "../core/redundancy.ts";
import type { ChunkNode, ShardOwner, ShardRef } from "../node/node.ts";
import { isOutcomeUnknown } from "../node/peer_errors.ts";
import type { ChunkPlace } from "./blob.ts";
import type { TimedCall } from "./drive_times.ts";
import { Bell, cancelled, isOver } from "./hedge.ts";
import type { Placement } from "./node_placement.ts";
import { ChunkDrives, planPlacement, type PlacementDrive } from "./placement.ts";

export type NewChunk = {
  readonly id: ChunkId;
  readonly owner: ShardOwner;
  readonly redundancy: Redundancy;
  /** The bytes of each shard, in pieces; not changed until the storing is idle. */
  readonly shards: readonly (readonly Uint8Array[])[];
};

/** A shard that lies where no chunk map will name it, on a drive that cannot be asked to remove it now. */
export type LandedShard = { readonly drive: DriveId; readonly ref: ShardRef; readonly owner: ShardOwner };

export type ShardWriterParts = {
  readonly node: ChunkNode;
  readonly placement: Placement;
  readonly log: Log;
  /** Told of each, once it is there. Must not throw. */
  readonly onLanded?: ((shard: LandedShard) => void) | undefined;
  readonly counts?: Pick<BlobCounts, "writeStraggler"> | undefined;
};

export type StoredShards = {
  readonly places: readonly ChunkPlace[];
  /** Shards that may be, or may come to be, on drives where no place names them. */
  readonly strays: readonly ChunkPlace[];
};

export type Storing = {
  /**
   * Errors: `slow_down`, `drive_full` or `unavailable` when there are too few drives for a quorum; those of the drives that
   * are no refusals; `cancelled`. By then appends have ended or were given up.
   */
  readonly done: Promise<StoredShards>;
  /** When no append reads the shards any more. Never fails. */
  readonly idle: Promise<void>;
  readonly isIdle: boolean;
  /** Appends that have not ended. */
  readonly unended: readonly (ChunkPlace & { readonly chunk: ChunkId })[];
};

/** What an append to a drive answers when another drive may do. `slow_down`: too much waits for it, or for the way to it. */
export function isRefusal(error: unknown): boolean {
  return hasReason(error, "drive_full", "drive_failed", "drive_missing", "slow_down");
}

/** `onBegin` is told of every append before it begins, the first of them at once; what it throws fails the storing. */
export function storeShards(
  parts: ShardWriterParts,
  chunk: NewChunk,
  onBegin: (drive: DriveId, ref: ShardRef) => void,
  signal: AbortSignal,
): Storing {
  return new ChunkStoring(parts, chunk, onBegin, signal);
}

type Append = ChunkPlace & {
  readonly chunk: ChunkId;
  readonly beganMs: number;
  readonly stop: AbortController;
  readonly call: TimedCall;
  state: "under way" | "stored" | "unknown" | "refused";
  /** Another drive was tried for its shard. */
  isDoubled: boolean;
};

class ChunkStoring implements Storing {
  readonly done: Promise<StoredShards>;
  readonly #parts: ShardWriterParts;
  readonly #chunk: NewChunk;
  readonly #onBegin: (drive: DriveId, ref: ShardRef) => void;
  readonly #signal: AbortSignal;
  readonly #quorum: number;
  readonly #bell = new Bell();
  readonly #appends: Append[] = [];
  /** By shard index. */
  readonly #places: (ChunkPlace | undefined)[];
  readonly #refusals: unknown[] = [];
  /** Slow drives that were passed over; of those that got a shard after all, placement knows nothing. */
  readonly #slow: DriveId[] = [];
  readonly #passedOver = new Set<DriveId>();
  readonly #beganMs: number;
  #drives: ChunkDrives | undefined;
  /** When and after how long a quorum was durable. */
  #quorumMs: number | undefined;
  #failure: { readonly error: unknown } | undefined;
  #isDone = false;
  #tellIdle: () => void = () => undefined;
  #idle: Promise<void> | undefined;

  constructor(
    parts: ShardWriterParts,
    chunk: NewChunk,
    onBegin: (drive: DriveId, ref: ShardRef) => void,
    signal: AbortSignal,
  ) {
    assert(chunk.shards.length === shardsOf(chunk.redundancy), "every shard is given");
    this.#parts = parts;
    this.#chunk = chunk;
    this.#onBegin = onBegin;
    this.#signal = signal;
    this.#quorum = writeQuorum(chunk.redundancy);
    this.#places = chunk.shards.map(() => undefined);
    this.#beganMs = parts.placement.times.clock.monotonicMs();
    this.done = this.#run();
  }

  get isIdle(): boolean {
    return this.#isDone && this.unended.length === 0;
  }

  get idle(): Promise<void> {
    if (this.isIdle) return Promise.resolve();
    this.#idle ??= new Promise((resolve) => (this.#tellIdle = resolve));
    return this.#idle;
  }

  get unended(): readonly Append[] {
    return this.#appends.filter(({ state }) => state === "under way");
  }

  async #run(): Promise<StoredShards> {
    const { clock } = this.#parts.placement.times;
    const onAbort = (): void => {
      this.#fail(cancelled(this.#signal));
      this.#giveUp(this.unended, this.#signal.reason);
    };
    this.#signal.addEventListener("abort", onAbort, { once: true });
    try {
      this.#beginAll();
      while (!this.#isDecided()) {
        if (await this.#bell.wait(clock, this.#untilLateMs())) continue;
        if (this.#isQuorumLate()) break;
        this.#doubleLate();
      }
      if (this.#failure === undefined) for (const _late of this.unended) this.#parts.counts?.writeStraggler();
      this.#giveUp(this.unended, isOver);
      if (this.#failure !== undefined) {
        await this.#settle();
        throw this.#failure.error;
      }
      return this.#stored();
    } finally {
      this.#signal.removeEventListener("abort", onAbort);
      this.#isDone = true;
      if (this.isIdle) this.#tellIdle();
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#bell.ring();
  }

  #beginAll(): void {
    const { placement } = this.#parts;
    const { shards, id } = this.#chunk;
    const known = placement.drives();
    const plan = planPlacement(known, shards.length);
    // Too few drives are known before a byte is written; the next attempt looks at their states anew.
    if (plan.shards < this.#quorum) return this.#fail(tooFewDrives(known, this.#quorum));
    if (this.#signal.aborted) return this.#fail(cancelled(this.#signal));
    this.#drives = new ChunkDrives(plan, id);
    // The best drives first, each for its shard; then those that were passed over, where it takes them.
    for (const shardIndex of shards.keys()) this.#beginOn(this.#nextDrive(), shardIndex);
    for (const shardIndex of shards.keys()) {
      if (this.#expected() >= this.#quorum) break;
      if (!this.#isUnderWay(shardIndex)) this.#beginOn(this.#slow.shift(), shardIndex);
    }
  }

  /** The next best that is not slow. */
  #nextDrive(): DriveId | undefined {
    const { times } = this.#parts.placement;
    for (;;) {
      const drive = this.#drives!.next();
      if (drive === undefined || !times.isSlow(drive)) return drive;
      this.#slow.push(drive);
      this.#passedOver.add(drive);
      this.#drives!.refuse(drive);
    }
  }

  /** Shards that are durable or may become so. */
  #expected(): number {
    return this.#places.filter((place, index) => place !== undefined || this.#isUnderWay(index)).length;
  }

  #isUnderWay(shardIndex: number): boolean {
    return this.#appends.some((append) => append.shardIndex === shardIndex && append.state === "under way");
  }

  #beginOn(drive: DriveId | undefined, shardIndex: number): void {
    if (drive === undefined || this.#failure !== undefined) return;
    const { node, placement } = this.#parts;
    const { id, owner, shards } = this.#chunk;
    const ref = { chunk: id, shardIndex };
    const { times } = placement;
    try {
      this.#onBegin(drive, ref);
    } catch (error) {
      return this.#fail(error);
    }
    const stop = new AbortController();
    const beganMs = times.clock.monotonicMs();
    const call = times.begin("append", drive);
    const place = { chunk: id, drive, shardIndex };
    const append: Append = { ...place, beganMs, stop, call, state: "under way", isDoubled: false };
    this.#appends.push(append);
    node.append(drive, { ...ref, owner, body: shards[shardIndex]! }, stop.signal).then(
      () => {
        call.end("answered");
        append.state = "stored";
        this.#onStored(append);
      },
      (error: unknown) => {
        call.end(stop.signal.aborted ? "cancelled" : "answered");
        const isRefused = !stop.signal.aborted && !isOutcomeUnknown(error);
        append.state = isRefused ? "refused" : "unknown";
        if (!stop.signal.aborted) this.#onFailed(append, error);
        this.#ended();
      },
    );
  }

  #onStored(append: Append): void {
    const { drive, shardIndex } = append;
    const { owner, id } = this.#chunk;
    if (this.#isDone) this.#parts.onLanded?.({ drive, ref: { chunk: id, shardIndex }, owner });
    else if (this.#places[shardIndex] === undefined) {
      this.#places[shardIndex] = { drive, shardIndex };
      this.#giveUp(
        this.unended.filter((other) => other.shardIndex === shardIndex),
        isOver,
      );
      const durable = this.#places.filter((place) => place !== undefined).length;
      if (durable === this.#quorum) this.#quorumMs = this.#parts.placement.times.clock.monotonicMs();
    }
    this.#ended();
  }

  #onFailed({ drive, shardIndex }: Append, error: unknown): void {
    if (this.#isDone) return;
    if (!isRefusal(error)) return this.#fail(error);
    this.#parts.log.warn({ drive, chunk: this.#chunk.id, error }, "A drive refused a shard; the next one gets it.");
    this.#refusals.push(error);
    if (!this.#passedOver.has(drive)) this.#drives!.refuse(drive);
    // Before this one failed, another may have been begun for its shard.
    if (this.#places[shardIndex] !== undefined || this.#isUnderWay(shardIndex)) return;
    this.#beginOn(this.#nextDrive(), shardIndex);
    if (this.#expected() < this.#quorum) this.#beginOn(this.#slow.shift(), shardIndex);
  }

  #ended(): void {
    this.#bell.ring();
    if (this.isIdle) this.#tellIdle();
  }

  #isDecided(): boolean {
    if (this.#failure !== undefined) return true;
    return this.#places.every((place, index) => place !== undefined || !this.#isUnderWay(index));
  }

  /** How long an append may take, by what those that are durable took, or the drive's calls take. */
  #patienceMs(drive: DriveId): number {
    const { lateFactor, lateAppendMsMin, lateAppendMsMax } = limits;
    const tookMs = this.#quorumMs === undefined ? 0 : this.#quorumMs - this.#beganMs;
    const usualMs = this.#parts.placement.times.lateMs("append", drive);
    return Math.min(Math.max(lateFactor * tookMs, usualMs, lateAppendMsMin), lateAppendMsMax);
  }

  /** Appends that a shard still waits for. */
  #waitedFor(): Append[] {
    return this.unended.filter(({ shardIndex }) => this.#places[shardIndex] === undefined);
  }

  /** When the quorum has waited long enough for the others. */
  #quorumLateMs(quorumMs: number): number {
    return quorumMs + Math.max(...this.#waitedFor().map(({ drive }) => this.#patienceMs(drive)));
  }

  #isQuorumLate(): boolean {
    const nowMs = this.#parts.placement.times.clock.monotonicMs();
    return this.#quorumMs !== undefined && nowMs >= this.#quorumLateMs(this.#quorumMs);
  }

  #untilLateMs(): number | undefined {
    const nowMs = this.#parts.placement.times.clock.monotonicMs();
    if (this.#quorumMs !== undefined) return this.#quorumLateMs(this.#quorumMs) - nowMs;
    const late = this.#waitedFor().flatMap((append) =>
      append.isDoubled ? [] : [append.beganMs + this.#patienceMs(append.drive)],
    );
    return late.length === 0 ? undefined : Math.max(Math.min(...late) - nowMs, recheckMs);
  }

  /** A late shard's bytes go to another drive too. */
  #doubleLate(): void {
    const { times } = this.#parts.placement;
    const nowMs = times.clock.monotonicMs();
    for (const append of this.#waitedFor()) {
      const elapsedMs = nowMs - append.beganMs;
      if (append.isDoubled || elapsedMs < this.#patienceMs(append.drive)) continue;
      if (elapsedMs < limits.hedgeAnywayMs && !times.spare("append")) continue;
      append.isDoubled = true;
      const drive = this.#nextDrive() ?? this.#slow.shift();
      const fields = { drive: append.drive, chunk: this.#chunk.id };
      if (drive !== undefined)
        this.#parts.log.warn(fields, "A drive is slow to take a shard; another one gets it too.");
      this.#beginOn(drive, append.shardIndex);
    }
  }

  #giveUp(appends: readonly Append[], reason: unknown): void {
    const nowMs = this.#parts.placement.times.clock.monotonicMs();
    for (const { drive, beganMs, call, stop } of appends) {
      if (nowMs - beganMs >= this.#patienceMs(drive)) call.giveUp();
      stop.abort(reason);
    }
  }

  /** After a failure: what ends soon can be removed by whoever called. */
  async #settle(): Promise<void> {
    const { clock } = this.#parts.placement.times;
    const untilMs = clock.monotonicMs() + limits.lateAppendMsMin;
    while (this.unended.length > 0) if (!(await this.#bell.wait(clock, untilMs - clock.monotonicMs()))) return;
  }

  #stored(): StoredShards {
    const places = this.#places.filter((place) => place !== undefined);
    if (places.length < this.#quorum) throw firstToTell(this.#refusals);
    const strays = this.#appends.filter(
      ({ drive, shardIndex, state }) => state !== "refused" && this.#places[shardIndex]?.drive !== drive,
    );
    const missing = this.#places.length - places.length;
    if (strays.length > 0)
      this.#parts.log.warn({ chunk: this.#chunk.id, missing }, "A chunk was stored without waiting for slow drives.");
    return { places, strays: strays.map(({ drive, shardIndex }) => ({ drive, shardIndex })) };
  }
}

/** What could not be doubled when it became late is looked at again after this. */
const recheckMs = 50;

/** What passes soonest comes first: one drive that is only busy may have been the one that was needed. */
function firstToTell(refusals: readonly unknown[]): unknown {
  const first = (reason: ErrorReason): unknown => refusals.find((error) => hasReason(error, reason));
  return first("slow_down") ?? first("drive_full") ?? refusals[0];
}

function tooFewDrives(drives: readonly PlacementDrive[], quorum: number): HoldfastError {
  const up = drives.filter(({ state }) => state === "up").length;
  const missing = quorum === 1 ? "No drive takes data" : `${up} drives take data, and a write needs ${quorum}`;
  const isFull = drives.some(({ state }) => state === "full");
  return isFull
    ? new HoldfastError("drive_full", `${missing}: the others are full.`)
    : new HoldfastError("unavailable", `${missing}.`);
}
