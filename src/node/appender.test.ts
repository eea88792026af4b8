/** Appends that wait while their drive hangs in the middle of a batch. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { IdSource, type SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { DiskFile } from "./disk.ts";
import { FakeMachine } from "./fake_machine.ts";
import type { LocalNode } from "./local_node.ts";
import type { Shard } from "./node.ts";

const ids = new IdSource("00000000000000bb" as SessionId);
const body = [Buffer.alloc(limits.chunkBytesMax, 7)];

function shard(): Shard {
  return { chunk: ids.chunk(), shardIndex: 0, owner: { blob: ids.blob(), chunkIndex: 0 }, body };
}

type Hanging = { readonly node: LocalNode; readonly isInSync: () => boolean; readonly letGo: () => void };

/** A node whose disk hangs in the next sync until it is let go. */
async function hanging(): Promise<Hanging> {
  const machine = new FakeMachine(1);
  const node = await machine.start();
  let letGo = (): void => undefined;
  let isInSync = false;
  const gate = new Promise<void>((resolve) => (letGo = resolve));
  const { disk } = machine;
  const open = disk.open.bind(disk);
  disk.open = async (path, mode): Promise<DiskFile> => {
    const file = await open(path, mode);
    const sync = file.sync.bind(file);
    file.sync = async () => {
      isInSync = true;
      await gate;
      return sync();
    };
    return file;
  };
  return { node, isInSync: () => isInSync, letGo };
}

async function turns(): Promise<void> {
  for (let left = 20; left > 0; left--) await new Promise((resolve) => setImmediate(resolve));
}

/** How an append that does not wait for the drive ends; undefined while it waits. */
async function soon(append: Promise<void>): Promise<unknown> {
  const done = append.then(
    () => "stored",
    (error: unknown) => error,
  );
  return Promise.race([done, turns()]);
}

void test("who leaves while waiting for a drive that hangs leaves at once, and its place is another's", async () => {
  const { node, isInSync, letGo } = await hanging();
  const [drive] = node.drives;
  const caller = new AbortController();
  const written = shard();
  const first = node.append(drive!, written, caller.signal);
  while (!isInSync()) await turns();
  const waiting: { readonly shard: Shard; readonly append: Promise<void> }[] = [];
  for (let isFull = false; !isFull;) {
    const next = shard();
    const append = node.append(drive!, next, caller.signal);
    isFull = hasReason(await soon(append), "slow_down");
    if (!isFull) waiting.push({ shard: next, append });
  }
  assert.ok(waiting.length * limits.chunkBytesMax > limits.appendQueueBytesMax / 2);
  caller.abort();
  for (const { append } of waiting)
    assert.ok(hasReason(await soon(append), "cancelled"), "it does not wait for the drive");
  const again = node.append(drive!, waiting[0]!.shard);
  const other = node.append(drive!, shard());
  await turns();
  letGo();
  await Promise.all([first, again, other]);
  assert.equal(
    (await node.list(drive!, { limit: 100 })).length,
    3,
    "what was being written stays, and those that came later",
  );
  assert.equal((await node.read(drive!, written, { offset: 0, length: 10 })).length, 10);
  await node.close();
});

void test("one in the middle leaves, the others are stored in their turn", async () => {
  const { node, isInSync, letGo } = await hanging();
  const [drive] = node.drives;
  const first = node.append(drive!, shard());
  while (!isInSync()) await turns();
  const callers = Array.from({ length: 9 }, () => ({ shard: shard(), stop: new AbortController() }));
  const appends = callers.map(({ shard: each, stop }) => node.append(drive!, each, stop.signal));
  await turns();
  callers[4]!.stop.abort();
  assert.ok(hasReason(await soon(appends[4]!), "cancelled"));
  letGo();
  const outcomes = await Promise.allSettled([first, ...appends]);
  assert.deepEqual(
    outcomes.flatMap(({ status }, index) => (status === "rejected" ? [index - 1] : [])),
    [4],
  );
  const stored = new Set((await node.list(drive!, { limit: 100 })).map(({ chunk }) => chunk));
  assert.deepEqual(
    callers.map(({ shard: each }) => stored.has(each.chunk)),
    callers.map((_, index) => index !== 4),
  );
  callers[3]!.stop.abort();
  await node.close();
});
