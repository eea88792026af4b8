/** What a process has under way for other nodes, counted. Who is one too many is refused at once: it knows best what to do. */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";

export class InFlight {
  /** Calls by the name of the node that made them; names without calls are not kept. */
  readonly #calls = new Map<string, number>();
  #allCalls = 0;
  #bodyBytes = 0;

  /** Returns what ends it. Errors: `slow_down`. */
  enter(from: string, bodyBytes: number): () => void {
    const calls = this.#calls.get(from) ?? 0;
    const isTooMuch =
      calls >= limits.callsOfOnePeerInFlightMax ||
      this.#allCalls >= limits.peerCallsInFlightMax ||
      this.#bodyBytes + bodyBytes > limits.peerBodyBytesInFlightMax;
    if (isTooMuch) throw new HoldfastError("slow_down", "A node has too many calls of others under way.");
    this.#count(from, 1, bodyBytes);
    return () => this.#count(from, -1, -bodyBytes);
  }

  #count(from: string, calls: number, bodyBytes: number): void {
    const now = (this.#calls.get(from) ?? 0) + calls;
    if (now === 0) this.#calls.delete(from);
    else this.#calls.set(from, now);
    this.#allCalls += calls;
    this.#bodyBytes += bodyBytes;
  }
}
