/**
 * Finds the one host that takes writes, and opens sessions to it. The host that was it last is asked first, then all at the
 * same time. When two say that they take writes, none is used.
 *
 * Sessions are out of date (`isCurrent`) when another host has become the one that takes writes, and when a session broke
 * in use: what cut it off may have cut off all that were open, and nobody would be told.
 *
 * Known gap: which host takes writes is what the hosts themselves say. That an old one stops before a new one begins
 * (fencing) is the business of whatever fails the engine over; two at a time would be two stores.
 */
import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import { unavailable } from "./postgres_errors.ts";
import { areFinal, describeFailures, Session } from "./postgres_session.ts";
import type { PostgresHost } from "./postgres_url.ts";

const backoffMsMin = 25;
const backoffMsMax = 500;
/** How long the host that took writes last is asked alone, and how long others are heard once one was found. */
const headStartMs = 500;
const hearingMs = 200;

type Failures = ReadonlyMap<PostgresHost, unknown>;

export type PrimaryOptions = {
  readonly hosts: readonly PostgresHost[];
  readonly log: Log;
  readonly clock: Clock;
  readonly allowNoSync: boolean;
  readonly answerMsMax: number;
  /** How long calls wait for an engine that is away. */
  readonly awayMsMax: number;
};

export class Primary {
  readonly #options: PrimaryOptions;
  #host: PostgresHost | undefined;
  /** Since when no session could be opened; undefined while they can. */
  #awaySinceMs: number | undefined;
  #backoffMs = backoffMsMin;
  /** Goes up when the sessions that are open are to be used no more. */
  #era = 0;

  constructor(options: PrimaryOptions) {
    assert(options.hosts.length >= 1, "there is a host");
    this.#options = options;
  }

  /** For people: whom we talk to, or would. */
  get name(): string {
    return this.#host?.name ?? this.#options.hosts.map(({ name }) => name).join(", ");
  }

  isCurrent(session: Session): boolean {
    return !session.broken && session.host === this.#host && session.era === this.#era;
  }

  /** A session broke while it was in use: what happened to it may have happened to all that are open now. */
  distrust(session: Session): void {
    if (session.era === this.#era) this.#era += 1;
  }

  /**
   * Tries until it has a session or has been away for awayMsMax, and once at least.
   * Errors: `unavailable`, or `invalid_argument` for what waiting does not mend, with a sentence for people.
   */
  async open(signal: AbortSignal): Promise<Session> {
    for (;;) {
      if (signal.aborted) throw unavailable("The metadata store is closed.");
      const found = await this.#round();
      if (found instanceof Session) return found;
      const { clock, awayMsMax } = this.#options;
      this.#awaySinceMs ??= clock.monotonicMs();
      const awayMs = clock.monotonicMs() - this.#awaySinceMs;
      const final = areFinal(found);
      if (final || awayMs >= awayMsMax) throw this.#away(found, final);
      await clock.sleep(this.#backoffMs, signal);
      this.#backoffMs = Math.min(backoffMsMax, this.#backoffMs * 2);
    }
  }

  /**
   * One attempt at each host that may be it. Whoever was it last has a head start; the others are asked when it fails or
   * takes long, as a host that is cut off does. When one is found, those that answer at once are heard too.
   */
  async #round(): Promise<Session | Failures> {
    const { hosts, clock, ...options } = this.#options;
    const era = this.#era;
    const round = new Round((host) => Session.open({ ...options, host, era }));
    const last = this.#host;
    if (last !== undefined) await Promise.race([round.ask(last), clock.sleep(headStartMs)]);
    if (round.found.length === 0) {
      for (const host of hosts) if (host !== last) void round.ask(host);
      await round.first();
      await Promise.race([round.all(), clock.sleep(hearingMs)]);
    }
    const result = round.end();
    if (result instanceof Session) this.#found(result);
    return result;
  }

  #found(session: Session): void {
    if (this.#awaySinceMs !== undefined || this.#host !== session.host) {
      this.#options.log.info({ host: session.host.name }, "Connected to the metadata store.");
    }
    this.#host = session.host;
    this.#awaySinceMs = undefined;
    this.#backoffMs = backoffMsMin;
  }

  #away(failures: Failures, final: boolean): HoldfastError {
    const one = this.#options.hosts.length === 1;
    const what = one ? "PostgreSQL, which keeps the metadata, cannot be used" : "No PostgreSQL host takes writes";
    const message = `${what} (${describeFailures(failures)}). Look whether it runs and can be reached from here, and at its log.`;
    const cause = [...failures.values()][0];
    this.#options.log.error({ err: cause }, message);
    return new HoldfastError(final ? "invalid_argument" : "unavailable", message, { cause });
  }
}

/** What the hosts answered when they were asked once. */
class Round {
  readonly found: Session[] = [];
  readonly #failures = new Map<PostgresHost, unknown>();
  readonly #open: (host: PostgresHost) => Promise<Session>;
  readonly #asked: Promise<boolean>[] = [];
  #ended = false;

  constructor(open: (host: PostgresHost) => Promise<Session>) {
    this.#open = open;
  }

  /** Resolves when the host has answered, or will not. */
  ask(host: PostgresHost): Promise<boolean> {
    const asked = this.#open(host).then(
      (session) => {
        // Too late: another one has been chosen.
        if (this.#ended) session.drop();
        else this.found.push(session);
        return true;
      },
      (error: unknown) => {
        this.#failures.set(host, error);
        return false;
      },
    );
    this.#asked.push(asked);
    return asked;
  }

  /** Resolves when one was found, or none is left that could be. */
  async first(): Promise<void> {
    const found = this.#asked.map((asked) =>
      asked.then((is) => {
        if (!is) throw new Error("not this one");
      }),
    );
    await Promise.any(found).catch(() => undefined);
  }

  async all(): Promise<void> {
    await Promise.all(this.#asked);
  }

  end(): Session | Failures {
    this.#ended = true;
    const [session, ...others] = this.found;
    if (session !== undefined && others.length === 0) return session;
    // Two that take writes: neither can be trusted to be the store.
    for (const each of this.found) {
      each.drop();
      this.#failures.set(each.host, unavailable("it takes writes, and so does another one"));
    }
    return this.#failures;
  }
}
