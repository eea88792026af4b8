/** The chunk node of a cluster: every drive of every node that answers, one of which may go and come back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { AssertionError } from "../core/assert.ts";
import { systemClock, type Clock } from "../core/clock.ts";
import { hasReason, HoldfastError } from "../core/errors.ts";
import { IdSource, type DriveId, type SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { nodeConformance } from "../node/node.conformance.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import type { Shard, ShardCopy } from "../node/node.ts";
import { connectTo, serveNode } from "../node/peer.fixture.ts";
import { openRecord } from "../node/shard_copy.ts";
import { joinAs, publishMachine, startMachine } from "./cluster.fixture.ts";

const ids = new IdSource("00000000000000ee" as SessionId);

function shard(): Shard {
  const owner = { blob: ids.blob(), chunkIndex: 0 };
  return { chunk: ids.chunk(), shardIndex: 0, owner, body: [Buffer.from("hello")] };
}

/** The suite looks at the first drive: one that is this machine's own, or one of another node's. */
for (const whose of ["own", "another node's"] as const)
  nodeConformance(`cluster, ${whose} drive`, async () => {
    const kv = openMemoryKv();
    const here = await startMachine(kv, "a", whose === "own" ? 1 : 0);
    const other = await startMachine(kv, "b", 1);
    const { node, close } = await joinAs(kv, here);
    const dispose = async (): Promise<void> => {
      await close();
      await here.served.stop();
      await other.served.stop();
      await other.local.close();
    };
    return { node, dispose };
  });

test("a node that goes takes its drives along, and brings them back by itself", async (t) => {
  const kv = openMemoryKv();
  const [here, near, far] = [
    await startMachine(kv, "a", 1),
    await startMachine(kv, "a", 2),
    await startMachine(kv, "b", 1),
  ];
  const { node, topology, close } = await joinAs(kv, here);
  t.after(close);
  t.after(() => here.served.stop());
  t.after(() => far.served.stop());
  const [own, ofNear, ofFar] = [here.local.drives[0]!, near.local.drives[0]!, far.local.drives[0]!];
  assert.deepEqual(
    [...node.drives].toSorted(),
    [...here.local.drives, ...near.local.drives, ...far.local.drives].toSorted(),
  );
  assert.deepEqual(
    [own, ofNear, ofFar].map((drive) => node.distance(drive)),
    [0, 1, 2],
  );
  assert.equal(node.drives, node.drives, "the same list while nothing changes");
  const stored = shard();
  await node.append(ofNear, stored);
  assert.equal((await node.read(ofNear, stored, { offset: 0, length: 5 })).toString(), "hello");
  assert.equal((await node.lastStatus(ofNear)).path, `/${ofNear}`);

  const { port } = near.served;
  await near.served.stop();
  const before = node.drives;
  await assert.rejects(node.read(ofNear, stored, { offset: 0, length: 5 }), (error) =>
    hasReason(error, "drive_missing"),
  );
  assert.ok(!node.drives.includes(ofNear) && node.drives.includes(ofFar));
  assert.ok(before.includes(ofNear), "a list that was given out is not changed");
  await assert.rejects(node.append(near.local.drives[1]!, shard()), (error) => hasReason(error, "drive_missing"));
  await assert.rejects(node.lastStatus(ofNear), (error) => hasReason(error, "drive_missing"));

  const again = await serveNode(near.local, { port });
  t.after(() => again.stop());
  // Its row changes meanwhile, as that of a node that is up does.
  while (!node.drives.includes(ofNear)) {
    await publishMachine(kv, near);
    await topology.look();
    await setTimeout(50);
  }
  assert.equal((await node.read(ofNear, stored, { offset: 0, length: 5 })).toString(), "hello");
});

test("a node that was started again is used at the next look, however long it was away", async (t) => {
  const kv = openMemoryKv();
  const [here, other] = [await startMachine(kv, "a", 1), await startMachine(kv, "a", 1)];
  const { node, topology, close } = await joinAs(kv, here);
  t.after(close);
  t.after(() => here.served.stop());
  const drive = other.local.drives[0]!;
  const { port } = other.served;
  await other.served.stop();
  // Each look for it that fails makes the pause before the next one longer.
  await setTimeout(3 * limits.topologyMs);
  await assert.rejects(node.append(drive, shard()), (error) => hasReason(error, "drive_missing"));
  const again = await serveNode(other.local, { port });
  t.after(() => again.stop());
  await publishMachine(kv, other, "00000000000000bb");
  await topology.look();
  assert.ok(node.drives.includes(drive));
  await node.append(drive, shard());
});

test("a drive that moved to another node is asked for there", async (t) => {
  const kv = openMemoryKv();
  const here = await startMachine(kv, "a", 1);
  const { node, topology, close } = await joinAs(kv, here);
  t.after(close);
  t.after(() => here.served.stop());
  const later = await startMachine(kv, "b", 1);
  t.after(() => later.served.stop());
  const drive = later.local.drives[0]!;
  assert.ok(!node.drives.includes(drive));
  assert.ok(node.isHeld(drive), "who is asked to read from it waits for the next look");
  await assert.rejects(node.append(drive, shard()), (error) => hasReason(error, "drive_missing"));
  await topology.look();
  assert.ok(node.drives.includes(drive));
  await node.append(drive, shard());
});

test("a compaction of an own drive takes its pauses", async (t) => {
  const kv = openMemoryKv();
  const here = await startMachine(kv, "a", 1);
  t.after(() => here.served.stop());
  const pauses: unknown[] = [];
  here.local.compact = async (_drive, _signal, pause) => {
    pauses.push(pause);
    return 1;
  };
  const { node, close } = await joinAs(kv, here);
  t.after(close);
  const pause = async (): Promise<void> => undefined;
  assert.equal(await node.compact(here.local.drives[0]!, undefined, pause), 1);
  assert.deepEqual(pauses, [pause]);
});

/** Of a shard that stands on the drive as another copy of its chunk. */
function copyOf({ chunk, owner, body }: Shard, drive: DriveId): ShardCopy {
  return { chunk, shardIndex: 1, owner, storedBytes: body[0]!.length, from: { drive, shardIndex: 0 } };
}

test("a shard is copied by the node that has the drive, from whichever has the other; errors come back", async (t) => {
  const kv = openMemoryKv();
  const machines = [await startMachine(kv, "a", 1), await startMachine(kv, "b", 1), await startMachine(kv, "c", 1)];
  t.after(() => Promise.all(machines.map(({ served }) => served.stop())));
  const joined = await Promise.all(machines.map((machine) => joinAs(kv, machine)));
  t.after(() => Promise.all(joined.map(({ close }) => close())));
  const drives = machines.map(({ local }) => local.drives[0]!);
  const { node } = joined[0]!;
  for (const [from, to] of [
    [1, 2],
    [0, 1],
    [1, 0],
  ] as const) {
    const one = shard();
    await node.append(drives[from]!, one);
    const copy = copyOf(one, drives[from]!);
    await node.copy(drives[to]!, copy);
    const read = await node.read(drives[to]!, { ...one, shardIndex: 1 }, { offset: 0, length: 5 });
    assert.equal(read.toString(), "hello");
    await assert.rejects(node.copy(drives[to]!, copy), AssertionError);
    const missing = { ...copy, chunk: ids.chunk() };
    await assert.rejects(node.copy(drives[to]!, missing), (error) => hasReason(error, "no_such_chunk"));
  }
  const elsewhere = copyOf(shard(), "00000000000000dd" as DriveId);
  await assert.rejects(node.copy(drives[1]!, elsewhere), (error) => hasReason(error, "drive_missing"));
});

test("a node of an older build that does not know how to copy is asked once", async (t) => {
  const inner = createMemoryNode();
  const calls: string[] = [];
  const served = await serveNode(inner);
  const handle = served.door.handle.bind(served.door);
  served.door.handle = (request) => {
    calls.push(request.segments.at(-1)!);
    return handle(request);
  };
  const peer = connectTo(served.port, inner);
  t.after(async () => {
    await peer.close();
    await served.stop();
  });
  const one = shard();
  const [drive] = inner.drives;
  await peer.append(drive!, one);
  for (let time = 0; time < 3; time++)
    await assert.rejects(peer.copy!(drive!, copyOf(one, drive!)), (error) => hasReason(error, "unavailable"));
  assert.deepEqual(calls, ["hello", "append", "copy"]);
  const record = await peer.readRecord!(drive!, one, 5);
  assert.equal(openRecord(record.bytes, 5)?.body.toString(), "hello");
});

test("a node that does not give a record in time stores nothing for who asked", async (t) => {
  const kv = openMemoryKv();
  const here = await startMachine(kv, "a", 2);
  t.after(() => here.served.stop());
  here.local.readRecord = (_drive, _ref, _bytes, signal) =>
    new Promise((_, reject) => {
      signal!.addEventListener("abort", () => reject(new HoldfastError("cancelled", "The call was cancelled.")));
    });
  // The time to read, which is waited for in parts, has gone at once; any other goes on.
  const isOver = (ms: number): boolean => ms < limits.topologyMs;
  const sleep: Clock["sleep"] = async (ms, signal) => (isOver(ms) ? undefined : systemClock.sleep(ms, signal));
  const clock = { nowMs: () => systemClock.nowMs(), monotonicMs: () => systemClock.monotonicMs(), sleep };
  const { node, close } = await joinAs(kv, here, clock);
  t.after(close);
  const [from, to] = here.local.drives;
  await assert.rejects(node.copy(to!, copyOf(shard(), from!)), (error) => hasReason(error, "unavailable"));
  assert.deepEqual(await node.list(to!, { limit: 1 }), []);
});
