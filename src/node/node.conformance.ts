/** What every `ChunkNode` must do. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason, type ErrorReason } from "../core/errors.ts";
import { IdSource, type DriveId, type SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { SHARD_INDEX_MAX, type ChunkNode, type Shard } from "./node.ts";

export type NodeUnderTest = { readonly node: ChunkNode; readonly dispose: () => Promise<void> };

type Case = (node: ChunkNode, drive: DriveId, shards: Shards) => Promise<void>;

function failsWith(reason: ErrorReason): (error: unknown) => boolean {
  return (error) => hasReason(error, reason);
}

class Shards {
  readonly #ids = new IdSource("00000000000000aa" as SessionId);

  make(...pieces: (number | string)[]): Shard {
    const body = pieces.map((piece, index) =>
      typeof piece === "string" ? Buffer.from(piece) : Buffer.alloc(piece, `${index}${this.#ids.chunk()}`),
    );
    return { chunk: this.#ids.chunk(), shardIndex: 0, owner: { blob: this.#ids.blob(), chunkIndex: 7 }, body };
  }
}

async function readWhole(node: ChunkNode, drive: DriveId, shard: Shard): Promise<Buffer> {
  const length = shard.body.reduce((sum, piece) => sum + piece.length, 0);
  const parts: Buffer[] = [];
  for (let offset = 0; offset < length; offset += limits.readBytesPerCall) {
    const range = { offset, length: Math.min(limits.readBytesPerCall, length - offset) };
    parts.push(await node.read(drive, shard, range));
  }
  return Buffer.concat(parts);
}

const cases: Readonly<Record<string, Case>> = {
  "bodies of all sizes come back": async (node, drive, shards) => {
    const block = limits.segmentBlockBytes;
    const sizes = [1, 7, 8, 9, block - 1, block, block + 1, 3 * block, limits.chunkBytesMax - 1, limits.chunkBytesMax];
    const all = [
      ...sizes.map((size) => shards.make(size)),
      shards.make(1, block, 0, 3),
      shards.make(block - 1, 2, block),
    ];
    await Promise.all(all.map((shard) => node.append(drive, shard)));
    for (const shard of all) {
      const read = await readWhole(node, drive, shard);
      assert.ok(read.equals(Buffer.concat(shard.body)), `${read.length} bytes`);
    }
  },
  "ranges come back exactly": async (node, drive, shards) => {
    const shard = shards.make(300_000);
    await node.append(drive, shard);
    const bytes = Buffer.concat(shard.body);
    for (const [offset, length] of [
      [0, 1],
      [65_535, 2],
      [65_536, 65_536],
      [299_999, 1],
      [100_000, 200_000],
      [0, 300_000],
    ] as const) {
      const read = await node.read(drive, shard, { offset, length });
      assert.ok(read.equals(bytes.subarray(offset, offset + length)), `${offset}+${length}`);
    }
    await assert.rejects(node.read(drive, shard, { offset: 299_999, length: 2 }), { name: "AssertionError" });
  },
  "what was read belongs to the reader": async (node, drive, shards) => {
    const shard = shards.make("abc");
    await node.append(drive, shard);
    (await node.read(drive, shard, { offset: 0, length: 3 })).fill(0);
    assert.equal(String(await node.read(drive, shard, { offset: 0, length: 3 })), "abc");
  },
  "a shard is appended once": async (node, drive, shards) => {
    const shard = shards.make("abc");
    await node.append(drive, shard);
    await assert.rejects(node.append(drive, shard), { name: "AssertionError" });
    const other = { ...shard, shardIndex: 1, body: [Buffer.from("other")] };
    await node.append(drive, other);
    assert.equal(String(await readWhole(node, drive, shard)), "abc");
    assert.equal(String(await readWhole(node, drive, other)), "other");
  },
  "a removed shard is gone, removing is idempotent": async (node, drive, shards) => {
    const [gone, kept] = [shards.make("gone"), shards.make("kept")];
    await Promise.all([node.append(drive, gone), node.append(drive, kept)]);
    await node.remove(drive, [gone, gone]);
    await node.remove(drive, [gone]);
    await node.remove(drive, []);
    await assert.rejects(node.read(drive, gone, { offset: 0, length: 1 }), failsWith("no_such_chunk"));
    assert.equal((await node.verify(drive, gone)).outcome, "missing");
    const good = await node.verify(drive, kept);
    assert.equal(good.outcome, "good");
    assert.deepEqual(good.owner, kept.owner);
    assert.equal(good.storedBytes, 4);
    assert.equal(await node.discard(drive, gone), "missing");
    assert.equal(await node.discard(drive, kept), "good");
    assert.equal((await readWhole(node, drive, kept)).toString(), "kept");
  },
  "a removal that names a record takes no other one away": async (node, drive, shards) => {
    const [replaced, takenOver, left] = [shards.make("replaced"), shards.make("taken over"), shards.make("left")];
    for (const shard of [replaced, takenOver, left]) await node.append(drive, shard);
    const seen = await node.list(drive, { limit: 10 });
    assert.equal(new Set(seen.map(({ record }) => record)).size, 3);
    await node.remove(drive, [replaced]);
    await node.append(drive, replaced);
    assert.equal(await node.discard(drive, takenOver), "good");
    await node.remove(drive, seen);
    const kept = await node.list(drive, { limit: 10 });
    assert.deepEqual(
      kept.map(({ chunk }) => chunk),
      [replaced.chunk, takenOver.chunk],
    );
    for (const shard of [replaced, takenOver])
      assert.ok((await readWhole(node, drive, shard)).equals(Buffer.concat(shard.body)));
    await node.remove(drive, [kept[0]!, ...kept, kept[1]!]);
    assert.deepEqual(await node.list(drive, { limit: 10 }), []);
  },
  "a shard that a compaction has moved is the same record": async (node, drive, shards) => {
    const all = Array.from({ length: 20 }, () => shards.make(1_000));
    for (const shard of all) await node.append(drive, shard);
    await node.remove(drive, all.slice(1));
    const seen = await node.list(drive, { limit: 10 });
    await node.compact(drive);
    assert.deepEqual(await node.list(drive, { limit: 10 }), seen);
    await node.remove(drive, seen);
    assert.deepEqual(await node.list(drive, { limit: 10 }), []);
  },
  "shards are listed in order, page by page": async (node, drive, shards) => {
    const first = shards.make(10);
    const all = [first, { ...first, shardIndex: 1 }, shards.make(20), shards.make(30)];
    for (const shard of all.toReversed()) await node.append(drive, shard);
    const one = await node.list(drive, { limit: 3 });
    const two = await node.list(drive, { limit: 3, after: one.at(-1)! });
    const expected = all.map(({ chunk, shardIndex, owner, body }) => {
      return { chunk, shardIndex, owner, storedBytes: body[0]!.length };
    });
    assert.deepEqual(
      [...one, ...two].map(({ record: _record, ...rest }) => rest),
      expected,
    );
    assert.deepEqual([one.length, two.length], [3, 1]);
  },
  "a page begins behind all shards that another chunk may have": async (node, drive, shards) => {
    const [first, second] = [shards.make("first"), shards.make("second")];
    for (const shard of [first, { ...first, shardIndex: SHARD_INDEX_MAX }, second]) await node.append(drive, shard);
    const page = await node.list(drive, { after: { chunk: first.chunk, shardIndex: SHARD_INDEX_MAX }, limit: 2 });
    assert.deepEqual(
      page.map(({ chunk }) => chunk),
      [second.chunk],
    );
  },
  "many appends and removals at once": async (node, drive, shards) => {
    const all = Array.from({ length: 600 }, (_, index) => shards.make(100 + index));
    await Promise.all(all.map((shard) => node.append(drive, shard)));
    await node.remove(drive, all.slice(0, 500));
    assert.equal((await node.list(drive, { limit: 2_000 })).length, 100);
    await node.compact(drive);
    for (const shard of all.slice(500)) {
      assert.ok((await readWhole(node, drive, shard)).equals(Buffer.concat(shard.body)));
    }
    const status = await node.status(drive);
    assert.equal(status.state, "up");
    assert.ok(status.liveBytes >= 100 * 600);
  },
  "an aborted call does nothing": async (node, drive, shards) => {
    const shard = shards.make("abc");
    await assert.rejects(node.append(drive, shard, AbortSignal.abort()), failsWith("cancelled"));
    await node.append(drive, shard);
    const range = { offset: 0, length: 1 };
    await assert.rejects(node.read(drive, shard, range, AbortSignal.abort()), failsWith("cancelled"));
  },
};

export function nodeConformance(name: string, make: () => Promise<NodeUnderTest>): void {
  for (const [title, run] of Object.entries(cases)) {
    void test(`${name}: ${title}`, async () => {
      const { node, dispose } = await make();
      try {
        await run(node, node.drives[0]!, new Shards());
      } finally {
        await dispose();
      }
    });
  }
}
