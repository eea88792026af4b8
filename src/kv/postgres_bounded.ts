/**
 * The SQL functions that decide a batch in which an `add` has a bound (docs/formats/metadata-postgres.md). They stand beside
 * `commit_batch`, which knows no bounds and does the work in the end: builds of both kinds can run at the same time.
 *
 * Most batches are far from every bound: where all that they would add at most fits, whoever is committed, nothing has to be judged one
 * by one. Otherwise the commits are gone through in their order, for what one is given another may lack; those that would go
 * beyond are left out. The locks of the batch are taken first, so the rows that are looked at here stay as they are until the batch is
 * durable.
 */

/** One counter of a row's value; 0 where there is none. Places are counted from 0. */
function counterFunction(schema: string): string {
  return `
CREATE OR REPLACE FUNCTION ${schema}.counter_at(value bytea, place int) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $body$
  SELECT CASE WHEN length(value) >= place * 8 + 8
    THEN ('x' || encode(substring(value FROM place * 8 + 1 FOR 8), 'hex'))::bit(64)::bigint ELSE 0 END
$body$;`;
}

/** Whether some bound could be reached, at worst. */
const couldExceed = (schema: string): string => `EXISTS (
    SELECT FROM (
      SELECT d.row, d.place, sum(greatest(d.delta, 0)) AS most, min(d.maximum) FILTER (WHERE d.maximum >= 0) AS maximum
      FROM unnest(add_rows, add_places, add_deltas, add_maxima) AS d(row, place, delta, maximum)
      GROUP BY d.row, d.place
    ) AS s LEFT JOIN ${schema}.rows AS r ON r.key = add_keys[s.row]
    WHERE s.maximum IS NOT NULL AND ${schema}.counter_at(r.value, s.place) + s.most > s.maximum
  )`;

/** The numbers of the deltas that would go beyond, the first one of each commit that is left out. */
function exceededFunction(schema: string): string {
  return `
CREATE OR REPLACE FUNCTION ${schema}.exceeded_adds(
  refused int[], add_keys bytea[], add_commits int[], add_rows int[], add_places int[], add_deltas bigint[], add_maxima bigint[]
) RETURNS int[] LANGUAGE plpgsql AS $body$
DECLARE
  width int;
  sums bigint[];
  beyond int[] := '{}';
  first int := 1;
  next int;
  slot int;
  fits boolean;
BEGIN
  SELECT max(p) + 1 INTO width FROM unnest(add_places) AS p;
  SELECT array_agg(${schema}.counter_at(r.value, (n % width)::int) ORDER BY n) INTO sums
    FROM generate_series(0, cardinality(add_keys) * width - 1) AS n
    LEFT JOIN ${schema}.rows AS r ON r.key = add_keys[n / width + 1];
  WHILE first <= cardinality(add_commits) LOOP
    next := first;
    fits := add_commits[first] <> ALL (refused);
    WHILE next <= cardinality(add_commits) AND add_commits[next] = add_commits[first] LOOP
      slot := (add_rows[next] - 1) * width + add_places[next] + 1;
      IF fits AND add_maxima[next] >= 0 AND add_deltas[next] > 0 AND sums[slot] + add_deltas[next] > add_maxima[next] THEN
        beyond := beyond || next;
        fits := false;
      END IF;
      next := next + 1;
    END LOOP;
    IF fits THEN
      FOR at IN first .. next - 1 LOOP
        slot := (add_rows[at] - 1) * width + add_places[at] + 1;
        sums[slot] := sums[slot] + add_deltas[at];
      END LOOP;
    END IF;
    first := next;
  END LOOP;
  RETURN beyond;
END $body$;`;
}

/** As `commit_batch`, and also returns the numbers of the deltas that went beyond, negative. */
function commitBoundedFunction(schema: string): string {
  return `
CREATE OR REPLACE FUNCTION ${schema}.commit_bounded_batch(
  locks int[], check_keys bytea[], check_versions bigint[], checker_checks int[], checker_commits int[],
  put_commits int[], put_keys bytea[], put_values bytea[], delete_commits int[], delete_keys bytea[],
  add_keys bytea[], add_commits int[], add_rows int[], add_places int[], add_deltas bigint[], add_maxima bigint[]
) RETURNS int[] LANGUAGE plpgsql AS $body$
DECLARE
  space CONSTANT int := '${schema}.rows'::regclass::oid::bigint % 2147483647;
  refused int[];
  exceeded int[];
  failed int[];
  out_commits int[];
BEGIN
  PERFORM CASE l & 1 WHEN 1 THEN pg_advisory_xact_lock(space, l >> 1) ELSE pg_advisory_xact_lock_shared(space, l >> 1) END
    FROM unnest(locks) AS l;

  IF ${couldExceed(schema)} THEN
    SELECT coalesce(array_agg(DISTINCT k.commit), '{}') INTO refused
      FROM unnest(check_keys, check_versions) WITH ORDINALITY AS c(key, version, number)
      LEFT JOIN ${schema}.rows AS r ON r.key = c.key
      JOIN unnest(checker_checks, checker_commits) AS k(number, commit) ON k.number = c.number
      WHERE coalesce(r.version, 0) <> c.version;
    exceeded := ${schema}.exceeded_adds(refused, add_keys, add_commits, add_rows, add_places, add_deltas, add_maxima);
  END IF;

  IF cardinality(exceeded) > 0 THEN
    SELECT array_agg(add_commits[e]) INTO out_commits FROM unnest(exceeded) AS e;
    SELECT coalesce(array_agg(p.commit), '{}'), coalesce(array_agg(p.key), '{}'), coalesce(array_agg(p.value), '{}')
      INTO put_commits, put_keys, put_values
      FROM unnest(put_commits, put_keys, put_values) AS p(commit, key, value) WHERE p.commit <> ALL (out_commits);
    SELECT coalesce(array_agg(d.commit), '{}'), coalesce(array_agg(d.key), '{}') INTO delete_commits, delete_keys
      FROM unnest(delete_commits, delete_keys) AS d(commit, key) WHERE d.commit <> ALL (out_commits);
    SELECT coalesce(array_agg(a.commit), '{}'), coalesce(array_agg(a.row), '{}'), coalesce(array_agg(a.place), '{}'),
        coalesce(array_agg(a.delta), '{}')
      INTO add_commits, add_rows, add_places, add_deltas
      FROM unnest(add_commits, add_rows, add_places, add_deltas) AS a(commit, row, place, delta)
      WHERE a.commit <> ALL (out_commits);
  END IF;
  failed := ${schema}.commit_batch(locks, check_keys, check_versions, checker_checks, checker_commits, put_commits, put_keys,
    put_values, delete_commits, delete_keys, add_keys, add_commits, add_rows, add_places, add_deltas);
  RETURN failed || ARRAY(SELECT -e FROM unnest(exceeded) AS e);
END $body$;`;
}

export function boundedFunctions(schema: string): string {
  return counterFunction(schema) + exceededFunction(schema) + commitBoundedFunction(schema);
}
