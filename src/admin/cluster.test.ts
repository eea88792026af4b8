import assert from "node:assert/strict";
import { test } from "node:test";
import { clusterJson, type ClusterFacts, type NodeFacts } from "./cluster.ts";

const node: NodeFacts = {
  url: "http://a:9000",
  zone: "east",
  state: "up",
  isOwn: true,
  version: "1.0.0",
  startedMs: 0,
  workers: 2,
  drives: 1,
};

const facts: ClusterFacts = {
  version: "1.0.0",
  startedMs: 0,
  workers: 2,
  reducedRedundancy: "replica:1",
  redundancy: "replica:2",
  nodes: [node, { ...node, url: "http://b:9000", state: "away" }, { ...node, url: "http://c:9000", zone: "west" }],
  drives: [],
  usage: { levels: [], isWhole: true },
  backlog: { sessions: 3, repairPages: 0, repairChunks: 0, plannedPages: 0, relocations: 0, strays: 0, trash: 0 },
  eventTargets: [],
  work: [
    { name: "repair", startedMs: 1_000, atMs: 3_000, doneBytes: 100, leftBytes: 400 },
    { name: "scrub", startedMs: 1_000, atMs: 3_000, doneBytes: 0, leftBytes: 400 },
    { name: "rebalance", startedMs: 3_000, atMs: 3_000, doneBytes: 100, leftBytes: 400 },
  ],
};

test("work ends at the pace it had so far; without a pace nothing is said", () => {
  const { work } = clusterJson(facts) as { work: { name: string; endsMs: number | null }[] };
  assert.deepEqual(
    work.map(({ name, endsMs }) => [name, endsMs]),
    [
      ["repair", 11_000],
      ["scrub", null],
      ["rebalance", null],
    ],
  );
});

test("zones are counted by their nodes and those that are up", () => {
  const { zones } = clusterJson(facts) as { zones: unknown };
  assert.deepEqual(zones, [
    { zone: "east", nodes: 2, up: 1 },
    { zone: "west", nodes: 1, up: 1 },
  ]);
});
