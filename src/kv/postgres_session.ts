/**
 * One connection to one host, set up and examined: it is to an engine that takes writes and keeps what it acknowledged.
 * A session that did not answer, or that lost its connection, is broken for good; whoever has it drops it.
 */
import { Socket } from "node:net";
import { Client } from "pg";
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import { failureOf, isFinal, reasonOf } from "./postgres_errors.ts";
import { examineStatement, setUpStatement } from "./postgres_schema.ts";
import type { Statement } from "./postgres_schema.ts";
import type { PostgresHost } from "./postgres_url.ts";

export type Row = readonly (string | null)[];

export type SessionOptions = {
  readonly host: PostgresHost;
  readonly log: Log;
  /** Takes an engine that does not sync, too. For tests and for what can be rebuilt from elsewhere. */
  readonly allowNoSync: boolean;
  /** Which of the primary's eras it belongs to. */
  readonly era: number;
  /** An answer that takes longer is not waited for. */
  readonly answerMsMax: number;
};

const versionMin = 140_000;
const goodbyeMsMax = 1_000;

export class Session {
  readonly host: PostgresHost;
  readonly era: number;
  /** How many locks the engine has room for, from each connection. */
  locksMax = 0;
  readonly #client: Client;
  /** Ours, so that a connection can be given up without waiting for a peer that may be gone. */
  readonly #socket = new Socket();
  readonly #log: Log;
  #broken = false;
  #warned = false;

  private constructor({ host, log, era, answerMsMax }: SessionOptions) {
    this.host = host;
    this.era = era;
    this.#log = log;
    this.#client = new Client({
      connectionString: host.connectionString,
      connectionTimeoutMillis: limits.postgresConnectMsMax,
      query_timeout: answerMsMax,
      fallback_application_name: "holdfast",
      keepAlive: true,
      stream: () => this.#socket,
      types: { getTypeParser: () => asItIs },
    });
    // Without a listener an error of an idle connection would end the process.
    this.#client.on("error", () => (this.#broken = true));
    this.#client.on("end", () => (this.#broken = true));
    this.#client.on("notice", (notice) => {
      this.#warned = true;
      this.#log.warn({ host: host.name, code: notice.code, notice: notice.message }, "PostgreSQL warns.");
    });
  }

  /** Errors: what the host is not fit for as `unavailable` or `invalid_argument`; otherwise those of npm `pg`. */
  static async open(options: SessionOptions): Promise<Session> {
    const session = new Session(options);
    try {
      await session.#client.connect();
      const [examined] = await session.query(examineStatement, []);
      session.#examine(examined!, options.allowNoSync);
      await session.query(setUpStatement, []);
      return session;
    } catch (error) {
      session.drop();
      throw error;
    }
  }

  get broken(): boolean {
    return this.#broken;
  }

  /**
   * Whether the engine warned of something since this was last asked. A commit during which it did may be less durable than
   * was asked for: so PostgreSQL says that waiting for a replica was broken off.
   */
  takeWarning(): boolean {
    const warned = this.#warned;
    this.#warned = false;
    return warned;
  }

  /** One round trip. Errors: those of npm `pg`; the session may be broken then. */
  async query({ name, text }: Statement, parameters: readonly (Buffer | number)[]): Promise<Row[]> {
    try {
      const config = { text, values: [...parameters], rowMode: "array" as const, ...(name === "" ? {} : { name }) };
      return (await this.#client.query<(string | null)[]>(config)).rows;
    } catch (error) {
      // What comes after an answer that was not waited for would be taken for that answer.
      if (failureOf(error).what === "lost") this.drop();
      throw error;
    }
  }

  /** Several statements without parameters, as one transaction. */
  async script({ text }: Statement): Promise<void> {
    try {
      await this.#client.query(text);
    } catch (error) {
      if (failureOf(error).what === "lost") this.drop();
      throw error;
    }
  }

  /** Says good-bye, and gives the connection up when that takes long. */
  async end(clock: Pick<Clock, "sleep">): Promise<void> {
    this.#broken = true;
    await Promise.race([this.#client.end().catch(() => undefined), clock.sleep(goodbyeMsMax)]);
    this.drop();
  }

  drop(): void {
    this.#broken = true;
    this.#socket.destroy();
  }

  #examine(row: Row, allowNoSync: boolean): void {
    const [synchronousCommit, fsync, fullPageWrites, readOnly, inRecovery, version, locks] = row;
    if (inRecovery === "true") throw unfit("it is a standby", false);
    if (readOnly === "on") throw unfit("it takes no writes (transaction_read_only is on)", false);
    if (Number(version) < versionMin) throw unfit("PostgreSQL 14 or newer is needed", true);
    if (synchronousCommit !== "on" && synchronousCommit !== "remote_apply") {
      throw unfit(`synchronous_commit is ${String(synchronousCommit)} and cannot be changed`, true);
    }
    if (fsync !== "on" && !allowNoSync) {
      throw unfit("fsync is off, so a power failure may destroy what was acknowledged; set fsync = on", true);
    }
    if (fullPageWrites !== "on" && !allowNoSync) {
      this.#log.warn({ host: this.host.name }, "PostgreSQL runs with full_page_writes = off: pages may be torn.");
    }
    this.locksMax = Number(locks);
  }
}

const asItIs = (text: string): string => text;

function unfit(why: string, final: boolean): HoldfastError {
  return new HoldfastError(final ? "invalid_argument" : "unavailable", why);
}

/** A sentence for each host, for people. */
export function describeFailures(failures: ReadonlyMap<PostgresHost, unknown>): string {
  return [...failures].map(([host, error]) => `${host.name}: ${reasonOf(error)}`).join("; ");
}

export function areFinal(failures: ReadonlyMap<PostgresHost, unknown>): boolean {
  return failures.size > 0 && [...failures.values()].every(isFinal);
}
