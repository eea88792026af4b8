/** What is counted of reads and writes that did not go as they should: made elsewhere, computed, impossible, not waited for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLog } from "../core/log.ts";
import type { BlobCounts } from "../core/metrics.ts";
import { parseRedundancy, shardsOf } from "../core/redundancy.ts";
import { createDigestPool } from "../digest/pool.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import { bodyOf, bytesOf, chunkBytes, chunked, drives, KiB, makeStore, readAll, writeOptions } from "./blob.fixture.ts";
import type { BlobStore, ChunkedBlob } from "./blob.ts";
import { createNodePlacement } from "./node_placement.ts";
import { SlowNode, TestClock } from "./slow.fixture.ts";

const digests = createDigestPool({ threads: 0 });
test.after(() => digests.close());

type Bench = {
  readonly clock: TestClock;
  readonly slow: SlowNode;
  readonly store: BlobStore;
  readonly sums: Record<string, number>;
};

async function benchWith(text: string): Promise<Bench> {
  const redundancy = parseRedundancy(text);
  const slow = new SlowNode(createMemoryNode(drives(shardsOf(redundancy))));
  const clock = new TestClock();
  const placement = await createNodePlacement({ node: slow.node, clock, log: silentLog });
  const sums: Record<string, number> = {};
  const add = (name: string): void => void (sums[name] = (sums[name] ?? 0) + 1);
  const counts: BlobCounts = {
    degradedRead: () => add("degraded"),
    hedgedRead: (winner) => add(winner),
    unreadableChunk: () => add("unreadable"),
    writeStraggler: () => add("straggler"),
  };
  return {
    clock,
    slow,
    sums,
    store: await makeStore(slow.node, digests, { placement, redundancy: () => redundancy, counts }),
  };
}

const chunks = 3;
const bytes = bytesOf(chunks * chunkBytes - 7, "random", 3);

function write({ clock, store }: Bench): Promise<ChunkedBlob> {
  return clock.until(store.write(bodyOf(bytes, 64 * KiB, true), writeOptions).then(chunked));
}

void test("nothing is counted where all is well", async () => {
  for (const text of ["replica:2", "ec:2+1"]) {
    const bench = await benchWith(text);
    const blob = await write(bench);
    await bench.clock.until(readAll(bench.store, blob));
    assert.deepEqual(bench.sums, {}, text);
  }
});

void test("a chunk that is computed, or cannot be, counts once for each read of it", async () => {
  const bench = await benchWith("ec:2+1");
  const blob = await write(bench);
  const { id, places } = blob.chunks[1]!;
  const remove = async (at: number): Promise<void> =>
    bench.slow.node.remove(places[at]!.drive, [{ chunk: id, shardIndex: places[at]!.shardIndex }]);
  await remove(0);
  await bench.clock.until(readAll(bench.store, blob));
  assert.deepEqual(bench.sums, { degraded: 1 });
  await bench.clock.until(readAll(bench.store, blob));
  assert.deepEqual(bench.sums, { degraded: 2 });
  await remove(1);
  await assert.rejects(bench.clock.until(readAll(bench.store, blob)));
  assert.deepEqual(bench.sums, { degraded: 3, unreadable: 1 });
});

void test("a copy that is late is read elsewhere too, and who came first is told", async () => {
  const bench = await benchWith("replica:2");
  const blob = await write(bench);
  // The one that is read first: which that is, is drawn with the chunk's id.
  bench.slow.hangs.set(blob.chunks[0]!.places[0]!.drive, "deaf");
  await bench.clock.until(readAll(bench.store, blob));
  assert.ok((bench.sums["second"] ?? 0) > 0);
  assert.equal(bench.sums["first"], undefined);
  bench.slow.release();
});

void test("an append that a write did not wait for is counted", async () => {
  const bench = await benchWith("replica:3");
  bench.slow.hangs.set(bench.slow.node.drives[0]!, "deaf");
  await write(bench);
  assert.ok((bench.sums["straggler"] ?? 0) >= 1);
  bench.slow.release();
});
