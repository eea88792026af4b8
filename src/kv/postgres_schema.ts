/**
 * What the store consists of inside PostgreSQL (docs/formats/metadata-postgres.md): one schema with a table of rows, a row
 * that says the format's version, a sequence of versions and the function that decides a batch of commits.
 *
 * Why a batch is strictly serializable. The function first takes an advisory lock for each row it checks (shared) or
 * writes (exclusive), in the order of their numbers, so that no two batches wait for each other. PostgreSQL gives them up
 * only after the transaction is durable and visible. Under READ COMMITTED each statement of the function sees what was
 * visible when it began, hence everything that was written under these locks before. That is strict two-phase locking,
 * and whatever order two conflicting batches have, they become visible in it: so one snapshot, which a get or a scan
 * takes, is a state of the one order too.
 *
 * The engine's table of locks has room for `max_locks_per_transaction` (64 by default) of every connection. A batch that
 * touches no more rows than that also takes the lock of the whole store, shared; a larger one takes only that, exclusive.
 *
 * Why versions are never used twice for one row: the sequence never goes back, not even in recovery, and a row's next
 * version is drawn under its exclusive lock, after the last one became visible. One number per batch is enough since
 * no batch writes a row twice.
 */
import { limits } from "../core/limits.ts";
import { boundedFunctions } from "./postgres_bounded.ts";

export const formatVersion = 1;

/** Schema names are put into statements; they consist of these characters only. */
export const schemaPattern = /^[a-z_][a-z0-9_]{0,47}$/;

/** A row that is no list of counters, for an `add`. PostgreSQL's own `numeric_value_out_of_range` is a sum too large. */
export const notCountersCode = "HF001";
export const outOfRangeCode = "22003";

/**
 * Settings of each of our sessions. Rows are always found through the key's index, whatever the statistics say about a
 * table that was empty a moment ago, so the planner is given no choice; its plans are made once.
 */
const settings: Readonly<Record<string, string>> = {
  default_transaction_isolation: "read committed",
  default_transaction_deferrable: "off",
  search_path: "pg_catalog, pg_temp",
  bytea_output: "hex",
  client_min_messages: "warning",
  statement_timeout: String(limits.postgresStatementMsMax),
  lock_timeout: "0",
  idle_session_timeout: "0",
  plan_cache_mode: "force_generic_plan",
  enable_seqscan: "off",
  enable_bitmapscan: "off",
  enable_hashjoin: "off",
  enable_mergejoin: "off",
  jit: "off",
};

/** The second statement of a session, and the first one, which looks whether the engine will do. */
export const setUpStatement = {
  name: "",
  text: `SELECT ${Object.entries(settings)
    .map(([name, value]) => `set_config('${name}', '${value}', false)`)
    .join(", ")}`,
};

/** A `synchronous_commit` that is stronger than ours is left as it is. */
export const examineStatement = {
  name: "",
  text: `SELECT set_config('synchronous_commit',
      CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false),
    current_setting('fsync'), current_setting('full_page_writes'), current_setting('transaction_read_only'),
    pg_is_in_recovery()::text, current_setting('server_version_num'), current_setting('max_locks_per_transaction')`,
};

export type Statement = { readonly name: string; readonly text: string };

/** Statements with a name are prepared once for each session. */
export type Statements = {
  readonly format: Statement;
  readonly create: Statement;
  readonly get: Statement;
  readonly scan: Statement;
  readonly scanReverse: Statement;
  readonly commit: Statement;
  readonly commitBounded: Statement;
  /** Makes what a store of the same format lacks that an earlier build made. */
  readonly complete: Statement;
};

export function statementsFor(schema: string): Statements {
  const range = `SELECT r.key, r.value, r.version FROM ${schema}.rows AS r WHERE r.key >= $1 AND r.key < $2 ORDER BY r.key`;
  return {
    format: {
      name: "",
      text: `SELECT format::text, to_regproc('${schema}.commit_bounded_batch')::text FROM ${schema}.store`,
    },
    create: { name: "", text: creation(schema) },
    complete: { name: "", text: `${createLock(schema)}\n${boundedFunctions(schema)}` },
    get: {
      name: "holdfast_get",
      text: `SELECT k.at, r.value, r.version
        FROM unnest($1::bytea[]) WITH ORDINALITY AS k(key, at) JOIN ${schema}.rows AS r ON r.key = k.key`,
    },
    scan: { name: "holdfast_scan", text: `${range} LIMIT $3::int` },
    scanReverse: { name: "holdfast_scan_reverse", text: `${range} DESC LIMIT $3::int` },
    commit: {
      name: "holdfast_commit",
      text: `SELECT ${schema}.commit_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
    },
    commitBounded: {
      name: "holdfast_commit_bounded",
      text: `SELECT ${schema}.commit_bounded_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
    },
  };
}

/**
 * One script, which the engine runs as one transaction; a lock keeps processes that start together apart. Values are kept
 * uncompressed: bodies do not shrink, and what does shrink is small.
 */
function creation(schema: string): string {
  return `
${createLock(schema)}
DO $body$ BEGIN
  IF to_regnamespace('${schema}') IS NULL THEN CREATE SCHEMA ${schema}; END IF;
END $body$;
CREATE TABLE IF NOT EXISTS ${schema}.store (one boolean PRIMARY KEY DEFAULT true CHECK (one), format int NOT NULL);
CREATE TABLE IF NOT EXISTS ${schema}.rows (key bytea PRIMARY KEY, value bytea NOT NULL, version bigint NOT NULL)
  WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.1);
ALTER TABLE ${schema}.rows ALTER COLUMN key SET STORAGE PLAIN, ALTER COLUMN value SET STORAGE EXTERNAL;
CREATE SEQUENCE IF NOT EXISTS ${schema}.versions;
${addCountersFunction(schema)}
${commitBatchFunction(schema)}
${boundedFunctions(schema)}
INSERT INTO ${schema}.store (format) VALUES (${formatVersion}) ON CONFLICT DO NOTHING;`;
}

function createLock(schema: string): string {
  return `SELECT pg_advisory_xact_lock(hashtext('${schema}.create'));`;
}

/** Counters are signed 64-bit big-endian numbers side by side; there are as many afterwards as the longer of both has. */
function addCountersFunction(schema: string): string {
  return `
CREATE OR REPLACE FUNCTION ${schema}.add_counters(value bytea, deltas bigint[]) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE AS $body$
DECLARE
  sums bytea := '';
  size int := coalesce(length(value), 0);
  at int;
  before bigint;
BEGIN
  IF size % 8 <> 0 THEN
    RAISE EXCEPTION USING ERRCODE = '${notCountersCode}', MESSAGE = 'add meets a row that does not hold counters';
  END IF;
  FOR place IN 1 .. cardinality(deltas) LOOP
    at := (place - 1) * 8;
    before := CASE WHEN at < size THEN ('x' || encode(substring(value FROM at + 1 FOR 8), 'hex'))::bit(64)::bigint ELSE 0 END;
    sums := sums || int8send(before + deltas[place]);
  END LOOP;
  RETURN CASE WHEN size > length(sums) THEN sums || substring(value FROM length(sums) + 1) ELSE sums END;
END $body$;`;
}

/**
 * Commits, checks and add rows are numbered from 1. Returns the numbers of the failed checks, NULL when all hold. The caller
 * has seen to it that no commit checks or writes what an earlier one writes (postgres_batch.ts); adds are summed up here.
 */
function commitBatchFunction(schema: string): string {
  return `
CREATE OR REPLACE FUNCTION ${schema}.commit_batch(
  locks int[], check_keys bytea[], check_versions bigint[], checker_checks int[], checker_commits int[],
  put_commits int[], put_keys bytea[], put_values bytea[], delete_commits int[], delete_keys bytea[],
  add_keys bytea[], add_commits int[], add_rows int[], add_places int[], add_deltas bigint[]
) RETURNS int[] LANGUAGE plpgsql AS $body$
DECLARE
  space CONSTANT int := '${schema}.rows'::regclass::oid::bigint % 2147483647;
  failed int[];
  refused int[] := '{}';
  next bigint;
BEGIN
  PERFORM CASE l & 1 WHEN 1 THEN pg_advisory_xact_lock(space, l >> 1) ELSE pg_advisory_xact_lock_shared(space, l >> 1) END
    FROM unnest(locks) AS l;

  IF cardinality(check_keys) > 0 THEN
    SELECT array_agg(c.number::int) INTO failed
      FROM unnest(check_keys, check_versions) WITH ORDINALITY AS c(key, version, number)
      LEFT JOIN ${schema}.rows AS r ON r.key = c.key
      WHERE coalesce(r.version, 0) <> c.version;
  END IF;
  IF failed IS NOT NULL THEN
    SELECT array_agg(DISTINCT c.commit) INTO refused
      FROM unnest(checker_checks, checker_commits) AS c(number, commit) WHERE c.number = ANY (failed);
  END IF;

  IF cardinality(delete_keys) > 0 THEN
    DELETE FROM ${schema}.rows AS r USING unnest(delete_commits, delete_keys) AS d(commit, key)
      WHERE r.key = d.key AND d.commit <> ALL (refused);
  END IF;
  IF failed IS NOT NULL AND NOT EXISTS (SELECT FROM unnest(put_commits || add_commits) AS w WHERE w <> ALL (refused)) THEN
    RETURN failed;
  END IF;
  IF cardinality(put_keys) + cardinality(add_keys) = 0 THEN
    RETURN failed;
  END IF;

  next := nextval('${schema}.versions');
  IF cardinality(put_keys) > 0 THEN
    INSERT INTO ${schema}.rows AS r (key, value, version)
      SELECT p.key, p.value, next FROM unnest(put_commits, put_keys, put_values) AS p(commit, key, value)
      WHERE p.commit <> ALL (refused)
      ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version;
  END IF;
  IF cardinality(add_keys) > 0 THEN
    INSERT INTO ${schema}.rows AS r (key, value, version)
      SELECT add_keys[a.row], ${schema}.add_counters(b.value, a.deltas), next
      FROM (
        SELECT s.row, array_agg(s.delta ORDER BY s.place) AS deltas
        FROM (
          SELECT d.row, d.place, sum(d.delta)::bigint AS delta
          FROM unnest(add_commits, add_rows, add_places, add_deltas) AS d(commit, row, place, delta)
          WHERE d.commit <> ALL (refused) GROUP BY d.row, d.place
        ) AS s GROUP BY s.row
      ) AS a LEFT JOIN ${schema}.rows AS b ON b.key = add_keys[a.row]
      ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version;
  END IF;
  RETURN failed;
END $body$;`;
}
