import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { IdSource, newDriveId, type SessionId } from "../core/ids.ts";
import { systemRandom } from "../core/random.ts";
import { parseRedundancy, shardsOf } from "../core/redundancy.ts";
import { encode } from "../erasure/erasure.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import { remakeShards } from "./shard_repair.ts";

const shardBytes = 1_300_000;

/** A chunk whose shards each lie on a drive of their own, and what was read of it. */
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
  const pieces: Buffer[] = [];
  const read = node.read.bind(node);
  node.read = async (...asked) => {
    const piece = await read(...asked);
    pieces.push(piece);
    return piece;
  };
  const storedBytes = shardBytes * redundancy.dataShards;
  const chunk = { id, rawBytes: storedBytes, storedBytes, blockBytes: undefined, redundancy, places };
  return { node, chunk, shards, places, pieces };
}

for (const redundancy of ["replica:3", "ec:4+2"]) {
  void test(`lost shards of ${redundancy} are made anew, and what was read for that is given back`, async () => {
    const { node, chunk, shards, places, pieces } = await stored(redundancy);
    const lost = [0, places.length - 1];
    const sources = places.filter(({ shardIndex }) => !lost.includes(shardIndex));
    const made = await remakeShards(node, chunk, sources, lost, new AbortController().signal);
    assert.deepEqual(
      made.map((each) => Buffer.concat(each)),
      [shards[0], shards.at(-1)],
    );
    assert.ok(pieces.length >= 3);
    const kept = new Set<Buffer>(made.flat());
    assert.deepEqual(
      [...new Set(pieces.filter((piece) => !kept.has(piece)).map(({ length }) => length))],
      redundancy === "replica:3" ? [] : [0],
    );
  });
}
