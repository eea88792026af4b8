/** Records as they go between drives: the table under another name, and what is compared before anything is stored. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hasReason } from "../core/errors.ts";
import { IdSource, type SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { systemRandom } from "../core/random.ts";
import { FakeMachine } from "./fake_machine.ts";
import type { LocalNode } from "./local_node.ts";
import { createMemoryNode } from "./node.memory.ts";
import type { ChunkNode, Shard, ShardCopy, ShardRef } from "./node.ts";
import { encodeTable, recordBytes, SEGMENT_HEADER_BYTES } from "./segment.ts";
import { copyShard, openRecord, recordBytesMax, renamedTable, sealRecord } from "./shard_copy.ts";

const ids = new IdSource("00000000000000cc" as SessionId);
const block = limits.segmentBlockBytes;

function shard(sizeBytes: number, shardIndex = 0): Shard {
  const body = [Buffer.from(systemRandom.bytes(sizeBytes))];
  return { chunk: ids.chunk(), shardIndex, owner: { blob: ids.blob(), chunkIndex: 3 }, body };
}

/** Of a shard on the drive, to be another copy of its chunk. */
function copyOf({ chunk, shardIndex, owner, body }: Shard, node: ChunkNode, as = shardIndex + 1): ShardCopy {
  const storedBytes = body[0]!.length;
  return { chunk, shardIndex: as, owner, storedBytes, from: { drive: node.drives[0]!, shardIndex } };
}

async function copied(source: ChunkNode, target: ChunkNode, copy: ShardCopy): Promise<void> {
  const { chunk, storedBytes, from } = copy;
  const read = () => source.readRecord!(from.drive, { chunk, shardIndex: from.shardIndex }, storedBytes);
  await copyShard({ read, target }, target.drives[0]!, copy);
}

test("a table under another name is the one that is computed from the bytes", () => {
  const chunk = ids.chunk();
  const sizes = fc.constantFrom(1, 511, block - 1, block, block + 1, 3 * block, 3 * block + 77);
  const blocks = fc.constantFrom(512, block);
  const refs: fc.Arbitrary<ShardRef> = fc
    .tuple(fc.constantFrom(chunk, ids.chunk()), fc.nat(255))
    .map(([id, shardIndex]) => ({ chunk: id, shardIndex }));
  const seeds = fc.integer();
  fc.assert(
    fc.property(sizes, blocks, refs, refs, seeds, (size, blockBytes, from, to, seed) => {
      const body = Buffer.alloc(size, `body ${seed}`);
      const record = { blockBytes, table: encodeTable(from, [body], blockBytes), body };
      assert.ok(renamedTable(record, from, to).equals(encodeTable(to, [body], blockBytes)));
    }),
  );
});

test("a record comes over as it was, and nothing else is taken for one", () => {
  for (const [bytes, blockBytes] of [
    [1, block],
    [block, block],
    [block + 1, block],
    [5_000, 512],
  ] as const) {
    const body = Buffer.from(systemRandom.bytes(bytes));
    const record = { blockBytes, table: encodeTable(shard(1), [body], blockBytes), body };
    const sealed = sealRecord(record);
    assert.ok(sealed.length <= recordBytesMax(bytes));
    assert.deepEqual(openRecord(sealed, bytes), record);
    for (const other of [bytes - 1, bytes + 1]) assert.equal(openRecord(sealed, other), undefined);
    assert.equal(openRecord(sealed.subarray(1), bytes), undefined);
  }
  for (const blockBytes of [0, 511, limits.chunkBytesMax + 1]) {
    const start = Buffer.alloc(4);
    start.writeUInt32BE(blockBytes);
    assert.equal(openRecord(Buffer.concat([start, Buffer.alloc(10)]), 6), undefined, `blocks of ${blockBytes}`);
  }
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 40 }),
      fc.integer({ min: 1, max: limits.chunkBytesMax }),
      (bytes, length) => {
        const record = openRecord(Buffer.from(bytes), length);
        assert.ok(record === undefined || record.body.length === length);
      },
    ),
  );
});

test("copies of all sizes stand on the other drive, as another copy or as the same shard", async () => {
  const [source, target] = [await new FakeMachine(1).start(), await new FakeMachine(2).start()];
  for (const size of [1, block - 1, block, block + 1, 5 * block + 9, limits.chunkBytesMax])
    for (const as of [0, 1]) {
      const one = shard(size);
      await source.append(source.drives[0]!, one);
      await copied(source, target, copyOf(one, source, as));
      const ref = { chunk: one.chunk, shardIndex: as };
      assert.equal((await target.verify(target.drives[0]!, ref)).outcome, "good", `${size} bytes as ${as}`);
      const [listed] = (await target.list(target.drives[0]!, { limit: 100 })).filter(
        ({ chunk }) => chunk === one.chunk,
      );
      assert.deepEqual([listed!.owner, listed!.storedBytes], [one.owner, size]);
      const length = Math.min(size, limits.readBytesPerCall);
      const read = await target.read(target.drives[0]!, ref, { offset: size - length, length });
      assert.ok(read.equals(one.body[0]!.subarray(size - length)));
    }
});

test("a shard is copied between the drives of one node, and from one that keeps it in memory", async () => {
  const memory = createMemoryNode();
  const node = await new FakeMachine(1).start();
  const drive = node.drives[0]!;
  const [one, other] = [shard(block + 5), shard(block + 6)];
  await node.append(drive, one);
  await node.copy(drive, copyOf(one, node, 7));
  assert.equal((await node.verify(drive, { ...one, shardIndex: 7 })).outcome, "good");
  await memory.append(memory.drives[0]!, other);
  await copied(memory, node, copyOf(other, memory));
  assert.equal((await node.verify(drive, { ...other, shardIndex: 1 })).outcome, "good");
});

test("of a record with a flipped bit nothing is stored", async () => {
  const machine = new FakeMachine(1);
  let source: LocalNode = await machine.start();
  const target = await new FakeMachine(2).start();
  const one = shard(37);
  await source.append(source.drives[0]!, one);
  const [name] = await machine.disk.list(`${machine.path}/segments`);
  const file = `${machine.path}/segments/${name}`;
  for (let bit = 0; bit < 8 * recordBytes(37, block); bit++) {
    const isPadding = bit >= 8 * (96 + 4 + 37);
    if (isPadding) break;
    machine.disk.flipBit(file, 8 * SEGMENT_HEADER_BYTES + bit);
    source = await machine.openNode();
    await assert.rejects(copied(source, target, copyOf(one, source)), (error) => hasReason(error, "corrupt_chunk"));
    assert.deepEqual(await target.list(target.drives[0]!, { limit: 1 }), [], `bit ${bit}`);
    machine.disk.flipBit(file, 8 * SEGMENT_HEADER_BYTES + bit);
  }
  await copied(source, target, copyOf(one, source));
});

test("a shard that is not there, or has another length, or is on the target already, is told apart", async () => {
  const [source, target] = [await new FakeMachine(1).start(), await new FakeMachine(2).start()];
  const one = shard(100);
  const fails = (reason: "no_such_chunk" | "corrupt_chunk" | "drive_missing") => (error: unknown) =>
    hasReason(error, reason);
  await assert.rejects(copied(source, target, copyOf(one, source)), fails("no_such_chunk"));
  await source.append(source.drives[0]!, one);
  const copy = copyOf(one, source);
  await assert.rejects(copied(source, target, { ...copy, storedBytes: 99 }), fails("corrupt_chunk"));
  const from = { ...copy.from, drive: target.drives[0]! };
  await assert.rejects(copied(source, target, { ...copy, from }), fails("drive_missing"));
  await copied(source, target, copy);
  await assert.rejects(copied(source, target, copy), /exists already/);
});
