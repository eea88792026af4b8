/** Shards that are copied by the node that gets them, and made otherwise where that fails. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { decodeChunkPage, type ChunkRecord } from "../meta/chunk_pages.ts";
import { parseBlobKey, tags } from "../meta/keys.ts";
import type { ChunkNode, ShardCopy } from "../node/node.ts";
import { peerAway } from "../node/peer_errors.ts";
import { copyShard } from "../node/shard_copy.ts";
import { patternBytes, plainPut, readAll } from "../object/object.fixture.ts";
import { drain, findingsOf, nodeWithout, rowsOf, startProcess, worldWith, type World } from "./jobs.fixture.ts";

const bucket = "photos";
const bytes = patternBytes(2 * limits.chunkBytesMax + 700_000);

type Copying = {
  readonly world: World;
  readonly node: ChunkNode;
  readonly copies: { readonly drive: DriveId; readonly shard: ShardCopy }[];
  /** Bytes that passed through the process that mends. */
  passedBytes: number;
};

/** A store whose node copies by itself, after `before`, and an object whose chunks have all their shards. */
async function copying(text: string, before: () => void = () => undefined): Promise<Copying> {
  const world = worldWith(text, 1);
  const { node } = world;
  const copies: Copying["copies"][number][] = [];
  const copy: NonNullable<ChunkNode["copy"]> = async (drive, shard, signal) => {
    before();
    const { from, chunk, storedBytes } = shard;
    const read = () => node.readRecord!(from.drive, { chunk, shardIndex: from.shardIndex }, storedBytes, signal);
    await copyShard({ read, target: node }, drive, shard, signal);
    copies.push({ drive, shard });
  };
  const process = await startProcess(world);
  await process.store.createBucket(bucket, { region: "here" });
  await process.store.put(plainPut(bucket, "large", bytes));
  await process.session.close();
  const counted: Copying = {
    world,
    node: Object.assign(nodeWithout(node, new Set()), { copy }),
    copies,
    passedBytes: 0,
  };
  const { append } = counted.node;
  counted.node.append = async (drive, shard, signal) => {
    counted.passedBytes += shard.body.reduce((sum, { length }) => sum + length, 0);
    await append(drive, shard, signal);
  };
  return counted;
}

async function chunksOf({ kv }: World): Promise<ChunkRecord[]> {
  const pages = (await rowsOf(kv, tags.blob)).filter((row) => parseBlobKey(row.key).page !== undefined);
  return pages.flatMap((row) => decodeChunkPage(row.value));
}

/** Drains the drive that has the first chunk's first shard, and looks whether all is well then. */
async function drainOne(copying: Copying): Promise<number> {
  const { world, node } = copying;
  const leaving = (await chunksOf(world))[0]!.places[0]!.drive;
  const moved = (await chunksOf(world)).filter(({ places }) => places.some(({ drive }) => drive === leaving)).length;
  const process = await startProcess({ ...world, node, states: new Map([[leaving, "draining"]]) });
  // What came to nothing is looked at again after a while, when all jobs may have been idle: where it was all that was to be done.
  for (; process.drained.length === 0; await new Promise((resolve) => setTimeout(resolve, 20))) await drain(process);
  assert.deepEqual(process.drained, [leaving]);
  const after = await chunksOf(world);
  assert.ok(after.every(({ places }) => places.every(({ drive }) => drive !== leaving)));
  assert.ok((await process.store.get({ bucket, key: Buffer.from("large") }).then(readAll)).equals(bytes));
  assert.deepEqual(await findingsOf(world), []);
  await process.session.close();
  return moved;
}

for (const text of ["replica:2", "ec:2+1"])
  test(`${text}: what leaves a drive is copied, and no byte of it passes through who mends`, async () => {
    const store = await copying(text);
    const moved = await drainOne(store);
    assert.equal(store.copies.length, moved);
    assert.equal(store.passedBytes, 0);
  });

test("where the node does not copy, shards are made by who mends", async () => {
  const store = await copying("replica:2", () => {
    throw new HoldfastError("unavailable", "Node b does not know the call copy; it may be of another version.");
  });
  const moved = await drainOne(store);
  assert.equal(store.copies.length, 0);
  assert.ok(moved >= 1 && store.passedBytes >= 700_000);
});

test("a copy of which it is not known whether it was made is not made a second time beside it", async () => {
  let isCut = true;
  const store = await copying("replica:2", () => {
    if (!isCut) return;
    isCut = false;
    throw peerAway({ peer: "b", why: "did not answer in time", isOutcomeUnknown: true });
  });
  const moved = await drainOne(store);
  assert.equal(isCut, false);
  assert.equal(store.passedBytes, 0, "it was left to the next walk");
  assert.equal(store.copies.length, moved);
});
