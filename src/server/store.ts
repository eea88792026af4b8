/**
 * Puts the storage of one process together: metadata store → session → chunk node → digests → blobs → objects →
 * identity → jobs, and takes it apart in reverse. On drives several processes may each open a store, after one of them
 * (or their supervisor) ran `prepareServer`; in memory a store is its own.
 */
import type { Clock } from "../core/clock.ts";
import { hasReason } from "../core/errors.ts";
import { IdSource, type DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { Random } from "../core/random.ts";
import { createNodePlacement } from "../blob/node_placement.ts";
import { createBlobStore } from "../blob/store.ts";
import type { DigestPool } from "../digest/digest.ts";
import { createDigestPool } from "../digest/pool.ts";
import { createIdentity, type Credentials, type Identity } from "../identity/identity.ts";
import type { Kv } from "../kv/kv.ts";
import type { Redundancy } from "../core/redundancy.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { changeDriveState, readDrives, type KnownDrive } from "../meta/drives.ts";
import { readProgress } from "../meta/progress.ts";
import { Session } from "../meta/sessions.ts";
import { systemDisk, systemProcesses } from "../node/disk.system.ts";
import { markDriveSwept, type OpenIndex } from "../node/drive.ts";
import { openLocalNode } from "../node/local_node.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import type { ChunkNode, DriveStatus } from "../node/node.ts";
import type { Objects } from "../object/object.ts";
import type { ObjectParts } from "../object/context.ts";
import { ObjectStore } from "../object/object_store.ts";
import { DamageNotes, fenceDead, startJobs, sweepAll, type JobStatus } from "../jobs/jobs.ts";
import { StoreDrives } from "./drives.ts";
import { openIndexWith } from "./layout.ts";
import { aloneOn, openMetadata, type Metadata, type OpenedMetadata } from "./metadata.ts";
import { MetadataRooms } from "./metadata_room.ts";
import { meteredDisk, meteredKv, meteredNode } from "./metered.ts";

export type StoreOptions = {
  /** What this session is called, unlike all others on these drives; by default after the process. */
  readonly name?: string;
  /** Absolute paths of prepared drives; empty: everything in memory. */
  readonly drives: readonly string[];
  /** Where the metadata lies; by default on the first drive alone. */
  readonly metadata?: Metadata;
  readonly root: Credentials;
  /** Of buckets that say nothing else. */
  readonly redundancy: Redundancy;
  /** Threads that hash large bodies. */
  readonly digestThreads: number;
  /** An index was built anew: chunks that were removed may be back, so all are compared with the metadata once. */
  readonly sweepAll: boolean;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

export type Store = {
  readonly objects: Objects;
  readonly identity: Identity;
  readonly digests: DigestPool;
  /** Those that are here. */
  drives(): Promise<DriveStatus[]>;
  readonly storeDrives: StoreDrives;
  /** Long work under way, in any process. */
  work(): Promise<Work[]>;
  jobs(): JobStatus[];
  /** What keeps this store from serving requests, in sentences; empty when nothing does. */
  obstacles(): Promise<string[]>;
  /** Fences the sessions of processes that have ended, by their names, so that what they left is reclaimed soon. */
  fenceDead(names: readonly string[]): Promise<void>;
  /**
   * Resolves when nothing can be written any more and the process should end, with the reason in a sentence: the session
   * was fenced, or a store failed.
   */
  readonly ended: Promise<string>;
  close(): Promise<void>;
};

export type Work = Awaited<ReturnType<typeof readProgress>>[number];

/** What has to be undone, newest last; also when opening fails half-way. */
class Closers {
  readonly #steps: (() => Promise<unknown>)[] = [];

  add(step: () => Promise<unknown>): void {
    this.#steps.push(step);
  }

  /** Every step is tried; the first error is thrown at the end. */
  async run(): Promise<void> {
    const errors: unknown[] = [];
    for (const step of this.#steps.splice(0).reverse()) await step().catch((error: unknown) => errors.push(error));
    if (errors.length > 0) throw errors[0];
  }
}

export async function openStore(options: StoreOptions): Promise<Store> {
  const closers = new Closers();
  try {
    return await assemble(options, closers);
  } catch (error) {
    await closers.run().catch(() => undefined);
    throw error;
  }
}

async function assemble(options: StoreOptions, closers: Closers): Promise<Store> {
  const { metrics, clock, random, log, redundancy } = options;
  const end = new End();
  const opened = await openKv(options, end);
  const kv = meteredKv(opened.kv, metrics, clock);
  closers.add(() => kv.close());
  const session = await Session.start({ kv, clock, random, node: options.name ?? `pid ${process.pid}` });
  closers.add(() => session.close());
  closers.add(beat(session, end, { clock, log }));
  const node = meteredNode(await openNode(options, end), metrics, clock);
  closers.add(() => node.close());
  const digests = createDigestPool({ threads: options.digestThreads });
  closers.add(() => digests.close());
  const placement = await createNodePlacement({ node, leaving: () => leavingDrives(kv), clock, log });
  const damage = new DamageNotes({ kv, clock, log, onNoted: () => jobs.poke("repair") });
  closers.add(() => damage.close());
  const ids = new IdSource(session.id);
  const blobs = createBlobStore({
    node,
    ids,
    digests,
    placement,
    log,
    redundancy,
    onDamage: (source, chunkIndex) => damage.note(source, chunkIndex),
  });
  const admitRows = rowAdmission(options, opened);
  const objects = new ObjectStore({ kv, blobs, digests, session, clock, random, log, redundancy, ...admitRows });
  const jobs = startJobs({
    kv,
    node,
    blobs,
    session,
    placement,
    clock,
    random,
    log,
    knownDrives: () => knownDrives(kv, node),
    onDrained: async (drive) => void (await changeDriveState(kv, drive, ["draining"], "drained")),
  });
  closers.add(() => jobs.stop());
  if (options.sweepAll) closers.add(sweepInBackground(kv, node, log));
  const identity = createIdentity({ kv, root: options.root, clock, random });
  const drives = () => Promise.all(node.drives.map((drive) => node.status(drive)));
  return {
    objects,
    identity,
    digests,
    drives,
    storeDrives: new StoreDrives({ kv, node, objects, redundancy }),
    work: () => readProgress(kv),
    jobs: () => jobs.status(),
    obstacles: () => obstacles({ kv, session, end, drives, clock }),
    fenceDead: async (names) => {
      if ((await fenceDead(kv, names, log)) > 0) jobs.poke("sweep");
    },
    ended: end.reached,
    close: () => closers.run(),
  };
}

async function leavingDrives(kv: Kv): Promise<ReadonlySet<DriveId>> {
  const drives = await readDrives(kv);
  return new Set(drives.filter(({ state }) => state !== "active").map(({ id }) => id));
}

/** Those that the store has records of, and those that are here. */
async function knownDrives(kv: Kv, node: ChunkNode): Promise<KnownDrive[]> {
  const known = await readDrives(kv);
  const others = node.drives.filter((drive) => !known.some(({ id }) => id === drive));
  return [...known, ...others.map((id) => ({ id, state: "active" as const }))];
}

/** The first reason for which the process should end. */
class End {
  #tell: (why: string) => void = () => undefined;
  readonly reached = new Promise<string>((resolve) => (this.#tell = resolve));
  #why: string | undefined;

  get why(): string | undefined {
    return this.#why;
  }

  because(why: string): void {
    this.#why ??= why;
    this.#tell(why);
  }
}

const disk = systemDisk("/");

/** Why a store ended whose metadata can be written no more by this process. */
export const metadataFailed = "The metadata store has failed.";

function openKv({ drives, metadata, log, metrics }: StoreOptions, end: End): Promise<OpenedMetadata> {
  const [first] = drives;
  if (first === undefined) return Promise.resolve({ kv: openMemoryKv(), spaces: () => [] });
  return openMetadata({
    metadata: metadata ?? aloneOn(first),
    disk,
    log,
    onBatch: (facts) => metrics.commitBatch(facts),
    onFailed: () => end.because(metadataFailed),
  });
}

/** Each drive that has the metadata keeps its reserve free; in memory there is none. */
function rowAdmission({ drives, clock }: StoreOptions, { spaces }: OpenedMetadata): Pick<ObjectParts, "admitRows"> {
  if (drives.length === 0) return {};
  const rooms = new MetadataRooms({ spaces, space: (drive) => disk.space(drive), clock });
  return { admitRows: (bytes) => rooms.admit(bytes) };
}

async function openNode({ drives, metrics, clock, random, log }: StoreOptions, end: End): Promise<ChunkNode> {
  if (drives.length === 0) return createMemoryNode();
  const processes = await systemProcesses();
  const openIndex: OpenIndex = (options) =>
    openIndexWith({
      log,
      freeBytes: async () => (await disk.space(options.drivePath)).freeBytes,
      onFailed: () => end.because(`The index of the drive ${options.drivePath} has failed.`),
    })(options);
  return openLocalNode({ drives, disk: meteredDisk(disk, metrics, clock), openIndex, processes, clock, random, log });
}

/**
 * Returns what cuts it short. Until it has ended once, chunks that nothing refers to only take space; each drive notes
 * that it was swept, so that a sweep cut short is done again after the next start.
 */
function sweepInBackground(kv: Kv, node: ChunkNode, log: Log): () => Promise<void> {
  const stop = new AbortController();
  const onSwept = async (drive: DriveId): Promise<void> => markDriveSwept(disk, (await node.status(drive)).path);
  const ended = sweepAll({ kv, node, log }, stop.signal, onSwept).then(
    (removed) => log.info({ removed }, "All chunks were compared with the metadata."),
    (error: unknown) => log.error({ err: error }, "Chunks could not be compared with the metadata."),
  );
  return () => {
    stop.abort();
    return ended;
  };
}

/** Keeps the session's heartbeat going until it is stopped, by what is returned, or the session is fenced. */
function beat(session: Session, end: End, { clock, log }: { clock: Clock; log: Log }): () => Promise<void> {
  const stop = new AbortController();
  const ended = (async () => {
    for (;;) {
      await clock.sleep(limits.heartbeatIntervalMs, stop.signal);
      if (stop.signal.aborted) return;
      try {
        await session.heartbeat();
      } catch (error) {
        if (hasReason(error, "session_fenced")) return end.because("This process was taken for dead and fenced.");
        log.warn({ err: error }, "The heartbeat could not be written.");
      }
    }
  })();
  return () => {
    stop.abort();
    return ended;
  };
}

const answerMsMax = 2_000;

async function obstacles(parts: {
  readonly kv: Kv;
  readonly session: Session;
  readonly end: End;
  readonly drives: () => Promise<DriveStatus[]>;
  readonly clock: Clock;
}): Promise<string[]> {
  const { kv, session, end, drives, clock } = parts;
  const found: string[] = [];
  if (end.why !== undefined) found.push(end.why);
  const answered = new AbortController();
  const asked = Promise.all([kv.get([session.check.key]), drives()]).then(
    ([, statuses]) => (statuses.some(({ state }) => state !== "failed") ? [] : ["Every drive has failed."]),
    (error: unknown) => [`The store cannot be read: ${error instanceof Error ? error.message : String(error)}`],
  );
  const late = clock.sleep(answerMsMax, answered.signal).then(() => ["The store does not answer."]);
  found.push(...(await Promise.race([asked, late])));
  answered.abort();
  return found;
}
