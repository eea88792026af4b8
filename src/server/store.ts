/**
 * Puts the storage of one process together: metadata store → session → chunk node → digests → blobs → objects →
 * identity → jobs, and takes it apart in reverse. On drives several processes may each open a store, after one of them
 * (or their supervisor) ran `prepareServer`; in memory a store is its own.
 */
import { Activity } from "../core/activity.ts";
import type { Clock } from "../core/clock.ts";
import { hasReason } from "../core/errors.ts";
import { IdSource, type DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { Random } from "../core/random.ts";
import { DriveQuestions } from "../blob/drive_questions.ts";
import { createNodePlacement, type Placement } from "../blob/node_placement.ts";
import { createBlobStore } from "../blob/store.ts";
import type { DigestPool } from "../digest/digest.ts";
import { createDigestPool } from "../digest/pool.ts";
import { defaultEncryption } from "../gateway/documents/encryption.ts";
import { createIdentity, type Credentials, type Identity } from "../identity/identity.ts";
import { KeyServices } from "../keyring/key_services.ts";
import { Keyring } from "../keyring/keyring.ts";
import type { Kv } from "../kv/kv.ts";
import type { NodeView, Topology } from "../cluster/topology.ts";
import { defaultRedundancy, type Redundancy } from "../core/redundancy.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { changeDriveState, readDrives, type KnownDrive } from "../meta/drives.ts";
import { readProgress } from "../meta/progress.ts";
import { Session } from "../meta/sessions.ts";
import { systemDisk, systemProcesses } from "../node/disk.system.ts";
import { markDriveSwept, type OpenIndex } from "../node/drive.ts";
import { openLocalNode, type FailingDrives } from "../node/local_node.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import type { ChunkNode, DriveStatus } from "../node/node.ts";
import { Destinations } from "../events/events.ts";
import { contentOf } from "../gateway/documents/document.ts";
import { lifecycleRules } from "../gateway/documents/lifecycle.ts";
import { notification } from "../gateway/documents/notification.ts";
import type { Objects } from "../object/object.ts";
import type { ObjectParts } from "../object/context.ts";
import { LoggedBuckets } from "../object/logged_buckets.ts";
import { ObjectStore } from "../object/object_store.ts";
import { DamageNotes, LandedNotes, fenceDead, readBacklog, startJobs, sweepAll } from "../jobs/jobs.ts";
import type { Backlog, Jobs, JobsParts, JobStatus } from "../jobs/jobs.ts";
import { StoreDrives } from "./drives.ts";
import { openEngine } from "./engine.ts";
import { IndexFailures } from "./drive_failures.ts";
import { openVault, type KeyServiceOptions } from "./key_service.ts";
import { openIndexWith } from "./layout.ts";
import { isHeld, onLostDrives } from "./lost_drives.ts";
import { joinCluster, type ClusterOptions, type Membership, type SeenDrives } from "./membership.ts";
import { aloneOn, openMetadata, type Metadata, type OpenedMetadata } from "./metadata.ts";
import { MetadataRooms } from "./metadata_room.ts";
import { obstacles } from "./obstacles.ts";
import type { EngineMetadata } from "./prepare.ts";
import { meteredDisk, meteredKv, meteredNode } from "./metered.ts";

export type StoreOptions = {
  /** What this session is called, unlike all others on these drives; by default after the process. */
  readonly name?: string;
  /** Absolute paths of prepared drives; empty: everything in memory. */
  readonly drives: readonly string[];
  /** In the order of `drives`, as they were prepared. With them, one that cannot be opened any more is done without. */
  readonly driveIds?: readonly DriveId[];
  /** Of `drives`: those that are not tried. */
  readonly givenUpDrives?: readonly string[];
  /** Told of a drive that cannot be opened, and of one whose index fails later; the store ends then. */
  readonly onDriveFailed?: (drive: string) => void;
  /** Where the metadata lies; by default on the first drive alone. */
  readonly metadata?: Metadata | EngineMetadata;
  /** The process belongs to a node of a cluster; with metadata in an engine. */
  readonly cluster?: ClusterOptions;
  readonly root: Credentials;
  /** Of buckets that say nothing else; undefined: by the nodes and drives that there are. */
  readonly redundancy: Redundancy | undefined;
  /** The same for the reduced class; undefined: one loss less, where that leaves one. */
  readonly reducedRedundancy?: Redundancy | undefined;
  /** Master keys of server-side encryption, the first one to seal with; none: only clients' own keys encrypt. */
  readonly masterKeys?: readonly Uint8Array[];
  /** An outside service of keys. */
  readonly keyService?: KeyServiceOptions | undefined;
  /** How long a drive may be away until it is given up; driveAwayMsMax if left out. */
  readonly driveAwayMs?: number;
  /** What background work of this process may move at most; by default what the limits say. */
  readonly backgroundBytesPerSecond?: number;
  /** For tests: how long a day is for lifecycle rules. */
  readonly lifecycleDayMs?: number | undefined;
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
  /** Of server-side encryption; undefined: only clients have keys. */
  readonly encryptionKeys: KeyServices | undefined;
  /** Where events are sent. */
  readonly destinations: Destinations;
  readonly loggedBuckets: LoggedBuckets;
  readonly digests: DigestPool;
  /** Of this machine. */
  readonly local: ChunkNode;
  /** To a drive of this machine, from any. */
  readonly copy: NonNullable<ChunkNode["copy"]>;
  /** Those of this machine; without one that hangs and has never said how it is. */
  drives(): Promise<DriveStatus[]>;
  /** Of buckets that say nothing else. */
  redundancy(): Redundancy;
  /** What was asked for the reduced class. */
  readonly reducedRedundancy: Redundancy | undefined;
  /** Where requests of clients are counted, to which background work yields. */
  readonly activity: Activity;
  /** The nodes that there are, as this process sees them; none on a single machine. */
  nodes(): readonly StoreNode[];
  readonly storeDrives: StoreDrives;
  /** Long work under way, in any process. */
  work(): Promise<Work[]>;
  /** What waits for background work, in bounded counts. */
  backlog(): Promise<Backlog>;
  jobs(): JobStatus[];
  /** What keeps this store from serving requests, in sentences; empty when nothing does. */
  obstacles(): Promise<string[]>;
  /** Fences the sessions of processes that have ended, by their sessions' names, so that what they left is reclaimed soon. */
  fenceDead(names: readonly string[]): Promise<void>;
  /**
   * Resolves when nothing can be written any more and the process should end, with the reason in a sentence: the session
   * was fenced, or a store failed.
   */
  readonly ended: Promise<string>;
  close(): Promise<void>;
};

/** `isUp`: its row changes; `isWell`: it answers this process. */
export type StoreNode = NodeView & { readonly isOwn: boolean; readonly isWell: boolean };

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
  const { metrics, clock, random, log } = options;
  const openedMs = clock.monotonicMs();
  const end = new End();
  const opened = await openKv(options, end);
  const kv = meteredKv(opened.kv, metrics, clock);
  closers.add(() => kv.close());
  const { session, served } = await openSession(options, { kv, end, closers });
  const drives = await openDrives(options, { kv, session, end, closers });
  const { node, seen, local, redundancy } = drives;
  if (drives.topology !== undefined) served.push(...local.drives);
  const digests = createDigestPool({ threads: options.digestThreads });
  closers.add(() => digests.close());
  const placement = await placementOn(drives, kv, options);
  const damage = new DamageNotes({ kv, clock, log, onNoted: () => jobs.poke("mend") });
  closers.add(() => damage.close());
  const landed = new LandedNotes({ kv, session, clock, log });
  closers.add(() => landed.close());
  const ids = new IdSource(session.id);
  const blobs = createBlobStore({
    node,
    ids,
    digests,
    placement,
    log,
    redundancy,
    counts: metrics,
    onDamage: countedDamage(metrics, damage),
    onLanded: (shard) => landed.note(shard),
  });
  const admitRows = rowAdmission(options, opened);
  const encryptionKeys = await openKeys(options, kv, closers);
  const notifications = notificationsOf({ kv, session, clock, random, onQueued: () => jobs.poke("events") });
  const { lifecycleDayMs, reducedRedundancy } = options;
  const redundancies = { redundancy, reducedRedundancy };
  const common = { kv, blobs, digests, session, clock, random, log, ...redundancies };
  const loggedBuckets = new LoggedBuckets();
  const hooks = { ...admitRows, ...notifications.hooks, loggedBuckets, lifecycleRules, lifecycleDayMs };
  const objects = new ObjectStore({ ...common, keys: encryptionKeys, defaultEncryption, ...hooks });
  const activity = new Activity();
  const { topology } = drives;
  const { lifecycle } = objects;
  const jobs = startWork(options, { ...common, lifecycle, node, local, topology, placement, activity });
  closers.add(() => jobs.stop());
  if (options.sweepAll) closers.add(sweepInBackground(kv, local, log));
  const identity = createIdentity({ kv, root: options.root, clock, random });
  const localDrives = new DriveQuestions(local, clock);
  return {
    objects,
    identity,
    encryptionKeys,
    destinations: notifications.destinations,
    loggedBuckets,
    digests,
    local,
    copy: (...given) => node.copy!(...given),
    ...redundancies,
    activity,
    nodes: () => drives.nodes(),
    drives: () => localDrives.statuses(),
    storeDrives: new StoreDrives({ kv, node: seen, clock, objects, ...redundancies, nodes: () => drives.nodes() }),
    ...pendingWork(kv),
    jobs: () => jobs.status(),
    obstacles: () => obstacles({ kv, session, why: end.why, node: seen, nodes: drives.nodes(), openedMs, clock }),
    fenceDead: async (names) => {
      if ((await fenceDead(kv, (name) => names.includes(name), { log, served })) > 0) jobs.poke("sweep");
    },
    ended: end.reached,
    close: () => closers.run(),
  };
}

/** `served`: for the drives on which other nodes have this process store shards, once they are open. */
async function openSession(
  { name, clock, random, log }: StoreOptions,
  { kv, end, closers }: { readonly kv: Kv; readonly end: End; readonly closers: Closers },
): Promise<{ readonly session: Session; readonly served: DriveId[] }> {
  const served: DriveId[] = [];
  const session = await Session.start({ kv, clock, random, node: name ?? `pid ${process.pid}` });
  closers.add(() => session.close(served));
  closers.add(beat(session, end, { clock, log }));
  return { session, served };
}

async function openKeys(
  { masterKeys: masters = [], keyService, clock, random, log, metrics }: StoreOptions,
  kv: Kv,
  closers: Closers,
): Promise<KeyServices | undefined> {
  if (masters.length === 0 && keyService === undefined) return undefined;
  const keyring = masters.length === 0 ? undefined : await Keyring.open({ kv, masters, clock, random });
  if (keyService === undefined) return new KeyServices({ keyring, vault: undefined });
  const onCall = metrics.keyServiceCall.bind(metrics);
  const vault = openVault(keyService, { clock, random, log, onCall });
  closers.add(async () => vault.close());
  return new KeyServices({ keyring, vault: vault.keys, defaults: keyService.defaults });
}

/** So long is waited for more events before the job that delivers them is woken. */
const pokeMs = 20;

type NotificationParts = Pick<WorkParts, "kv" | "session"> &
  Pick<StoreOptions, "clock" | "random"> & { readonly onQueued: () => void };

/** The object layer writes events by rules that it cannot read: documents are S3's. */
function notificationsOf(parts: NotificationParts): {
  readonly destinations: Destinations;
  readonly hooks: Pick<ObjectParts, "eventRules" | "onQueued">;
} {
  const destinations = new Destinations({
    ...parts,
    session: parts.session.id,
    rulesOf: (bytes) => contentOf(notification, { bytes, modifiedMs: 0 }),
  });
  const onQueued = soon(parts.clock, parts.onQueued);
  return {
    destinations,
    hooks: { eventRules: (document) => contentOf(notification, document), onQueued },
  };
}

/** Many calls close to each other come to one. */
function soon(clock: Clock, then: () => void): () => void {
  let isDue = false;
  return () => {
    if (isDue) return;
    isDue = true;
    void clock.sleep(pokeMs).then(() => {
      isDue = false;
      then();
    });
  };
}

type WorkParts = Pick<
  JobsParts,
  "kv" | "node" | "blobs" | "session" | "placement" | "redundancy" | "reducedRedundancy" | "lifecycle"
> & {
  readonly local: ChunkNode;
  readonly topology: Topology | undefined;
  readonly activity: Activity;
};

function startWork(options: StoreOptions, { local, topology, activity, ...parts }: WorkParts): Jobs {
  const { metrics, clock, random, log, cluster, driveAwayMs, backgroundBytesPerSecond } = options;
  const { kv, node } = parts;
  const jobs = startJobs({
    ...parts,
    local: { name: cluster?.own.url ?? "", drives: local.drives },
    clock,
    random,
    log,
    counts: metrics,
    eventCounts: metrics,
    knownDrives: () => knownDrives(kv, node, topology),
    ...(driveAwayMs !== undefined && { awayMsMax: driveAwayMs }),
    ...(backgroundBytesPerSecond !== undefined && { backgroundBytesPerSecond }),
    activity: () => activity.look(),
    onDrained: async (drive) => void (await changeDriveState(kv, drive, ["draining"], "drained")),
  });
  // A drive's time begins when repair looks, which an idle one does seldom; and then there is work for all.
  const look = (): void => (["repair", "mend"] as const).forEach((name) => jobs.poke(name));
  if (topology !== undefined) onLostDrives(topology, node, look);
  return jobs;
}

function countedDamage(metrics: Metrics, damage: DamageNotes): DamageNotes["note"] {
  return (source, chunkIndex) => {
    metrics.damagedShard("read");
    damage.note(source, chunkIndex);
  };
}

function pendingWork(kv: Kv): Pick<Store, "work" | "backlog"> {
  return { work: () => readProgress(kv), backlog: () => readBacklog(kv) };
}

type OpenedDrives = {
  /** All that the store can use. */
  readonly node: ChunkNode;
  /** The same as they are known without asking other machines. */
  readonly seen: SeenDrives;
  /** Those of this machine. */
  readonly local: ChunkNode;
  readonly topology: Topology | undefined;
  readonly nodes: () => readonly StoreNode[];
  readonly where?: Membership["where"];
  readonly onDrives?: Membership["onDrives"];
  readonly redundancy: () => Redundancy;
};

async function openDrives(
  options: StoreOptions,
  parts: { readonly kv: Kv; readonly session: Session; readonly end: End; readonly closers: Closers },
): Promise<OpenedDrives> {
  const { metrics, clock, random, log, cluster, redundancy } = options;
  const { kv, session, end, closers } = parts;
  const local = meteredNode(await openNode(options, end), metrics, clock);
  if (cluster === undefined) {
    closers.add(() => local.close());
    const fixed = redundancy ?? defaultRedundancy(Math.max(1, options.drives.length));
    return { node: local, seen: local, local, topology: undefined, nodes: () => [], redundancy: () => fixed };
  }
  const onOvertaken = (why: string): void => end.because(why);
  const member = await joinCluster({ cluster, kv, session, local, onOvertaken, metrics, clock, random, log });
  closers.add(() => member.close());
  const { node, seen, topology, where, onDrives } = member;
  const nodes = (): StoreNode[] =>
    topology.nodes.map((view) => ({
      ...view,
      isOwn: view.url === cluster.own.url,
      isWell: node.isWell(view.url),
    }));
  return { node, seen, local, topology, nodes, where, onDrives, redundancy: () => redundancy ?? member.redundancy() };
}

function placementOn(
  { seen, where, onDrives }: OpenedDrives,
  kv: Kv,
  { clock, log }: StoreOptions,
): Promise<Placement> {
  return createNodePlacement({
    node: seen,
    leaving: () => leavingDrives(kv),
    ...(where && { where }),
    ...(onDrives && { onDrives }),
    clock,
    log,
  });
}

async function leavingDrives(kv: Kv): Promise<ReadonlySet<DriveId>> {
  const drives = await readDrives(kv);
  return new Set(drives.filter(({ state }) => state !== "active").map(({ id }) => id));
}

/** Those that the store has records of, and those that are here. */
async function knownDrives(kv: Kv, node: ChunkNode, topology: Topology | undefined): Promise<KnownDrive[]> {
  const known = (await readDrives(kv)).map(({ id, state }) => ({ id, state, isHeld: isHeld(topology, id) }));
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

async function openKv({ drives, metadata, log, metrics }: StoreOptions, end: End): Promise<OpenedMetadata> {
  const [first] = drives;
  if (first === undefined) return { kv: openMemoryKv(), spaces: () => [] };
  if (metadata?.kind === "engine") {
    const kv = await openEngine(metadata.url, { log, onBatch: (facts) => metrics.commitBatch(facts) });
    return { kv, spaces: () => [] };
  }
  return openMetadata({
    metadata: metadata ?? aloneOn(first),
    disk,
    log,
    onBatch: (facts) => metrics.commitBatch(facts),
    onFailed: () => end.because(metadataFailed),
  });
}

/** Each drive that has the metadata keeps its reserve free. In memory there is none, and an engine sees to its own room. */
function rowAdmission(
  { drives, metadata, clock }: StoreOptions,
  { spaces }: OpenedMetadata,
): Pick<ObjectParts, "admitRows"> {
  if (drives.length === 0 || metadata?.kind === "engine") return {};
  const rooms = new MetadataRooms({ spaces, space: (drive) => disk.space(drive), clock });
  return { admitRows: (bytes) => rooms.admit(bytes) };
}

async function openNode(options: StoreOptions, end: End): Promise<ChunkNode> {
  const { drives, driveIds, givenUpDrives = [], onDriveFailed, metrics, clock, random, log } = options;
  if (drives.length === 0) return createMemoryNode();
  const failures = new IndexFailures((drive) => {
    onDriveFailed?.(drive);
    end.because(`The index of the drive ${drive} has failed.`);
  });
  const openIndex: OpenIndex = (index) =>
    openIndexWith({
      log,
      freeBytes: async () => (await disk.space(index.drivePath)).freeBytes,
      onFailed: () => failures.note(index.drivePath),
    })(index);
  const failing: FailingDrives = {
    idOf: (drive) => driveIds?.[drives.indexOf(drive)],
    isGivenUp: (drive) => givenUpDrives.includes(drive),
    onFailed: (drive) => {
      failures.leaveOut(drive);
      onDriveFailed?.(drive);
    },
  };
  const processes = await systemProcesses();
  const parts = { drives, disk: meteredDisk(disk, metrics, clock), openIndex, processes, clock, random, log, failing };
  const node = await openLocalNode(parts);
  failures.tell();
  return node;
}

/**
 * Returns what cuts it short. Until it has ended once, chunks that nothing refers to only take space; each drive notes
 * that it was swept, so that a sweep cut short is done again after the next start.
 */
function sweepInBackground(kv: Kv, node: ChunkNode, log: Log): () => Promise<void> {
  const stop = new AbortController();
  const onSwept = async (drive: DriveId): Promise<void> => markDriveSwept(disk, (await node.status(drive)).path);
  const sweep = async (): Promise<number> => {
    const states = await Promise.all(node.drives.map((drive) => node.status(drive)));
    const drives = states.filter(({ state }) => state !== "failed").map(({ id }) => id);
    return sweepAll({ kv, node, drives, log }, stop.signal, onSwept);
  };
  const ended = sweep().then(
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
