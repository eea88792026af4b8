/**
 * Brings back redundancy that was lost, one page of a chunk map at a time (repair_page.ts):
 *
 *  1. relocations of processes that are gone are cleaned up, drives that came back are rid of what was made anew elsewhere;
 *  2. chunks noted as damaged or incomplete (`repair` rows) are looked at, every shard of them, and mended;
 *  3. what lay on a drive that was given up is made anew on others: the chunk maps are walked once to see how much there is,
 *     then once for each number of losses that chunks can still bear, the most endangered first.
 *
 * A drive is given up when it has been away for driveAwayMsMax of this process's own time. One that comes back later
 * keeps what was not yet made anew.
 *
 * All of it is one job, so that one process works on one page at a time; which pages are to be walked is in memory, and a
 * process that takes over begins that again: what was mended already costs it a look.
 *
 * Known gap: the walk reads every chunk map of the store, in one process.
 */
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { tagRange, tags, driveIdOf, parseBlobKey } from "../meta/keys.ts";
import type { ChunkRecord } from "../meta/chunk_pages.ts";
import { decodeRepair } from "../meta/repairs.ts";
import { MapWalk } from "./map_walk.ts";
import { spareShards, type DriveView } from "./repair_plan.ts";
import { cleanRelocation, repairPage, type PageOutcome, type RepairParts } from "./repair_page.ts";
import { Rounds } from "./rounds.ts";
import type { Job, JobProgress, JobResult } from "./runner.ts";
import { sweepDrive } from "./sessions.ts";
import { shardBytesOf } from "../blob/shards.ts";

export type RepairJobParts = RepairParts & {
  readonly clock: Clock;
  /** Every drive of the store, whether it is here or not. */
  readonly knownDrives: () => Promise<readonly DriveId[]>;
  /** driveAwayMsMax if left out. */
  readonly awayMsMax?: number;
};

const nothing: JobResult = { done: 0, more: false };
const rowsAtOnce = 64;
/** A walk that left something waiting is tried again after this long. */
const againMs = 60_000;

/** A walk over all chunk maps for what lay on these drives. */
type Walk = {
  readonly givenUp: ReadonlySet<DriveId>;
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
  readonly #away = new Map<DriveId, number>();
  #walk: Walk | undefined;
  /** The drives that were walked for last, when, and whether something is left. */
  #walked: { readonly givenUp: ReadonlySet<DriveId>; readonly atMs: number; readonly isWaiting: boolean } | undefined;

  constructor(parts: RepairJobParts) {
    this.#parts = parts;
  }

  progress(): JobProgress | undefined {
    if (this.#walk === undefined || this.#walk.spare === undefined) return undefined;
    const { bytesBySpare, doneBytes } = this.#walk;
    const all = [...bytesBySpare.values()].reduce((sum, bytes) => sum + bytes, 0);
    return { doneBytes, leftBytes: Math.max(0, all - doneBytes) };
  }

  async run(signal: AbortSignal): Promise<JobResult> {
    const cleaned = await this.#cleanUp(signal);
    const view = await this.#look();
    const noted = await this.#mendNoted(view, signal);
    const walked = noted.more ? nothing : await this.#walkOn(view, signal);
    return { done: cleaned + noted.done + walked.done, more: !signal.aborted && (noted.more || walked.more) };
  }

  async #cleanUp(signal: AbortSignal): Promise<number> {
    const { kv, node, session, log } = this.#parts;
    for (const row of await kv.scan(tagRange(tags.relocation), { limit: limits.jobBatchMax }))
      await cleanRelocation({ ...this.#parts, session }, row);
    let removed = 0;
    for (const row of await kv.scan(tagRange(tags.stray), { limit: limits.jobBatchMax })) {
      const drive = driveIdOf(row.key);
      if (!node.drives.includes(drive)) continue;
      const swept = await sweepDrive({ kv, node, log }, drive, signal);
      removed += swept.removed;
      // What live sessions stored may be named by no page because it was made anew elsewhere: looked at again later.
      if (!swept.isWhole || swept.ofLiveSessions > 0) continue;
      await kv.commit({ checks: [{ key: row.key, version: row.version }], writes: [{ kind: "delete", key: row.key }] });
    }
    return removed;
  }

  async #look(): Promise<DriveView> {
    const { node, placement, clock, knownDrives, log, awayMsMax = limits.driveAwayMsMax } = this.#parts;
    const taking = placement.drives();
    const failed = new Set(taking.filter(({ state }) => state === "failed").map(({ id }) => id));
    const here = new Set(node.drives.filter((drive) => !failed.has(drive)));
    const nowMs = clock.monotonicMs();
    const givenUp = new Set<DriveId>();
    const known = await knownDrives();
    for (const drive of this.#away.keys()) if (here.has(drive) || !known.includes(drive)) this.#away.delete(drive);
    for (const drive of known) {
      if (here.has(drive)) continue;
      const sinceMs = this.#away.get(drive);
      if (sinceMs === undefined) {
        this.#away.set(drive, nowMs);
        log.warn({ drive }, "A drive is away.");
      }
      if (nowMs - (sinceMs ?? nowMs) >= awayMsMax) givenUp.add(drive);
    }
    return { here, givenUp, taking };
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
    const { givenUp } = view;
    if (givenUp.size === 0) {
      this.#walk = undefined;
      return nothing;
    }
    if (this.#walk === undefined || !isSame(this.#walk.givenUp, givenUp)) {
      if (!this.#isDue(givenUp)) return nothing;
      this.#walk = newWalk(this.#parts.kv, givenUp);
      this.#parts.log.warn({ drives: [...givenUp] }, "Drives are given up: what lay on them is made anew elsewhere.");
    }
    const walk = this.#walk;
    const pages = await walk.walk.next();
    let done = 0;
    for (const { blob, page, chunks } of pages ?? []) {
      if (signal.aborted) break;
      const lost = chunks.flatMap((chunk, position) =>
        chunk.places.some(({ drive }) => givenUp.has(drive))
          ? [{ position, spare: spareShards(chunk, view.here) }]
          : [],
      );
      if (walk.spare === undefined)
        for (const { position, spare } of lost) count(walk, spare, bytesOf(chunks[position]!));
      const positions = lost.filter(({ spare }) => spare === walk.spare).map(({ position }) => position);
      if (positions.length === 0) continue;
      const outcome = await repairPage(this.#parts, { blob, page, positions, verify: false }, view, signal);
      done += this.#account(walk, outcome);
    }
    if (pages === undefined) this.#endRound(walk);
    return { done, more: this.#walk !== undefined && !signal.aborted };
  }

  #isDue(givenUp: ReadonlySet<DriveId>): boolean {
    const last = this.#walked;
    if (last === undefined || !isSame(last.givenUp, givenUp)) return true;
    return last.isWaiting && this.#parts.clock.monotonicMs() - last.atMs >= againMs;
  }

  #account(walk: Walk, outcome: PageOutcome): number {
    if (outcome.kind === "gone") return 0;
    walk.doneBytes += outcome.bytes;
    walk.isWaiting ||= outcome.isWaiting;
    return outcome.shards;
  }

  /** The next number of losses to look for, the smallest first. Chunks that lost too many are only counted. */
  #endRound(walk: Walk): void {
    const spares = [...walk.bytesBySpare.keys()].filter((spare) => spare >= 0).toSorted((a, b) => a - b);
    const next = spares.find((spare) => walk.spare === undefined || spare > walk.spare);
    if (next !== undefined) {
      walk.spare = next;
      walk.walk.restart();
      return;
    }
    const { log, clock } = this.#parts;
    const isLost = [...walk.bytesBySpare.keys()].some((spare) => spare < 0);
    if (isLost)
      log.error({ drives: [...walk.givenUp] }, "Chunks have lost more shards than they can bear; run doctor.");
    const isWaiting = walk.isWaiting || isLost;
    log.info({ drives: [...walk.givenUp], bytes: walk.doneBytes, isWaiting }, "A walk over the chunk maps has ended.");
    this.#walked = { givenUp: walk.givenUp, atMs: clock.monotonicMs(), isWaiting };
    this.#walk = undefined;
  }
}

function newWalk(kv: RepairParts["kv"], givenUp: ReadonlySet<DriveId>): Walk {
  return { givenUp, walk: new MapWalk(kv), spare: undefined, bytesBySpare: new Map(), doneBytes: 0, isWaiting: false };
}

function count({ bytesBySpare }: Walk, spare: number, bytes: number): void {
  bytesBySpare.set(spare, (bytesBySpare.get(spare) ?? 0) + bytes);
}

/** Of one lost shard. */
function bytesOf({ storedBytes, redundancy }: ChunkRecord): number {
  return shardBytesOf(storedBytes, redundancy);
}

function isSame(left: ReadonlySet<DriveId>, right: ReadonlySet<DriveId>): boolean {
  return left.size === right.size && [...left].every((drive) => right.has(drive));
}
