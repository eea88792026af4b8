/**
 * The metadata store in PostgreSQL (14 or newer), through npm `pg`: for several machines, and for one whose owner has a
 * PostgreSQL already. All gateways of a cluster share one schema; tests and other stores have schemas of their own.
 *
 * Commits of this process go in batches, one statement each, decided by a function inside the engine: postgres_batches.ts
 * says how they are gathered, postgres_batch.ts what one batch may hold, postgres_schema.ts why it is strictly serializable.
 * Gets are gathered too (postgres_reads.ts). Measured and decided in docs/decisions/0005-postgres-driver.md.
 *
 * Order of durability: a batch's records are written to the engine's log → synced there (and at the synchronous standbys,
 * where the engine has some) → the batch becomes visible → its locks are given up → its commits are acknowledged. So a read
 * never sees what is not durable. `synchronous_commit` is set to `on` for every session, or left at `remote_apply`; an
 * engine with `fsync = off` is refused.
 *
 * When the engine goes away. Commits and reads that have not been sent wait for it, up to postgresAwayMsMax in all; later
 * ones are refused at once with `unavailable` until it is back. The one of several hosts that takes writes is looked for
 * each time. Reads that were under way are asked again. Commits that were under way are `unavailable`, their outcome
 * unknown: they may have been applied.
 *
 * Reads go to the host that takes writes: a standby may lag behind what was acknowledged.
 *
 * Known gaps. Between the client and the engine there must be no pooler that hands a session's statements to different
 * servers (PgBouncer's transaction mode), for the session's settings matter. After a failover to a standby that was not
 * synchronous, what only the lost host had is gone; so set `synchronous_standby_names`. That the old host takes no more
 * writes, and answers no more reads, when a new one begins is up to what fails the engine over. An administrator who
 * breaks off a commit's wait for its standby makes it visible before it is there; its commit is not acknowledged then.
 * Bytes of a commit must not be changed by the caller until it resolves; they are not copied.
 */
import { systemClock } from "../core/clock.ts";
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import type { Log } from "../core/log.ts";
import { assertCommit, assertKeys, assertScan } from "./bounds.ts";
import type { Commit, CommitResult, Entry, Key, KeyRange, Kv, ScanOptions } from "./kv.ts";
import { PostgresBatches } from "./postgres_batches.ts";
import type { PostgresBatchFacts } from "./postgres_batches.ts";
import { isFinal, isMissing, reasonOf, unavailable } from "./postgres_errors.ts";
import { Pool } from "./postgres_pool.ts";
import { Primary } from "./postgres_primary.ts";
import { PostgresReads } from "./postgres_reads.ts";
import { formatVersion, statementsFor } from "./postgres_schema.ts";
import type { Statements } from "./postgres_schema.ts";
import type { Session } from "./postgres_session.ts";
import { parsePostgresUrl } from "./postgres_url.ts";

export type PostgresKvOptions = {
  /** `postgres://user:password@host1:5432,host2:5432/database?schema=holdfast&sslmode=verify-full` (postgres_url.ts). */
  readonly url: string;
  /** Goes before the URL's. */
  readonly schema?: string;
  readonly log?: Log;
  readonly clock?: Clock;
  /** Called after each batch that was committed. */
  readonly onBatch?: (facts: PostgresBatchFacts) => void;
  /** Takes an engine that does not sync, too. For tests and for what can be rebuilt from elsewhere. */
  readonly allowNoSync?: boolean;
  /** How long calls wait for an engine that is away; postgresAwayMsMax by default. */
  readonly awayMsMax?: number;
  /** How long an answer of the engine is waited for; postgresAnswerMsMax by default. */
  readonly answerMsMax?: number;
  /** For measurements: batches under way at the same time, and commits in one. */
  readonly batchesMax?: number;
  readonly batchCommitsMax?: number;
};

/**
 * Makes the schema when it is missing. Errors: `invalid_argument` for a URL, a user or an engine that will not do,
 * `unavailable` when the engine is away, `corrupt_record` when the schema is not a store this build knows.
 */
export async function openPostgresKv(options: PostgresKvOptions): Promise<Kv> {
  const { hosts, schema } = parsePostgresUrl(options.url, options.schema);
  const { log = silentLog, clock = systemClock, allowNoSync = false } = options;
  const { awayMsMax = limits.postgresAwayMsMax, answerMsMax = limits.postgresAnswerMsMax } = options;
  const primary = new Primary({ hosts, log, clock, allowNoSync, awayMsMax, answerMsMax });
  const statements = statementsFor(schema);
  const kv = new PostgresKv({ ...options, log, clock, primary, statements });
  try {
    await kv.prepare(schema);
  } catch (error) {
    await kv.close();
    throw error;
  }
  return kv;
}

type Parts = PostgresKvOptions & {
  readonly log: Log;
  readonly clock: Clock;
  readonly primary: Primary;
  readonly statements: Statements;
};

class PostgresKv implements Kv {
  readonly name = "postgres";
  readonly #statements: Statements;
  readonly #pools: { readonly commits: Pool; readonly reads: Pool };
  readonly #batches: PostgresBatches;
  readonly #reads: PostgresReads;
  #closing: Promise<void> | undefined;

  constructor({ primary, statements, log, clock, onBatch, ...options }: Parts) {
    const batchesMax = options.batchesMax ?? limits.postgresCommitConnectionsMax;
    // Apart, so that commits that wait for locks keep no read waiting.
    this.#pools = {
      commits: new Pool({ primary, clock, sessionsMax: batchesMax }),
      reads: new Pool({ primary, clock, sessionsMax: limits.postgresReadConnectionsMax }),
    };
    this.#statements = statements;
    this.#batches = new PostgresBatches({
      pool: this.#pools.commits,
      statement: statements.commit,
      boundedStatement: statements.commitBounded,
      log,
      clock,
      batchesMax,
      batchCommitsMax: options.batchCommitsMax ?? limits.postgresBatchCommitsMax,
      ...(onBatch === undefined ? {} : { onBatch }),
    });
    this.#reads = new PostgresReads({ pool: this.#pools.reads, statements, clock });
  }

  /** Sees to it that the schema is one this build knows. */
  async prepare(schema: string): Promise<void> {
    const format = await this.#pools.commits.use(async (session) => {
      try {
        return (await formatOf(session, this.#statements)) ?? (await create(session, this.#statements));
      } catch (error) {
        if (error instanceof HoldfastError) throw error;
        const message = `The schema ${schema} of the metadata store cannot be used: ${reasonOf(error)}.`;
        throw new HoldfastError(isFinal(error) ? "invalid_argument" : "unavailable", message, { cause: error });
      }
    });
    if (format !== String(formatVersion)) {
      const found = `The metadata store has format version ${String(format)}; this build knows ${formatVersion}.`;
      throw new HoldfastError("corrupt_record", found);
    }
  }

  async get(keys: readonly Key[]): Promise<(Entry | undefined)[]> {
    assertKeys(keys);
    this.#assertOpen();
    return keys.length === 0 ? [] : this.#reads.get(keys);
  }

  async scan(range: KeyRange, options: ScanOptions): Promise<Entry[]> {
    assertScan(range, options);
    this.#assertOpen();
    return Buffer.compare(range.start, range.end) >= 0 ? [] : this.#reads.scan(range, options);
  }

  async commit(commit: Commit): Promise<CommitResult> {
    const bytes = assertCommit(commit);
    this.#assertOpen();
    return this.#batches.submit(commit, bytes);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#batches.settled();
    await Promise.all([this.#pools.commits.close(), this.#pools.reads.close()]);
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw unavailable("The metadata store is closed.");
  }
}

/** Undefined when there is no store yet. */
async function formatOf(session: Session, statements: Statements): Promise<string | null | undefined> {
  try {
    const [row] = await session.query(statements.format, []);
    // A store that an earlier build made lacks what came later.
    if (row?.[0] === String(formatVersion) && row[1] === null) await session.script(statements.complete);
    return row?.[0];
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

async function create(session: Session, statements: Statements): Promise<string | null | undefined> {
  await session.script(statements.create);
  return formatOf(session, statements);
}
