/** Who is up: told by rows that change, in time in which one could look. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { silentLog, type Log } from "../core/log.ts";
import type { Kv } from "../kv/kv.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { recordDrives } from "../meta/drives.ts";
import { nodeKey } from "../meta/keys.ts";
import { encodeNode } from "../meta/nodes.ts";
import { Topology } from "./topology.ts";

/** Its time stands still but for what is told; who sleeps is not woken. */
class StillClock implements Clock {
  atMs = 0;
  nowMs = (): number => this.atMs;
  monotonicMs = (): number => this.atMs;
  sleep = (_ms: number, signal?: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      if (signal?.aborted === true) resolve();
      else signal?.addEventListener("abort", () => resolve(), { once: true });
    });
}

const drive = "0000000000000001" as DriveId;

async function publish(kv: Kv, url: string, zone = "a"): Promise<void> {
  const nothing = { totalBytes: 5, freeBytes: 4, liveBytes: 0, deadBytes: 0, segments: 0 };
  const drives = [{ id: drive, state: "up" as const, ...nothing }];
  const value = encodeNode({ run: "00000000000000aa", zone, version: "1", startedMs: 1, workers: 1, drives });
  await kv.commit({ checks: [], writes: [{ kind: "put", key: nodeKey(url), value }] });
}

/** As a build writes it that comes after this one. */
async function publishNewer(kv: Kv, url: string): Promise<void> {
  await kv.commit({
    checks: [],
    writes: [{ kind: "put", key: nodeKey(url), value: Buffer.from("\u00c8newer", "latin1") }],
  });
}

async function open(t: { after(step: () => Promise<void>): void }, kv: Kv, log: Log = silentLog) {
  const clock = new StillClock();
  const topology = await Topology.open({ kv, clock, log });
  t.after(() => topology.close());
  const lookAfter = async (ms: number): Promise<boolean[]> => {
    clock.atMs += ms;
    await topology.look();
    return topology.nodes.map(({ isUp }) => isUp);
  };
  return { topology, lookAfter };
}

test("a node is up while its row changes, away when it stood still, and up again", async (t) => {
  const kv = openMemoryKv();
  await publish(kv, "http://one");
  await publish(kv, "http://two");
  const { lookAfter } = await open(t, kv);
  for (let ms = 0; ms < limits.nodeSilentMsMax - limits.topologyMs; ms += limits.topologyMs) {
    await publish(kv, "http://one");
    assert.deepEqual(await lookAfter(limits.topologyMs), [true, true]);
  }
  await publish(kv, "http://one");
  assert.deepEqual(await lookAfter(limits.topologyMs), [true, false]);
  await publish(kv, "http://two");
  assert.deepEqual(await lookAfter(limits.topologyMs), [true, true]);
});

test("who was stopped for an hour takes nobody for away when it goes on", async (t) => {
  const kv = openMemoryKv();
  await publish(kv, "http://one");
  const { lookAfter } = await open(t, kv);
  assert.deepEqual(await lookAfter(3_600_000), [true]);
});

test("a drive is its row's node's, with what that node says of it", async (t) => {
  const kv = openMemoryKv();
  await publish(kv, "http://one", "x");
  await publish(kv, "http://two", "y");
  await recordDrives(kv, [{ id: drive, path: "/d", sizeBytes: 5, node: "http://two" }], 1);
  const { topology, lookAfter } = await open(t, kv);
  assert.equal(topology.nodeOf(drive)?.zone, "y");
  assert.equal(topology.published(drive)?.totalBytes, 5);
  await recordDrives(kv, [{ id: drive, path: "/d", sizeBytes: 5, node: "http://gone" }], 1);
  let looks = 0;
  topology.onLook(() => (looks += 1));
  await lookAfter(1);
  assert.equal(looks, 1);
  assert.equal(topology.nodeOf(drive), undefined);
  assert.equal(topology.published(drive), undefined);
});

test("a row that cannot be read is left out, which is said once; the others are seen as ever", async (t) => {
  const kv = openMemoryKv();
  await publish(kv, "http://one");
  await publishNewer(kv, "http://two");
  const said: object[] = [];
  const log: Log = { ...silentLog, warn: (fields) => void said.push(fields) };
  const { topology, lookAfter } = await open(t, kv, log);
  assert.deepEqual(await lookAfter(limits.topologyMs), [true]);
  assert.deepEqual(
    topology.unread.map(({ url, isUp }) => [url, isUp]),
    [["http://two", true]],
  );
  assert.equal(said.length, 1);
  await publish(kv, "http://two");
  assert.deepEqual(await lookAfter(limits.topologyMs), [true, true]);
  assert.deepEqual(topology.unread, []);
  await publishNewer(kv, "http://two");
  await lookAfter(limits.topologyMs);
  assert.equal(said.length, 2);
});

test("drives of a node whose row cannot be read are not given up while it changes", async (t) => {
  const kv = openMemoryKv();
  await publishNewer(kv, "http://two");
  await recordDrives(kv, [{ id: drive, path: "/d", sizeBytes: 5, node: "http://two" }], 1);
  const { topology, lookAfter } = await open(t, kv);
  for (let ms = 0; ms < limits.nodeSilentMsMax; ms += limits.topologyMs) {
    assert.equal(topology.isHeld(drive), true);
    await lookAfter(limits.topologyMs);
  }
  assert.equal(topology.isHeld(drive), false, "its row stands still");
  await publish(kv, "http://two");
  await lookAfter(limits.topologyMs);
  assert.equal(topology.isHeld(drive), true);
  await recordDrives(kv, [{ id: drive, path: "/d", sizeBytes: 5, node: "http://gone" }], 1);
  await lookAfter(limits.topologyMs);
  assert.equal(topology.isHeld(drive), false, "its node is gone");
});

/** Once `hold` was called the next scan's rows are kept back until what it returned is called. */
function holding(kv: Kv): { readonly kv: Kv; hold(): () => void } {
  let held: Promise<void> | undefined;
  const scan: Kv["scan"] = async (range, options) => {
    const rows = await kv.scan(range, options);
    const wait = held;
    held = undefined;
    await wait;
    return rows;
  };
  const hold = (): (() => void) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    held = promise;
    return resolve;
  };
  const { name } = kv;
  const rest = { get: kv.get.bind(kv), commit: kv.commit.bind(kv), close: kv.close.bind(kv) };
  return { kv: { name, scan, ...rest }, hold };
}

test("a look that began earlier and ends later shows nothing older", async (t) => {
  const { kv, hold } = holding(openMemoryKv());
  await publish(kv, "http://a");
  const { topology } = await open(t, kv);
  const letGo = hold();
  const earlier = topology.look();
  await new Promise((resolve) => setImmediate(resolve));
  await publish(kv, "http://b");
  await topology.look();
  letGo();
  await earlier;
  assert.deepEqual(
    topology.nodes.map(({ url }) => url),
    ["http://a", "http://b"],
  );
});
