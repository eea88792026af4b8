/**
 * A few sessions, each lent to one caller at a time. They are opened when first needed, dropped when broken or when
 * another host has become the one that takes writes, and opened anew. Whoever waits for one is served in turn, and waits
 * no longer than Primary tries; then all who wait are refused with its sentence.
 */
import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { unavailable } from "./postgres_errors.ts";
import type { Primary } from "./postgres_primary.ts";
import type { Session } from "./postgres_session.ts";

type Waiter = { readonly resolve: (session: Session) => void; readonly reject: (error: unknown) => void };

export type PoolOptions = {
  readonly primary: Primary;
  readonly clock: Clock;
  readonly sessionsMax: number;
};

export class Pool {
  readonly #primary: Primary;
  readonly #clock: Clock;
  readonly #sessionsMax: number;
  readonly #closing = new AbortController();
  #idle: Session[] = [];
  #lent = 0;
  #opening = 0;
  readonly #waiting: Waiter[] = [];
  #settled: (() => void)[] = [];

  constructor({ primary, clock, sessionsMax }: PoolOptions) {
    assert(sessionsMax >= 1, "a pool has a session");
    this.#primary = primary;
    this.#clock = clock;
    this.#sessionsMax = sessionsMax;
  }

  /** Lends a session for as long as `work` takes. Errors: `unavailable`, and those of `work`. */
  async use<T>(work: (session: Session) => Promise<T>): Promise<T> {
    const session = await this.#acquire();
    try {
      return await work(session);
    } finally {
      this.#release(session);
    }
  }

  /** Waits for what is lent; nobody may wait or come any more. */
  async close(): Promise<void> {
    this.#closing.abort();
    for (const { reject } of this.#waiting.splice(0)) reject(closed());
    while (this.#lent + this.#opening > 0) await new Promise<void>((resolve) => this.#settled.push(resolve));
    await Promise.all(this.#idle.splice(0).map((session) => session.end(this.#clock)));
  }

  #acquire(): Promise<Session> {
    if (this.#closing.signal.aborted) return Promise.reject(closed());
    this.#idle = this.#idle.filter((session) => this.#isUsable(session));
    const session = this.#idle.pop();
    if (session !== undefined) {
      this.#lent += 1;
      return Promise.resolve(session);
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#open();
    });
  }

  #isUsable(session: Session): boolean {
    if (this.#primary.isCurrent(session)) return true;
    session.drop();
    return false;
  }

  #open(): void {
    const room = this.#sessionsMax - this.#lent - this.#opening - this.#idle.length;
    if (room <= 0 || this.#waiting.length <= this.#opening || this.#closing.signal.aborted) return;
    this.#opening += 1;
    void this.#primary
      .open(this.#closing.signal)
      .then(
        (session) => {
          this.#opening -= 1;
          this.#give(session);
        },
        (error: unknown) => {
          this.#opening -= 1;
          for (const { reject } of this.#waiting.splice(0)) reject(error);
        },
      )
      .finally(() => this.#tellSettled());
  }

  #release(session: Session): void {
    this.#lent -= 1;
    if (session.broken) this.#primary.distrust(session);
    if (this.#isUsable(session)) this.#give(session);
    else this.#open();
    this.#tellSettled();
  }

  #give(session: Session): void {
    const waiter = this.#waiting.shift();
    if (waiter === undefined) {
      this.#idle.push(session);
      return;
    }
    this.#lent += 1;
    waiter.resolve(session);
  }

  #tellSettled(): void {
    for (const resolve of this.#settled.splice(0)) resolve();
  }
}

function closed(): Error {
  return unavailable("The metadata store is closed.");
}
