/** What grows beyond one commit is refused by an error, never by the driver's assertion. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { MeasuredTransaction } from "./measured.ts";
import { openMemoryKv } from "./memory.ts";
import { transact } from "./transact.ts";

const tooMuch = (error: unknown): boolean => hasReason(error, "invalid_request");
const row = (index: number): Buffer => Buffer.from(`row ${index}`);

void test("as many operations as a commit takes are committed, and not one more", async () => {
  const kv = openMemoryKv();
  const fill = (operations: number): Promise<void> =>
    transact(kv, async (work) => {
      const tx = new MeasuredTransaction(work);
      const half = operations >> 1;
      await tx.get(Array.from({ length: half }, (_, index) => row(index)));
      for (let index = 0; index < operations - half; index++) {
        tx.put(row(index), Buffer.of(1));
        tx.put(row(index), Buffer.of(2));
      }
      assert.equal(tx.operations, operations);
    });
  await fill(limits.commitOperationsMax);
  await assert.rejects(fill(limits.commitOperationsMax + 1), tooMuch);
  const checks = Array.from({ length: limits.commitOperationsMax + 1 }, (_, index) => row(index));
  const reading = transact(kv, (work) => new MeasuredTransaction(work).get(checks));
  await assert.rejects(reading, tooMuch, "also where the error itself has to be confirmed");
  await kv.close();
});

void test("as many bytes as a commit takes are committed, and not one more", async () => {
  const kv = openMemoryKv();
  const fill = (bytes: number): Promise<void> =>
    transact(kv, async (work) => {
      const tx = new MeasuredTransaction(work);
      for (let index = 10; tx.bytes < bytes; index++) {
        const key = row(index);
        const left = bytes - tx.bytes - key.length;
        const size = Math.min(left, limits.metaValueBytesMax);
        tx.put(key, Buffer.alloc(left - size > 0 && left - size <= key.length ? size - 100 : size));
      }
      assert.equal(tx.bytes, bytes);
    });
  await fill(limits.commitBytesMax);
  await assert.rejects(fill(limits.commitBytesMax + 1), tooMuch);
  await kv.close();
});
