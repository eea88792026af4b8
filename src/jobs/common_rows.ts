/**
 * Rows that every process reads, and of which there are more the more processes there are (sessions, relocations). Read at each look
 * they would cost the metadata store the square of the processes; so they are read again only after a while, such that all processes
 * together read a bounded number in a second. In a store of few processes that is at each look.
 */
import { limits } from "../core/limits.ts";
import type { Clock } from "../core/clock.ts";

/** Pauses that are shorter are not made. */
const pauseMsMin = 20;

export class CommonRows<T> {
  readonly #clock: Clock;
  readonly #read: () => Promise<readonly T[]>;
  #rows: readonly T[] = [];
  #readMs = -Infinity;

  constructor(clock: Clock, read: () => Promise<readonly T[]>) {
    this.#clock = clock;
    this.#read = read;
  }

  /** As they were at the last look that was due. */
  get rows(): readonly T[] {
    return this.#rows;
  }

  /** Whether they were read now. `processes`: how many do so. */
  async look(processes: number): Promise<boolean> {
    const pauseMs = Math.min(
      (1_000 * processes * this.#rows.length) / limits.commonRowsPerSecond,
      limits.commonRowsMsMax,
    );
    const nowMs = this.#clock.monotonicMs();
    if (pauseMs >= pauseMsMin && nowMs - this.#readMs < pauseMs) return false;
    this.#rows = await this.#read();
    this.#readMs = nowMs;
    return true;
  }
}
