/**
 * How long drives take, as one process sees it: after how long a call is late, which drives are slow at this moment, and how
 * many calls may be made a second time.
 *
 * - *Late.* A multiple of what about 19 of 20 recent calls of the kind took, one number for each distance, within bounds. A
 *   call that is cancelled counts with the time it had, so that when everything becomes slow, everything may take longer.
 * - *Slow.* A drive is slow while a call to it is well overdue, and for a while after such a call has ended or several were given
 *   up, twice as long each time, until it answers in time again; and while it does not say how it is. Slow drives are tried last and
 *   take no new shards where others do.
 * - *Spare calls.* Each call saves up a part of a second one; so hedging adds a bounded share to the load, also when all drives
 *   are slow.
 *
 * Only calls that go through `begin` are seen: the reads of streams and the appends of writers, not those of jobs.
 * Memory: an entry for each drive that has a call under way or was late, and one for each such call.
 */
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { Alarm } from "./alarm.ts";

export type CallKind = "read" | "append";
export type Distance = 0 | 1 | 2;

/** How a call ended: the drive answered, with whatever; or nobody waited any longer. */
export type CallEnd = "answered" | "cancelled";

/** A call under way. */
export type TimedCall = {
  /** It is late and nobody waits for it any more: the drive is slow until it has ended. */
  giveUp(): void;
  /** To be called once. */
  end(how: CallEnd): void;
};

const bounds = {
  read: { lateMsMin: limits.lateReadMsMin, lateMsMax: limits.lateReadMsMax },
  append: { lateMsMin: limits.lateAppendMsMin, lateMsMax: limits.lateAppendMsMax },
} as const;

/** A slow drive's calls take so many times what makes them late, and at least the least that makes an append late. */
const overdueFactor = 2;

/** Goes up by much for what is above it and down by little for the rest, so that one in twenty stays above. */
class HighPercentile {
  #ms: number | undefined;

  get ms(): number | undefined {
    return this.#ms;
  }

  add(ms: number): void {
    if (this.#ms === undefined) this.#ms = Math.max(ms, 0.1);
    else this.#ms *= ms > this.#ms ? 1.19 : 0.99;
  }
}

/** Calls that were saved up. */
class Spares {
  #count: number = limits.hedgesSavedMax;

  save(): void {
    this.#count = Math.min(this.#count + limits.hedgedShare, limits.hedgesSavedMax);
  }

  take(calls: number): boolean {
    if (this.#count < calls) return false;
    this.#count -= calls;
    return true;
  }
}

type OpenCall = { readonly overdueAtMs: number };

/** So many late calls that were cancelled, without an answer between them, make a drive slow too. */
const cancelledMax = 3;

class DriveState {
  /** From the oldest on. */
  readonly open: Record<CallKind, Set<OpenCall>> = { read: new Set(), append: new Set() };
  /** Calls that were given up and have not ended. */
  hanging = 0;
  /** Calls that were cancelled as late since it answered last. */
  cancelled = 0;
  avoidedMs = 0;
  avoidedUntilMs = 0;
}

function firstOf<T>(set: ReadonlySet<T>): T | undefined {
  for (const each of set) return each;
  return undefined;
}

export class DriveTimes {
  readonly clock: Clock;
  /** Wakes whoever waits for calls that are late. */
  readonly alarm: Alarm;
  readonly #distance: (drive: DriveId) => Distance;
  readonly #took: Record<CallKind, readonly HighPercentile[]> = { read: percentiles(), append: percentiles() };
  readonly #spares: Record<CallKind, Spares> = { read: new Spares(), append: new Spares() };
  readonly #drives = new Map<DriveId, DriveState>();
  readonly #silent: ReadonlySet<DriveId>;

  /** `silent`: kept up to date by who asks drives how they are. */
  constructor(
    clock: Clock,
    distance: (drive: DriveId) => Distance = () => 0,
    silent: ReadonlySet<DriveId> = new Set(),
  ) {
    this.clock = clock;
    this.#silent = silent;
    this.alarm = new Alarm(clock);
    this.#distance = distance;
  }

  distance(drive: DriveId): Distance {
    return this.#distance(drive);
  }

  /** After how long a call to the drive is late. */
  lateMs(kind: CallKind, drive: DriveId): number {
    const { lateMsMin, lateMsMax } = bounds[kind];
    const took = this.#took[kind][this.#distance(drive)]!.ms;
    return took === undefined ? lateMsMax : Math.min(Math.max(limits.lateFactor * took, lateMsMin), lateMsMax);
  }

  /** Whether so many more calls than are needed may be made now. */
  spare(kind: CallKind, calls = 1): boolean {
    return this.#spares[kind].take(calls);
  }

  /** It has not said in time how it is. */
  isSilent(drive: DriveId): boolean {
    return this.#silent.has(drive);
  }

  isSlow(drive: DriveId): boolean {
    if (this.#silent.has(drive)) return true;
    const state = this.#drives.get(drive);
    if (state === undefined) return false;
    const nowMs = this.clock.monotonicMs();
    if (state.hanging > 0 || nowMs < state.avoidedUntilMs) return true;
    const isOverdue = (calls: ReadonlySet<OpenCall>): boolean => nowMs >= (firstOf(calls)?.overdueAtMs ?? Infinity);
    return isOverdue(state.open.read) || isOverdue(state.open.append);
  }

  begin(kind: CallKind, drive: DriveId): TimedCall {
    const beganMs = this.clock.monotonicMs();
    const overdueMs = Math.max(overdueFactor * this.lateMs(kind, drive), limits.lateAppendMsMin);
    const state = this.#drives.get(drive) ?? new DriveState();
    this.#drives.set(drive, state);
    const call: OpenCall = { overdueAtMs: beganMs + overdueMs };
    state.open[kind].add(call);
    this.#spares[kind].save();
    let isGivenUp = false;
    return {
      giveUp: () => {
        if (!isGivenUp) state.hanging += 1;
        isGivenUp = true;
      },
      end: (how) => {
        if (isGivenUp) state.hanging -= 1;
        state.open[kind].delete(call);
        const tookMs = this.clock.monotonicMs() - beganMs;
        const isLate = tookMs >= this.lateMs(kind, drive);
        this.#took[kind][this.#distance(drive)]!.add(tookMs);
        if (how === "cancelled" && isLate) state.cancelled += 1;
        if (isGivenUp || tookMs >= overdueMs || state.cancelled >= cancelledMax) this.#avoid(state);
        else if (how === "answered") this.#wellAgain(drive, state);
      },
    };
  }

  #avoid(state: DriveState): void {
    const nowMs = this.clock.monotonicMs();
    state.cancelled = 0;
    // Calls that were late together are one reason to wait.
    if (nowMs < state.avoidedUntilMs) return;
    state.avoidedMs = Math.min(Math.max(2 * state.avoidedMs, limits.slowDriveMsMin), limits.slowDriveMsMax);
    state.avoidedUntilMs = nowMs + state.avoidedMs;
  }

  /** What it did before the time of its last lateness is over says nothing. */
  #wellAgain(drive: DriveId, state: DriveState): void {
    if (this.clock.monotonicMs() < state.avoidedUntilMs) return;
    state.avoidedMs = 0;
    state.cancelled = 0;
    if (state.open.read.size + state.open.append.size === 0) this.#drives.delete(drive);
  }
}

function percentiles(): readonly HighPercentile[] {
  return [new HighPercentile(), new HighPercentile(), new HighPercentile()];
}
