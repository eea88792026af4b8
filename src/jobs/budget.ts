/**
 * What background work of one process may take: repair, rebalance, conversion, scrub and compaction go through one budget. It
 * has an upper rate, and it yields to clients: while this process serves requests, one piece of work is done at a time, and
 * after each comes a rest of several times as long as the piece took. With nobody there work runs as fast as it can.
 *
 * What a piece takes is measured, not reckoned: where clients and work wait for the same drive, pieces take longer and so do
 * the rests. Other processes have budgets of their own.
 */
import type { Clock } from "../core/clock.ts";

/** Rest after a piece of work while clients are served, as a multiple of the time it took; and at most. */
const restFactor = 3;
const restMsMax = 2_000;
/** Clients count as being there for so long after a request was seen: they come in bursts. */
const servingMs = 250;
/** Bytes may be moved so much earlier than the rate has it. */
const burstMs = 100;
/** How often it is looked whether clients have gone. */
const lookMs = 25;

/** Decides when the next piece of work may begin. Pure: it is told the time. */
export class Pace {
  readonly #bytesPerMs: number;
  #servedMs = -Infinity;
  #restUntilMs = -Infinity;
  /** When all bytes so far have been moved at the upper rate. */
  #paidUntilMs = -Infinity;
  #underWay = 0;

  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1_000;
  }

  /** `requests`: of clients, that are under way or were served since the last call. */
  saw(requests: number, nowMs: number): void {
    if (requests > 0) this.#servedMs = nowMs;
  }

  /** 0: now. */
  waitMs(nowMs: number): number {
    const rateMs = this.#paidUntilMs - nowMs;
    if (nowMs - this.#servedMs > servingMs) return Math.max(0, rateMs);
    const turnMs = this.#underWay > 0 ? lookMs : 0;
    return Math.max(0, rateMs, turnMs, this.#restUntilMs - nowMs);
  }

  begin(): void {
    this.#underWay += 1;
  }

  end(piece: { readonly bytes: number; readonly tookMs: number }, nowMs: number): void {
    this.#underWay -= 1;
    this.#paidUntilMs = Math.max(this.#paidUntilMs, nowMs - burstMs) + piece.bytes / this.#bytesPerMs;
    this.#restUntilMs = Math.max(this.#restUntilMs, nowMs + Math.min(restMsMax, restFactor * piece.tookMs));
  }
}

export type BudgetParts = {
  readonly clock: Clock;
  readonly bytesPerSecond: number;
  /** Requests of clients, of this process, that are under way or were served since the last call. */
  readonly activity: () => number;
};

export class Budget {
  readonly #parts: BudgetParts;
  readonly #pace: Pace;

  constructor(parts: BudgetParts) {
    this.#parts = parts;
    this.#pace = new Pace(parts.bytesPerSecond);
  }

  /** Does one piece of work, that reads and writes so many bytes, when it is its turn; at once when the signal aborts. */
  async piece<T>(bytes: number, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const { clock } = this.#parts;
    await this.#begin(signal);
    const beganMs = clock.monotonicMs();
    try {
      return await work();
    } finally {
      const nowMs = clock.monotonicMs();
      this.#pace.end({ bytes, tookMs: nowMs - beganMs }, nowMs);
    }
  }

  /**
   * For work that is one call and may pause in between: to be awaited after so many bytes. It counts as a piece that has just
   * been done, so that such work goes on beside others'.
   */
  pauses(signal: AbortSignal): (bytes: number) => Promise<void> {
    const { clock } = this.#parts;
    let beganMs = clock.monotonicMs();
    return async (bytes) => {
      const tookMs = clock.monotonicMs() - beganMs;
      this.#pace.begin();
      this.#pace.end({ bytes, tookMs }, clock.monotonicMs());
      await this.piece(0, signal, async () => undefined);
      beganMs = clock.monotonicMs();
    };
  }

  /** Looks and begins in one go: of those that wait only one finds that it is its turn. */
  async #begin(signal: AbortSignal): Promise<void> {
    const { clock, activity } = this.#parts;
    while (!signal.aborted) {
      const nowMs = clock.monotonicMs();
      this.#pace.saw(activity(), nowMs);
      const waitMs = this.#pace.waitMs(nowMs);
      if (waitMs <= 0) break;
      await clock.sleep(Math.min(waitMs, lookMs), signal);
    }
    this.#pace.begin();
  }
}
