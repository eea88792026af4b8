/** Shards on slow drives that their write did not wait for: noted by the commit, noted again when they land, and removed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SlowNode, TestClock, type Hang } from "../blob/slow.fixture.ts";
import type { BlobId, ChunkId, DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { oneCopy } from "../core/redundancy.ts";
import { newChunkedBlobWrites } from "../meta/blobs.ts";
import { driveIdOf, tags } from "../meta/keys.ts";
import { decodeStray } from "../meta/repairs.ts";
import type { ChunkNode } from "../node/node.ts";
import { patternBytes, plainPut, readAll } from "../object/object.fixture.ts";
import { drain, findingsOf, rowsOf, startProcess, worldWith, type Process, type World } from "./jobs.fixture.ts";

const bytes = patternBytes(300_000);

type Setup = { readonly world: World; readonly slow: SlowNode; readonly clock: TestClock; readonly process: Process };

async function setUp(text: string, spare: number): Promise<Setup> {
  const clock = new TestClock();
  const memory = worldWith(text, spare);
  const slow = new SlowNode(memory.node);
  const world = { ...memory, node: slow.node };
  const process = await clock.until(startProcess(world, clock));
  await clock.until(process.store.createBucket("photos", { region: "us-east-1" }));
  return { world, slow, clock, process };
}

async function put({ clock, process }: Setup, key: string): Promise<void> {
  await clock.until(process.store.put(plainPut("photos", key, bytes)));
}

/** PUTs until one of them met the drive that hangs. */
async function putUntilMet(setup: Setup): Promise<number> {
  let count = 0;
  while (setup.slow.waiting === 0 && (await rowsOf(setup.world.kv, tags.stray)).length === 0 && count < 50)
    await put(setup, `cat${count++}`);
  return count;
}

async function shardsOn(node: ChunkNode, drive: DriveId): Promise<number> {
  return (await node.list(drive, { limit: 1_000 })).length;
}

for (const hang of ["deaf", "cut", "cut after all"] satisfies Hang[])
  for (const text of ["replica:2", "ec:2+1", "ec:4+2"])
    void test(`what a PUT does not wait for goes away: ${text}, a drive that hangs and is ${hang}`, async () => {
      const setup = await setUp(text, 1);
      const { world, slow, clock, process } = setup;
      const bad = world.node.drives[0]!;
      slow.hangs.set(bad, hang);
      const count = await putUntilMet(setup);
      const rows = await rowsOf(world.kv, tags.stray);
      assert.deepEqual(
        rows.map(({ key }) => driveIdOf(key)),
        [bad],
        "noted by the commit",
      );
      // The jobs work the note off, and complete the chunk elsewhere where it lacks a shard, before anything has landed.
      await clock.until(drain(process));
      assert.deepEqual(await rowsOf(world.kv, tags.stray), []);
      assert.deepEqual(await findingsOf(world), []);
      slow.release();
      await clock.work();
      await clock.until(process.landed.close());
      assert.equal((await rowsOf(world.kv, tags.stray)).length, hang === "deaf" ? 1 : 0, "noted when it landed");
      await clock.until(drain(process));
      assert.deepEqual(await findingsOf(world), [], "nothing is missing and nothing has leaked");
      assert.deepEqual(await rowsOf(world.kv, tags.stray), []);
      for (let at = 0; at < count; at++) {
        const found = await process.store.get({ bucket: "photos", key: Buffer.from(`cat${at}`) });
        assert.ok((await clock.until(readAll(found))).equals(bytes));
      }
    });

void test("what lands of a PUT that failed is noted and removed", async () => {
  const setup = await setUp("replica:2", 0);
  const { world, slow, clock, process } = setup;
  const bad = world.node.drives[0]!;
  slow.hangs.set(bad, "deaf");
  const controller = new AbortController();
  const failing = process.store.put({ ...plainPut("photos", "cat", bytes), signal: controller.signal });
  failing.catch(() => undefined);
  while (slow.waiting === 0) await clock.work();
  controller.abort();
  await assert.rejects(clock.until(failing));
  slow.release();
  await clock.work();
  assert.equal(await shardsOn(world.node, bad), 1);
  await clock.until(process.landed.close());
  await clock.until(drain(process));
  assert.equal(await shardsOn(world.node, bad), 0);
  assert.deepEqual(await findingsOf(world), []);
});

void test("strays are noted with the page their chunk stands in, and no more of them than a commit bears", () => {
  const drive = "aa".repeat(8) as DriveId;
  const chunkIndexes = Array.from({ length: 3 * limits.straysPerBlobMax }, (_, index) => index * 7);
  const strays = chunkIndexes.map((chunkIndex) => ({
    chunk: chunkIndex.toString(16).padStart(32, "0") as ChunkId,
    chunkIndex,
    shardIndex: 1,
    drive,
  }));
  const id = "0b".repeat(16) as BlobId;
  const chunkBytes = limits.chunkBytesMax;
  const chunks = chunkIndexes.map((chunkIndex) => ({
    id: (chunkIndex + 1).toString(16).padStart(32, "f") as ChunkId,
    rawBytes: chunkBytes,
    storedBytes: chunkBytes,
    blockBytes: undefined,
    redundancy: oneCopy,
    places: [{ drive, shardIndex: 0 }],
  }));
  let stamps = 0;
  const nextStamp = (): string => (stamps += 1).toString(16).padStart(28, "0");
  const blob = { id, sizeBytes: chunks.length * chunkBytes, chunkBytes, chunks, strays };
  const rows = newChunkedBlobWrites(blob, nextStamp)
    .slice(-stamps)
    .map(({ value }) => decodeStray(value));
  const noted = rows.flatMap(({ page, shards }) => shards.map(({ chunk }) => ({ page, chunk })));
  assert.deepEqual(
    noted,
    strays
      .slice(0, limits.straysPerBlobMax)
      .map(({ chunk, chunkIndex }) => ({ page: Math.floor(chunkIndex / limits.chunkMapPageEntries), chunk })),
  );
});
