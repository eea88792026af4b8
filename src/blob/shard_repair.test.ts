import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { HoldfastError } from "../core/errors.ts";
import { IdSource, newDriveId, type SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { systemRandom } from "../core/random.ts";
import { parseRedundancy, shardsOf } from "../core/redundancy.ts";
import { encode } from "../erasure/erasure.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import { remakeShards } from "./shard_repair.ts";

const shardBytes = 1_300_000;

/** A chunk whose shards each lie on a drive of their own. */
async function stored(text: string) {
  const redundancy = parseRedundancy(text);
  const count = shardsOf(redundancy);
  const drives = Array.from({ length: count }, () => newDriveId(systemRandom));
  const node = createMemoryNode({ drives });
  const data = Array.from({ length: redundancy.dataShards }, () => randomBytes(shardBytes));
  const parity = Array.from({ length: redundancy.parityShards }, () => Buffer.alloc(shardBytes));
  if (redundancy.dataShards === 1) for (const copy of parity) data[0]!.copy(copy);
  else encode(redundancy, data, parity);
  const ids = new IdSource("00000000000000aa" as SessionId);
  const [id, owner] = [ids.chunk(), { blob: ids.blob(), chunkIndex: 0 }];
  const shards = [...data, ...parity];
  const places = drives.map((drive, shardIndex) => ({ drive, shardIndex }));
  for (const { drive, shardIndex } of places)
    await node.append(drive, { chunk: id, shardIndex, owner, body: [shards[shardIndex]!] });
  const storedBytes = shardBytes * redundancy.dataShards;
  const chunk = { id, rawBytes: storedBytes, storedBytes, blockBytes: undefined, redundancy, places };
  return { node, chunk, shards, places };
}

const ways = ["in records", "in pieces", "in pieces, of a node of an older build"] as const;

for (const redundancy of ["replica:3", "ec:4+2"])
  for (const way of ways)
    void test(`lost shards of ${redundancy} are made anew ${way}, and what was read for that is given back`, async () => {
      const { node, chunk, shards, places } = await stored(redundancy);
      const lost = [0, places.length - 1];
      const sources = places.filter(({ shardIndex }) => !lost.includes(shardIndex));
      const pieces: Buffer[] = [];
      const [read, readRecord] = [node.read.bind(node), node.readRecord!.bind(node)];
      let [records, released] = [0, 0];
      node.read = async (...asked) => {
        const piece = await read(...asked);
        pieces.push(piece);
        return piece;
      };
      node.readRecord = async (...asked) => {
        records += 1;
        if (way !== "in records") throw new HoldfastError("unavailable", "The node does not know the call.");
        const record = await readRecord(...asked);
        return { ...record, release: () => void (released += 1) };
      };
      if (way === "in pieces") Object.assign(node, { readRecord: undefined });
      const made = await remakeShards(node, chunk, sources, lost, new AbortController().signal);
      assert.deepEqual(made.bodies, [shards[0], shards.at(-1)]);
      made.release();
      const readCount = chunk.redundancy.dataShards;
      assert.equal(records, way === "in pieces" ? 0 : readCount);
      assert.equal(released, way === "in records" ? readCount : 0);
      assert.equal(
        pieces.length,
        way === "in records" ? 0 : readCount * Math.ceil(shardBytes / limits.readBytesPerCall),
      );
      assert.deepEqual(new Set(pieces.map(({ length }) => length)), new Set(way === "in records" ? [] : [0]));
    });

void test("a source that is damaged is passed over", async () => {
  const { node, chunk, shards, places } = await stored("ec:4+2");
  const sources = places.slice(1);
  const readRecord = node.readRecord!.bind(node);
  node.readRecord = async (drive, ref, ...more) => {
    const record = await readRecord(drive, ref, ...more);
    if (ref.shardIndex === 2) record.bytes[record.bytes.length - 1]! ^= 1;
    return record;
  };
  const made = await remakeShards(node, chunk, sources, [0], new AbortController().signal);
  assert.deepEqual(made.bodies, [shards[0]]);
  const few = remakeShards(node, chunk, sources.slice(0, 4), [0], new AbortController().signal);
  await assert.rejects(few, { reason: "corrupt_chunk" });
});
