import assert from "node:assert/strict";
import { test } from "node:test";
import type { DriveId } from "../core/ids.ts";
import type { Clock } from "../core/clock.ts";
import { silentLog } from "../core/log.ts";
import type { DriveStatus } from "../node/node.ts";
import { standingOf, type StandingParts } from "./standing.ts";

const space = { totalBytes: 9, freeBytes: 4, liveBytes: 3, deadBytes: 2, segments: 1 };
const status: DriveStatus = { id: "aa" as DriveId, path: "/d", state: "up", ...space };
const view = {
  ...status,
  membership: "active",
  node: "",
  zone: "",
  checkedMs: undefined,
  damagedShards: 1,
  addedMs: 7,
} as const;
const backlog = { sessions: 1, repairPages: 2, repairChunks: 3, plannedPages: 4, relocations: 5, strays: 6, trash: 7 };
const work = ["scrub@http://a", "scrub@http://b", "repair"].map((name) => ({
  name,
  session: "0123456789abcdef",
  startedMs: 0,
  atMs: 0,
  doneBytes: 1,
  leftBytes: 2,
}));

/** `sleep` ends at once, or never. */
function clock(isLate: boolean): Clock {
  const sleep = () => (isLate ? Promise.resolve() : new Promise<void>(() => undefined));
  return { nowMs: () => 0, monotonicMs: () => 0, sleep };
}

function parts(list: () => Promise<unknown>, isLate = false): StandingParts {
  const store = {
    drives: async () => [status],
    nodes: () => [],
    storeDrives: { list },
    backlog: async () => backlog,
    work: async () => work,
    destinations: { facts: async () => [] },
    objects: { quotas: async () => [] },
  } as unknown as StandingParts["store"];
  return { store, startedMs: 5, clock: clock(isLate), log: silentLog };
}

test("a drive that was never read whole counts from when it was added; work of several machines has its job's name", async () => {
  const { drives, store } = await standingOf(parts(async () => [view]));
  assert.deepEqual(
    drives.map(({ id, checkedMs, damagedShards }) => ({ id, checkedMs, damagedShards })),
    [{ id: "aa", checkedMs: 7, damagedShards: 1 }],
  );
  assert.deepEqual(
    store?.work.map(({ job }) => job),
    ["scrub", "scrub", "repair"],
  );
  assert.equal(store?.nodes, undefined);
});

test("a metadata store that fails, or does not answer, is left out, and the drives are told all the same", async () => {
  const fails = () => Promise.reject(new Error("away"));
  const hangs = () => new Promise<never>(() => undefined);
  for (const each of [parts(fails), parts(hangs, true)]) {
    const { drives, store } = await standingOf(each);
    assert.equal(store, undefined);
    assert.deepEqual(
      drives.map(({ id, freeBytes }) => [id, freeBytes]),
      [["aa", 4]],
    );
  }
});
