/** The load and its checks against stores that are known to be right, unsure, or wrong. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { HoldfastError } from "../../src/core/errors.ts";
import type { Objects } from "../../src/object/object.ts";
import { accessKey, secretKey, startTestServer } from "../s3/server.ts";
import { etagOf, makeBody } from "./bodies.ts";
import { Gateways } from "./gateways.ts";
import { Histories } from "./histories.ts";
import { MixedLoad } from "./mixed_load.ts";

const lanes = 6;
const changesMin = 150;

/** Runs the load on a store in memory, changed by `wrap`, and says what it found. */
async function run(t: TestContext, wrap: (objects: Objects) => Partial<Objects>) {
  const server = await startTestServer({ wrap: (objects) => overlaid(objects, wrap(objects)) });
  const gateways = new Gateways({ accessKey, secretKey });
  t.after(() => {
    gateways.close();
    return server.close();
  });
  gateways.add(server.origin);
  gateways.add(server.origin);
  const load = new MixedLoad({ seed: 5, gateways, busyKeys: 4 });
  await load.prepare();
  const stop = new AbortController();
  const running = Array.from({ length: lanes }, () => load.runLane(stop.signal));
  while (load.counts.acknowledged + load.counts.unanswered < changesMin)
    await new Promise((resolve) => setTimeout(resolve, 20));
  stop.abort();
  await Promise.all(running);
  return { wrong: await load.verify(), load };
}

/** Methods of the store with some of them replaced. */
function overlaid(objects: Objects, changed: Partial<Objects>): Objects {
  return new Proxy(objects, {
    get: (target, name: keyof Objects) => changed[name] ?? target[name].bind(target),
  });
}

/** True every so many times. */
function every(times: number): () => boolean {
  let count = 0;
  return () => ++count % times === 0;
}

test("finds nothing wrong with a store that is right", async (t) => {
  const { wrong, load } = await run(t, () => ({}));
  assert.deepEqual(wrong, []);
  assert.ok(load.counts.refused > 0, "conditions were refused");
  assert.ok(load.counts.reads > 50, "it was read");
  assert.deepEqual([load.counts.unanswered, load.histories.inconclusive], [0, 0]);
});

test("finds nothing wrong with a store that does not say what it has done", async (t) => {
  const isLost = every(5);
  const { wrong, load } = await run(t, (objects) => ({
    put: async (options) => {
      const done = await objects.put(options);
      if (isLost()) throw new HoldfastError("unavailable", "Perhaps it was done.");
      return done;
    },
    delete: async (options) => {
      if (isLost()) throw new HoldfastError("unavailable", "Perhaps it was done.");
      return objects.delete(options);
    },
  }));
  assert.deepEqual(wrong, []);
  assert.ok(load.counts.unanswered > 10);
});

const noOrder = /no order explains these answers/;

test("finds a change that was acknowledged and is gone", async (t) => {
  const isSometimesLost = every(20);
  // Nobody writes a quiet key again, and in the end it is read: whether others are missed is chance, as they may be written over.
  const isLost = (key: Buffer): boolean => isSometimesLost() || key.toString().startsWith("quiet/");
  const { wrong } = await run(t, (objects) => ({
    put: async (options) => {
      const done = await objects.put(options);
      const { bucket, key } = options;
      if (isLost(key)) await objects.delete({ bucket, key });
      return done;
    },
  }));
  assert.match(wrong.join("\n"), noOrder);
});

test("finds a delete that was not done", async (t) => {
  const { wrong } = await run(t, () => ({
    delete: async () => ({ existed: true, versionId: undefined, isMarker: false }),
  }));
  assert.match(wrong.join("\n"), noOrder);
});

test("finds conditions that are not kept", async (t) => {
  const { wrong } = await run(t, (objects) => ({
    completeUpload: (options) => objects.completeUpload({ ...options, conditions: {} }),
    put: (options) => objects.put({ ...options, conditions: {} }),
  }));
  assert.match(wrong.join("\n"), noOrder);
});

test("finds reads that fail, unless they may", async (t) => {
  const failing = (): Promise<never> => Promise.reject(new HoldfastError("unavailable", "Not now."));
  const { wrong } = await run(t, () => ({ get: failing }));
  assert.match(wrong.join("\n"), /GET busy.* failed: .*Not now/);
});

test("finds bytes that are not what the ETag stands for", () => {
  const histories = new Histories();
  const spec = { seed: 4, sizeBytes: 1_000 };
  const body = makeBody(spec);
  const etag = etagOf([body]);
  histories.sending(etag, spec);
  histories.checkBody("k", etag, body);
  histories.checkBody("k", etag, body.subarray(7, 10), { from: 7, to: 9 });
  assert.deepEqual(histories.takeWrong(), []);
  const changed = Buffer.from(body);
  changed[500]! ^= 1;
  histories.checkBody("k", etag, changed);
  histories.checkBody("k", etag, body.subarray(0, 999));
  histories.checkBody("k", etag, makeBody({ seed: 6, sizeBytes: 1_000 }));
  histories.checkBody("k", etag, body.subarray(7, 10), { from: 8, to: 10 });
  histories.checkBody("k", "no such ETag", body);
  assert.equal(histories.takeWrong().length, 5);
});
