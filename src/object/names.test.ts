/** What a client may send as a name, key, prefix or marker never reaches the metadata store's bounds, which are asserted. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { bodyOf, noMetadata, noVerifier, openTestStore, plainPut } from "./object.fixture.ts";
import type { TestStore } from "./object.fixture.ts";

let t: TestStore;
const bucket = "photos";
const uploadId = "0".repeat(32);
const a = Buffer.from("a");
const largest = Buffer.alloc(limits.objectKeyBytesMax, 0xfe);
const nuls = Buffer.concat([Buffer.alloc(limits.objectKeyNulBytesMax), largest.subarray(limits.objectKeyNulBytesMax)]);
const monsters = [
  Buffer.alloc(1_025, "x"),
  Buffer.alloc(16_000, 0xff),
  Buffer.alloc(1_024, 0),
  Buffer.alloc(16_000, 0),
];

before(async () => {
  t = await openTestStore("memory");
  await t.store.createBucket(bucket, { region: "here" });
  for (const key of [a, nuls, largest]) await t.store.put({ ...plainPut(bucket, "", "x"), key });
  for (const key of [a, nuls, largest]) await t.store.createUpload({ bucket, key, metadata: noMetadata });
});
after(() => t.close());

test("keys that cannot be are refused by every call, for what they are", async () => {
  const body = bodyOf(a);
  for (const key of monsters) {
    const upload = { bucket, key, uploadId };
    const calls = [
      t.store.put({ ...plainPut(bucket, "", "x"), key }),
      t.store.get({ bucket, key }),
      t.store.head({ bucket, key }),
      t.store.delete({ bucket, key }),
      t.store.copy({ bucket, key, source: { bucket, key: a }, metadata: noMetadata }),
      t.store.copy({ bucket, key: a, source: { bucket, key }, metadata: noMetadata }),
      t.store.layout({ bucket, key }),
      t.store.objectParts({ bucket, key, after: 0, limit: 1 }),
      t.store.createUpload({ bucket, key, metadata: noMetadata }),
      t.store.uploadPart({ ...upload, partNumber: 1, body, verifier: noVerifier }),
      t.store.uploadPartCopy({ ...upload, partNumber: 1, source: { bucket, key: a } }),
      t.store.uploadPartCopy({ ...upload, key: a, partNumber: 1, source: { bucket, key } }),
      t.store.completeUpload({ ...upload, parts: [{ partNumber: 1, etag: "0".repeat(32) }] }),
      t.store.abortUpload(upload),
      t.store.listParts({ ...upload, after: 0, limit: 1 }),
    ];
    for (const [index, call] of calls.entries())
      await assert.rejects(call, (error) => hasReason(error, "key_too_long", "invalid_key"), `call ${index}`);
  }
});

test("prefixes and markers longer than any key list what they should", async () => {
  for (const monster of monsters) {
    const past = [a, nuls, largest].filter((key) => key.compare(monster) > 0);
    const uploadsOf = async (options: object) =>
      (await t.store.listUploads({ bucket, limit: 10, ...options })).uploads.map(({ key }) => key);
    const keysOf = async (options: object) =>
      (await t.store.list({ bucket, limit: 10, ...options })).objects.map(({ key }) => key);
    past.sort((left, right) => left.compare(right));
    for (const delimiter of [undefined, Buffer.from("/"), monster]) {
      const more = delimiter && { delimiter };
      assert.deepEqual(await keysOf({ after: monster, ...more }), past);
      assert.deepEqual(await keysOf({ prefix: monster, ...more }), []);
      assert.deepEqual(await keysOf({ prefix: monster, after: monster, ...more }), []);
      assert.deepEqual(await uploadsOf({ afterKey: monster, ...more }), past);
      assert.deepEqual(await uploadsOf({ afterKey: monster, afterUploadId: uploadId, ...more }), past);
      assert.deepEqual(await uploadsOf({ prefix: monster, ...more }), []);
    }
  }
  const beyond = Buffer.concat([largest, a]);
  assert.deepEqual((await t.store.list({ bucket, limit: 10, after: beyond })).objects, []);
  const { uploads } = await t.store.listUploads({ bucket, limit: 10, afterKey: beyond, afterUploadId: uploadId });
  assert.deepEqual(uploads, []);
});

test("names of buckets longer than any bucket's name no bucket", async () => {
  for (const name of ["x".repeat(64), "x".repeat(1_700), "x".repeat(16_000), ""]) {
    const at = { bucket: name, key: a };
    const calls = [
      t.store.bucket(name),
      t.store.deleteBucket(name),
      t.store.usage(name),
      t.store.get(at),
      t.store.put({ ...plainPut(name, "a", "x") }),
      t.store.delete(at),
      t.store.list({ bucket: name, limit: 1 }),
      t.store.listUploads({ bucket: name, limit: 1 }),
      t.store.copy({ bucket, key: a, source: at, metadata: noMetadata }),
      t.store.copy({ ...at, source: { bucket, key: a }, metadata: noMetadata }),
      t.store.createUpload({ ...at, metadata: noMetadata }),
      t.store.abortUpload({ ...at, uploadId }),
    ];
    for (const [index, call] of calls.entries())
      await assert.rejects(call, (error) => hasReason(error, "no_such_bucket"), `call ${index}`);
    const { buckets } = await t.store.listBuckets({ prefix: name, after: name, limit: 5 });
    assert.deepEqual(
      buckets.map((each) => each.name),
      name === "" ? [bucket] : [],
    );
  }
});
