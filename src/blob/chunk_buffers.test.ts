import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { hasReason } from "../core/errors.ts";
import { ChunkBuffers, type BufferClaim, type ChunkBuffer } from "./chunk_buffers.ts";

const MiB = 1024 * 1024;
const never = new AbortController().signal;
/** Two full chunks, and at least one small one. */
const stock = { chunkBytes: 100_000, bytesMax: 250_000, fullBytesMax: 200_000, smallChunkBytes: 10_000 };

type Plan = { readonly expectedBytes: number | undefined; readonly stalls: boolean; readonly chunks: number };

const plans = fc.array(
  fc.record({
    expectedBytes: fc.constantFrom(undefined, 1, 9_000, 50_000, 100_000, 1_000_000),
    stalls: fc.boolean(),
    chunks: fc.integer({ min: 1, max: 4 }),
  }),
  { minLength: 1, maxLength: 30 },
);

function claimOf(buffers: ChunkBuffers, expectedBytes: number | undefined): BufferClaim | undefined {
  try {
    return buffers.claim(expectedBytes);
  } catch (error) {
    assert.ok(hasReason(error, "slow_down"));
    return undefined;
  }
}

/** Fills chunks and stores each for a while, two at a time as a writer does; a stalling one never fills its last. */
async function stream(claim: BufferClaim, plan: Plan, onBuffer: (buffer: ChunkBuffer) => void): Promise<ChunkBuffer[]> {
  const size = Math.min(claim.chunkBytes, plan.expectedBytes ?? claim.chunkBytes);
  const storing = new Set<Promise<void>>();
  for (let chunk = 1; chunk <= plan.chunks; chunk++) {
    if (storing.size === 2) await Promise.race(storing);
    const buffer = await claim.acquire(size, never);
    onBuffer(buffer);
    if (plan.stalls && chunk === plan.chunks) {
      await Promise.all(storing);
      return [buffer];
    }
    const store = new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
      buffer.release();
      storing.delete(store);
    });
    storing.add(store);
  }
  await Promise.all(storing);
  return [];
}

void test("every stream with a claim gets its buffers, whoever stalls; the stock is never exceeded", async () => {
  const property = fc.asyncProperty(plans, async (streams) => {
    const buffers = new ChunkBuffers(stock);
    const claims = streams.map((plan) => claimOf(buffers, plan.expectedBytes));
    assert.ok(claims[0] !== undefined && buffers.claimedBytes <= stock.bytesMax);
    const held = await Promise.all(
      claims.map(async (claim, index) => {
        const plan = streams[index]!;
        const check = ({ bytes }: ChunkBuffer): void => {
          assert.ok(bytes.length <= claim!.chunkBytes);
          assert.ok(buffers.lentBytes + buffers.keptBytes <= stock.bytesMax);
        };
        return claim === undefined ? [] : stream(claim, plan, check);
      }),
    );
    for (const buffer of held.flat()) buffer.release();
    for (const claim of claims) claim?.end();
    assert.equal(buffers.lentBytes + buffers.claimedBytes, 0);
  });
  await fc.assert(property);
});

void test("full chunks as long as there is room for them, then small ones, then a refusal", () => {
  const buffers = new ChunkBuffers(stock);
  const sizes: number[] = [];
  const claims: BufferClaim[] = [];
  for (let claim = claimOf(buffers, undefined); claim !== undefined; claim = claimOf(buffers, undefined)) {
    sizes.push(claim.chunkBytes);
    claims.push(claim);
  }
  assert.deepEqual(sizes, [100_000, 100_000, 10_000, 10_000, 10_000, 10_000, 10_000]);
  claims[0]!.end();
  assert.equal(buffers.claim(undefined).chunkBytes, 100_000);
  assert.throws(
    () => buffers.claim(1),
    (error) => hasReason(error, "slow_down"),
  );
});

void test("a body that fits a small chunk is never cut", () => {
  const buffers = new ChunkBuffers(stock);
  for (let count = 0; count < 2; count++) buffers.claim(undefined);
  assert.equal(buffers.claim(10_000).chunkBytes, 100_000);
  assert.equal(buffers.claim(10_001).chunkBytes, 10_000);
});

void test("whole chunk buffers are used again and lie in shared memory", async () => {
  const claim = new ChunkBuffers(stock).claim(undefined);
  const first = await claim.acquire(100_000, never);
  assert.ok(first.bytes.buffer instanceof SharedArrayBuffer);
  first.release();
  const second = await claim.acquire(100_000, never);
  assert.equal(second.bytes.buffer, first.bytes.buffer);
});

void test("bodies of nearly the same length use each other's memory, and little more than they need", async () => {
  const MiB = 2 ** 20;
  const buffers = new ChunkBuffers({ chunkBytes: 4 * MiB });
  const seen = new Set<ArrayBufferLike>();
  for (let sizeBytes = 2 * MiB; sizeBytes > MiB; sizeBytes -= 10_007) {
    const claim = buffers.claim(sizeBytes);
    const buffer = await claim.acquire(sizeBytes, never);
    assert.equal(buffer.bytes.length, sizeBytes);
    assert.ok(buffer.bytes.buffer.byteLength <= sizeBytes * 1.25);
    seen.add(buffer.bytes.buffer);
    buffer.release();
    claim.end();
  }
  assert.equal(seen.size, 4);
  assert.ok(buffers.keptBytes >= 6 * MiB);
});

void test("a waiting stream leaves when cancelled, and does not hold up those behind it", async () => {
  const buffers = new ChunkBuffers({ chunkBytes: 100, bytesMax: 150, fullBytesMax: 100, smallChunkBytes: 50 });
  const [full, small] = [buffers.claim(undefined), buffers.claim(50)];
  const held = await full.acquire(100, never);
  const controller = new AbortController();
  const cancelled = assert.rejects(full.acquire(100, controller.signal), (error) => hasReason(error, "cancelled"));
  const behind = small.acquire(50, never);
  controller.abort();
  await cancelled;
  (await behind).release();
  held.release();
  await assert.rejects(full.acquire(100, controller.signal), (error) => hasReason(error, "cancelled"), "already");
  assert.equal(buffers.lentBytes, 0);
});

void test("a held buffer leaves its place to others, up to a bound, and its memory to nobody until it is idle", async () => {
  const buffers = new ChunkBuffers({ chunkBytes: MiB, bytesMax: 2 * MiB, fullBytesMax: 2 * MiB, heldBytesMax: MiB });
  const claims = [buffers.claim(undefined), buffers.claim(undefined)];
  const { signal } = new AbortController();
  const [first, second] = await Promise.all(claims.map((claim) => claim.acquire(MiB, signal)));
  const idle = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  first!.hold(idle[0]!.promise);
  assert.deepEqual([buffers.lentBytes, buffers.heldBytes], [MiB, MiB]);
  second!.hold(idle[1]!.promise);
  assert.deepEqual([buffers.lentBytes, buffers.heldBytes], [MiB, MiB], "beyond the bound it stays lent");
  for (const claim of claims) claim.end();
  const others = [buffers.claim(undefined), buffers.claim(undefined)] as const;
  const third = await others[0].acquire(MiB, signal);
  let fourth: ChunkBuffer | undefined;
  const waiting = others[1].acquire(MiB, signal).then((buffer) => (fourth = buffer));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(fourth, undefined);
  idle[1]!.resolve();
  await waiting;
  assert.equal(fourth!.room.buffer, second!.room.buffer);
  assert.notEqual(third.room.buffer, first!.room.buffer);
  idle[0]!.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([buffers.lentBytes, buffers.heldBytes], [2 * MiB, 0]);
  for (const buffer of [third, fourth!]) buffer.release();
  for (const claim of others) claim.end();
  assert.equal(buffers.lentBytes + buffers.claimedBytes, 0);
});
