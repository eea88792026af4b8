/**
 * The log of those who were not let in: one line for each address in peerRefusalLogMs, with how many there were since the
 * last one, for at most peerRefusalAddressesMax addresses. Who has no secret can fill neither log nor memory.
 */
import type { Clock } from "../core/clock.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";

export class RefusalLog {
  readonly #clock: Clock;
  readonly #log: Log;
  /** By address, the one logged longest ago first. */
  readonly #seen = new Map<string, { readonly loggedMs: number; unlogged: number }>();

  constructor(clock: Clock, log: Log) {
    this.#clock = clock;
    this.#log = log;
  }

  note(address: string | undefined, message: string): void {
    const [nowMs, key] = [this.#clock.monotonicMs(), address ?? "unknown"];
    const seen = this.#seen.get(key);
    if (seen !== undefined && nowMs - seen.loggedMs < limits.peerRefusalLogMs) return void (seen.unlogged += 1);
    if (seen === undefined && !this.#hasRoom(nowMs)) return;
    this.#seen.delete(key);
    this.#seen.set(key, { loggedMs: nowMs, unlogged: 0 });
    this.#log.warn({ address: key, ...(seen && { refusedBefore: seen.unlogged }) }, message);
  }

  #hasRoom(nowMs: number): boolean {
    for (const [key, { loggedMs }] of this.#seen) {
      if (nowMs - loggedMs < limits.peerRefusalLogMs) break;
      this.#seen.delete(key);
    }
    return this.#seen.size < limits.peerRefusalAddressesMax;
  }
}
