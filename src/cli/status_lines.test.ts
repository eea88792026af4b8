import assert from "node:assert/strict";
import { test } from "node:test";
import { statusLines, type Drive, type Status } from "./status_lines.ts";

const drive: Drive = {
  id: "00000000000000aa",
  path: "/d",
  state: "up",
  membership: "active",
  totalBytes: 2_048,
  freeBytes: 1_024,
  liveBytes: 512,
  node: "",
};

const status: Status = {
  version: "1.0.0",
  startedMs: 0,
  workers: 2,
  redundancy: "replica:2",
  nodes: [],
  drives: [drive],
  usage: { levels: [{ redundancy: "replica:2", buckets: 1, objects: 3, versions: 0, bytes: 2_048 }], isWhole: true },
  backlog: { sessions: 2, repairPages: 0, repairChunks: 0 },
  work: [],
  eventTargets: [],
};

const node = { url: "http://a", zone: "", state: "up", isOwn: true, version: "1.0.0", startedMs: 0, workers: 1 };

test("a machine of its own is shown without nodes", () => {
  assert.deepEqual(statusLines(status, 60_000), [
    "Holdfast 1.0.0, 2 workers, up 60 s, new objects as replica:2",
    "",
    "00000000000000aa  up  512 B stored  1.0 KiB free of 2.0 KiB  /d",
    "",
    "3 objects, 2.0 KiB, in 1 bucket",
    "no chunk is known to lack a shard",
  ]);
});

test("the reduced class is named where it is stored in another way", () => {
  const headOf = (reducedRedundancy: string): string => statusLines({ ...status, reducedRedundancy }, 0)[0]!;
  assert.match(headOf("replica:1"), /new objects as replica:2, reduced replica:1$/);
  assert.match(headOf("replica:2"), /new objects as replica:2$/);
});

test("versions that are not current are counted apart", () => {
  const levels = status.usage.levels.map((level) => ({ ...level, versions: 2 }));
  const lines = statusLines({ ...status, usage: { levels, isWhole: true } }, 0);
  assert.ok(lines.includes("3 objects and 2 earlier versions, 2.0 KiB, in 1 bucket"));
});

test("what waits is said with what is not known of it, and work with its end", () => {
  const backlog = { sessions: 2, repairPages: 2_000, repairChunks: 2_400 };
  const work = [
    { name: "repair", doneBytes: 1_024, leftBytes: 2_048, atMs: 1_000, endsMs: 7_201_000 },
    { name: "scrub", doneBytes: 0, leftBytes: 1_024, atMs: 1_000, endsMs: null },
  ];
  const usage = { ...status.usage, isWhole: false };
  const drives = [drive, { ...drive, state: "missing" }];
  const lines = statusLines({ ...status, backlog, work, usage, drives }, 0);
  assert.deepEqual(lines.slice(-4), [
    "3 objects, 2.0 KiB, in 1 bucket; there are more",
    "at least 2400 chunks noted that may lack shards or have damaged ones; to be mended",
    "repair: 1.0 KiB done, 2.0 KiB to do, about 2 h left",
    "scrub: 0 B done, 1.0 KiB to do",
  ]);
});

test("nodes stand in their zones, a node that is not up says no uptime, drives of unknown nodes stand last", () => {
  const nodes = [
    { ...node, url: "http://c", zone: "west", state: "away", isOwn: false },
    { ...node, url: "http://b", zone: "east" },
  ];
  const drives = [
    { ...drive, node: "http://b" },
    { ...drive, id: "00000000000000bb", node: "http://gone", state: "missing" },
  ];
  const lines = statusLines({ ...status, nodes, drives }, 5_000);
  assert.deepEqual(lines.slice(2, 14), [
    "2 nodes in 2 zones, 1 not up, 2 drives, 2 sessions",
    "",
    "zone east",
    "  http://b  up  1.0.0  1 worker  up 5 s  (asked)",
    "    00000000000000aa  up  512 B stored  1.0 KiB free of 2.0 KiB  /d",
    "",
    "zone west",
    "  http://c  away  1.0.0  1 worker",
    "",
    "of nodes that are not known",
    "    00000000000000bb  missing      /d",
    "",
  ]);
});
