import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { IdSource, type SessionId } from "../core/ids.ts";
import { createMemoryNode } from "./node.memory.ts";
import type { Shard } from "./node.ts";

const ids = new IdSource("0123456789abcdef" as SessionId);

function shard(text: string, shardIndex = 0): Shard {
  const bytes = Buffer.from(text);
  return { chunk: ids.chunk(), shardIndex, owner: { blob: ids.blob(), chunkIndex: 3 }, body: [bytes, bytes] };
}

void test("what was appended is read back until it is removed", async () => {
  const node = createMemoryNode();
  const [drive] = node.drives;
  const one = shard("abc");
  await node.append(drive!, one);
  one.body[0]!.fill(0);
  assert.equal(String(await node.read(drive!, one, { offset: 2, length: 3 })), "cab");
  assert.equal((await node.status(drive!)).liveBytes, 6);
  assert.equal((await node.verify(drive!, one)).outcome, "good");
  await assert.rejects(node.append(drive!, one), /appended once/);
  await node.remove(drive!, [one, one]);
  await assert.rejects(node.read(drive!, one, { offset: 0, length: 1 }), (error) => hasReason(error, "no_such_chunk"));
  assert.equal((await node.verify(drive!, one)).outcome, "missing");
  assert.equal((await node.status(drive!)).liveBytes, 0);
});

void test("shards are listed in order, a page at a time", async () => {
  const node = createMemoryNode();
  const [drive] = node.drives;
  const first = shard("a", 11);
  const shards = [{ ...first, shardIndex: 2 }, first, shard("b"), shard("c")];
  for (const each of shards.toReversed()) {
    await node.append(drive!, each);
    assert.equal((await node.list(drive!, { limit: 1 }))[0]!.chunk, each.chunk);
  }
  const page = await node.list(drive!, { limit: 3 });
  const rest = await node.list(drive!, { after: page.at(-1)!, limit: 3 });
  const refs = [...page, ...rest].map(({ chunk, shardIndex, storedBytes }) => [chunk, shardIndex, storedBytes]);
  assert.deepEqual(
    refs,
    shards.map(({ chunk, shardIndex }) => [chunk, shardIndex, 2]),
  );
  assert.deepEqual(await node.list(drive!, { after: rest.at(-1)!, limit: 3 }), []);
});

void test("a full drive refuses, and takes shards again when something was removed", async () => {
  const node = createMemoryNode({ totalBytes: 7 });
  const [drive] = node.drives;
  const [one, two] = [shard("abc"), shard("d")];
  await node.append(drive!, one);
  await assert.rejects(node.append(drive!, two), (error) => hasReason(error, "drive_full"));
  await node.remove(drive!, [one]);
  await node.append(drive!, two);
});
