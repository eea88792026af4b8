/**
 * Finds what lies on drives that were given up or are draining (drive_watch.ts): a walk over the chunk maps, by one process,
 * says which pages are to be mended, the most endangered first (plan_walk.ts); every process mends its share (mend.ts). When a
 * walk finds that nothing names a draining drive any more its state becomes `drained`.
 *
 * How far the walk is is in memory: a process that takes over begins again, and what was mended already costs it a look.
 *
 * Known gap: one process reads every chunk map of the store.
 */
import { shardBytesOf } from "../blob/shards.ts";
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { JobCounts } from "../core/metrics.ts";
import type { Kv } from "../kv/kv.ts";
import type { ChunkRecord } from "../meta/chunk_pages.ts";
import { isHaunted, tagRange, tags } from "../meta/keys.ts";
import { decodeRelocation } from "../meta/repairs.ts";
import { unsettle } from "./balance_target.ts";
import type { DriveWatch } from "./drive_watch.ts";
import { PlanWalk, type Wish } from "./plan_walk.ts";
import { spareShards } from "./repair_plan.ts";
import type { Job, JobProgress, JobResult } from "./runner.ts";

export type RepairJobParts = {
  readonly kv: Kv;
  readonly watch: DriveWatch;
  /** Told when no chunk map names the drive any more. */
  readonly onDrained: (drive: DriveId) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
  readonly counts?: Pick<JobCounts, "lostChunks">;
};

/** Until rows that were planned have been dealt with. */
export const planPauseMs = 200;
/** A walk that changed nothing is followed by another after ten times as long as it took, within these bounds. */
const againMsMin = 5_000;
const againMsMax = 60_000;
/** One that found nothing is, in case of late uploads. */
const rewalkMs = 24 * 3_600_000;

type Walk = {
  readonly leaving: ReadonlySet<DriveId>;
  /** The drives that could be read when its last step began. */
  here: ReadonlySet<DriveId>;
  readonly plan: PlanWalk;
  /** It is noted that what it plans will lie elsewhere than placement has it when the drives are back. */
  isUnsettled: boolean;
};

export class RepairJob implements Job {
  readonly name = "repair";
  readonly leased = true;
  readonly idleMsMin = 1_000;
  readonly idleMsMax = 30_000;
  readonly #parts: RepairJobParts;
  #walk: Walk | undefined;
  /** The drives that were walked for last, what was met then, and when they are walked for again. */
  #walked:
    | {
        readonly leaving: ReadonlySet<DriveId>;
        readonly metBytes: number;
        readonly atMs: number;
        readonly againMs: number;
      }
    | undefined;

  constructor(parts: RepairJobParts) {
    this.#parts = parts;
  }

  progress(): JobProgress | undefined {
    return this.#walk?.plan.progress();
  }

  async run(signal: AbortSignal): Promise<JobResult> {
    const { kv, watch, log } = this.#parts;
    const { here, givenUp, draining, givesUpInMs } = await watch.look();
    const pause = this.#pause(givesUpInMs);
    const leaving = new Set([...givenUp, ...draining]);
    if (leaving.size === 0) {
      this.#walk = undefined;
      return pause;
    }
    if (this.#walk === undefined || !isSame(this.#walk.leaving, leaving)) {
      if (!this.#isDue(leaving)) return pause;
      this.#walk = this.#begin(leaving, here);
      log.info({ drives: [...leaving] }, "What lies on these drives is put on others.");
    }
    const walk = this.#walk;
    walk.here = here;
    const state = await walk.plan.step(signal);
    if (!walk.isUnsettled && walk.plan.progress() !== undefined) {
      await unsettle(kv);
      walk.isUnsettled = true;
    }
    if (state === "over") await this.#end(walk);
    if (state === "full") return { done: 0, more: false, againMs: planPauseMs };
    return state === "more" && !signal.aborted ? { done: 0, more: true } : pause;
  }

  /** No longer than until a drive is given up; as ever otherwise. */
  #pause(givesUpInMs: number | undefined): JobResult {
    const isSoon = givesUpInMs !== undefined && givesUpInMs <= this.idleMsMax;
    return { done: 0, more: false, ...(isSoon && { againMs: givesUpInMs }) };
  }

  #begin(leaving: ReadonlySet<DriveId>, here: ReadonlySet<DriveId>): Walk {
    const { kv, clock } = this.#parts;
    const wish = (chunk: ChunkRecord): Wish | undefined => wishFor(chunk, walk);
    const plan = new PlanWalk({ kv, clock, rows: "repair", wish });
    const walk: Walk = { leaving, here, plan, isUnsettled: false };
    return walk;
  }

  #isDue(leaving: ReadonlySet<DriveId>): boolean {
    const last = this.#walked;
    if (last === undefined || !isSame(last.leaving, leaving)) return true;
    return this.#parts.clock.monotonicMs() - last.atMs >= last.againMs;
  }

  async #end({ leaving, plan }: Walk): Promise<void> {
    this.#walk = undefined;
    const { log, clock, counts, onDrained } = this.#parts;
    const { metBytes, metNothing, lostChunks } = plan;
    const hasLost = lostChunks > 0;
    const drives = [...leaving];
    if (hasLost) counts?.lostChunks(lostChunks);
    if (hasLost) log.error({ drives }, "Chunks have lost more shards than they can bear; run doctor.");
    // Only a walk that met nothing shows that nothing is left.
    const isEmpty = metNothing && !(await this.#isNamedByRelocation(leaving));
    if (isEmpty) for (const drive of drives) await onDrained(drive);
    else log.info({ drives, bytes: metBytes }, "A walk over the chunk maps has ended.");
    const before = this.#walked !== undefined && isSame(this.#walked.leaving, leaving) ? this.#walked : undefined;
    const isStuck = hasLost || (before !== undefined && metBytes >= before.metBytes);
    const atMs = clock.monotonicMs();
    const waitMs = Math.min(againMsMax, Math.max(againMsMin, 10 * (atMs - plan.startedMs)));
    // One that may have moved everything is followed by one that looks whether that is so.
    const againMs = isEmpty ? rewalkMs : isStuck ? waitMs : 0;
    this.#walked = { leaving, metBytes, atMs, againMs };
  }

  /** Whoever began to mend before it heard of the drives may still choose one of them. */
  async #isNamedByRelocation(drives: ReadonlySet<DriveId>): Promise<boolean> {
    const rows = await this.#parts.kv.scan(tagRange(tags.relocation), { limit: limits.scanEntriesMax });
    const unfinished = rows.filter(({ key }) => !isHaunted(key));
    return unfinished.some(({ value }) => decodeRelocation(value).shards.some(({ drive }) => drives.has(drive)));
  }
}

function wishFor(chunk: ChunkRecord, { leaving, here }: Walk): Wish | undefined {
  const drives = chunk.places.map(({ drive }) => drive).filter((drive) => leaving.has(drive));
  if (drives.length === 0) return undefined;
  const spare = spareShards(chunk, here);
  if (spare < 0) return { kind: "lost" };
  const bytes = drives.length * shardBytesOf(chunk.storedBytes, chunk.redundancy);
  return { kind: "mend", urgency: spare, bytes, leaving: drives };
}

function isSame(left: ReadonlySet<DriveId>, right: ReadonlySet<DriveId>): boolean {
  return left.size === right.size && [...left].every((drive) => right.has(drive));
}
