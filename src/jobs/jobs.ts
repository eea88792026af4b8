/**
 * Background work of one process: what clients don't wait for. Every job is bounded per run, idempotent and safe to be cut
 * off anywhere; jobs that one process should do alone run under a lease in the metadata store (leases.ts).
 *
 *   fence              fences sessions that fell silent (every process)
 *   sweep              removes chunks that ended sessions stored and never published
 *   uploads            part rows of ended uploads, parts maps that were given up
 *   repair             finds what lies on drives that are lost or leave
 *   mend               makes lost and damaged shards anew, moves others (every process its share)
 *   rebalance          finds what lies elsewhere than placement would have it, when drives were added
 *   strays             removes shards that were made anew elsewhere
 *   convert            stores what a bucket has with another redundancy
 *   raise              has buckets converted when the store can bear more losses than before
 *   scrub              re-reads every shard, slowly
 *   missing            looks for shards that drives should have and do not, slowly
 *   trash              drops references, and with a blob's last one its bytes
 *   finished-uploads   forgets the answers of finished uploads
 *   lifecycle          expires what rules of buckets say
 *   events             delivers notifications (src/events)
 *   usage              folds the counters of sessions that are over
 *   compaction         gives dead bytes back to the file system
 */
import type { BlobStore } from "../blob/blob.ts";
import type { Placement } from "../blob/node_placement.ts";
import type { Clock } from "../core/clock.ts";
import type { DriveId, SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Redundancy } from "../core/redundancy.ts";
import type { EventCounts, JobCounts } from "../core/metrics.ts";
import { DeliverJob } from "../events/events.ts";
import type { Random } from "../core/random.ts";
import type { Kv, Write } from "../kv/kv.ts";
import type { KnownDrive } from "../meta/drives.ts";
import { progressKey } from "../meta/keys.ts";
import { encodeProgress } from "../meta/progress.ts";
import type { Session } from "../meta/sessions.ts";
import type { ChunkNode } from "../node/node.ts";
import type { LifecycleWork } from "../object/expire.ts";
import { Budget } from "./budget.ts";
import { ConvertJob } from "./convert.ts";
import { endedUploadsJob, FinishedUploadsJob } from "./ended_uploads.ts";
import { takeLease } from "./leases.ts";
import { LifecycleJob } from "./lifecycle.ts";
import { DriveWatch } from "./drive_watch.ts";
import { MendJob } from "./mend.ts";
import { MissingJob } from "./missing.ts";
import { PagesUnderWay } from "./pages.ts";
import { RaiseJob } from "./raise.ts";
import { RebalanceJob } from "./rebalance.ts";
import { RepairJob } from "./repair.ts";
import { JobRunner, scopedName, type Job, type JobStatus, type RunnerOptions } from "./runner.ts";
import { ScrubJob } from "./scrub.ts";
import { FenceJob, SweepJob } from "./sessions.ts";
import { StraysJob } from "./strays.ts";
import { TrashJob } from "./trash.ts";
import { quotasJob } from "./quotas.ts";
import { UsageJob } from "./usage.ts";

export { DamageNotes } from "./damage.ts";
export { takeLease } from "./leases.ts";
export { LandedNotes } from "./landed.ts";
export { fenceDead, fenceOthers, sweepAgain, sweepAll, sweepSuspects } from "./sessions.ts";
export { readBacklog, type Backlog } from "./backlog.ts";
export { runDoctor, type DoctorSummary, type Finding } from "./doctor.ts";
export type { JobStatus } from "./runner.ts";

/** What processes of this machine look after by themselves, one of them at a time. */
export type LocalDrives = {
  /** Unlike that of every other machine of the store; empty where there is only one. */
  readonly name: string;
  readonly drives: readonly DriveId[];
};

export type JobsParts = {
  readonly kv: Kv;
  readonly node: ChunkNode;
  readonly local: LocalDrives;
  readonly blobs: Pick<BlobStore, "remove">;
  /** This process's session: holder of its leases, and never fenced by itself. Its heartbeat is the caller's. */
  readonly session: Pick<Session, "id" | "check" | "nextStamp" | "beginRead">;
  readonly placement: Placement;
  /** Every drive of the store, whether it is here or not. */
  readonly knownDrives: () => Promise<readonly KnownDrive[]>;
  /** Told when no chunk map names a drive any more. */
  readonly onDrained: (drive: DriveId) => Promise<void>;
  /** Of buckets that say nothing else; where it is left out nothing is raised. */
  readonly redundancy?: () => Redundancy;
  /** Of the reduced class; undefined: what follows from the other. */
  readonly reducedRedundancy?: Redundancy | undefined;
  /** How long a drive may be away until it is given up; driveAwayMsMax if left out. */
  readonly awayMsMax?: number;
  /** What background work of this process may move at most; backgroundBytesPerSecond of the limits if left out. */
  readonly backgroundBytesPerSecond?: number;
  /**
   * Requests of clients, of this process, that are under way or were served since the last call: background work yields to
   * them. Never any if left out.
   */
  readonly activity?: () => number;
  /** The sessions that share what is to be mended; all that live if left out. */
  readonly menders?: () => Promise<readonly SessionId[]>;
  /** What expires objects by the rules of their buckets; without it nobody does. */
  readonly lifecycle?: LifecycleWork;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Told what jobs come to. */
  readonly counts?: JobCounts;
  readonly eventCounts?: EventCounts;
};

export type JobName =
  | "fence"
  | "sweep"
  | "repair"
  | "mend"
  | "rebalance"
  | "strays"
  | "convert"
  | "raise"
  | "scrub"
  | "missing"
  | "uploads"
  | "trash"
  | "finished-uploads"
  | "usage"
  | "lifecycle"
  | "quotas"
  | "events"
  | "compaction";

export type Jobs = {
  /** A hint that there may be work now; without it idle jobs look by themselves, seldom. */
  poke(name?: JobName): void;
  status(): JobStatus[];
  /** Resolves when no job runs any more. */
  stop(): Promise<void>;
};

export function startJobs(parts: JobsParts): Jobs {
  return runJobs({ ...parts, jobs: createJobs(parts) });
}

type RunParts = Pick<JobsParts, "kv" | "session" | "clock" | "log" | "counts">;

export function runJobs(parts: RunParts & { readonly jobs: readonly Job[] }): Jobs {
  const { kv, clock, log, session, jobs, counts } = parts;
  const onRun: RunnerOptions["onRun"] = ({ name }, facts) => counts?.jobRun({ job: name, ...facts });
  const mayRun = (job: Job): Promise<boolean> => takeLease(kv, scopedName(job), session.id);
  return new JobRunner({ jobs, clock, log, mayRun, onRun, report: reportTo(parts) });
}

function reportTo({ kv, session, clock, log }: RunParts): NonNullable<RunnerOptions["report"]> {
  const startedMs = new Map<string, number>();
  return async (job, progress) => {
    const name = scopedName(job);
    const atMs = clock.nowMs();
    if (progress === undefined) startedMs.delete(name);
    else if (!startedMs.has(name)) startedMs.set(name, atMs);
    const key = progressKey(name);
    const write: Write =
      progress === undefined
        ? { kind: "delete", key }
        : {
            kind: "put",
            key,
            value: encodeProgress({ session: session.id, startedMs: startedMs.get(name)!, atMs, ...progress }),
          };
    try {
      await kv.commit({ checks: [], writes: [write] });
    } catch (error) {
      log.debug({ job: name, err: error }, "How far a job is could not be noted.");
    }
  };
}

/** The jobs themselves, for callers that run them by hand (tests, `doctor`). */
export function createJobs(parts: JobsParts): Job[] {
  const { kv, clock, log, session, redundancy, reducedRedundancy, lifecycle } = parts;
  const watch = new DriveWatch(parts);
  const pages = new PagesUnderWay();
  const { backgroundBytesPerSecond: bytesPerSecond = limits.backgroundBytesPerSecond, activity = () => 0 } = parts;
  const budget = new Budget({ clock, bytesPerSecond, activity });
  return [
    new FenceJob({ kv, clock, log, own: session.id }),
    new SweepJob(parts),
    new RepairJob({ ...parts, watch }),
    new MendJob({ ...parts, watch, pages, budget }),
    new RebalanceJob({ kv, watch, clock, log }),
    new StraysJob(parts),
    new ConvertJob({ ...parts, budget }),
    ...(redundancy === undefined ? [] : [new RaiseJob({ kv, redundancy, reducedRedundancy, log })]),
    new ScrubJob({ ...parts, budget }),
    new MissingJob(parts),
    endedUploadsJob(parts),
    new TrashJob(parts),
    new FinishedUploadsJob(parts),
    new UsageJob(parts),
    ...(lifecycle === undefined ? [] : [new LifecycleJob({ kv, lifecycle, budget, clock, log })]),
    quotasJob(parts),
    eventsJob(parts),
    compactionJob({ ...parts, budget }),
  ];
}

function eventsJob({ kv, session, clock, random, log, eventCounts: counts }: JobsParts): Job {
  const mayGoOn = (): Promise<boolean> => takeLease(kv, "events", session.id);
  return new DeliverJob({ kv, session: session.id, clock, random, log, counts, mayGoOn });
}

/** Dead bytes on a drive that make compaction worth a look; a drive that is full is looked at for any. */
const deadBytesMin = limits.segmentBytesMax / 8;

function compactionJob({ node, local, budget }: JobsParts & { readonly budget: Budget }): Job {
  return {
    name: "compaction",
    leased: true,
    scope: local.name,
    idleMsMin: 10_000,
    idleMsMax: 60_000,
    async run(signal) {
      let done = 0;
      for (const drive of local.drives) {
        if (signal.aborted) break;
        const { state, deadBytes } = await node.status(drive);
        if (state === "failed" || deadBytes < (state === "full" ? 1 : deadBytesMin)) continue;
        // A drive that is full takes nothing from clients: its space comes first.
        const pause = state === "full" ? undefined : budget.pauses(signal);
        if ((await node.compact(drive, signal, pause)) > 0) done += 1;
      }
      return { done, more: false };
    },
  };
}
