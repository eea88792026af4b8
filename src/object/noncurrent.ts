/**
 * Which noncurrent versions of a key the lifecycle rules remove now. A version is noncurrent since its successor was made, so
 * the oldest are due first: they are looked at from the oldest on, and no further than to the first that no rule can want yet.
 * How many newer ones there are is asked of the newest only, as many as a rule can keep.
 */
import { assert } from "../core/assert.ts";
import type { Entry, Key } from "../kv/kv.ts";
import { keyAfter } from "../kv/scan_pages.ts";
import type { Transaction } from "../kv/transact.ts";
import { limits } from "../core/limits.ts";
import { decodePast } from "../meta/heads.ts";
import { markerKey, pastRange } from "../meta/keys.ts";
import { daysAfter, noncurrentExpiriesOf, type Calendar, type LifecycleRule } from "./lifecycle_rules.ts";
import { heldUntil } from "./locks.ts";
import type { Target } from "./target.ts";
import type { StoredVersion } from "./versions.ts";

const pageRows = 64;

assert(
  // Those that are kept, and of each that goes its row and its successor's, writes, trash, and what destinations are told.
  limits.newerNoncurrentVersionsMax + limits.expiredVersionsPerCommit * (5 + limits.destinationsOfBucketMax) + 24 <=
    limits.commitOperationsMax,
  "what is looked at to expire noncurrent versions fits the commit that removes them",
);

export type Judging = { readonly rules: readonly LifecycleRule[]; readonly calendar: Calendar; readonly nowMs: number };

export type Judged = {
  /** At most expiredVersionsPerCommit; the oldest first. */
  readonly versions: readonly StoredVersion[];
  /** Where there are none: when the next one may be due. */
  readonly nextMs: number | undefined;
};

/** Rows that make a version due are checked by the commit. `current`: when what is current was made. */
export async function dueVersions(
  tx: Transaction,
  target: Target,
  judging: Judging & { readonly currentMs: number },
): Promise<Judged> {
  const { rules, currentMs } = judging;
  const wanting = rules.flatMap(({ noncurrent }) => noncurrent ?? []);
  if (wanting.length === 0) return { versions: [], nextMs: undefined };
  const range = noncurrentRange(target);
  const keptMax = Math.max(...wanting.map(({ newerVersions }) => newerVersions));
  const newest = keptMax === 0 ? [] : await tx.scan(range, { limit: keptMax });
  const judge = new Judge(judging, { newest, keptMax, daysMin: Math.min(...wanting.map(({ days }) => days)) });
  let older: Entry | undefined;
  for await (const row of fromOldest(tx, range)) {
    if (older !== undefined && !judge.goesOn(older, decodePast(row.value).head.modifiedMs, row)) break;
    older = row;
  }
  if (older !== undefined && !judge.isOver) judge.goesOn(older, currentMs, undefined);
  judge.check(tx);
  return judge;
}

/** All but a marker that is current. */
export function noncurrentRange({ bucket, key }: Target): { readonly start: Key; readonly end: Key } {
  return { start: keyAfter(markerKey(bucket.id, key)), end: pastRange(bucket.id, key).end };
}

async function* fromOldest(tx: Transaction, { start, end }: ReturnType<typeof noncurrentRange>): AsyncGenerator<Entry> {
  for (let before = end; ;) {
    const rows = await tx.scan({ start, end: before }, { limit: pageRows, reverse: true });
    yield* rows;
    if (rows.length < pageRows) return;
    before = rows.at(-1)!.key;
  }
}

class Judge implements Judged {
  readonly versions: StoredVersion[] = [];
  nextMs: number | undefined;
  isOver = false;
  readonly #judging: Judging;
  readonly #facts: { readonly newest: readonly Entry[]; readonly keptMax: number; readonly daysMin: number };
  readonly #checks: Entry[] = [];

  constructor(judging: Judging, facts: { newest: readonly Entry[]; keptMax: number; daysMin: number }) {
    this.#judging = judging;
    this.#facts = facts;
  }

  /** Takes the version up that became noncurrent then. False: no newer one has to be looked at. */
  goesOn(row: Entry, sinceMs: number, successor: Entry | undefined): boolean {
    const { calendar, nowMs } = this.#judging;
    const firstMs = daysAfter(calendar, sinceMs, this.#facts.daysMin);
    if (firstMs > nowMs) {
      this.#later(firstMs);
      this.isOver = true;
      return false;
    }
    const past = decodePast(row.value);
    if (this.#isDue(row, past.head, sinceMs)) {
      const untilMs = heldUntil(past.head, nowMs);
      if (untilMs === undefined) {
        this.versions.push({ place: "past", ...past });
        this.#checks.push(row, ...(successor === undefined ? [] : [successor]));
        // Whoever takes a legal hold away has the key looked at.
      } else if (untilMs !== Infinity) this.#later(daysAfter(calendar, untilMs, 0));
    }
    this.isOver = this.versions.length === limits.expiredVersionsPerCommit;
    return !this.isOver;
  }

  #isDue(row: Entry, head: StoredVersion["head"], sinceMs: number): boolean {
    const { rules, calendar, nowMs } = this.#judging;
    const { newest, keptMax } = this.#facts;
    const place = newest.findIndex(({ key }) => key.equals(row.key));
    const newer = place < 0 ? keptMax : place;
    let isDue = false;
    for (const { atMs, newerVersions } of noncurrentExpiriesOf(rules, head, sinceMs, calendar)) {
      if (atMs > nowMs) this.#later(atMs);
      else if (newer >= newerVersions) isDue = true;
    }
    return isDue;
  }

  #later(atMs: number): void {
    this.nextMs = Math.min(this.nextMs ?? Infinity, atMs);
  }

  /** A newer version that goes meanwhile may have an older one stay. */
  check(tx: Transaction): void {
    if (this.versions.length === 0) return;
    for (const { key, version } of [...this.#checks, ...this.#facts.newest]) tx.check(key, version);
  }
}
