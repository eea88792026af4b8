import assert from "node:assert/strict";
import { test } from "node:test";
import { IdSource, type SessionId } from "../core/ids.ts";
import { seededRandom } from "../core/random.ts";
import type { Kv } from "../kv/kv.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { DriveIndex, type NewRow } from "./drive_index.ts";
import type { SegmentId } from "./segment.ts";

const segment = "00".repeat(12) as SegmentId;
const ids = new IdSource("00000000000000cc" as SessionId);
const rows: NewRow[] = [64, 1_064].map((offset) => ({
  ref: { chunk: ids.chunk(), shardIndex: 2 },
  place: { segment, offset, bodyBytes: 800, blockBytes: 65_536, owner: { blob: ids.blob(), chunkIndex: 5 } },
}));

async function indexWith(kv: Kv): Promise<DriveIndex> {
  const index = new DriveIndex(kv, seededRandom(1));
  await index.setGeneration("a");
  await index.join();
  await index.addRows(await index.addSegment(segment, "process"), rows);
  return index;
}

/** As a build before record ids wrote them. */
async function makeOld(kv: Kv): Promise<void> {
  const entries = await kv.scan({ start: Buffer.from("c"), end: Buffer.from("d") }, { limit: 10 });
  assert.equal(entries.length, rows.length);
  for (const { key, value } of entries) {
    const old = Buffer.concat([Buffer.from([1]), value.subarray(1, -8)]);
    await kv.commit({ checks: [], writes: [{ kind: "put", key, value: old }] });
  }
}

void test("a row that names no record has one by its place, and keeps it until it is taken over", async () => {
  const kv = openMemoryKv();
  const index = await indexWith(kv);
  await makeOld(kv);
  const [one, two] = await index.list(undefined, 10);
  assert.equal(one!.record, "0207283ff03e22c9");
  assert.notEqual(one!.record, two!.record);
  assert.deepEqual(await index.list(undefined, 10), [one, two]);
  assert.ok(await index.takeOver(one!, (await index.findOne(one!))!));
  await index.remove([one!, two!]);
  const [left, ...none] = await index.list(undefined, 10);
  assert.deepEqual(none, []);
  assert.deepEqual({ ...left, record: one!.record }, one);
});

void test("a shard is not taken over by who has found another one there", async () => {
  const index = await indexWith(openMemoryKv());
  const { ref } = rows[0]!;
  const found = (await index.findOne(ref))!;
  assert.ok(await index.takeOver(ref, found));
  assert.equal(await index.takeOver(ref, found), false);
  await index.remove([ref]);
  assert.equal(await index.takeOver(ref, found), false);
  assert.equal(await index.findOne(ref), undefined);
});
