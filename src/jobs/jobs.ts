/**
 * Background work of one process: what clients don't wait for. Every job is bounded per run, idempotent and safe to be cut
 * off anywhere; jobs that one process should do alone run under a lease in the metadata store (leases.ts).
 *
 *   fence              fences sessions that fell silent (every process)
 *   sweep              removes chunks that ended sessions stored and never published
 *   uploads            part rows of ended uploads, parts maps that were given up
 *   repair             makes lost and damaged shards anew
 *   convert            stores what a bucket has with another redundancy
 *   scrub              re-reads every shard, slowly
 *   trash              drops references, and with a blob's last one its bytes
 *   finished-uploads   forgets the answers of finished uploads
 *   usage              folds the counters of sessions that are over
 *   compaction         gives dead bytes back to the file system
 */
import type { BlobStore } from "../blob/blob.ts";
import type { Placement } from "../blob/node_placement.ts";
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { Kv, Write } from "../kv/kv.ts";
import type { KnownDrive } from "../meta/drives.ts";
import { progressKey } from "../meta/keys.ts";
import { encodeProgress } from "../meta/progress.ts";
import type { Session } from "../meta/sessions.ts";
import type { ChunkNode } from "../node/node.ts";
import { ConvertJob } from "./convert.ts";
import { endedUploadsJob, FinishedUploadsJob } from "./ended_uploads.ts";
import { takeLease } from "./leases.ts";
import { RepairJob } from "./repair.ts";
import { JobRunner, type Job, type JobStatus, type RunnerOptions } from "./runner.ts";
import { ScrubJob } from "./scrub.ts";
import { FenceJob, SweepJob } from "./sessions.ts";
import { TrashJob } from "./trash.ts";
import { UsageJob } from "./usage.ts";

export { DamageNotes } from "./damage.ts";
export { fenceDead, fenceOthers, sweepAll, sweepSuspects } from "./sessions.ts";
export { runDoctor, type DoctorSummary, type Finding } from "./doctor.ts";
export type { JobStatus } from "./runner.ts";

export type JobsParts = {
  readonly kv: Kv;
  readonly node: ChunkNode;
  readonly blobs: Pick<BlobStore, "remove">;
  /** This process's session: holder of its leases, and never fenced by itself. Its heartbeat is the caller's. */
  readonly session: Pick<Session, "id" | "check" | "nextStamp" | "beginRead">;
  readonly placement: Placement;
  /** Every drive of the store, whether it is here or not. */
  readonly knownDrives: () => Promise<readonly KnownDrive[]>;
  /** Told when no chunk map names a drive any more. */
  readonly onDrained: (drive: DriveId) => Promise<void>;
  /** How long a drive may be away until it is given up; driveAwayMsMax if left out. */
  readonly awayMsMax?: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

export type JobName =
  | "fence"
  | "sweep"
  | "repair"
  | "convert"
  | "scrub"
  | "uploads"
  | "trash"
  | "finished-uploads"
  | "usage"
  | "compaction";

export type Jobs = {
  /** A hint that there may be work now; without it idle jobs look by themselves, seldom. */
  poke(name?: JobName): void;
  status(): JobStatus[];
  /** Resolves when no job runs any more. */
  stop(): Promise<void>;
};

export function startJobs(parts: JobsParts): Jobs {
  const { kv, clock, log, session } = parts;
  const mayRun = (job: Job): Promise<boolean> => takeLease(kv, job.name, session.id);
  return new JobRunner({ jobs: createJobs(parts), clock, log, mayRun, report: reportTo(parts) });
}

function reportTo({ kv, session, clock, log }: JobsParts): NonNullable<RunnerOptions["report"]> {
  const startedMs = new Map<string, number>();
  return async ({ name }, progress) => {
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
  const { kv, clock, log, session } = parts;
  return [
    new FenceJob({ kv, clock, log, own: session.id }),
    new SweepJob(parts),
    new RepairJob(parts),
    new ConvertJob(parts),
    new ScrubJob(parts),
    endedUploadsJob(parts),
    new TrashJob(parts),
    new FinishedUploadsJob(parts),
    new UsageJob(parts),
    compactionJob(parts),
  ];
}

/** Dead bytes on a drive that make compaction worth a look; a drive that is full is looked at for any. */
const deadBytesMin = limits.segmentBytesMax / 8;

function compactionJob({ node }: JobsParts): Job {
  return {
    name: "compaction",
    leased: true,
    idleMsMin: 10_000,
    idleMsMax: 60_000,
    async run(signal) {
      let done = 0;
      for (const drive of node.drives) {
        if (signal.aborted) break;
        const { state, deadBytes } = await node.status(drive);
        if (state === "failed" || deadBytes < (state === "full" ? 1 : deadBytesMin)) continue;
        if ((await node.compact(drive, signal)) > 0) done += 1;
      }
      return { done, more: false };
    },
  };
}
