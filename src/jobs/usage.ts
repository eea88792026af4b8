/**
 * Usage counters. Every session counts in a row of its own for each bucket, so that commits don't contend; this job folds
 * the rows of sessions that are over into one row per bucket, which bears no session's id.
 *
 * Exact: see object/usage_rows.ts. It need not even be right about who is alive: what a process that was taken for
 * dead counts afterwards makes a new row, which is folded the next time.
 *
 * Rows of a bucket that is gone (its deletion was cut off at the end) are taken away: every commit that counts checks the
 * bucket's row, so no more can come. The rows are seen first and the buckets read afterwards, so a new one is not missed.
 */
import type { BucketId } from "../core/ids.ts";
import type { Entry, Kv } from "../kv/kv.ts";
import { scanPages } from "../kv/scan_pages.ts";
import { decodeBucket } from "../meta/buckets.ts";
import { bucketNameOf, foldedSession, parseUsageKey, tagRange, tags } from "../meta/keys.ts";
import { countedSession } from "../meta/quota_keys.ts";
import { readSessions } from "../meta/sessions.ts";
import { foldUsage, usageRowsPerCommit } from "../object/usage_rows.ts";
import { Rounds } from "./rounds.ts";
import type { Job, JobResult } from "./runner.ts";

export class UsageJob implements Job {
  readonly name = "usage";
  readonly leased = true;
  readonly idleMsMin = 60_000;
  readonly idleMsMax = 3_600_000;
  readonly #kv: Kv;
  readonly #rounds = new Rounds(tagRange(tags.usage));
  /** Buckets that were there at some time of this round, and their names. */
  #buckets: ReadonlyMap<BucketId, string> = new Map();

  constructor({ kv }: { readonly kv: Kv }) {
    this.#kv = kv;
  }

  async run(): Promise<JobResult> {
    const rows = await this.#rounds.next(this.#kv, usageRowsPerCommit);
    const stray = await this.#strayRows(rows);
    const live = new Set((await readSessions(this.#kv)).map((session) => session.id));
    const over = rows.filter((row) => {
      const { session } = parseUsageKey(row.key);
      const isOne = session === foldedSession || session === countedSession;
      return !isOne && !live.has(session) && !stray.includes(row);
    });
    if (over.length > 0) await foldUsage(this.#kv, over, (bucket) => this.#buckets.get(bucket));
    if (stray.length > 0)
      await this.#kv.commit({ checks: [], writes: stray.map(({ key }) => ({ kind: "delete", key })) });
    const more = rows.length === usageRowsPerCommit;
    if (!more) this.#buckets = new Map();
    return { done: over.length + stray.length, more };
  }

  /** Those whose bucket is gone. */
  async #strayRows(rows: readonly Entry[]): Promise<Entry[]> {
    const isKnown = (row: Entry): boolean => this.#buckets.has(parseUsageKey(row.key).bucket);
    if (!rows.every(isKnown)) this.#buckets = await readBuckets(this.#kv);
    return rows.filter((row) => !isKnown(row));
  }
}

async function readBuckets(kv: Kv): Promise<ReadonlyMap<BucketId, string>> {
  const names = new Map<BucketId, string>();
  for await (const rows of scanPages(kv, tagRange(tags.bucket)))
    for (const row of rows) names.set(decodeBucket(row.value).id, bucketNameOf(row.key));
  return names;
}
