import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { test } from "node:test";
import type { Worker } from "node:worker_threads";
import * as fc from "fast-check";
import { hasReason } from "../core/errors.ts";
import type { DigestAlgorithm } from "./digest.ts";
import { createDigestPool, threadedBytesMin } from "./pool.ts";
import { wholeDigests } from "./running.ts";

const all: readonly DigestAlgorithm[] = ["md5", "sha1", "sha256", "crc32", "crc32c", "crc64nvme"];

function shared(bytes: Uint8Array): Uint8Array {
  const view = new Uint8Array(new SharedArrayBuffer(bytes.length));
  view.set(bytes);
  return view;
}

function threadsOf(): number {
  return process.getActiveResourcesInfo().filter((name) => name === "Worker" || name === "MessagePort").length;
}

void test("streams of any pieces, shared or not, large or small first, side by side", async () => {
  const pool = createDigestPool({ threads: 2 });
  const pieces = fc.array(
    fc.record({ sizeBytes: fc.constantFrom(0, 1, 1000, threadedBytesMin, 200_000), isShared: fc.boolean() }),
    { maxLength: 6 },
  );
  async function digestOf(plan: readonly { sizeBytes: number; isShared: boolean }[]): Promise<void> {
    const bytes = plan.map(({ sizeBytes }) => randomBytes(sizeBytes));
    const stream = pool.stream(all);
    for (const [index, piece] of bytes.entries()) await stream.update(plan[index]!.isShared ? shared(piece) : piece);
    assert.deepEqual(await stream.finish(), wholeDigests(all, Buffer.concat(bytes)));
    stream.cancel();
  }
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(pieces, { minLength: 1, maxLength: 4 }), async (plans) => {
        await Promise.all(plans.map(digestOf));
      }),
      { numRuns: 40 },
    );
  } finally {
    await pool.close();
  }
});

void test("a buffer may be reused as soon as its update has resolved", async () => {
  const pool = createDigestPool({ threads: 1 });
  const buffer = new Uint8Array(new SharedArrayBuffer(threadedBytesMin));
  const copies: Buffer[] = [];
  const stream = pool.stream(["crc32", "md5"]);
  for (let round = 0; round < 20; round++) {
    buffer.fill(round);
    copies.push(Buffer.from(buffer));
    await stream.update(buffer);
  }
  assert.deepEqual(await stream.finish(), wholeDigests(["crc32", "md5"], Buffer.concat(copies)));
  await pool.close();
});

void test("a cancelled stream leaves the others alone, and its update under way still ends", async () => {
  const pool = createDigestPool({ threads: 1 });
  const bytes = shared(randomBytes(1 << 20));
  const [given, kept] = [pool.stream(["md5"]), pool.stream(["md5"])];
  const underWay = given.update(bytes);
  given.cancel();
  await kept.update(bytes);
  await underWay;
  assert.deepEqual(await kept.finish(), wholeDigests(["md5"], bytes));
  await pool.close();
});

void test("threads stop when idle and start again when needed", async () => {
  const pool = createDigestPool({ threads: 1, idleMs: 1 });
  const bytes = shared(randomBytes(threadedBytesMin));
  for (let round = 0; round < 2; round++) {
    const exited = nextWorkerExit();
    const stream = pool.stream(["sha256"]);
    await stream.update(bytes);
    assert.deepEqual(await stream.finish(), wholeDigests(["sha256"], bytes));
    await exited;
  }
  assert.equal(threadsOf(), 0);
  await pool.close();
});

/** Resolves when the next digest thread that starts has stopped. */
function nextWorkerExit(): Promise<unknown> {
  return new Promise((resolve) => {
    process.once("worker", (worker: Worker) => resolve(once(worker, "exit")));
  });
}

void test("the death of a thread fails its streams, and the next stream gets a new thread", async () => {
  const pool = createDigestPool({ threads: 1 });
  const bytes = shared(randomBytes(8 << 20));
  const started = new Promise<Worker>((resolve) => void process.once("worker", resolve));
  const stream = pool.stream(["md5"]);
  await stream.update(bytes);
  // The thread is dying when it is asked, and this process has not heard of it: however fast the thread is, it does not answer.
  const dying = (await started).terminate();
  const underWay = assert.rejects(stream.update(bytes), (error) => hasReason(error, "unavailable"));
  await dying;
  await underWay;
  await assert.rejects(stream.update(bytes), (error) => hasReason(error, "unavailable"));
  stream.cancel();
  const next = pool.stream(["md5"]);
  await next.update(bytes);
  assert.deepEqual(await next.finish(), wholeDigests(["md5"], bytes));
  await pool.close();
});

void test("answers of a thread that failed meanwhile are of no use, and end nothing", async () => {
  const piece = new Uint8Array(new SharedArrayBuffer(threadedBytesMin));
  // Whether the error overtakes the answers is for the two ways on which they come to say: in one round of three it does.
  for (let round = 0; round < 6; round++) {
    const pool = createDigestPool({ threads: 1 });
    const good = Array.from({ length: 3 }, () => pool.stream(["md5"]));
    for (const stream of good) await stream.update(piece);
    const bad = pool.stream(["none" as DigestAlgorithm]);
    const updates = [...good, bad].map((stream) => stream.update(piece));
    const outcomes = await Promise.allSettled(updates);
    const refused = outcomes.filter(({ status }) => status === "rejected");
    assert.ok(
      outcomes.at(-1)!.status === "rejected" && refused.every((each) => hasReason(reasonOf(each), "unavailable")),
    );
    await pool.close();
  }
});

function reasonOf(outcome: PromiseSettledResult<unknown>): unknown {
  return outcome.status === "rejected" ? outcome.reason : undefined;
}

void test("close fails streams that are still open, and small streams go on in place", async () => {
  const pool = createDigestPool({ threads: 1 });
  const stream = pool.stream(["md5"]);
  await stream.update(shared(randomBytes(threadedBytesMin)));
  await pool.close();
  await assert.rejects(stream.finish(), (error) => hasReason(error, "unavailable"));
  const after = pool.stream(["md5"]);
  await after.update(randomBytes(threadedBytesMin));
  await after.finish();
});
