/** What a drive should have and does not is found by the job that looks for it, at a steady low rate. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { parseBlobKey, tags } from "../meta/keys.ts";
import { decodeRepair } from "../meta/repairs.ts";
import type { ChunkNode, ListedShard } from "../node/node.ts";
import { patternBytes, plainPut } from "../object/object.fixture.ts";
import { drain, findingsOf, nodeWithout, rowsOf, startProcess, worldWith, type World } from "./jobs.fixture.ts";
import { MissingJob } from "./missing.ts";

const objects = 80;
const stepMs = 10;
const { signal } = new AbortController();

/** More rows of chunk maps than one step reads, of which a drive has lost one shard. */
async function lossyWorld(): Promise<{ readonly world: World; readonly drive: DriveId; readonly lost: ListedShard }> {
  const world = worldWith("replica:2", 0);
  const { store } = await startProcess(world);
  await store.createBucket("photos", { region: "here" });
  const bytes = patternBytes(limits.inlineBytesMax + 1);
  for (let index = 0; index < objects; index++) await store.put(plainPut("photos", `key ${index}`, bytes));
  const drive = world.node.drives[0]!;
  const [lost] = await world.node.list(drive, { limit: 1 });
  await world.node.remove(drive, [lost!]);
  return { world, drive, lost: lost! };
}

/** A job whose every step takes some time. */
function jobOn({ kv, node }: World, drives: readonly DriveId[]): { readonly job: MissingJob; pass(ms: number): void } {
  let nowMs = 0;
  const clock: Clock = { nowMs: () => 0, monotonicMs: () => nowMs, sleep: async () => undefined };
  let looked = 0;
  const slow: ChunkNode = {
    ...nodeWithout(node, new Set()),
    drives: node.drives,
    list: (...given) => {
      if (looked % 16 === 0) nowMs += stepMs;
      looked += 1;
      return node.list(...given);
    },
  };
  const known = node.drives.map((id) => ({ id, state: "active" as const }));
  const local = { name: "", drives };
  const job = new MissingJob({ kv, node: slow, local, knownDrives: async () => known, clock, log: silentLog });
  return { job, pass: (ms) => void (nowMs += ms) };
}

async function runToEnd(job: MissingJob): Promise<{ steps: number; pausesMs: number }> {
  let [steps, pausesMs] = [0, 0];
  for (;;) {
    const { done, more, againMs } = await job.run(signal);
    assert.deepEqual([done, more], [0, false]);
    if (againMs === undefined) return { steps, pausesMs };
    steps += 1;
    pausesMs += againMs;
  }
}

void test("a shard that its drive should have and does not is noted and made anew", async () => {
  const { world, drive, lost } = await lossyWorld();
  await runToEnd(jobOn(world, [world.node.drives[1]!]).job);
  assert.deepEqual(await rowsOf(world.kv, tags.repair), [], "it is another machine's");
  await runToEnd(jobOn(world, [drive]).job);
  const [noted, ...others] = await rowsOf(world.kv, tags.repair);
  assert.equal(parseBlobKey(noted!.key).blob, lost.owner.blob);
  assert.deepEqual(decodeRepair(noted!.value), { damaged: [lost.owner.chunkIndex], incomplete: [] });
  assert.deepEqual(others, []);
  await drain(await startProcess(world));
  assert.deepEqual(await findingsOf(world), []);
});

void test("it rests, the longer the more machines look, and looks again when a scrub's interval has passed", async () => {
  const { world, drive } = await lossyWorld();
  const alone = await runToEnd(jobOn(world, world.node.drives).job);
  assert.ok(alone.steps > 1);
  const { job, pass } = jobOn(world, [drive]);
  const one = await runToEnd(job);
  assert.equal(alone.steps, one.steps);
  assert.equal(one.pausesMs, alone.pausesMs, "half of the shards, and two machines that look");
  pass(limits.scrubIntervalMs - 1);
  assert.deepEqual(await runToEnd(job), { steps: 0, pausesMs: 0 });
  pass(1);
  assert.equal((await runToEnd(job)).steps, one.steps);
});

void test("a look that was cut off in the middle of some pages begins anew", async () => {
  const { world, drive } = await lossyWorld();
  const { job } = jobOn(world, [drive]);
  assert.deepEqual(await job.run(AbortSignal.abort()), { done: 0, more: false });
  assert.ok((await runToEnd(job)).steps > 1);
  assert.equal((await rowsOf(world.kv, tags.repair)).length, 1);
});
