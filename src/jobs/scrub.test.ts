/** Damage that nobody reads is found and mended, round after round, and a round goes on after a restart. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock, type Clock } from "../core/clock.ts";
import { limits } from "../core/limits.ts";
import { decodeRepair } from "../meta/repairs.ts";
import { scrubKey, tags } from "../meta/keys.ts";
import { decodeScrub } from "../meta/scrubs.ts";
import type { ChunkNode } from "../node/node.ts";
import { patternBytes, plainPut } from "../object/object.fixture.ts";
import { rowsOf, startProcess, worldWith, type Process, type World } from "./jobs.fixture.ts";

const bucket = "photos";
const objects = 80;

type Watch = { readonly node: ChunkNode; readonly damaged: Set<string>; verified: number };

function watched(node: ChunkNode): Watch {
  const watch: Watch = { node, damaged: new Set(), verified: 0 };
  const verify: ChunkNode["verify"] = async (drive, ref) => {
    watch.verified += 1;
    const result = await node.verify(drive, ref);
    return watch.damaged.has(`${drive} ${ref.chunk}`)
      ? { ...result, outcome: "corrupt", why: "a flipped bit" }
      : result;
  };
  const changed: ChunkNode = {
    drives: node.drives,
    append: (...args) => node.append(...args),
    read: (...args) => node.read(...args),
    remove: (...args) => node.remove(...args),
    list: (...args) => node.list(...args),
    verify,
    discard: (...args) => node.discard(...args),
    compact: (...args) => node.compact(...args),
    status: (...args) => node.status(...args),
    close: () => node.close(),
  };
  return Object.assign(watch, { node: changed });
}

async function fill(process: Process): Promise<void> {
  await process.store.createBucket(bucket, { region: "here" });
  const bytes = patternBytes(limits.inlineBytesMax + 1);
  for (let index = 0; index < objects; index++) await process.store.put(plainPut(bucket, `key ${index}`, bytes));
}

/** Steps of the scrub job until it pauses with nothing to do; at most `stepsMax`. Returns how long it asked to pause. */
async function scrub(process: Process, stepsMax = 1_000): Promise<number> {
  const job = process.jobs.find(({ name }) => name === "scrub")!;
  let pausesMs = 0;
  for (let step = 0; step < stepsMax; step++) {
    const { done, againMs } = await job.run(new AbortController().signal);
    pausesMs += againMs ?? 0;
    if (done === 0 && againMs === undefined) return pausesMs;
  }
  return pausesMs;
}

async function ended({ kv, node }: World): Promise<number[]> {
  const rows = await kv.get(node.drives.map(scrubKey));
  return rows.map((row) => (row === undefined ? 0 : (decodeScrub(row.value).ended?.shards ?? 0)));
}

void test("every shard is looked at once in a round, damage is noted, and the rate is kept", async () => {
  const world = worldWith("replica:2", 0);
  const watch = watched(world.node);
  const process = await startProcess({ ...world, node: watch.node });
  await fill(process);
  const [drive] = world.node.drives;
  const [bad] = await world.node.list(drive!, { limit: 1 });
  watch.damaged.add(`${drive} ${bad!.chunk}`);
  const pausesMs = await scrub(process);
  assert.equal(watch.verified, 2 * objects);
  assert.deepEqual(await ended(world), [objects, objects]);
  const bytes = 2 * objects * (limits.inlineBytesMax + 1);
  assert.ok(pausesMs >= (bytes / limits.scrubBytesPerSecond) * 1_000);
  const noted = await rowsOf(world.kv, tags.repair);
  assert.deepEqual(
    noted.map(({ value }) => decodeRepair(value)),
    [{ damaged: [bad!.owner.chunkIndex], incomplete: [] }],
  );
  assert.equal(noted[0]!.key.toString("hex", 1, 17), bad!.owner.blob);
  await scrub(process);
  assert.equal(watch.verified, 2 * objects, "the next round is not due");
});

void test("a round that was cut short goes on, and the next one begins when it is due", async () => {
  const world = worldWith("replica:1", 0);
  const watch = watched(world.node);
  let aheadMs = 0;
  // Far apart, so that every step notes how far it came.
  const clock: Clock = {
    ...systemClock,
    nowMs: () => systemClock.nowMs() + aheadMs,
    monotonicMs: () => (aheadMs += 60_000),
  };
  const first = await startProcess({ ...world, node: watch.node }, clock);
  await fill(first);
  await scrub(first, 1);
  const begun = watch.verified;
  assert.ok(begun > 0 && begun < objects);
  await scrub(await startProcess({ ...world, node: watch.node }, clock));
  assert.equal(watch.verified, objects, "nothing is looked at twice");
  aheadMs += limits.scrubIntervalMs;
  await scrub(await startProcess({ ...world, node: watch.node }, clock));
  assert.equal(watch.verified, 2 * objects);
});

void test("a drive that fails in the middle of its round is left, without taking all that it has for damaged", async () => {
  const world = worldWith("replica:2", 0);
  const watch = watched(world.node);
  const [failing] = world.node.drives;
  let hasFailed = false;
  const { status } = watch.node;
  watch.node.status = async (drive) => {
    const found = await status(drive);
    return hasFailed && drive === failing ? { ...found, state: "failed" } : found;
  };
  const process = await startProcess({ ...world, node: watch.node });
  await fill(process);
  await scrub(process, 1);
  hasFailed = true;
  for (const { chunk } of await world.node.list(failing!, { limit: objects })) watch.damaged.add(`${failing} ${chunk}`);
  await scrub(process);
  assert.deepEqual(await ended(world), [0, objects]);
  assert.deepEqual(await rowsOf(world.kv, tags.repair), []);
});

void test("a round that ended while the clock was far ahead does not put off the next one", async () => {
  const world = worldWith("replica:1", 0);
  const watch = watched(world.node);
  let aheadMs = 2 * limits.scrubIntervalMs;
  const clock: Clock = { ...systemClock, nowMs: () => systemClock.nowMs() + aheadMs };
  const process = await startProcess({ ...world, node: watch.node }, clock);
  await fill(process);
  await scrub(process);
  assert.equal(watch.verified, objects);
  aheadMs = 0;
  await scrub(process);
  assert.equal(watch.verified, 2 * objects);
});
