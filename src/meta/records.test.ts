import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { HoldfastError } from "../core/errors.ts";
import type { BlobId, BucketId, ChunkId, DriveId, UploadId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { shardsOf } from "../core/redundancy.ts";
import { decodeBlobRoot, decodePartPage, encodeBlobRoot, encodePartPage } from "./blobs.ts";
import { decodeBucket, encodeBucket, newBucketSettings } from "./buckets.ts";
import { decodeChunkPage, encodeChunkPage } from "./chunk_pages.ts";
import type { ChunkRecord } from "./chunk_pages.ts";
import {
  blobData,
  decodeBody,
  decodeHead,
  decodeListed,
  decodePast,
  encodeBody,
  encodeHead,
  encodePast,
} from "./heads.ts";
import type { HeadRecord } from "./heads.ts";
import {
  escapeKey,
  headKey,
  parsePastKey,
  parseUploadKey,
  pastKey,
  prefixEnd,
  unescapeKey,
  uploadKey,
} from "./keys.ts";
import { decodeTrash, encodeTrash } from "./trash.ts";

const bucket = "0102030405060708" as BucketId;
const blob = "ab".repeat(16) as BlobId;
const corrupt = (error: unknown): boolean => error instanceof HoldfastError && error.reason === "corrupt_record";
const key = fc.uint8Array({ minLength: 1, maxLength: 20 }).map((bytes) => Buffer.from(bytes));
const nulKey = fc.array(fc.constantFrom(0, 1, 0xff), { minLength: 1, maxLength: 6 }).map((list) => Buffer.from(list));

test("escaped keys come back, keep the order, and none begins another", () => {
  fc.assert(
    fc.property(fc.oneof(key, nulKey), fc.oneof(key, nulKey), (left, right) => {
      const [a, b] = [escapeKey(left), escapeKey(right)];
      assert.deepEqual(unescapeKey(Buffer.concat([a, Buffer.of(7)]), 0), { key: left, end: a.length });
      assert.equal(Math.sign(Buffer.compare(a, b)), Math.sign(Buffer.compare(left, right)));
      if (!left.equals(right)) assert(!b.subarray(0, a.length).equals(a));
    }),
  );
});

test("prefixEnd is the least key above every key with the prefix", () => {
  fc.assert(
    fc.property(fc.oneof(key, nulKey), key, (prefix, other) => {
      const end = prefixEnd(prefix);
      const hasPrefix = other.subarray(0, prefix.length).equals(prefix);
      const inRange = Buffer.compare(other, prefix) >= 0 && (end === undefined || Buffer.compare(other, end) < 0);
      assert.equal(inRange, hasPrefix);
    }),
  );
});

test("past keys: newest first within a key; upload keys come back", () => {
  const object = Buffer.from("a\0b");
  assert(Buffer.compare(pastKey(bucket, object, 2n), pastKey(bucket, object, 1n)) < 0);
  assert.deepEqual(parsePastKey(pastKey(bucket, object, 77n)), { key: object, order: 77n });
  const upload = "cd".repeat(16) as UploadId;
  assert.deepEqual(parseUploadKey(uploadKey(bucket, object, upload)), { key: object, upload });
  const longest = Buffer.alloc(limits.objectKeyBytesMax, 1).fill(0, 0, limits.objectKeyNulBytesMax);
  assert(uploadKey(bucket, longest, upload).length <= limits.metaKeyBytesMax);
});

const head: HeadRecord = {
  sizeBytes: 300,
  modifiedMs: 1_700_000_000_000,
  etag: `${"0f".repeat(16)}-12`,
  checksum: { algorithm: "crc32", type: "COMPOSITE", value: Buffer.from("01020304", "hex") },
  metadata: { headers: { "content-type": "a/b", "x-amz-storage-class": "GLACIER", "x-other": "o" }, user: { k: "v" } },
  data: { kind: "blob", blob },
  epoch: 3,
  stamp: "11".repeat(14),
};
const plain: HeadRecord = {
  ...head,
  etag: "0f".repeat(16),
  checksum: undefined,
  metadata: { headers: {}, user: {} },
  data: { kind: "inline" },
};

const versioned: HeadRecord = {
  ...plain,
  version: { order: 300, isNull: false, nullOrder: 0 },
  tags: new Map([
    ["b", "1"],
    ["a", ""],
  ]),
  retention: { mode: "GOVERNANCE", untilMs: 1_800_000_000_000 },
  legalHold: true,
};

// These bytes are on disks: a change here is a new format version, never a new expectation.
test("frozen bytes of version 1", () => {
  assert.equal(
    encodeHead(head).toString("hex"),
    "010eac0280d095ffbc310f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0c8201020304" +
      "07474c4143494552031111111111111111111111111111abababababababababababababababab" +
      "020103612f620007782d6f74686572016f01016b0176",
  );
  const record = { ...newBucketSettings, id: bucket, createdMs: 5, region: "eu", epoch: 1 };
  assert.equal(encodeBucket(record).toString("hex"), "03010203040506070800010502657500000000000000");
  assert.equal(encodeTrash({ blob, atMs: 9 }).toString("hex"), `01${blob}09`);
  assert.equal(encodeBody(head.stamp, Buffer.from("hi")).toString("hex"), `01${head.stamp}6869`);
});

test("records come back", () => {
  for (const record of [head, plain, versioned, { ...head, data: blobData(blob, true) }]) {
    const value = encodeHead(record);
    assert.deepEqual(decodeHead(value), record);
    const { key: listedKey, ...listed } = decodeListed({ key: headKey(bucket, Buffer.from("k")), value, version: 1 });
    assert.equal(listedKey.toString(), "k");
    assert.deepEqual(listed, {
      sizeBytes: record.sizeBytes,
      modifiedMs: record.modifiedMs,
      etag: record.etag,
      storageClass: record.metadata.headers["x-amz-storage-class"],
      checksum: record.checksum && { algorithm: record.checksum.algorithm, type: record.checksum.type },
      owner: undefined,
    });
  }
  const record = { ...newBucketSettings, id: bucket, createdMs: 5, region: "eu", state: "deleting", epoch: 1 } as const;
  assert.deepEqual(decodeBucket(encodeBucket(record)), record);
  assert.deepEqual(decodeTrash(encodeTrash({ blob, atMs: 9 })), { blob, atMs: 9 });
  const past = { head: { ...plain, sizeBytes: 2 }, inline: Buffer.from("hi") };
  assert.deepEqual(decodePast(encodePast(past)), past);
  const facts = { refcount: 2, sizeBytes: 9, pages: 2, pageEntries: 256 };
  for (const root of [
    { kind: "chunks" as const, ...facts, chunkBytes: 4 },
    { kind: "parts" as const, ...facts, parts: 3, pageStarts: [0, 5] },
  ]) {
    assert.deepEqual(decodeBlobRoot(encodeBlobRoot(root)), root);
  }
});

test("pages come back, and the largest fits a value", () => {
  const redundancy = { dataShards: limits.dataShardsMax, parityShards: limits.parityShardsMax };
  const places = Array.from({ length: shardsOf(redundancy) }, (_, shardIndex) => ({
    drive: shardIndex.toString(16).padStart(16, "0") as DriveId,
    shardIndex,
  }));
  const chunks = Array.from({ length: limits.chunkMapPageEntries }, (_, index): ChunkRecord => ({
    id: index.toString(16).padStart(32, "0") as ChunkId,
    rawBytes: limits.chunkBytesMax,
    storedBytes: limits.chunkBytesMax - index,
    blockBytes: index === 0 ? undefined : Array.from({ length: 32 }, () => limits.compressionBlockBytes - 1),
    redundancy,
    places,
  }));
  const page = encodeChunkPage(chunks);
  assert.deepEqual(decodeChunkPage(page), chunks);
  assert(page.length < limits.metaValueBytesMax);
  const parts = Array.from({ length: limits.partMapPageEntries }, (_, index) => ({
    partNumber: index + 1,
    blob,
    sizeBytes: limits.partBytesMax,
    modifiedMs: head.modifiedMs,
    md5: "0f".repeat(16),
    checksum: index === 0 ? undefined : { algorithm: "sha256" as const, value: Buffer.alloc(32, index) },
  }));
  const partPage = encodePartPage(parts);
  assert.deepEqual(decodePartPage(partPage), parts);
  assert(partPage.length < limits.metaValueBytesMax);
});

test("a record that is cut, too long or of another version is corrupt, and so is a body of another write", () => {
  const value = encodeHead(head);
  for (const whole of [value, encodeHead(versioned)]) {
    for (let length = 0; length < whole.length; length++)
      assert.throws(() => decodeHead(whole.subarray(0, length)), corrupt);
    assert.throws(() => decodeHead(Buffer.concat([whole, Buffer.of(0)])), corrupt);
  }
  const newer = Buffer.from(value).fill(2, 0, 1);
  assert.throws(() => decodeHead(newer), corrupt);
  for (const bad of [newer, value.subarray(0, 20), Buffer.from(value).fill(0xff, 1, 2)]) {
    assert.throws(() => decodeListed({ key: headKey(bucket, Buffer.from("k")), value: bad, version: 1 }), corrupt);
  }
  const small = { ...plain, sizeBytes: 2 };
  assert.equal(decodeBody(small, encodeBody(small.stamp, Buffer.from("hi"))).toString(), "hi");
  assert.throws(() => decodeBody(small, undefined), corrupt);
  assert.throws(() => decodeBody(small, encodeBody("22".repeat(14), Buffer.from("hi"))), corrupt);
  assert.throws(() => decodeBody(small, encodeBody(small.stamp, Buffer.from("hit"))), corrupt);
});
