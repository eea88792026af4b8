/** A chunk node over the network is a chunk node. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { IdSource, type DriveId, type SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { systemRandom } from "../core/random.ts";
import { FakeMachine } from "./fake_machine.ts";
import { nodeConformance } from "./node.conformance.ts";
import { createMemoryNode } from "./node.memory.ts";
import type { ChunkNode, Shard } from "./node.ts";
import { connectTo, serveNode } from "./peer.fixture.ts";

const ids = new IdSource("00000000000000dd" as SessionId);

function shard(sizeBytes: number): Shard {
  const body = [Buffer.from(systemRandom.bytes(sizeBytes))];
  return { chunk: ids.chunk(), shardIndex: 3, owner: { blob: ids.blob(), chunkIndex: 5 }, body };
}

async function overLoopback(inner: ChunkNode) {
  const served = await serveNode(inner);
  const node = connectTo(served.port, inner);
  const dispose = async (): Promise<void> => {
    await node.close();
    await served.stop();
    await inner.close();
  };
  return { node, dispose };
}

nodeConformance("peer, memory", () => overLoopback(createMemoryNode()));
nodeConformance("peer, local on a fake disk", async () => overLoopback(await new FakeMachine(1).start()));

test("what a node fails with comes back as that", async (t) => {
  const { node, dispose } = await overLoopback(createMemoryNode({ totalBytes: 10 }));
  t.after(dispose);
  const drive = node.drives[0]!;
  const away = "00000000000000ff" as DriveId;
  await assert.rejects(node.status(away), { name: "HoldfastError", message: `Drive ${away} is not there.` });
  await assert.rejects(node.append(drive, shard(11)), (error) => hasReason(error, "drive_full"));
  await assert.rejects(node.verify(away, shard(1)), (error) => hasReason(error, "drive_missing"));
  assert.equal(node.isWell, true);
});

test("the other calls bring everything over", async (t) => {
  const inner = createMemoryNode();
  const { node, dispose } = await overLoopback(inner);
  t.after(dispose);
  const drive = node.drives[0]!;
  const shards = Array.from({ length: limits.peerRemoveRefsMax + 3 }, () => shard(1));
  for (const each of shards) await inner.append(drive, each);
  assert.deepEqual(await node.askDrives(), inner.drives);
  assert.deepEqual(await node.status(drive), await inner.status(drive));
  assert.deepEqual(await node.verify(drive, shards[0]!), await inner.verify(drive, shards[0]!));
  assert.deepEqual(await node.verify(drive, shard(1)).then(({ outcome }) => outcome), "missing");
  assert.equal((await node.list(drive, { limit: limits.scanEntriesMax })).length, limits.scanEntriesMax);
  await node.remove(drive, shards);
  assert.deepEqual(await inner.list(drive, { limit: 1 }), []);
  assert.equal(await node.compact(drive), 0);
});

test("hundreds of calls at once share a bounded number of connections", async (t) => {
  const { node, dispose } = await overLoopback(createMemoryNode());
  t.after(dispose);
  const drive = node.drives[0]!;
  const shards = Array.from({ length: 400 }, (_, index) => shard(1 + index * 97));
  await Promise.all(shards.map((each) => node.append(drive, each)));
  const read = await Promise.all(
    shards.map((each) => node.read(drive, each, { offset: 0, length: each.body[0]!.length })),
  );
  for (const [index, each] of shards.entries()) assert.ok(read[index]!.equals(each.body[0]!));
});

test("more calls than may wait are refused at once", async (t) => {
  const { node, dispose } = await overLoopback(createMemoryNode());
  t.after(dispose);
  const drive = node.drives[0]!;
  const all = limits.peerConnectionsMax + limits.peerQueueMax + 1;
  const outcomes = await Promise.allSettled(Array.from({ length: all }, () => node.status(drive)));
  const refused = outcomes.filter((each) => each.status === "rejected");
  assert.equal(refused.length, 1);
  assert.ok(hasReason(refused[0]!.reason, "slow_down"));
});

test("a closed peer lets calls end and takes no more", async (t) => {
  const { node, dispose } = await overLoopback(createMemoryNode());
  t.after(dispose);
  const appended = node.append(node.drives[0]!, shard(100_000));
  const closed = node.close();
  await Promise.all([appended, closed]);
  await assert.rejects(node.status(node.drives[0]!), (error) => hasReason(error, "unavailable"));
});

test("addresses and secrets that cannot be right are refused", () => {
  const node = createMemoryNode();
  const isInvalid = (error: unknown): boolean => hasReason(error, "invalid_argument");
  const wrong = [
    { url: "" },
    { url: "ftp://x" },
    { url: "http://user@x" },
    { url: "http://x/path" },
    { url: "http://x?y" },
    { url: "http://x", tls: { ca: "ca" } },
    { secret: "short" },
    { from: "a b" },
    { from: "a\nb" },
  ];
  for (const each of wrong) assert.throws(() => connectTo(1, node, each), isInvalid, JSON.stringify(each));
});
