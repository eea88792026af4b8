/**
 * Time of a simulated cluster: one for all, which goes on only when it is told to, so that who sleeps wakes in the same order in
 * every run of a seed. Each machine's wall clock is off by something of its own.
 */
import { setImmediate as turn } from "node:timers/promises";
import type { Clock } from "../../../src/core/clock.ts";
import type { Random } from "../../../src/core/random.ts";
import type { Power } from "../power.ts";

type Sleeper = { readonly atMs: number; wake: (() => void) | undefined };

const epochMs = 1_700_000_000_000;

export class SimTime {
  #nowMs = 0;
  /** In the order in which they wake; those that were woken early stay in until then. */
  readonly #sleepers: Sleeper[] = [];

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Of whoever looks from outside. */
  clock(): Clock {
    return {
      nowMs: () => epochMs + this.#nowMs,
      monotonicMs: () => this.#nowMs,
      sleep: (ms, signal) => this.sleep(ms, signal),
    };
  }

  /** As a process of a machine sees it: one that stands still sleeps on. */
  clockOf(power: Power, skewMs: number): Clock {
    return {
      nowMs: () => epochMs + skewMs + this.#nowMs,
      monotonicMs: () => this.#nowMs,
      sleep: async (ms, signal) => {
        await this.sleep(ms, signal);
        if (power.isPaused) await power.moving();
      },
    };
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const sleeper: Sleeper = { atMs: this.#nowMs + ms, wake: undefined };
      const wake = (): void => {
        sleeper.wake = undefined;
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      sleeper.wake = wake;
      signal?.addEventListener("abort", wake, { once: true });
      this.#sleepers.splice(this.#placeOf(sleeper.atMs), 0, sleeper);
    });
  }

  /** Behind all that wake at the same time. */
  #placeOf(atMs: number): number {
    let [low, high] = [0, this.#sleepers.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#sleepers[middle]!.atMs <= atMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Time in which nothing else happens. */
  jump(ms: number): void {
    this.#nowMs += ms;
  }

  #pass(ms: number): void {
    this.#nowMs += ms;
    const due = this.#sleepers.splice(0, this.#placeOf(this.#nowMs));
    for (const { wake } of due) wake?.();
  }

  /** Lets everybody work while time goes on, some milliseconds a turn of the event loop, until the work has ended. */
  async during<T>(work: Promise<T>, random: Random, turnMs: number): Promise<T> {
    let isOver = false;
    const over = (): void => void (isOver = true);
    work.then(over, over);
    while (!isOver) {
      await turn();
      this.#pass(random.below(2 * turnMs + 1));
    }
    return work;
  }
}
