import assert from "node:assert/strict";
import { test } from "node:test";
import { createMetrics, mergeSnapshots, type NodeDriveFacts, type Standing } from "./metrics.ts";

const drive: NodeDriveFacts = {
  id: "d1",
  state: "up",
  totalBytes: 10,
  freeBytes: 9,
  liveBytes: 1,
  deadBytes: 0,
  checkedMs: undefined,
  damagedShards: 0,
};

function standing(drives: readonly NodeDriveFacts[]): Standing {
  const counts = { sessions: 2, repairPages: 0, repairChunks: 0, plannedPages: 0, relocations: 0, strays: 0, trash: 0 };
  const notifications = { destinations: 1, troubled: 1, full: 0, waiting: 3, undelivered: 2, lost: 0 };
  const bound = { bytesMax: 9, objectsMax: undefined };
  const quota = { of: "bucket", name: "b", quota: bound, held: { bytes: 3, objects: 2 } } as const;
  const members = drives.map(({ state }) => ({ membership: "active", state }));
  return {
    version: "1.0.0",
    startedMs: 1_000,
    drives,
    store: { drives: members, ...counts, notifications, quotas: [quota], work: [] },
    peers: [],
  };
}

function valuesOf(text: string): Map<string, number> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ")))]),
  );
}

test("counts of all workers are added up; how the node stands is told by the one that is asked, as it is now", async () => {
  const [first, second] = [createMetrics(), createMetrics()];
  for (const worker of [first, second]) {
    worker.request({ door: "s3", operation: "GetObject", status: 200, durationMs: 3 });
    worker.connections(4);
  }
  await first.describe(standing([drive, { ...drive, id: "d2" }]));
  const described = await second.describe(standing([{ ...drive, state: "failed", freeBytes: 2, checkedMs: 5_000 }]));
  const values = valuesOf(await mergeSnapshots([await first.snapshot(), await second.snapshot(), described]));
  assert.equal(values.get('holdfast_requests_total{door="s3",operation="GetObject",outcome="ok"}'), 2);
  assert.equal(values.get("holdfast_connections"), 8);
  assert.equal(values.get('holdfast_drive_up{drive="d1"}'), 0);
  assert.equal(values.get("holdfast_store_events_waiting"), 3);
  assert.equal(values.get("holdfast_store_event_destinations_troubled"), 1);
  assert.equal(values.get('holdfast_store_quota_bytes{of="bucket",name="b"}'), 9);
  assert.equal(values.get('holdfast_store_quota_objects{of="bucket",name="b"}'), undefined);
  assert.equal(values.get('holdfast_store_quota_held_objects{of="bucket",name="b"}'), 2);
  assert.equal(values.get('holdfast_drive_failed{drive="d1"}'), 1);
  assert.equal(values.get('holdfast_drive_free_bytes{drive="d1"}'), 2);
  assert.equal(values.get('holdfast_drive_checked_timestamp_seconds{drive="d1"}'), 5);
  assert.equal(values.get('holdfast_drive_up{drive="d2"}'), undefined, "what was said an hour ago is not kept");
  assert.equal(values.get('holdfast_store_drives{membership="active",state="failed"}'), 1);
});

test("runs of jobs that found nothing to do are not counted; failures are", async () => {
  const metrics = createMetrics();
  metrics.jobRun({ job: "trash", outcome: "ok", done: 0 });
  metrics.jobRun({ job: "trash", outcome: "ok", done: 3 });
  metrics.jobRun({ job: "trash", outcome: "failed", done: 0 });
  const values = valuesOf(await mergeSnapshots([await metrics.snapshot()]));
  assert.equal(values.get('holdfast_job_runs_total{name="trash",outcome="ok"}'), 1);
  assert.equal(values.get('holdfast_job_runs_total{name="trash",outcome="failed"}'), 1);
  assert.equal(values.get('holdfast_job_done_total{name="trash"}'), 3);
});

test("work of several machines under one name is one series", async () => {
  const { store, ...rest } = standing([]);
  assert.ok(store);
  const work = [
    { job: "scrub", doneBytes: 1, leftBytes: 10 },
    { job: "scrub", doneBytes: 2, leftBytes: 20 },
  ];
  const nodes = { up: 2, away: 1 };
  const peers = [{ name: "http://b:9000", isWell: false }];
  const described = await createMetrics().describe({ ...rest, store: { ...store, work, nodes }, peers });
  const values = valuesOf(await mergeSnapshots([described]));
  assert.equal(values.get('holdfast_store_work_left_bytes{name="scrub"}'), 30);
  assert.equal(values.get('holdfast_store_nodes{state="away"}'), 1);
  assert.equal(values.get('holdfast_peer_up{peer="http://b:9000"}'), 0);
});

test("without an answer of the metadata store the node's drives are told all the same", async () => {
  const { store: _store, ...rest } = standing([drive]);
  const values = valuesOf(await mergeSnapshots([await createMetrics().describe(rest)]));
  assert.equal(values.get("holdfast_store_readable"), 0);
  assert.equal(values.get('holdfast_drive_up{drive="d1"}'), 1);
  assert.equal(values.get("holdfast_store_sessions"), undefined);
});
