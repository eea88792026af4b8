import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { hasReason } from "../core/errors.ts";
import { ChunkBuffers, type ChunkBuffer } from "./chunk_buffers.ts";

const never = new AbortController().signal;

void test("lent and kept bytes stay within the bound; everyone is served in turn", async () => {
  const sizes = fc.array(fc.constantFrom(1, 50_000, 70_000, 100_000), { minLength: 1, maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(sizes, async (sizes) => {
      const buffers = new ChunkBuffers(100_000, 250_000);
      const served: number[] = [];
      await Promise.all(
        sizes.map(async (sizeBytes, index) => {
          const buffer = await buffers.acquire(sizeBytes, never);
          served.push(index);
          assert.equal(buffer.bytes.length, sizeBytes);
          assert.ok(buffers.lentBytes + buffers.keptBytes <= 250_000);
          await new Promise(setImmediate);
          buffer.release();
        }),
      );
      assert.deepEqual(
        served,
        sizes.map((_, index) => index),
      );
      assert.equal(buffers.lentBytes, 0);
    }),
  );
});

void test("whole chunk buffers are used again and lie in shared memory", async () => {
  const buffers = new ChunkBuffers(100_000, 250_000);
  const first = await buffers.acquire(100_000, never);
  assert.ok(first.bytes.buffer instanceof SharedArrayBuffer);
  first.release();
  const second = await buffers.acquire(100_000, never);
  assert.equal(second.bytes, first.bytes);
});

void test("a waiting stream leaves when cancelled, and does not hold up those behind it", async () => {
  const buffers = new ChunkBuffers(100, 150);
  const held = await buffers.acquire(100, never);
  const controller = new AbortController();
  const cancelled = assert.rejects(buffers.acquire(100, controller.signal), (error) => hasReason(error, "cancelled"));
  const behind: Promise<ChunkBuffer> = buffers.acquire(50, never);
  controller.abort();
  await cancelled;
  (await behind).release();
  held.release();
  assert.equal(buffers.lentBytes, 0);
});
