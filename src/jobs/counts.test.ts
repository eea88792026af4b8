/** What jobs tell whoever counts: damage found, shards made anew, chunks that cannot be. And what waits, counted by rows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "../core/limits.ts";
import type { JobCounts } from "../core/metrics.ts";
import { repairWrite } from "../meta/repairs.ts";
import type { BlobId } from "../core/ids.ts";
import type { ChunkNode } from "../node/node.ts";
import { patternBytes, plainPut } from "../object/object.fixture.ts";
import { readBacklog } from "./backlog.ts";
import { drain, startProcess, worldWith, type World } from "./jobs.fixture.ts";

const chunksOfObject = 2;

async function filled(text: string, spare: number): Promise<World> {
  const world = worldWith(text, spare);
  const { store } = await startProcess(world);
  await store.createBucket("photos", { region: "here" });
  await store.put(plainPut("photos", "large", patternBytes(limits.chunkBytesMax + 700_000)));
  return world;
}

type Counted = { readonly counts: JobCounts; readonly sums: Map<string, number> };

function counting(): Counted {
  const sums = new Map<string, number>();
  const add = (name: string, count: number): void => void sums.set(name, (sums.get(name) ?? 0) + count);
  const counts: JobCounts = {
    jobRun: ({ job, done }) => add(job, done),
    damagedShard: (foundBy) => add(`damaged by ${foundBy}`, 1),
    scrubbed: (bytes) => add("scrubbed", bytes),
    repaired: ({ shards }) => add("repaired", shards),
    lostChunks: (count) => add("lost", count),
  };
  return { counts, sums };
}

function like(node: ChunkNode, other: Partial<ChunkNode>): ChunkNode {
  return {
    drives: node.drives,
    append: (...args) => node.append(...args),
    read: (...args) => node.read(...args),
    remove: (...args) => node.remove(...args),
    discard: (...args) => node.discard(...args),
    list: (...args) => node.list(...args),
    verify: (...args) => node.verify(...args),
    compact: (...args) => node.compact(...args),
    status: (...args) => node.status(...args),
    close: () => node.close(),
    ...other,
  };
}

function without(node: ChunkNode, count: number): ChunkNode {
  return like(node, { drives: node.drives.slice(count) });
}

void test("shards made anew are counted, and chunks that have lost too many to be", async () => {
  const world = await filled("ec:2+1", 1);
  const once = counting();
  const lost = (await world.node.list(world.node.drives[0]!, { limit: 10 })).length;
  await drain(await startProcess({ ...world, node: without(world.node, 1), counts: once.counts }));
  assert.equal(once.sums.get("repaired") ?? 0, lost);
  assert.equal(once.sums.get("lost"), undefined);
  const twice = counting();
  await drain(await startProcess({ ...world, node: without(world.node, 3), counts: twice.counts }));
  assert.equal(twice.sums.get("repaired"), undefined);
  assert.ok((twice.sums.get("lost") ?? 0) >= chunksOfObject);
});

void test("the scrub counts what it read and what it found damaged", async () => {
  const world = await filled("replica:2", 0);
  const { counts, sums } = counting();
  const [drive] = world.node.drives;
  const verify: ChunkNode["verify"] = async (id, ref) => {
    const result = await world.node.verify(id, ref);
    return id === drive ? { ...result, outcome: "corrupt", why: "a flipped bit" } : result;
  };
  const process = await startProcess({ ...world, node: like(world.node, { verify }), counts });
  const scrub = process.jobs.find(({ name }) => name === "scrub")!;
  while ((await scrub.run(new AbortController().signal)).againMs !== undefined);
  assert.equal(sums.get("damaged by scrub"), chunksOfObject);
  let stored = 0;
  for (const id of world.node.drives) stored += (await world.node.status(id)).liveBytes;
  assert.equal(sums.get("scrubbed"), stored);
});

void test("what waits is counted by rows, and by chunks where a row says several", async () => {
  const world = await filled("replica:2", 0);
  const blob = "f".repeat(32) as BlobId;
  await world.kv.commit({
    checks: [],
    writes: [
      repairWrite(blob, 0, { damaged: [1, 4], incomplete: [4, 5] }),
      repairWrite(blob, 1, { damaged: [0], incomplete: [] }),
    ],
  });
  const { sessions, repairPages, repairChunks, trash } = await readBacklog(world.kv);
  assert.deepEqual(
    { sessions, repairPages, repairChunks, trash },
    { sessions: 1, repairPages: 2, repairChunks: 4, trash: 0 },
  );
});
