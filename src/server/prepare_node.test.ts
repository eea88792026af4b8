/** Which sessions a node's start knows to be over: those of runs whose drives it holds now. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { DriveId } from "../core/ids.ts";
import { silentLog } from "../core/log.ts";
import { seededRandom } from "../core/random.ts";
import { systemClock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import type { Kv } from "../kv/kv.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { nodeKey, tagRange, tags } from "../meta/keys.ts";
import { readNodes } from "../meta/nodes.ts";
import { fenceSession, readSessions, Session } from "../meta/sessions.ts";
import { FakeDisk } from "../node/disk.fake.ts";
import { takePlace } from "./prepare_node.ts";
import { newRun, sessionName } from "./run.ts";

const random = seededRandom(1);
const url = "http://a:9000";
const [first, second, third] = ["00000000000000a1", "00000000000000a2", "00000000000000a3"] as DriveId[];

/** A start of the node at this address with these drives; resolves to its run. */
async function start(kv: Kv, drives: readonly (DriveId | undefined)[], at = url): Promise<string> {
  const run = newRun(random);
  const disk = new FakeDisk(random);
  const usable = drives.map((id) => ({ id: id!, path: "/", sweepDue: false, replayed: [] }));
  const own = { url: at, zone: "", run, version: "1", startedMs: 1, workers: 1 };
  await takePlace(kv, usable, { own, disk, log: silentLog });
  return run;
}

function work(kv: Kv, run: string): Promise<Session> {
  return Session.start({ kv, clock: systemClock, random, node: sessionName(run, "1") });
}

/** After so many commits each is given up, and handed over to be carried out. */
function cutAfter(kv: Kv, commits: number, onCut: (commit: () => Promise<unknown>) => void): Kv {
  let left = commits;
  return {
    name: "cut",
    get: (keys) => kv.get(keys),
    scan: (range, options) => kv.scan(range, options),
    commit: async (commit) => {
      left -= 1;
      if (left >= 0) return kv.commit(commit);
      onCut(() => kv.commit(commit));
      throw new HoldfastError("unavailable", "The metadata store does not answer.");
    },
    close: () => kv.close(),
  };
}

async function suspects(kv: Kv): Promise<number> {
  return (await kv.scan(tagRange(tags.suspect), { limit: 10 })).length;
}

void test("a start fences the run whose drives it has, and has its suspects looked through", async () => {
  const kv = openMemoryKv();
  const run = await start(kv, [first, second]);
  await work(kv, run);
  const silent = await work(kv, run);
  const seen = (await readSessions(kv)).find(({ id }) => id === silent.id)!;
  await fenceSession(kv, seen, { mayStillRun: true });
  await start(kv, [second, first], "http://b:9000");
  assert.deepEqual(await readSessions(kv), []);
  assert.equal(await suspects(kv), 0);
  assert.deepEqual(
    (await readNodes(kv)).map((node) => node.url),
    ["http://b:9000"],
  );
});

void test("at its own address one drive of the run before tells that it is over: another may be lost", async () => {
  const kv = openMemoryKv();
  await work(kv, await start(kv, [first, second]));
  await start(kv, [second, third]);
  assert.deepEqual(await readSessions(kv), []);
});

void test("a run of which other drives are elsewhere, or all are, may live", async () => {
  const kv = openMemoryKv();
  await work(kv, await start(kv, [first, second]));
  await start(kv, [second], "http://b:9000");
  await start(kv, [third]);
  assert.equal((await readSessions(kv)).length, 1);
});

void test("another node's row that cannot be read stays as it is; one at its own address is not written over", async () => {
  const kv = openMemoryKv();
  const value = Buffer.of(200);
  await kv.commit({ checks: [], writes: [{ kind: "put", key: nodeKey("http://b:9000"), value }] });
  await start(kv, [first]);
  await assert.rejects(start(kv, [second], "http://b:9000"), /http:\/\/b:9000.* cannot be read.*version/s);
  const [row] = await kv.get([nodeKey("http://b:9000")]);
  assert.deepEqual(row?.value, value);
});

void test("what a start that was given up commits late does not take the place of a later one", async () => {
  const kv = openMemoryKv();
  await start(kv, [first]);
  let late: (() => Promise<unknown>) | undefined;
  const broken = cutAfter(kv, 0, (commit) => (late = commit));
  await assert.rejects(start(broken, [first]), { reason: "unavailable" });
  const run = await start(kv, [first]);
  await late!();
  assert.deepEqual(
    (await readNodes(kv)).map((node) => node.run),
    [run],
  );
});

void test("a start that is cut off before it has fenced the run before it leaves that to the next", async () => {
  const kv = openMemoryKv();
  await work(kv, await start(kv, [first]));
  const cut = cutAfter(kv, 1, () => undefined);
  await assert.rejects(start(cut, [first]), { reason: "unavailable" });
  await start(kv, [first]);
  assert.deepEqual(await readSessions(kv), []);
});
