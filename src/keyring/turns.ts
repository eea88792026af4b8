/** At most so many things at once; those that come while all places are taken wait for their turn, at most so many of them. */
import { HoldfastError } from "../core/errors.ts";

export class Turns {
  readonly #atOnceMax: number;
  readonly #waitingMax: number;
  readonly #waiting = new Set<() => void>();
  #taken = 0;

  constructor(bounds: { readonly atOnceMax: number; readonly waitingMax: number }) {
    this.#atOnceMax = bounds.atOnceMax;
    this.#waitingMax = bounds.waitingMax;
  }

  /** Errors: `slow_down` when too many wait; `unavailable` when the signal aborts before the turn has come; those of `work`. */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    await this.#take(signal);
    try {
      return await work();
    } finally {
      this.#giveBack();
    }
  }

  async #take(signal: AbortSignal): Promise<void> {
    if (this.#taken < this.#atOnceMax) {
      this.#taken += 1;
      return;
    }
    if (this.#waiting.size >= this.#waitingMax)
      throw new HoldfastError(
        "slow_down",
        "Too many requests wait for the key service. Please reduce your request rate.",
      );
    await new Promise<void>((resolve, reject) => {
      const come = (): void => {
        signal.removeEventListener("abort", goAway);
        resolve();
      };
      const goAway = (): void => {
        this.#waiting.delete(come);
        reject(new HoldfastError("unavailable", "The key service did not answer in time."));
      };
      if (signal.aborted) return goAway();
      this.#waiting.add(come);
      signal.addEventListener("abort", goAway, { once: true });
    });
  }

  /** The place goes to whoever waits longest. */
  #giveBack(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#taken -= 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
