/** A node is forgotten only where it is the one that was looked at: who is being started keeps its place. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { silentLog } from "../core/log.ts";
import { seededRandom } from "../core/random.ts";
import { oneCopy } from "../core/redundancy.ts";
import type { Kv } from "../kv/kv.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { changeDriveState, recordDrives } from "../meta/drives.ts";
import { nodeKey } from "../meta/keys.ts";
import { encodeNode, readNodes } from "../meta/nodes.ts";
import { FakeDisk } from "../node/disk.fake.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import { StoreDrives } from "./drives.ts";
import { takePlace } from "./prepare_node.ts";
import { newRun } from "./run.ts";

const random = seededRandom(1);
const url = "http://a:9000";
const drive = "00000000000000a1" as DriveId;

/** As a start does it: drives first, then the row. */
async function start(kv: Kv, drives: readonly DriveId[] = [drive]): Promise<string> {
  const run = newRun(random);
  const usable = drives.map((id) => ({ id, path: "/", sweepDue: false, replayed: [] }));
  await recordDrives(
    kv,
    usable.map(({ id, path }) => ({ id, path, sizeBytes: 1, node: url })),
    1,
  );
  const own = { url, zone: "", run, version: "1", startedMs: 1, workers: 1 };
  await takePlace(kv, usable, { own, disk: new FakeDisk(random), log: silentLog });
  return run;
}

function drivesOf(kv: Kv, isUp: boolean): StoreDrives {
  const objects = { listBuckets: async () => ({ buckets: [], next: undefined }) };
  const nodes = () => [{ url, zone: "", isUp }];
  const node = createMemoryNode({ drives: [] });
  return new StoreDrives({ kv, node, clock: systemClock, objects, redundancy: () => oneCopy, nodes });
}

const remove = (kv: Kv, isUp: boolean) => drivesOf(kv, isUp).changeNode(url, { to: "removed", force: false });

const runs = async (kv: Kv): Promise<string[]> => (await readNodes(kv)).map(({ run }) => run);

/** What is done once, right before the commit of that number. */
function before(kv: Kv, number: number, act: () => Promise<unknown>): Kv {
  let left = number;
  return {
    name: "acted on",
    get: (keys) => kv.get(keys),
    scan: (range, options) => kv.scan(range, options),
    commit: async (commit) => {
      if (left-- === 0) await act();
      return kv.commit(commit);
    },
    close: () => kv.close(),
  };
}

test("a node whose drives are drained is forgotten, while it is up or away", async () => {
  for (const isUp of [true, false]) {
    const kv = openMemoryKv();
    await start(kv);
    await changeDriveState(kv, drive, ["active"], "drained");
    await remove(kv, isUp);
    assert.deepEqual(await runs(kv), []);
  }
});

test("a node that is started while it is being removed keeps its row, and is told about", async () => {
  for (const commits of [0, 1]) {
    const kv = openMemoryKv();
    await start(kv);
    await changeDriveState(kv, drive, ["active"], "drained");
    let run: string | undefined;
    const acted = before(kv, commits, async () => (run = await start(kv)));
    await assert.rejects(remove(acted, true), /http:\/\/a:9000 was started again|still has drives/);
    assert.deepEqual(await runs(kv), [run], `before commit ${commits}`);
  }
});

test("a node that publishes meanwhile is forgotten all the same", async () => {
  const kv = openMemoryKv();
  await start(kv);
  await changeDriveState(kv, drive, ["active"], "drained");
  const [row] = await readNodes(kv);
  const again = () => kv.commit({ checks: [], writes: [{ kind: "put", key: nodeKey(url), value: encodeNode(row!) }] });
  await remove(before(kv, 1, again), true);
  assert.deepEqual(await runs(kv), []);
});

test("a node that is up and has no drive in the store is not forgotten until it is stopped", async () => {
  const kv = openMemoryKv();
  const run = await start(kv, []);
  await assert.rejects(remove(kv, true), /http:\/\/a:9000 is up.*[Ss]top it/);
  assert.deepEqual(await runs(kv), [run]);
  await remove(kv, false);
  assert.deepEqual(await runs(kv), []);
});

test("removed once more after a start came between, it is forgotten", async () => {
  const kv = openMemoryKv();
  await start(kv);
  await changeDriveState(kv, drive, ["active"], "drained");
  await assert.rejects(
    remove(
      before(kv, 1, () => start(kv)),
      true,
    ),
  );
  await changeDriveState(kv, drive, ["active"], "drained");
  await remove(kv, true);
  assert.deepEqual(await runs(kv), []);
});

test("drives are listed while one of them hangs", async () => {
  const kv = openMemoryKv();
  const memory = createMemoryNode({ drives: [drive, "00000000000000a2" as DriveId] });
  await start(kv, memory.drives);
  const never = new Promise<never>(() => undefined);
  const status: typeof memory.status = (id) => (id === drive ? never : memory.status(id));
  const clock = { ...systemClock, sleep: async () => undefined };
  const objects = { listBuckets: async () => ({ buckets: [], next: undefined }) };
  const node = { drives: memory.drives, status };
  const list = await new StoreDrives({ kv, node, clock, objects, redundancy: () => oneCopy, nodes: () => [] }).list();
  assert.deepEqual(
    list.map(({ id, state }) => [id, state]),
    [
      ["00000000000000a2", "up"],
      [drive, "missing"],
    ],
  );
});
