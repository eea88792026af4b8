/**
 * Every series there is, with its name and help. `countedSeries` are one process's own, added up over the workers of a node;
 * `nodeSeries` and `storeSeries` say how the node and the whole store stand, and only the process that is asked tells them.
 *
 * Background jobs are told apart by `name`: `job` is Prometheus's own label. Labels are of closed lists, or as many as there are drives in a node and nodes in a store.
 */
import { Counter, Gauge, Histogram, type Registry } from "prom-client";

const secondsBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

const batchBuckets = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];

function makersFor(registry: Registry) {
  const registers = [registry];
  return {
    counter: <L extends string>(name: string, help: string, ...labelNames: L[]) =>
      new Counter<L>({ name: `holdfast_${name}`, help, labelNames, registers }),
    seconds: <L extends string>(name: string, help: string, ...labelNames: L[]) =>
      new Histogram<L>({ name: `holdfast_${name}`, help, labelNames, registers, buckets: secondsBuckets }),
    gauge: <L extends string>(name: string, help: string, ...labelNames: L[]) =>
      new Gauge<L>({ name: `holdfast_${name}`, help, labelNames, registers }),
    counts: (name: string, help: string) =>
      new Histogram({ name: `holdfast_${name}`, help, registers, buckets: batchBuckets }),
  };
}

export function countedSeries(registry: Registry) {
  const { counter, seconds, gauge, counts } = makersFor(registry);
  return {
    requests: counter("requests_total", "Requests answered.", "door", "operation", "outcome"),
    requestSeconds: seconds("request_seconds", "From request head to the answer's end.", "door", "operation"),
    bytesIn: counter("received_bytes_total", "Bytes received from clients."),
    bytesOut: counter("sent_bytes_total", "Bytes sent to clients."),
    connections: gauge("connections", "Open client connections."),
    memory: gauge("resident_bytes", "Resident memory of all workers."),

    commits: counter("commits_total", "Metadata commits.", "outcome"),
    commitOperations: counter("commit_operations_total", "Rows checked and written by metadata commits."),
    commitSeconds: seconds("commit_seconds", "A metadata commit, until it is durable."),
    batchCommits: counts("commit_batch_commits", "Metadata commits made durable by one batch."),
    batchSeconds: seconds("commit_batch_seconds", "Writing and syncing one batch of metadata commits."),

    driveSyncSeconds: seconds("drive_sync_seconds", "One sync of a file on a drive."),
    appends: counter("appends_total", "Shards appended to drives.", "outcome"),
    appendBytes: counter("append_bytes_total", "Stored bytes of appended shards."),
    appendSeconds: seconds("append_seconds", "A shard append, until it is synced."),

    degradedReads: counter("degraded_reads_total", "Chunks of which missing or slow shards were computed from others."),
    hedgedReads: counter(
      "hedged_reads_total",
      "Late reads that were made elsewhere too, by which came first.",
      "winner",
    ),
    unreadableChunks: counter("unreadable_chunks_total", "Reads that met a chunk with too few shards."),
    writeStragglers: counter("write_stragglers_total", "Appends not waited for, as enough others were durable."),
    damagedShards: counter("damaged_shards_total", "Shards met that are damaged or missing.", "found_by"),

    jobRuns: counter(
      "job_runs_total",
      "Runs of background jobs that had something to do, or failed.",
      "name",
      "outcome",
    ),
    jobDone: counter("job_done_total", "Things that background jobs dealt with.", "name"),
    scrubbedBytes: counter("scrubbed_bytes_total", "Stored bytes read again and checked."),
    repairedShards: counter("repaired_shards_total", "Shards made anew, or moved."),
    repairedBytes: counter("repaired_bytes_total", "Stored bytes of shards made anew, or moved."),
    lostChunks: counter("lost_chunks_met_total", "Chunks that repair met with too few shards to read, each time anew."),

    eventMessages: counter("event_messages_total", "Messages sent to destinations of events.", "outcome"),

    accessLogLines: counter("access_log_lines_total", "Lines of access logs, written or dropped.", "outcome"),

    keyServiceCalls: counter("key_service_calls_total", "Calls to the outside service of keys.", "call", "outcome"),
    keyServiceSeconds: seconds("key_service_call_seconds", "A call to it, waiting and trying again included.", "call"),

    peerCalls: counter("peer_calls_total", "Calls to other nodes.", "call", "outcome"),
    peerSeconds: seconds("peer_call_seconds", "A call to another node, waiting included.", "call"),
  };
}

export function nodeSeries(registry: Registry) {
  const { gauge } = makersFor(registry);
  return {
    build: gauge("build_info", "1; the version of the software.", "version"),
    started: gauge("started_timestamp_seconds", "When the asked worker started, Unix time."),
    readable: gauge(
      "store_readable",
      "1: the metadata store answers; without it the other series of the store are left out.",
    ),
    peerUp: gauge("peer_up", "1: this node says that it is there, and answers as far as it was asked.", "peer"),

    driveUp: gauge("drive_up", "1: takes writes, 0: full or failed.", "drive"),
    driveFailed: gauge("drive_failed", "1: a write or sync failed, nothing more is written to it.", "drive"),
    driveTotal: gauge("drive_total_bytes", "Size of the drive's file system.", "drive"),
    driveFree: gauge("drive_free_bytes", "Free bytes of the drive's file system.", "drive"),
    driveLive: gauge("drive_live_bytes", "Bytes of shards in use.", "drive"),
    driveDead: gauge("drive_dead_bytes", "Bytes of removed shards that wait for compaction.", "drive"),
    driveChecked: gauge(
      "drive_checked_timestamp_seconds",
      "When a scrub of the drive last ended; when it was added, before the first.",
      "drive",
    ),
    driveDamaged: gauge("drive_damaged_shards", "Damaged shards that the drive's last scrub found.", "drive"),
  };
}

/** The same from every node of a store. */
export function storeSeries(registry: Registry) {
  const { gauge } = makersFor(registry);
  return {
    drives: gauge("store_drives", "Drives of the store.", "membership", "state"),
    nodes: gauge("store_nodes", "Nodes of the store, as this one sees them.", "state"),
    sessions: gauge("store_sessions", "Processes that may write to the store."),
    repairPages: gauge("store_repair_pages", "Pages of chunk maps noted for repair, counted up to 2,000."),
    repairChunks: gauge("store_repair_chunks", "Chunks in those pages that lack shards or have damaged ones."),
    plannedPages: gauge("store_planned_pages", "Pages that a walk planned to repair or move next, a bounded number."),
    relocations: gauge("store_relocations", "Pages whose shards are on their way, counted up to 2,000."),
    strays: gauge("store_strays", "Notes of shards to be removed, counted up to 2,000."),
    trash: gauge("store_trash", "References dropped and not yet reclaimed, counted up to 2,000."),
    eventDestinations: gauge("store_event_destinations", "Destinations of events."),
    eventDestinationsTroubled: gauge(
      "store_event_destinations_troubled",
      "Destinations of events that did not take what they were last sent.",
    ),
    eventDestinationsFull: gauge(
      "store_event_destinations_full",
      "Destinations for which so many events are kept that new ones are lost.",
    ),
    eventsWaiting: gauge("store_events_waiting", "Events that are to be delivered."),
    eventsUndelivered: gauge("store_events_undelivered", "Events that were given up and are kept to be sent again."),
    eventsLost: gauge("store_events_lost", "Events that were not kept, as their destination was full."),
    quotaBytes: gauge("store_quota_bytes", "Bytes that a bucket or an account may hold.", "of", "name"),
    quotaObjects: gauge("store_quota_objects", "Objects that a bucket or an account may hold.", "of", "name"),
    quotaHeldBytes: gauge("store_quota_held_bytes", "Bytes that count towards a quota.", "of", "name"),
    quotaHeldObjects: gauge("store_quota_held_objects", "Objects that count towards a quota.", "of", "name"),
    workDone: gauge("store_work_done_bytes", "Bytes that long work under way has dealt with.", "name"),
    workLeft: gauge("store_work_left_bytes", "Bytes that long work under way has still to deal with.", "name"),
  };
}
