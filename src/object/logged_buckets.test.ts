/** Which buckets are known to be logged: from the rows that requests read, and from nothing else. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "../core/limits.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import { configurationKinds } from "../meta/configurations.ts";
import { LoggedBuckets } from "./logged_buckets.ts";
import { openTestStore } from "./object.fixture.ts";

void test("a bucket is known as long as its row says that it is logged", async (t) => {
  const store = await openTestStore("memory");
  t.after(() => store.close());
  const logged = new LoggedBuckets();
  const { store: objects } = await store.gateway({ loggedBuckets: logged });
  // Another process makes the changes: here they show in the row alone.
  await store.store.createBucket("bucket", { region: "r" });
  const set = (kind: "logging" | "cors", document: Buffer | undefined) =>
    store.store.setConfiguration({ bucket: "bucket", kind, document });
  await set("cors", Buffer.from("x"));
  await objects.bucket("bucket");
  assert.equal(logged.get("bucket"), undefined);
  await set("logging", Buffer.from("x"));
  assert.equal(logged.get("bucket"), undefined);
  await assert.rejects(objects.head({ bucket: "bucket", key: Buffer.from("k") }));
  const first = logged.get("bucket")?.revision;
  assert.ok(first !== undefined);
  await set("cors", undefined);
  await objects.bucket("bucket");
  assert.ok(logged.get("bucket")!.revision > first);
  await set("logging", undefined);
  await objects.bucket("bucket");
  assert.equal(logged.get("bucket"), undefined);
  await set("logging", Buffer.from("x"));
  await objects.bucket("bucket");
  assert.ok(logged.get("bucket"));
  await store.store.deleteBucket("bucket");
  await assert.rejects(objects.bucket("bucket"));
  assert.equal(logged.get("bucket"), undefined);
});

void test("so many are known at most, and one that is met again is known again", () => {
  const logged = new LoggedBuckets();
  const bucket = { configured: 1 << configurationKinds.logging, revision: 1 } as BucketRecord;
  const known = (): number => {
    let count = 0;
    for (let n = 0; n <= limits.loggedBucketsMax; n++) if (logged.get(`b${n}`) !== undefined) count += 1;
    return count;
  };
  for (let n = 0; n < limits.loggedBucketsMax; n++) logged.note(`b${n}`, bucket);
  assert.equal(known(), limits.loggedBucketsMax);
  logged.note("b0", bucket);
  assert.equal(known(), limits.loggedBucketsMax);
  logged.note(`b${limits.loggedBucketsMax}`, bucket);
  assert.equal(known(), 1);
  logged.note("b0", bucket);
  assert.equal(known(), 2);
});
