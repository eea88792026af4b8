/**
 * Brings back redundancy that was lost, one page of a chunk map at a time (repair_page.ts):
 *
 *  1. relocations of processes that are gone are cleaned up, and shards that were made anew elsewhere are removed (strays.ts);
 *  2. chunks noted as damaged or incomplete (`repair` rows) are looked at, every shard of them, and mended;
 *  3. what lies on drives that were given up or are draining is put on others: the chunk maps are walked once to see how much
 *     there is, then once for each number of losses that chunks can still bear, the most endangered first.
 *
 * A drive is given up when it has been away for driveAwayMsMax of this process's own time; at once when it is away and was
 * told to drain, or removed from the store. One that comes back later keeps what was not yet made anew. When a walk finds that
 * nothing names a drive any more its state becomes `drained`.
 *
 * All of it is one job, so that one process works on one page at a time; which pages are to be walked is in memory, and a
 * process that takes over begins that again: what was mended already costs it a look.
 *
 * Known gap: the walk reads every chunk map of the store, in one process.
 */
import { shardBytesOf } from "../blob/shards.ts";
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { ChunkRecord } from "../meta/chunk_pages.ts";
import type { KnownDrive } from "../meta/drives.ts";
import { parseBlobKey, tagRange, tags } from "../meta/keys.ts";
import { decodeRepair } from "../meta/repairs.ts";
import { MapWalk } from "./map_walk.ts";
import { cleanRelocation, repairPage, type PageOutcome, type RepairParts } from "./repair_page.ts";
import { spareShards, type DriveView } from "./repair_plan.ts";
import { Rounds } from "./rounds.ts";
import type { Job, JobProgress, JobResult } from "./runner.ts";
import { Strays } from "./strays.ts";

export type RepairJobParts = RepairParts & {
  readonly clock: Clock;
  /** Every drive of the store, whether it is here or not. */
  readonly knownDrives: () => Promise<readonly KnownDrive[]>;
  /** Told when no chunk map names the drive any more. */
  readonly onDrained: (drive: DriveId) => Promise<void>;
  /** driveAwayMsMax if left out. */
  readonly awayMsMax?: number;
};

const nothing: JobResult = { done: 0, more: false };
const strayPauseMs = 500;
const rowsAtOnce = 64;
/** A walk that left something waiting is tried again after ten times as long as it took, within these bounds. */
const againMsMin = 5_000;
const againMsMax = 60_000;
/** One that found nothing is, in case of late uploads. */
const rewalkMs = 24 * 3_600_000;

/** A walk over all chunk maps for what lies on these drives. */
type Walk = {
  readonly leaving: ReadonlySet<DriveId>;
  readonly startedMs: number;
  readonly walk: MapWalk;
  /** Undefined while it only counts. */
  spare: number | undefined;
  readonly bytesBySpare: Map<number, number>;
  doneBytes: number;
  isWaiting: boolean;
};

export class RepairJob implements Job {
  readonly name = "repair";
  readonly leased = true;
  readonly idleMsMin = 1_000;
  readonly idleMsMax = 30_000;
  readonly #parts: RepairJobParts;
  readonly #noted = new Rounds(tagRange(tags.repair));
  readonly #strays: Strays;
  readonly #away = new Map<DriveId, number>();
  #walk: Walk | undefined;
  /** The drives that were walked for last, when, and after how long they are again. */
  #walked: { readonly leaving: ReadonlySet<DriveId>; readonly atMs: number; readonly againMs: number } | undefined;

  constructor(parts: RepairJobParts) {
    this.#parts = parts;
    this.#strays = new Strays(parts);
  }

  progress(): JobProgress | undefined {
    if (this.#walk === undefined || this.#walk.spare === undefined) return undefined;
    const { bytesBySpare, doneBytes } = this.#walk;
    const all = [...bytesBySpare.values()].reduce((sum, bytes) => sum + bytes, 0);
    return { doneBytes, leftBytes: Math.max(0, all - doneBytes) };
  }

  async run(signal: AbortSignal): Promise<JobResult> {
    const { kv } = this.#parts;
    for (const row of await kv.scan(tagRange(tags.relocation), { limit: limits.jobBatchMax }))
      await cleanRelocation(this.#parts, row);
    const strays = await this.#strays.run(signal);
    const view = await this.#look();
    const noted = await this.#mendNoted(view, signal);
    const walked = noted.more ? nothing : await this.#walkOn(view, signal);
    const more = !signal.aborted && (noted.more || walked.more);
    const done = strays.removed + noted.done + walked.done;
    return { done, more, ...(strays.isWaiting && !more && { againMs: strayPauseMs }) };
  }

  async #look(): Promise<DriveView> {
    const { node, placement, clock, knownDrives, awayMsMax = limits.driveAwayMsMax } = this.#parts;
    const taking = placement.drives();
    const failed = new Set(taking.filter(({ state }) => state === "failed").map(({ id }) => id));
    const here = new Set(node.drives.filter((drive) => !failed.has(drive)));
    const known = await knownDrives();
    for (const drive of this.#away.keys())
      if (here.has(drive) || !known.some(({ id }) => id === drive)) this.#away.delete(drive);
    const givenUp = new Set<DriveId>();
    const draining = new Set<DriveId>();
    for (const { id, state } of known) {
      if (here.has(id)) {
        if (state !== "active") draining.add(id);
      } else if (state !== "active" || this.#awayMs(id, clock.monotonicMs()) >= awayMsMax) givenUp.add(id);
    }
    return { here, givenUp, draining, taking };
  }

  #awayMs(drive: DriveId, nowMs: number): number {
    const sinceMs = this.#away.get(drive);
    if (sinceMs !== undefined) return nowMs - sinceMs;
    this.#away.set(drive, nowMs);
    this.#parts.log.warn({ drive }, "A drive is away.");
    return 0;
  }

  async #mendNoted(view: DriveView, signal: AbortSignal): Promise<JobResult> {
    const { kv } = this.#parts;
    const rows = await this.#noted.next(kv, rowsAtOnce);
    let done = 0;
    for (const row of rows) {
      if (signal.aborted) break;
      const { blob, page } = parseBlobKey(row.key);
      const target = { blob, page: page!, positions: decodeRepair(row.value), verify: true };
      const outcome = await repairPage(this.#parts, target, view, signal);
      if (outcome.kind === "seen") done += outcome.shards;
      if (outcome.kind === "seen" && outcome.isWaiting) continue;
      await kv.commit({ checks: [{ key: row.key, version: row.version }], writes: [{ kind: "delete", key: row.key }] });
    }
    return { done, more: rows.length === rowsAtOnce && !signal.aborted };
  }

  async #walkOn(view: DriveView, signal: AbortSignal): Promise<JobResult> {
    const leaving = new Set([...view.givenUp, ...view.draining]);
    if (leaving.size === 0) {
      this.#walk = undefined;
      return nothing;
    }
    if (this.#walk === undefined || !isSame(this.#walk.leaving, leaving)) {
      if (!this.#isDue(leaving)) return nothing;
      this.#walk = newWalk(this.#parts, leaving);
      this.#parts.log.info({ drives: [...leaving] }, "What lies on these drives is put on others.");
    }
    const walk = this.#walk;
    const pages = await walk.walk.next();
    let done = 0;
    for (const { blob, page, chunks } of pages ?? []) {
      if (signal.aborted) break;
      const positions = toDo(walk, chunks, view);
      if (positions.length === 0) continue;
      const outcome = await repairPage(this.#parts, { blob, page, positions, verify: false }, view, signal);
      done += this.#account(walk, outcome);
    }
    if (pages === undefined) await this.#endRound(walk);
    return { done, more: this.#walk !== undefined && !signal.aborted };
  }

  #isDue(leaving: ReadonlySet<DriveId>): boolean {
    const last = this.#walked;
    if (last === undefined || !isSame(last.leaving, leaving)) return true;
    return this.#parts.clock.monotonicMs() - last.atMs >= last.againMs;
  }

  #account(walk: Walk, outcome: PageOutcome): number {
    if (outcome.kind === "gone") return 0;
    walk.doneBytes += outcome.bytes;
    walk.isWaiting ||= outcome.isWaiting;
    return outcome.shards;
  }

  /** The next number of losses to look for, the smallest first. Chunks that lost too many are only counted. */
  async #endRound(walk: Walk): Promise<void> {
    const spares = [...walk.bytesBySpare.keys()].filter((spare) => spare >= 0).toSorted((a, b) => a - b);
    const next = spares.find((spare) => walk.spare === undefined || spare > walk.spare);
    if (next !== undefined) {
      walk.spare = next;
      walk.walk.restart();
      return;
    }
    this.#walk = undefined;
    const { log, clock, onDrained } = this.#parts;
    const drives = [...walk.leaving];
    const isLost = [...walk.bytesBySpare.keys()].some((spare) => spare < 0);
    if (isLost) log.error({ drives }, "Chunks have lost more shards than they can bear; run doctor.");
    // Only a walk that met nothing shows that nothing is left.
    const isEmpty = walk.bytesBySpare.size === 0;
    const isStuck = walk.isWaiting || isLost;
    if (isEmpty) for (const drive of drives) await onDrained(drive);
    else log.info({ drives, bytes: walk.doneBytes, isStuck }, "A walk over the chunk maps has ended.");
    const atMs = clock.monotonicMs();
    const waitMs = Math.min(againMsMax, Math.max(againMsMin, 10 * (atMs - walk.startedMs)));
    // One that moved everything is followed by one that looks whether that is so.
    const againMs = isStuck ? waitMs : isEmpty ? rewalkMs : 0;
    this.#walked = { leaving: walk.leaving, atMs, againMs };
  }
}

/** Positions of the chunks that this round deals with; the first round only counts. */
function toDo(walk: Walk, chunks: readonly ChunkRecord[], view: DriveView): number[] {
  const positions: number[] = [];
  for (const [position, chunk] of chunks.entries()) {
    if (!chunk.places.some(({ drive }) => walk.leaving.has(drive))) continue;
    const spare = spareShards(chunk, view.here);
    if (walk.spare === undefined) count(walk, spare, shardBytesOf(chunk.storedBytes, chunk.redundancy));
    else if (spare === walk.spare) positions.push(position);
  }
  return positions;
}

function newWalk({ kv, clock }: RepairJobParts, leaving: ReadonlySet<DriveId>): Walk {
  const counts = { spare: undefined, bytesBySpare: new Map(), doneBytes: 0, isWaiting: false };
  return { leaving, startedMs: clock.monotonicMs(), walk: new MapWalk(kv), ...counts };
}

function count({ bytesBySpare }: Walk, spare: number, bytes: number): void {
  bytesBySpare.set(spare, (bytesBySpare.get(spare) ?? 0) + bytes);
}

function isSame(left: ReadonlySet<DriveId>, right: ReadonlySet<DriveId>): boolean {
  return left.size === right.size && [...left].every((drive) => right.has(drive));
}
