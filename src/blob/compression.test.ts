/** What a compressed chunk looks like is part of a persisted format: bytes written once must be read for ever. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../core/clock.ts";
import { IdSource, type SessionId } from "../core/ids.ts";
import { silentLog } from "../core/log.ts";
import { oneCopy } from "../core/redundancy.ts";
import { createDigestPool } from "../digest/pool.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import type { ChunkRef } from "./blob.ts";
import { createNodePlacement } from "./node_placement.ts";
import { createBlobStore } from "./store.ts";

/** One whole block of 128 KiB of "holdfast holdfast …", and one of its first 1,000 bytes, as the first version wrote them. */
const stored = [
  "28b52ffda0000002008d000048686f6c6466617374200100f4ffcccb11",
  "28b52ffd60e80285000048686f6c6466617374200100dc599523",
].map((hex) => Buffer.from(hex, "hex"));

void test("a chunk compressed in blocks of 128 KiB, as pages have it, reads back", async () => {
  const node = createMemoryNode();
  const ids = new IdSource("00000000000000ee" as SessionId);
  const digests = createDigestPool({ threads: 0 });
  const placement = await createNodePlacement({ node, clock: systemClock, log: silentLog });
  const store = createBlobStore({ node, ids, digests, placement, log: silentLog });
  const id = ids.chunk();
  const drive = node.drives[0]!;
  await node.append(drive, { chunk: id, shardIndex: 0, owner: { blob: ids.blob(), chunkIndex: 0 }, body: stored });
  const rawBytes = 131_072 + 1_000;
  const chunk: ChunkRef = {
    id,
    rawBytes,
    storedBytes: stored[0]!.length + stored[1]!.length,
    blockBytes: stored.map(({ length }) => length),
    redundancy: oneCopy,
    places: [{ drive, shardIndex: 0 }],
  };
  const source = { blob: ids.blob(), chunkBytes: 4 * 2 ** 20, sizeBytes: rawBytes, chunks: async () => [chunk] };
  const pieces: Buffer[] = [];
  for await (const piece of store.read(source, 0, rawBytes)) pieces.push(piece);
  const expected = Buffer.concat([Buffer.alloc(131_072, "holdfast "), Buffer.alloc(1_000, "holdfast ")]);
  assert.ok(Buffer.concat(pieces).equals(expected));
});
