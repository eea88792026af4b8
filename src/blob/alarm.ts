/**
 * One timer for all calls of a process that may become late. Nearly all of them answer in time, so that to ask for a call and to
 * take it back has to cost next to nothing: the timer is set for the first of them, stays when that one was taken back, and
 * is ended when nobody waits.
 *
 * Nobody is woken before the process has looked for answers: one that stood still for a while (the garbage collector, another
 * process) would otherwise take all its calls for late.
 */
import type { Clock } from "../core/clock.ts";

/** A reason that is given spares the making of one, with its stack. */
const nobodyWaits = new Error("Nobody waits for it any more.");

export type Sleeper = {
  /** Does not change while it waits. */
  readonly atMs: number;
  /** Must not throw. */
  wake(): void;
};

type Timer = { readonly atMs: number; readonly stop: AbortController };

export class Alarm {
  readonly #clock: Clock;
  readonly #waiting = new Set<Sleeper>();
  #timer: Timer | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Wakes the sleeper once, at its time of the monotonic clock or later. */
  set(sleeper: Sleeper): void {
    this.#waiting.add(sleeper);
    if (this.#timer === undefined || sleeper.atMs < this.#timer.atMs) this.#start(sleeper.atMs);
  }

  clear(sleeper: Sleeper): void {
    if (this.#waiting.delete(sleeper) && this.#waiting.size === 0) this.#stop();
  }

  #start(atMs: number): void {
    this.#stop();
    const timer: Timer = { atMs, stop: new AbortController() };
    this.#timer = timer;
    void this.#run(timer);
  }

  #stop(): void {
    this.#timer?.stop.abort(nobodyWaits);
    this.#timer = undefined;
  }

  async #run(timer: Timer): Promise<void> {
    const leftMs = timer.atMs - this.#clock.monotonicMs();
    await this.#clock.sleep(Math.ceil(Math.max(0, leftMs)), timer.stop.signal);
    // Answers that came while the process stood still are met first.
    if (this.#timer === timer) await new Promise((resolve) => setImmediate(resolve));
    if (this.#timer !== timer) return;
    this.#timer = undefined;
    this.#wakeThoseDue();
    let nextMs = Infinity;
    for (const { atMs } of this.#waiting) nextMs = Math.min(nextMs, atMs);
    const set = this.#timer as Timer | undefined;
    if (nextMs < (set?.atMs ?? Infinity)) this.#start(nextMs);
  }

  #wakeThoseDue(): void {
    const nowMs = this.#clock.monotonicMs();
    const due = [...this.#waiting].filter(({ atMs }) => atMs <= nowMs);
    for (const sleeper of due) if (this.#waiting.delete(sleeper)) sleeper.wake();
  }
}
