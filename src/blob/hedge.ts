/**
 * Calls of which some are enough, begun in turn: as many at once as answers are missing; one more for each that fails, and
 * for each that is late, if that may be. What is still under way when there are enough is cancelled through its signal and
 * not waited for: a loser gives back what it holds when it ends.
 *
 * A call is late only if it still has not answered after the process has looked for answers: one that stood still for a while
 * (the garbage collector, another process) would otherwise take all its calls for late.
 */
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import type { Alarm, Sleeper } from "./alarm.ts";

export function cancelled(signal: AbortSignal): HoldfastError {
  return new HoldfastError("cancelled", "The request was cancelled.", { cause: signal.reason });
}

/** A reason that is given spares the making of one, with its stack, for every call. */
export const isOver = new Error("Nobody waits for it any more.");

/** Something that is waited for, or a time. */
export class Bell {
  #hasRung = false;
  #wake: () => void = () => undefined;

  ring(): void {
    this.#hasRung = true;
    this.#wake();
  }

  /** Resolves to false when it was the time. `ms`: undefined waits for the bell alone. */
  async wait(clock: Clock, ms: number | undefined): Promise<boolean> {
    if (!this.#hasRung) {
      const over = new AbortController();
      const rung = new Promise<void>((resolve) => (this.#wake = resolve));
      await (ms === undefined ? rung : Promise.race([rung, clock.sleep(Math.ceil(Math.max(0, ms)), over.signal)]));
      over.abort(isOver);
      // Answers that came while the process stood still are met first.
      if (!this.#hasRung) await new Promise((resolve) => setImmediate(resolve));
    }
    const hasRung = this.#hasRung;
    this.#hasRung = false;
    return hasRung;
  }
}

export type Call<T> = {
  run(signal: AbortSignal): Promise<T>;
  /** How long it may take. */
  readonly lateMs: number;
};

export type GatherOptions<T> = {
  readonly clock: Clock;
  readonly alarm: Alarm;
  readonly signal: AbortSignal;
  /** From the best on. */
  readonly calls: readonly Call<T>[];
  /** Answers that are still missing; 0 is the end. */
  readonly missing: () => number;
  /** Must not throw. */
  readonly onAnswer: (index: number, value: T) => void;
  /** Whether a late call, under way for so long, is doubled by the next now. It is asked again some time later. */
  readonly mayHedge: (elapsedMs: number) => boolean;
};

/** Errors: `cancelled`; that of the last call that failed, when too few are left. */
export function gather<T>(options: GatherOptions<T>): Promise<void> {
  return new Promise((resolve, reject) => new Gathering(options, resolve, reject).begin());
}

type UnderWay = {
  readonly index: number;
  readonly stop: AbortController;
  readonly beganMs: number;
  /** When it is looked at. */
  lookMs: number;
  isDoubled: boolean;
};

/** Goes on with each answer, in the turn in which it comes: most often there is one call, which answers in time. */
class Gathering<T> implements Sleeper {
  /** When the alarm wakes it; Infinity: it was not asked to. */
  atMs = Infinity;
  readonly #options: GatherOptions<T>;
  readonly #resolve: () => void;
  readonly #reject: (error: unknown) => void;
  readonly #underWay = new Set<UnderWay>();
  #next = 0;
  #failure: unknown;
  #isOver = false;

  constructor(options: GatherOptions<T>, resolve: () => void, reject: (error: unknown) => void) {
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  begin(): void {
    const { signal } = this.#options;
    if (signal.aborted) return this.#reject(cancelled(signal));
    signal.addEventListener("abort", this.#onAbort);
    this.#go(() => undefined);
  }

  wake(): void {
    this.atMs = Infinity;
    this.#go(() => this.#lookAtLate());
  }

  readonly #onAbort = (): void => {
    const { signal } = this.#options;
    this.#end(signal.reason);
    this.#reject(cancelled(signal));
  };

  /** After something has happened: ends, or begins what has to be under way. What is thrown ends it too. */
  #go(first: () => void): void {
    try {
      first();
      const isMissing = this.#fill();
      if (isMissing && this.#underWay.size > 0) return this.#watch();
      this.#end(isOver);
      if (isMissing) this.#reject(this.#failure);
      else this.#resolve();
    } catch (error) {
      this.#end(isOver);
      this.#reject(error);
    }
  }

  #end(reason: unknown): void {
    this.#isOver = true;
    this.#options.signal.removeEventListener("abort", this.#onAbort);
    this.#options.alarm.clear(this);
    for (const { stop } of this.#underWay) stop.abort(reason);
  }

  /** False when nothing is missing. */
  #fill(): boolean {
    const { calls, missing } = this.#options;
    const wanted = missing();
    if (wanted === 0) return false;
    let expected = 0;
    for (const { isDoubled } of this.#underWay) if (!isDoubled) expected += 1;
    for (; expected < wanted && this.#next < calls.length; expected++) this.#begin(this.#next++);
    return true;
  }

  #begin(index: number): void {
    const { calls, clock, onAnswer } = this.#options;
    const { run, lateMs } = calls[index]!;
    const beganMs = clock.monotonicMs();
    const call = { index, stop: new AbortController(), beganMs, lookMs: beganMs + lateMs, isDoubled: false };
    this.#underWay.add(call);
    const ended = (then: () => void): void => {
      this.#underWay.delete(call);
      if (!this.#isOver) this.#go(then);
    };
    run(call.stop.signal).then(
      (value) => ended(() => onAnswer(index, value)),
      (error: unknown) => ended(() => (this.#failure = error)),
    );
  }

  /** Nothing to wait for but answers, when there is no other call. */
  #watch(): void {
    const { alarm, calls } = this.#options;
    let atMs = Infinity;
    if (this.#next < calls.length)
      for (const { isDoubled, lookMs } of this.#underWay) if (!isDoubled) atMs = Math.min(atMs, lookMs);
    if (atMs === this.atMs) return;
    alarm.clear(this);
    this.atMs = atMs;
    if (atMs < Infinity) alarm.set(this);
  }

  #lookAtLate(): void {
    const { clock, calls, mayHedge } = this.#options;
    const nowMs = clock.monotonicMs();
    let next = this.#next;
    for (const call of this.#underWay) {
      if (call.isDoubled || nowMs < call.lookMs || next === calls.length) continue;
      call.isDoubled = mayHedge(nowMs - call.beganMs);
      if (call.isDoubled) next += 1;
      else call.lookMs = nowMs + calls[call.index]!.lateMs;
    }
  }
}
