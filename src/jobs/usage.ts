/**
 * Usage counters. Every session counts in a row of its own for each bucket, so that commits don't contend; this job folds
 * the rows of sessions that are over into one row per bucket, which bears no session's id.
 *
 * Exact: a commit deletes rows at the versions it read and adds their sums, so that nothing is counted twice or lost
 * whatever comes between or cuts it off. It need not even be right about who is alive: what a process that was taken for
 * dead counts afterwards makes a new row, which is folded the next time.
 *
 * Rows of a bucket that is gone (its deletion was cut off at the end) are taken away: every commit that counts checks the
 * bucket's row, so no more can come. The rows are seen first and the buckets read afterwards, so a new one is not missed.
 */
import type { BucketId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { readCounters, type Entry, type Key, type Kv } from "../kv/kv.ts";
import { transact } from "../kv/transact.ts";
import { decodeBucket } from "../meta/buckets.ts";
import { foldedSession, parseUsageKey, tagRange, tags, usageKey } from "../meta/keys.ts";
import { readSessions } from "../meta/sessions.ts";
import { Rounds } from "./rounds.ts";
import type { Job, JobResult } from "./runner.ts";

/** Each row costs a check, a delete, and an addition if every one is another bucket's. */
const rowsPerRun = Math.min(128, Math.floor(limits.commitOperationsMax / 3));

export class UsageJob implements Job {
  readonly name = "usage";
  readonly leased = true;
  readonly idleMsMin = 60_000;
  readonly idleMsMax = 3_600_000;
  readonly #kv: Kv;
  readonly #rounds = new Rounds(tagRange(tags.usage));
  /** Buckets that were there at some time of this round. */
  #buckets: ReadonlySet<BucketId> = new Set();

  constructor({ kv }: { readonly kv: Kv }) {
    this.#kv = kv;
  }

  async run(): Promise<JobResult> {
    const rows = await this.#rounds.next(this.#kv, rowsPerRun);
    const stray = await this.#strayRows(rows);
    const live = new Set((await readSessions(this.#kv)).map((session) => session.id));
    const over = rows.filter((row) => {
      const { session } = parseUsageKey(row.key);
      return session !== foldedSession && !live.has(session) && !stray.includes(row);
    });
    if (over.length > 0) await fold(this.#kv, over);
    if (stray.length > 0)
      await this.#kv.commit({ checks: [], writes: stray.map(({ key }) => ({ kind: "delete", key })) });
    const more = rows.length === rowsPerRun;
    if (!more) this.#buckets = new Set();
    return { done: over.length + stray.length, more };
  }

  /** Those whose bucket is gone. */
  async #strayRows(rows: readonly Entry[]): Promise<Entry[]> {
    const isKnown = (row: Entry): boolean => this.#buckets.has(parseUsageKey(row.key).bucket);
    if (!rows.every(isKnown)) this.#buckets = await readBuckets(this.#kv);
    return rows.filter((row) => !isKnown(row));
  }
}

async function readBuckets(kv: Kv): Promise<ReadonlySet<BucketId>> {
  const ids = new Set<BucketId>();
  const { start, end } = tagRange(tags.bucket);
  for (let from: Key | undefined = start; from !== undefined;) {
    const rows: Entry[] = await kv.scan({ start: from, end }, { limit: limits.scanEntriesMax });
    for (const row of rows) ids.add(decodeBucket(row.value).id);
    const last: Entry | undefined = rows.length === limits.scanEntriesMax ? rows.at(-1) : undefined;
    from = last && Buffer.concat([last.key, Buffer.from([0])]);
  }
  return ids;
}

function fold(kv: Kv, seen: readonly Entry[]): Promise<void> {
  return transact(kv, async (tx) => {
    for (const row of await tx.get(seen.map(({ key }) => key))) {
      if (row === undefined) continue;
      tx.delete(row.key);
      tx.add(usageKey(parseUsageKey(row.key).bucket, foldedSession), readCounters(row.value));
    }
  });
}
