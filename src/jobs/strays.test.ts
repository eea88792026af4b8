/** Stray rows: what they name is removed, unless a chunk map names it again; then it has to be there. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "../core/limits.ts";
import { IdSource, type BlobId, type DriveId } from "../core/ids.ts";
import { decodeChunkPage, type ChunkRecord } from "../meta/chunk_pages.ts";
import { driveIdOf, isWholeDrive, parseBlobKey, tags } from "../meta/keys.ts";
import { strayWrites, type RelocatedShard } from "../meta/repairs.ts";
import { patternBytes, plainPut } from "../object/object.fixture.ts";
import {
  drain,
  findingsOf,
  nodeWithout,
  rowsOf,
  startProcess,
  worldWith,
  type Process,
  type World,
} from "./jobs.fixture.ts";
import { fenceOthers } from "./sessions.ts";

const bucket = "photos";
const body = patternBytes(limits.copiedChunkBytesMax + 1_000);

async function worldWithObject(): Promise<{ readonly world: World; readonly process: Process }> {
  const world = worldWith("ec:2+1", 1);
  const process = await startProcess(world);
  await process.store.createBucket(bucket, { region: "here" });
  await process.store.put(plainPut(bucket, "whole", body));
  return { world, process };
}

function ownerOf(rows: readonly { readonly key: Buffer }[]): BlobId {
  return parseBlobKey(rows[0]!.key).blob;
}

/** The first chunk, and a row that calls its shards strays. */
async function callStray(
  { kv }: World,
  { session }: Process,
  shardsOf: (chunk: ChunkRecord) => readonly RelocatedShard[],
): Promise<ChunkRecord> {
  const row = (await rowsOf(kv, tags.blob)).find(({ key }) => parseBlobKey(key).page !== undefined)!;
  const { blob, page } = parseBlobKey(row.key);
  const chunk = decodeChunkPage(row.value)[0]!;
  const writes = strayWrites(blob, page!, shardsOf(chunk), () => session.nextStamp());
  await kv.commit({ checks: [], writes });
  return chunk;
}

void test("a shard that was called a stray, is wanted again and is gone is made anew", async () => {
  const { world, process } = await worldWithObject();
  // As it is when a removal that was begun before the shard was wanted again was carried out after it.
  const chunk = await callStray(world, process, ({ id, places }) => [{ chunk: id, ...places[2]! }]);
  const { drive, shardIndex } = chunk.places[2]!;
  await world.node.remove(drive, [{ chunk: chunk.id, shardIndex }]);
  assert.equal((await findingsOf(world)).length, 1);
  await drain(process);
  assert.deepEqual(await findingsOf(world), []);
  for (const tag of [tags.stray, tags.repair]) assert.deepEqual(await rowsOf(world.kv, tag), []);
});

void test("a shard that was called a stray, is wanted again and is there is left alone", async () => {
  const { world, process } = await worldWithObject();
  const removed: DriveId[] = [];
  const { node } = world;
  const remove = node.remove.bind(node);
  node.remove = async (drive, refs) => {
    removed.push(drive);
    await remove(drive, refs);
  };
  await callStray(world, process, ({ id, places }) => places.map((place) => ({ chunk: id, ...place })));
  await drain(process);
  assert.deepEqual(removed, []);
  assert.deepEqual(await findingsOf(world), []);
  assert.deepEqual(await rowsOf(world.kv, tags.stray), []);
});

void test("what a drive that was removed from the store has is one row, and is looked through should it come back", async () => {
  const { world, process } = await worldWithObject();
  const stray = { chunk: new IdSource(process.session.id).chunk(), shardIndex: 7 };
  const chunk = await callStray(world, process, ({ places }) => [{ ...stray, drive: places[2]!.drive }]);
  const { drive } = chunk.places[2]!;
  for (let more = 0; more < 3; more++) await callStray(world, process, () => [{ ...stray, drive }]);
  const states = new Map([[drive, "removed" as const]]);
  const gone = { ...world, node: nodeWithout(world.node, new Set([drive])), states };
  const later = await startProcess(gone);
  await drain(later);
  const rows = (await rowsOf(world.kv, tags.stray)).filter(({ key }) => driveIdOf(key) === drive);
  assert.deepEqual(
    rows.map(({ key }) => isWholeDrive(key)),
    [true],
  );
  // It is named again.
  await world.node.append(drive, {
    ...stray,
    owner: { blob: ownerOf(await rowsOf(world.kv, tags.blob)), chunkIndex: 0 },
    body: [Buffer.from("x")],
  });
  const last = await startProcess(world);
  await fenceOthers(world.kv, [last.session.id]);
  await drain(last);
  assert.deepEqual(await findingsOf(world), []);
  assert.deepEqual(await rowsOf(world.kv, tags.stray), []);
});
