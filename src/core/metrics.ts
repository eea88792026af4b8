/**
 * What a server counts, over prom-client. One `Metrics` per process with registries of its own, so that several servers in
 * one process don't mix. Rooms get the small typed calls below and never see prom-client.
 *
 * With several workers each keeps its own counts; `snapshot` goes to the supervisor and `mergeSnapshots` adds them up. How the
 * node and the store stand is told by the worker that is asked, with `describe`, and kept by none: what a worker was told
 * when it was asked last may be an hour old.
 *
 * Labels are only values from our own closed lists (operation, door, outcome, job), drives of the node and nodes of the
 * store: a client cannot make the series grow.
 */
import { AggregatorRegistry, Registry } from "prom-client";
import { countedSeries, nodeSeries, storeSeries } from "./metrics_series.ts";

export type Door = "s3" | "website" | "iam" | "files" | "admin" | "node";

export type RequestFacts = {
  readonly door: Door;
  /** The S3 operation, or the call of the file or admin door. One of a closed list. */
  readonly operation: string;
  readonly status: number;
  readonly durationMs: number;
};

export type DriveFacts = {
  readonly id: string;
  readonly state: "up" | "full" | "failed";
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly liveBytes: number;
  readonly deadBytes: number;
};

/** A drive of this node. */
export type NodeDriveFacts = DriveFacts & {
  /** When a scrub last ended or, before the first, when the drive was added; undefined where neither is known. */
  readonly checkedMs: number | undefined;
  /** What that scrub found damaged. */
  readonly damagedShards: number;
};

export type StoreStanding = {
  readonly drives: readonly { readonly membership: string; readonly state: string }[];
  /** Undefined on a single machine. */
  readonly nodes?: { readonly up: number; readonly away: number };
  readonly sessions: number;
  readonly repairPages: number;
  readonly repairChunks: number;
  readonly plannedPages: number;
  readonly relocations: number;
  readonly strays: number;
  readonly trash: number;
  readonly notifications: NotificationFacts;
  readonly quotas: readonly QuotaFacts[];
  /** Long work, by the name of its job. */
  readonly work: readonly { readonly job: string; readonly doneBytes: number; readonly leftBytes: number }[];
};

/** Of a bucket, or of an account; undefined: that is not bounded. */
export type QuotaFacts = {
  readonly of: "bucket" | "account";
  readonly name: string;
  readonly quota: { readonly bytesMax: number | undefined; readonly objectsMax: number | undefined };
  readonly held: { readonly bytes: number; readonly objects: number };
};

/** How the node and the whole store stand at a moment. */
export type Standing = {
  readonly version: string;
  readonly startedMs: number;
  /** Those of this node. */
  readonly drives: readonly NodeDriveFacts[];
  /** Undefined: the metadata store does not answer. */
  readonly store?: StoreStanding;
  /** The other nodes, as the asked process finds them. */
  readonly peers: readonly { readonly name: string; readonly isWell: boolean }[];
};

/** One process's numbers as plain data (prom-client's JSON), to be sent to another process. */
export type MetricsSnapshot = readonly object[];

/** What reading and writing chunks came to. */
export type BlobCounts = {
  /** Of a chunk, shards that are missing or slow were computed from others; once for each read of it. */
  degradedRead(): void;
  /** A read was late and was made elsewhere too: which came first. */
  hedgedRead(winner: "first" | "second"): void;
  /** A chunk could not be read, with all its shards tried; once for each read of it. */
  unreadableChunk(): void;
  /** An append was not waited for, as a quorum of others was durable. */
  writeStraggler(): void;
};

/** What background jobs came to. */
export type JobCounts = {
  /** A run that dealt with something or failed; runs that found nothing to do are not counted. */
  jobRun(facts: { readonly job: string; readonly outcome: "ok" | "failed"; readonly done: number }): void;
  damagedShard(foundBy: "read" | "scrub"): void;
  scrubbed(bytes: number): void;
  repaired(facts: { readonly shards: number; readonly bytes: number }): void;
  /** Chunks met that have too few shards left. */
  lostChunks(count: number): void;
};

/** What became of messages to destinations of events. */
export type EventCounts = { eventSent(outcome: "taken" | "refused" | "unreachable"): void };

/** What became of lines of access logs. */
export type AccessLogCounts = { accessLogLines(outcome: "written" | "dropped", lines: number): void };

/** Destinations of events, and the events kept for all of them together. */
export type NotificationFacts = {
  readonly destinations: number;
  /** That took nothing when they were last asked. */
  readonly troubled: number;
  readonly full: number;
  readonly waiting: number;
  readonly undelivered: number;
  readonly lost: number;
};

export type PeerCall =
  "append" | "copy" | "read" | "record" | "remove" | "discard" | "list" | "verify" | "status" | "drives";

/** `refused`: the drive or the shard was not as it should be; `failed`: the node did not answer. */
export type PeerOutcome = "ok" | "refused" | "failed" | "cancelled";

/** `refused`: the service said no to what was asked; `failed`: it was away, or did not take the token. */
export type KeyServiceCallFacts = {
  readonly call: string;
  readonly outcome: "ok" | "refused" | "failed";
  readonly durationMs: number;
};

export type Metrics = BlobCounts &
  EventCounts &
  AccessLogCounts &
  JobCounts & {
    request(facts: RequestFacts): void;
    /** Bytes on the wire of client connections, bodies and headers. */
    traffic(bytesIn: number, bytesOut: number): void;
    /** How many are open now. */
    connections(open: number): void;
    commit(facts: { readonly operations: number; readonly outcome: string; readonly durationMs: number }): void;
    /** Commits that became durable together: from the write lock until they were synced. */
    commitBatch(facts: { readonly commits: number; readonly durationMs: number }): void;
    /** One fdatasync of a drive's file. */
    driveSync(durationMs: number): void;
    /** A shard append: from the call until it was synced. */
    append(facts: { readonly bytes: number; readonly durationMs: number; readonly failed: boolean }): void;
    keyServiceCall(facts: KeyServiceCallFacts): void;
    peerCall(facts: { readonly call: PeerCall; readonly outcome: PeerOutcome; readonly durationMs: number }): void;
    /** What this process counted. */
    snapshot(): Promise<MetricsSnapshot>;
    /** What is said of node and store, to be merged with what all workers counted. */
    describe(standing: Standing): Promise<MetricsSnapshot>;
  };

/** What a request came to, in few words: S3 clients act on the class, people look for the rest in the log. */
function outcomeOf(status: number): string {
  if (status === 412) return "precondition_failed";
  if (status === 503) return "unavailable";
  if (status >= 500) return "server_error";
  if (status >= 400) return "client_error";
  return "ok";
}

export function createMetrics(): Metrics {
  const registry = new Registry();
  const all = countedSeries(registry);
  return {
    ...doorCounts(all),
    ...storeCounts(all),
    ...blobCounts(all),
    ...jobCounts(all),
    eventSent: (outcome) => all.eventMessages.inc({ outcome }),
    keyServiceCall: ({ call, outcome, durationMs }) => {
      all.keyServiceCalls.inc({ call, outcome });
      all.keyServiceSeconds.observe({ call }, durationMs / 1_000);
    },
    accessLogLines: (outcome, lines) => all.accessLogLines.inc({ outcome }, lines),
    snapshot: async () => {
      all.memory.set(process.memoryUsage.rss());
      return await registry.getMetricsAsJSON();
    },
    describe,
  };
}

type Counted = ReturnType<typeof countedSeries>;

function doorCounts(all: Counted): Pick<Metrics, "request" | "traffic" | "connections"> {
  return {
    request: ({ door, operation, status, durationMs }) => {
      all.requests.inc({ door, operation, outcome: outcomeOf(status) });
      all.requestSeconds.observe({ door, operation }, durationMs / 1_000);
    },
    traffic: (bytesIn, bytesOut) => {
      all.bytesIn.inc(bytesIn);
      all.bytesOut.inc(bytesOut);
    },
    connections: (open) => all.connections.set(open),
  };
}

function storeCounts(all: Counted): Pick<Metrics, "commit" | "commitBatch" | "driveSync" | "append" | "peerCall"> {
  return {
    commit: ({ operations, outcome, durationMs }) => {
      all.commits.inc({ outcome });
      all.commitOperations.inc(operations);
      all.commitSeconds.observe(durationMs / 1_000);
    },
    commitBatch: ({ commits, durationMs }) => {
      all.batchCommits.observe(commits);
      all.batchSeconds.observe(durationMs / 1_000);
    },
    driveSync: (durationMs) => all.driveSyncSeconds.observe(durationMs / 1_000),
    append: ({ bytes, durationMs, failed }) => {
      all.appends.inc({ outcome: failed ? "failed" : "ok" });
      if (!failed) all.appendBytes.inc(bytes);
      all.appendSeconds.observe(durationMs / 1_000);
    },
    peerCall: ({ call, outcome, durationMs }) => {
      all.peerCalls.inc({ call, outcome });
      all.peerSeconds.observe({ call }, durationMs / 1_000);
    },
  };
}

function blobCounts(all: Counted): BlobCounts {
  return {
    degradedRead: () => all.degradedReads.inc(),
    hedgedRead: (winner) => all.hedgedReads.inc({ winner }),
    unreadableChunk: () => all.unreadableChunks.inc(),
    writeStraggler: () => all.writeStragglers.inc(),
  };
}

function jobCounts(all: Counted): JobCounts {
  return {
    jobRun: ({ job, outcome, done }) => {
      if (outcome === "ok" && done === 0) return;
      all.jobRuns.inc({ name: job, outcome });
      all.jobDone.inc({ name: job }, done);
    },
    damagedShard: (foundBy) => all.damagedShards.inc({ found_by: foundBy }),
    scrubbed: (bytes) => all.scrubbedBytes.inc(bytes),
    repaired: ({ shards, bytes }) => {
      all.repairedShards.inc(shards);
      all.repairedBytes.inc(bytes);
    },
    lostChunks: (count) => all.lostChunks.inc(count),
  };
}

async function describe({ version, startedMs, drives, store, peers }: Standing): Promise<MetricsSnapshot> {
  const registry = new Registry();
  const node = nodeSeries(registry);
  node.build.set({ version }, 1);
  node.started.set(startedMs / 1_000);
  node.readable.set(store === undefined ? 0 : 1);
  for (const { name, isWell } of peers) node.peerUp.set({ peer: name }, isWell ? 1 : 0);
  for (const drive of drives) {
    const labels = { drive: drive.id };
    node.driveUp.set(labels, drive.state === "up" ? 1 : 0);
    node.driveFailed.set(labels, drive.state === "failed" ? 1 : 0);
    node.driveTotal.set(labels, drive.totalBytes);
    node.driveFree.set(labels, drive.freeBytes);
    node.driveLive.set(labels, drive.liveBytes);
    node.driveDead.set(labels, drive.deadBytes);
    if (drive.checkedMs !== undefined) node.driveChecked.set(labels, drive.checkedMs / 1_000);
    node.driveDamaged.set(labels, drive.damagedShards);
  }
  if (store !== undefined) describeStore(registry, store);
  return await registry.getMetricsAsJSON();
}

function describeStore(registry: Registry, store: StoreStanding): void {
  const all = storeSeries(registry);
  for (const { membership, state } of store.drives) all.drives.inc({ membership, state });
  for (const state of ["up", "away"] as const) if (store.nodes) all.nodes.set({ state }, store.nodes[state]);
  all.sessions.set(store.sessions);
  all.repairPages.set(store.repairPages);
  all.repairChunks.set(store.repairChunks);
  all.plannedPages.set(store.plannedPages);
  all.relocations.set(store.relocations);
  all.strays.set(store.strays);
  all.trash.set(store.trash);
  describeNotifications(all, store.notifications);
  for (const quota of store.quotas) describeQuota(all, quota);
  for (const { job, doneBytes, leftBytes } of store.work) {
    all.workDone.inc({ name: job }, doneBytes);
    all.workLeft.inc({ name: job }, leftBytes);
  }
}

function describeQuota(all: ReturnType<typeof storeSeries>, { of, name, quota, held }: QuotaFacts): void {
  const labels = { of, name };
  if (quota.bytesMax !== undefined) all.quotaBytes.set(labels, quota.bytesMax);
  if (quota.objectsMax !== undefined) all.quotaObjects.set(labels, quota.objectsMax);
  all.quotaHeldBytes.set(labels, held.bytes);
  all.quotaHeldObjects.set(labels, held.objects);
}

function describeNotifications(all: ReturnType<typeof storeSeries>, facts: NotificationFacts): void {
  const { destinations, troubled, full, waiting, undelivered, lost } = facts;
  all.eventDestinations.set(destinations);
  all.eventDestinationsTroubled.set(troubled);
  all.eventDestinationsFull.set(full);
  all.eventsWaiting.set(waiting);
  all.eventsUndelivered.set(undelivered);
  all.eventsLost.set(lost);
}

/** The sum of the workers' numbers, and what is said of the node, in Prometheus's text format. */
export async function mergeSnapshots(snapshots: readonly MetricsSnapshot[]): Promise<string> {
  return await AggregatorRegistry.aggregate(snapshots as object[]).metrics();
}

export const metricsContentType = Registry.PROMETHEUS_CONTENT_TYPE;
