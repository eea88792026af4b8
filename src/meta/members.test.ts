import assert from "node:assert/strict";
import { test } from "node:test";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { counted } from "../kv/counted.fixture.ts";
import { openMemoryKv } from "../kv/memory.ts";
import type { Kv } from "../kv/kv.ts";
import { readDrives, recordDrives } from "./drives.ts";
import { nodeKey } from "./keys.ts";
import { readMembers } from "./members.ts";
import { encodeNode, readNodes } from "./nodes.ts";

async function storeOf(nodes: number, drivesOfEach: number): Promise<Kv> {
  const kv = openMemoryKv();
  for (let at = 0; at < nodes; at++) {
    const url = `http://node-${at}`;
    const value = encodeNode({
      run: "00000000000000aa",
      zone: "a",
      version: "1",
      startedMs: 1,
      workers: 1,
      drives: [],
    });
    await kv.commit({ checks: [], writes: [{ kind: "put", key: nodeKey(url), value }] });
    const ids = Array.from({ length: drivesOfEach }, (_, drive) => at * drivesOfEach + drive + 1);
    const drives = ids.map((id) => ({ id: id.toString(16).padStart(16, "0") as DriveId, node: url }));
    await recordDrives(
      kv,
      drives.map((drive) => ({ ...drive, path: "/d", sizeBytes: 1 })),
      1,
    );
  }
  return kv;
}

void test("nodes and drives are the same, read together or apart", async () => {
  for (const [nodes, drives] of [
    [0, 0],
    [2, 0],
    [3, 2],
    [20, 4],
    [20, 5],
    [limits.nodesAtOnce + 1, 1],
  ] as const) {
    const kv = await storeOf(nodes, drives);
    const rows = { nodes: await readNodes(kv), drives: await readDrives(kv), unread: [] };
    assert.deepEqual(await readMembers(kv), rows);
  }
});

void test("a node's row that cannot be read is told apart, and hides no other", async () => {
  for (const nodes of [2, limits.nodesAtOnce + 1]) {
    const kv = await storeOf(nodes, 1);
    const key = nodeKey("http://node-1");
    await kv.commit({ checks: [], writes: [{ kind: "put", key, value: Buffer.of(200) }] });
    const { nodes: read, drives, unread } = await readMembers(kv);
    assert.deepEqual([read.length, drives.length], [nodes - 1, nodes]);
    assert.deepEqual(
      unread.map(({ url }) => url),
      ["http://node-1"],
    );
    assert.deepEqual(await readNodes(kv), read);
  }
});

void test("few of them are one scan", async () => {
  const { kv, counts } = counted(await storeOf(3, 2));
  await readMembers(kv);
  assert.deepEqual(counts, { gets: 0, scans: 1, commits: 0 });
});
