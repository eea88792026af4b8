/**
 * Carries out the lifecycle rules of buckets. It goes over the buckets that have rules (`lifecycle` rows, meta/lifecycle.ts), and in
 * each over the due rows whose time has come: so it touches what is to be done, and nothing of what is not. What a row's key
 * wants is judged and done by the object layer (object/expire.ts). A new document begins a walk (lifecycle_walk.ts); of a
 * bucket without rules any more the due rows are taken away.
 *
 * A row that cannot be dealt with holds up no other: it is tried again when the others were.
 */
import type { Clock } from "../core/clock.ts";
import type { BucketId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import { readCounters, type Entry, type Kv } from "../kv/kv.ts";
import { scanPages } from "../kv/scan_pages.ts";
import { bucketIdOf, tagRange, tags, usageRange } from "../meta/keys.ts";
import { decodeLifecycle, dueRange, dueUntil, encodeLifecycle, type LifecycleRecord } from "../meta/lifecycle.ts";
import type { LifecycleBucket, LifecycleWork } from "../object/expire.ts";
import type { Budget } from "./budget.ts";
import { walkStep } from "./lifecycle_walk.ts";
import { Rounds } from "./rounds.ts";
import type { Job, JobProgress, JobResult } from "./runner.ts";

export type LifecycleParts = {
  readonly kv: Kv;
  readonly lifecycle: LifecycleWork;
  readonly budget: Budget;
  readonly clock: Clock;
  readonly log: Log;
};

type Dealt = { readonly done: number; readonly more: boolean };
type Walking = { readonly bucket: BucketId; doneBytes: number; readonly allBytes: number };

const walkStepsPerRun = 8;
const idleMsMax = 60_000;

export class LifecycleJob implements Job {
  readonly name = "lifecycle";
  readonly leased = true;
  readonly idleMsMin: number;
  readonly idleMsMax: number;
  readonly #parts: LifecycleParts;
  readonly #buckets = new Rounds(tagRange(tags.lifecycle));
  /** Of buckets that have more due than one run takes up. */
  readonly #rounds = new Map<BucketId, Rounds>();
  /** Of the walk that this process saw begin last. */
  #walk: Walking | undefined;

  constructor(parts: LifecycleParts) {
    this.#parts = parts;
    this.idleMsMax = Math.min(idleMsMax, Math.ceil(parts.lifecycle.calendar.dayMs / 10));
    this.idleMsMin = Math.min(1_000, this.idleMsMax);
  }

  /** Of the walk through a bucket that has new rules. */
  progress(): JobProgress | undefined {
    if (this.#walk === undefined) return undefined;
    const { doneBytes, allBytes } = this.#walk;
    return { doneBytes, leftBytes: Math.max(0, allBytes - doneBytes) };
  }

  async run(signal: AbortSignal): Promise<JobResult> {
    const { kv, log } = this.#parts;
    const rows = await this.#buckets.next(kv, limits.jobBatchMax);
    let done = 0;
    let more = false;
    for (const row of rows) {
      if (signal.aborted) return { done, more: false };
      try {
        const dealt = await this.#bucket(row, signal);
        done += dealt.done;
        more ||= dealt.more;
      } catch (error) {
        if (signal.aborted) return { done, more: false };
        log.warn({ bucket: bucketIdOf(row.key), err: error }, "Lifecycle rules could not be carried out for a bucket.");
      }
    }
    // Where nothing is due in many buckets they are looked through with pauses.
    return { done, more: more || (done > 0 && rows.length === limits.jobBatchMax) };
  }

  async #bucket(row: Entry, signal: AbortSignal): Promise<Dealt> {
    const record = decodeLifecycle(row.value);
    const id = bucketIdOf(row.key);
    if (record.kind !== "walking" && this.#walk?.bucket === id) this.#walk = undefined;
    if (record.kind === "clearing") return this.#clear(row);
    const bucket = { name: record.bucket, id };
    const due = await this.#due(bucket, signal);
    if (record.kind === "settled" || signal.aborted) return due;
    const walked = await this.#walked(row.key, signal);
    return { done: due.done + walked.done, more: due.more || walked.more };
  }

  /** Nothing makes due rows of the bucket any more; should it get rules again, this row changes first. */
  async #clear({ key, version }: Entry): Promise<Dealt> {
    const { kv } = this.#parts;
    const rows = await kv.scan(dueRange(bucketIdOf(key)), { limit: limits.jobBatchMax });
    const gone = rows.length < limits.jobBatchMax ? [...rows, { key }] : rows;
    await kv.commit({
      checks: [{ key, version }],
      writes: gone.map((row) => ({ kind: "delete", key: row.key })),
    });
    return { done: rows.length, more: rows.length === limits.jobBatchMax };
  }

  async #due(bucket: LifecycleBucket, signal: AbortSignal): Promise<Dealt> {
    const { kv, clock } = this.#parts;
    const limit = limits.jobBatchMax;
    const rounds = this.#rounds.get(bucket.id) ?? new Rounds(dueUntil(bucket.id, clock.nowMs()));
    const rows = await rounds.next(kv, limit);
    if (rows.length === limit) this.#rounds.set(bucket.id, rounds);
    else this.#rounds.delete(bucket.id);
    let done = 0;
    let failed = 0;
    for (let at = 0; at < rows.length && !signal.aborted; at += limits.dueRowsAtOnce) {
      const some = rows.slice(at, at + limits.dueRowsAtOnce);
      for (const looked of await Promise.all(some.map(({ key }) => this.#look(bucket, key, signal))))
        if (looked === "failed") failed += 1;
        else done += looked;
    }
    // Where nothing at all could be done the next rows have a pause before them: the store may be full, or away.
    return { done, more: rows.length === limit && failed < rows.length };
  }

  async #look(bucket: LifecycleBucket, row: Buffer, signal: AbortSignal): Promise<number | "failed"> {
    const { lifecycle, budget, log } = this.#parts;
    try {
      return await budget.piece(0, signal, () => lifecycle.look(bucket, row, signal));
    } catch (error) {
      if (!signal.aborted)
        log.warn({ bucket: bucket.name, err: error }, "What a lifecycle rule asks for could not be done; tried again.");
      return "failed";
    }
  }

  async #walked(row: Buffer, signal: AbortSignal): Promise<Dealt> {
    let done = 0;
    for (let steps = 0; steps < walkStepsPerRun && !signal.aborted; steps++) {
      const walked = await this.#walkedOnce(row);
      done += walked.rows;
      if (walked.isOver) return { done, more: done > 0 };
    }
    return { done, more: true };
  }

  /** The row is read before the rules are: with another document it is another one, and the commit fails. */
  async #walkedOnce(key: Buffer): Promise<{ readonly rows: number; readonly isOver: boolean }> {
    const { kv, lifecycle } = this.#parts;
    const [row] = await kv.get([key]);
    const record = row && decodeLifecycle(row.value);
    if (row === undefined || record?.kind !== "walking") return { rows: 0, isOver: true };
    const bucket = { name: record.bucket, id: bucketIdOf(key) };
    const rules = await lifecycle.rules(bucket);
    // They went with their document, or their bucket, and so did this row.
    if (rules === undefined) return { rows: 0, isOver: true };
    const walk = await this.#begun(bucket.id);
    const { calendar } = lifecycle;
    const step = await walkStep(kv, { bucket: bucket.id, rules, calendar, from: record.from });
    const isOver = step.from === undefined;
    const next: LifecycleRecord = isOver ? { kind: "settled", bucket: bucket.name } : { ...record, from: step.from };
    const result = await kv.commit({
      checks: [{ key, version: row.version }],
      writes: [...step.writes, { kind: "put", key, value: encodeLifecycle(next) }],
    });
    if (result.outcome === "conflict") return { rows: 0, isOver: false };
    walk.doneBytes += step.bytes;
    if (isOver) this.#walk = undefined;
    return { rows: step.rows, isOver };
  }

  async #begun(bucket: BucketId): Promise<Walking> {
    if (this.#walk?.bucket === bucket) return this.#walk;
    let allBytes = 0;
    for await (const rows of scanPages(this.#parts.kv, usageRange(bucket)))
      for (const { value } of rows) allBytes += readCounters(value)[1] ?? 0;
    const walk = { bucket, doneBytes: 0, allBytes };
    this.#walk = walk;
    return walk;
  }
}
