/**
 * What a server counts, over prom-client. One `Metrics` per server with a registry of its own, so that several servers in
 * one process don't mix. Rooms get the small typed calls below and never see prom-client.
 *
 * With several workers each keeps its own; `snapshot` goes to the supervisor and `mergeSnapshots` adds them up.
 * Labels are only values from our own closed lists (operation, door, outcome): a client cannot make the series grow.
 */
import { AggregatorRegistry, Counter, Gauge, Histogram, Registry } from "prom-client";

export type Door = "s3" | "files" | "admin";

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

/** One process's numbers as plain data (prom-client's JSON), to be sent to another process. */
export type MetricsSnapshot = readonly object[];

export type Metrics = {
  request(facts: RequestFacts): void;
  /** Bytes on the wire of client connections, bodies and headers. */
  traffic(bytesIn: number, bytesOut: number): void;
  commit(facts: { readonly operations: number; readonly outcome: string; readonly durationMs: number }): void;
  /** Commits that became durable together: from the write lock until they were synced. */
  commitBatch(facts: { readonly commits: number; readonly durationMs: number }): void;
  /** One fdatasync of a drive's file. */
  driveSync(durationMs: number): void;
  /** A shard append: from the call until it was synced. */
  append(facts: { readonly bytes: number; readonly durationMs: number; readonly failed: boolean }): void;
  drives(drives: readonly DriveFacts[]): void;
  connections(open: number): void;
  snapshot(): Promise<MetricsSnapshot>;
};

const secondsBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

const batchBuckets = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];

/** What a request came to, in few words: S3 clients act on the class, people look for the rest in the log. */
function outcomeOf(status: number): string {
  if (status === 412) return "precondition_failed";
  if (status === 503) return "unavailable";
  if (status >= 500) return "server_error";
  if (status >= 400) return "client_error";
  return "ok";
}

/** Every series of one registry. Drive gauges describe the node, not the worker, so merging takes one, not the sum. */
function series(registry: Registry) {
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new Counter<L>({ name, help, labelNames, registers });
  const seconds = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new Histogram<L>({ name, help, labelNames, registers, buckets: secondsBuckets });
  const driveGauge = (name: string, help: string) =>
    new Gauge({ name, help, labelNames: ["drive"], registers, aggregator: "max" });
  return {
    requests: counter("holdfast_requests_total", "Requests answered.", "door", "operation", "outcome"),
    requestSeconds: seconds("holdfast_request_seconds", "From request head to the answer's end.", "door", "operation"),
    bytesIn: counter("holdfast_received_bytes_total", "Bytes received from clients."),
    bytesOut: counter("holdfast_sent_bytes_total", "Bytes sent to clients."),
    commits: counter("holdfast_commits_total", "Metadata commits.", "outcome"),
    commitOperations: counter("holdfast_commit_operations_total", "Rows checked and written by metadata commits."),
    commitSeconds: seconds("holdfast_commit_seconds", "A metadata commit, until it is durable."),
    batchCommits: new Histogram({
      name: "holdfast_commit_batch_commits",
      help: "Metadata commits made durable by one batch.",
      registers,
      buckets: batchBuckets,
    }),
    batchSeconds: seconds("holdfast_commit_batch_seconds", "Writing and syncing one batch of metadata commits."),
    driveSyncSeconds: seconds("holdfast_drive_sync_seconds", "One sync of a file on a drive."),
    appends: counter("holdfast_appends_total", "Shards appended to drives.", "outcome"),
    appendBytes: counter("holdfast_append_bytes_total", "Stored bytes of appended shards."),
    appendSeconds: seconds("holdfast_append_seconds", "A shard append, until it is synced."),
    connections: new Gauge({ name: "holdfast_connections", help: "Open client connections.", registers }),
    driveUp: driveGauge("holdfast_drive_up", "1: takes writes, 0: full or failed."),
    driveTotal: driveGauge("holdfast_drive_total_bytes", "Size of the drive's file system."),
    driveFree: driveGauge("holdfast_drive_free_bytes", "Free bytes of the drive's file system."),
    driveLive: driveGauge("holdfast_drive_live_bytes", "Bytes of shards in use."),
    driveDead: driveGauge("holdfast_drive_dead_bytes", "Bytes of removed shards that wait for compaction."),
    memory: new Gauge({ name: "holdfast_resident_bytes", help: "Resident memory of all workers.", registers }),
  };
}

export function createMetrics(): Metrics {
  const registry = new Registry();
  const all = series(registry);
  return {
    request: ({ door, operation, status, durationMs }) => {
      all.requests.inc({ door, operation, outcome: outcomeOf(status) });
      all.requestSeconds.observe({ door, operation }, durationMs / 1_000);
    },
    traffic: (bytesIn, bytesOut) => {
      all.bytesIn.inc(bytesIn);
      all.bytesOut.inc(bytesOut);
    },
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
    drives: (drives) => {
      for (const drive of drives) {
        const labels = { drive: drive.id };
        all.driveUp.set(labels, drive.state === "up" ? 1 : 0);
        all.driveTotal.set(labels, drive.totalBytes);
        all.driveFree.set(labels, drive.freeBytes);
        all.driveLive.set(labels, drive.liveBytes);
        all.driveDead.set(labels, drive.deadBytes);
      }
    },
    connections: (open) => all.connections.set(open),
    snapshot: async () => {
      all.memory.set(process.memoryUsage.rss());
      return await registry.getMetricsAsJSON();
    },
  };
}

/** The sum of the workers' numbers in Prometheus's text format. */
export async function mergeSnapshots(snapshots: readonly MetricsSnapshot[]): Promise<string> {
  return await AggregatorRegistry.aggregate(snapshots as object[]).metrics();
}

export const metricsContentType = Registry.PROMETHEUS_CONTENT_TYPE;
