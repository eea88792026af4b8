/**
 * Memory that is given back too early would be read as nothing, or as something else: bodies are written, copied and read while drives
 * hang, by a reader that gives back each piece when it has compared it, and each append is to carry the bytes that it began with.
 */
import assert from "node:assert/strict";
import { hash } from "node:crypto";
import { test } from "node:test";
import * as fc from "fast-check";
import { giveBack, soleView } from "../core/give_back.ts";
import { seededRandom, systemRandom, type Random } from "../core/random.ts";
import { parseRedundancy, shardsOf } from "../core/redundancy.ts";
import { silentLog } from "../core/log.ts";
import { DataKey } from "../crypto/data_key.ts";
import { createDigestPool } from "../digest/pool.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import type { ChunkNode, Shard } from "../node/node.ts";
import {
  altered,
  bodyOf,
  bytesOf,
  chunkBytes,
  chunked,
  drives,
  KiB,
  makeStore,
  sourceOf,
  writeOptions,
  type Texture,
} from "./blob.fixture.ts";
import type { BlobStore, BodySource, ChunkedBlob } from "./blob.ts";
import { createNodePlacement } from "./node_placement.ts";
import { SlowNode, TestClock, type Hang } from "./slow.fixture.ts";

const digests = createDigestPool({ threads: 0 });
test.after(() => digests.close());

/** A piece that was given back has no bytes any more, and cannot be joined with others. */
function contentOf({ body }: Shard): string {
  return body.some(({ length }) => length === 0) ? "given back" : hash("sha256", Buffer.concat(body));
}

/** Reads as segments are read: of whole blocks, of which the caller owns all and sees a part. */
function machines(count: number): ChunkNode {
  const memory = createMemoryNode(drives(count));
  return altered(memory, {
    read: async (drive, ref, range) => {
      const bytes = await memory.read(drive, ref, range);
      const blocks = Buffer.allocUnsafeSlow(bytes.length + 5_000);
      bytes.copy(blocks, 2_000);
      return soleView(blocks, 2_000, 2_000 + bytes.length);
    },
  });
}

/** One drive, which no write waits for and any read can do without. */
function hang(slow: SlowNode, random: Random, kind: Hang): void {
  const { drives } = slow.node;
  slow.hangs.set(drives[random.below(drives.length)]!, kind);
}

type Kept = { readonly blob: ChunkedBlob; readonly dataKey: DataKey | undefined };

async function compare(
  store: BlobStore,
  { blob, dataKey }: Kept,
  wanted: Buffer,
  { from, piecesMax }: { readonly from: number; readonly piecesMax: number },
): Promise<void> {
  let [at, pieces] = [from, 0];
  for await (const piece of store.read({ ...sourceOf(blob), dataKey }, from, wanted.length - from)) {
    assert.ok(piece.length > 0 && piece.equals(wanted.subarray(at, at + piece.length)), `at ${at}`);
    at += piece.length;
    pieces += 1;
    giveBack(piece);
    if (pieces === piecesMax) return;
  }
  assert.equal(at, wanted.length);
}

type Plan = {
  readonly text: string;
  readonly texture: Texture;
  readonly isSealed: boolean;
  readonly sizeBytes: number;
  readonly pieceBytes: number;
  readonly kind: Hang;
  readonly seed: number;
};

const plans: fc.Arbitrary<Plan> = fc.record({
  text: fc.constantFrom("replica:2", "replica:3", "ec:2+1", "ec:3+2"),
  texture: fc.constantFrom<Texture>("zeros", "words", "random", "mixed"),
  isSealed: fc.boolean(),
  sizeBytes: fc.integer({ min: 1, max: 3 * chunkBytes }),
  pieceBytes: fc.constantFrom(10 * KiB, 64 * KiB, 500 * KiB),
  kind: fc.constantFrom<Hang>("deaf", "cut", "cut after all"),
  seed: fc.nat(1_000),
});

void test("no byte is missing or another one because memory was given back, whatever hangs", async () => {
  const property = fc.asyncProperty(plans, async ({ text, texture, isSealed, sizeBytes, pieceBytes, kind, seed }) => {
    const redundancy = parseRedundancy(text);
    const random = seededRandom(seed);
    const node = machines(shardsOf(redundancy) + 1);
    const begun = new Map<Shard, string>();
    let wrong = 0;
    const slow = new SlowNode(
      altered(node, {
        append: (drive, shard) => {
          if (contentOf(shard) !== begun.get(shard)) wrong += 1;
          return node.append(drive, shard);
        },
      }),
    );
    const append: ChunkNode["append"] = (drive, shard, signal) => {
      begun.set(shard, contentOf(shard));
      return slow.node.append(drive, shard, signal);
    };
    const clock = new TestClock();
    const whole = altered(slow.node, { append });
    const placement = await createNodePlacement({ node: whole, clock, log: silentLog });
    const store = await makeStore(whole, digests, { placement, redundancy: () => redundancy });
    const dataKey = isSealed ? DataKey.generate(systemRandom) : undefined;
    const options = { ...writeOptions, inlineBytesMax: 0, dataKey };
    const bytes = bytesOf(sizeBytes, texture, seed);
    const write = async (body: BodySource): Promise<Kept> => {
      hang(slow, random, kind);
      const blob = chunked(await clock.until(store.write(body, options)));
      slow.hangs.clear();
      return { blob, dataKey };
    };
    const first = await write(bodyOf(bytes, pieceBytes, true));
    const source = { ...sourceOf(first.blob), dataKey };
    const second = await write({ ...bodyOf(bytes, pieceBytes, true), stream: () => store.read(source, 0, sizeBytes) });
    slow.release();
    await clock.work();
    for (const kept of [first, second]) {
      hang(slow, random, kind);
      const from = random.below(sizeBytes);
      await clock.until(compare(store, kept, bytes, { from, piecesMax: 1 + random.below(3) }));
      await clock.until(compare(store, kept, bytes, { from, piecesMax: Infinity }));
      await clock.until(compare(store, kept, bytes, { from: 0, piecesMax: Infinity }));
      slow.release();
      await clock.work();
    }
    assert.equal(wrong, 0, "what is appended in the end is what was to be");
  });
  // What an append that hangs still points to, of sealed blocks, lies beside the chunk's buffer.
  const deaf = { texture: "random", isSealed: true, sizeBytes: 2 * chunkBytes, pieceBytes: 64 * KiB } as const;
  const examples = [1, 2, 3].map((seed): [Plan] => [{ text: "replica:3", kind: "deaf", seed, ...deaf }]);
  await fc.assert(property, { numRuns: 20, examples });
});
