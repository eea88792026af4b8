/**
 * Finds the one host that takes writes, and opens sessions to it. The host that was it last is tried alone first, then all
 * at the same time. When another host has become it, sessions to the earlier one are out of date (`isCurrent`).
 *
 * Known gap: which host takes writes is what the hosts themselves say. That an old one stops before a new one begins
 * (fencing) is the business of whatever fails the engine over; two at a time would be two stores.
 */
import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import { unavailable } from "./postgres_errors.ts";
import { areFinal, describeFailures, Session } from "./postgres_session.ts";
import type { PostgresHost } from "./postgres_url.ts";

const backoffMsMin = 25;
const backoffMsMax = 1_000;

export type PrimaryOptions = {
  readonly hosts: readonly PostgresHost[];
  readonly log: Log;
  readonly clock: Clock;
  readonly allowNoSync: boolean;
};

export class Primary {
  readonly #options: PrimaryOptions;
  #host: PostgresHost | undefined;
  /** Since when no session could be opened; undefined while they can. */
  #awaySinceMs: number | undefined;
  #backoffMs = backoffMsMin;

  constructor(options: PrimaryOptions) {
    assert(options.hosts.length >= 1, "there is a host");
    this.#options = options;
  }

  /** For people: whom we talk to, or would. */
  get name(): string {
    return this.#host?.name ?? this.#options.hosts.map(({ name }) => name).join(", ");
  }

  isCurrent(session: Session): boolean {
    return !session.broken && session.host === this.#host;
  }

  /**
   * Tries until it has a session or has been away for postgresAwayMsMax, and once at least.
   * Errors: `unavailable`, or `invalid_argument` for what waiting does not mend, with a sentence for people.
   */
  async open(signal: AbortSignal): Promise<Session> {
    for (;;) {
      if (signal.aborted) throw unavailable("The metadata store is closed.");
      const found = await this.#round();
      if (found instanceof Session) return found;
      const { clock } = this.#options;
      this.#awaySinceMs ??= clock.monotonicMs();
      const awayMs = clock.monotonicMs() - this.#awaySinceMs;
      const final = areFinal(found);
      if (final || awayMs >= limits.postgresAwayMsMax) throw this.#away(found, final);
      await clock.sleep(this.#backoffMs, signal);
      this.#backoffMs = Math.min(backoffMsMax, this.#backoffMs * 2);
    }
  }

  /** One attempt at each host that may be it. */
  async #round(): Promise<Session | ReadonlyMap<PostgresHost, unknown>> {
    const failures = new Map<PostgresHost, unknown>();
    const last = this.#host;
    const session =
      (last === undefined ? undefined : await this.#try(last, failures)) ??
      (await this.#tryAll(
        this.#options.hosts.filter((host) => host !== last),
        failures,
      ));
    if (session === undefined) return failures;
    if (this.#awaySinceMs !== undefined || this.#host !== session.host) {
      this.#options.log.info({ host: session.host.name }, "Connected to the metadata store.");
    }
    this.#host = session.host;
    this.#awaySinceMs = undefined;
    this.#backoffMs = backoffMsMin;
    return session;
  }

  async #try(host: PostgresHost, failures: Map<PostgresHost, unknown>): Promise<Session | undefined> {
    const { log, allowNoSync } = this.#options;
    try {
      return await Session.open({ host, log, allowNoSync });
    } catch (error) {
      failures.set(host, error);
      return undefined;
    }
  }

  async #tryAll(hosts: readonly PostgresHost[], failures: Map<PostgresHost, unknown>): Promise<Session | undefined> {
    const sessions = await Promise.all(hosts.map((host) => this.#try(host, failures)));
    const [first, ...others] = sessions.filter((session) => session !== undefined);
    if (others.length === 0) return first;
    // Two that take writes: none of them can be trusted to be the store.
    for (const session of [first!, ...others]) {
      failures.set(session.host, unavailable("it takes writes, and so does another one"));
      session.drop();
    }
    return undefined;
  }

  #away(failures: ReadonlyMap<PostgresHost, unknown>, final: boolean): HoldfastError {
    const one = this.#options.hosts.length === 1;
    const what = one ? "PostgreSQL, which keeps the metadata, cannot be used" : "No PostgreSQL host takes writes";
    const message = `${what} (${describeFailures(failures)}). Look whether it runs and can be reached from here, and at its log.`;
    const cause = [...failures.values()][0];
    this.#options.log.error({ err: cause }, message);
    return new HoldfastError(final ? "invalid_argument" : "unavailable", message, { cause });
  }
}
