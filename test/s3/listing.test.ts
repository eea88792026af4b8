import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  ListObjectsCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutObjectCommand,
  paginateListObjectsV2,
} from "@aws-sdk/client-s3";
import { failsWith, startTestServer } from "./server.ts";
import type { TestServer } from "./server.ts";

const Bucket = "listing";
const keys = ["a", "a/", "a/1", "a/2", "a0", "b/x/1", "b/x/2", "b/y", "c", "d e+f", "z&<>"];
let server: TestServer;
before(async () => {
  server = await startTestServer();
  await server.bucket(Bucket);
  for (const Key of keys) await server.s3.send(new PutObjectCommand({ Bucket, Key, Body: Key }));
});
after(() => server.close());

const names = (entries: { Key?: string | undefined }[] | undefined) => (entries ?? []).map((entry) => entry.Key);
const prefixes = (entries: { Prefix?: string | undefined }[] | undefined) =>
  (entries ?? []).map((entry) => entry.Prefix);

void test("V2 lists all keys in byte order with size, ETag, date and class", async () => {
  const page = await server.s3.send(new ListObjectsV2Command({ Bucket }));
  assert.deepEqual(names(page.Contents), keys);
  assert.deepEqual([page.IsTruncated, page.KeyCount, page.MaxKeys, page.Name], [false, keys.length, 1_000, Bucket]);
  const first = page.Contents?.[0];
  assert.equal(first?.Size, 1);
  assert.match(first.ETag ?? "", /^"[0-9a-f]{32}"$/);
  const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key: first.Key }));
  assert.deepEqual(first.LastModified, head.LastModified, "one time of modification, wherever it is told");
  assert.equal(first.StorageClass, "STANDARD");
  assert.equal(first.Owner, undefined);
});

void test("V2 with fetch-owner names the owner", async () => {
  const page = await server.s3.send(new ListObjectsV2Command({ Bucket, FetchOwner: true }));
  assert.ok(page.Contents?.every((entry) => entry.Owner?.ID));
});

void test("pages of every size give each key once", async () => {
  for (const MaxKeys of [1, 2, 3, 5, 11]) {
    const seen: (string | undefined)[] = [];
    for await (const page of paginateListObjectsV2({ client: server.s3 }, { Bucket, MaxKeys })) {
      assert.ok((page.KeyCount ?? 0) <= MaxKeys);
      seen.push(...names(page.Contents));
    }
    assert.deepEqual(seen, keys);
  }
});

void test("a delimiter rolls keys up, page by page", async () => {
  for (const MaxKeys of [1, 2, 1_000]) {
    const found: (string | undefined)[] = [];
    const rolled: (string | undefined)[] = [];
    for await (const page of paginateListObjectsV2({ client: server.s3 }, { Bucket, MaxKeys, Delimiter: "/" })) {
      found.push(...names(page.Contents));
      rolled.push(...prefixes(page.CommonPrefixes));
    }
    assert.deepEqual(found, ["a", "a0", "c", "d e+f", "z&<>"]);
    assert.deepEqual(rolled, ["a/", "b/"]);
  }
});

void test("prefix and delimiter together look into one level", async () => {
  const page = await server.s3.send(new ListObjectsV2Command({ Bucket, Prefix: "b/", Delimiter: "/" }));
  assert.deepEqual(names(page.Contents), ["b/y"]);
  assert.deepEqual(prefixes(page.CommonPrefixes), ["b/x/"]);
  assert.deepEqual([page.Prefix, page.Delimiter], ["b/", "/"]);
});

void test("a delimiter may be any text", async () => {
  const page = await server.s3.send(new ListObjectsV2Command({ Bucket, Delimiter: "/x/" }));
  assert.deepEqual(prefixes(page.CommonPrefixes), ["b/x/"]);
});

void test("start-after begins behind its key", async () => {
  const page = await server.s3.send(new ListObjectsV2Command({ Bucket, StartAfter: "b/x/2" }));
  assert.deepEqual(names(page.Contents), ["b/y", "c", "d e+f", "z&<>"]);
  assert.equal(page.StartAfter, "b/x/2");
});

void test("max-keys=0 is an empty page that is not truncated", async () => {
  const page = await server.s3.send(new ListObjectsV2Command({ Bucket, MaxKeys: 0 }));
  assert.deepEqual([page.KeyCount, page.IsTruncated, page.Contents], [0, false, undefined]);
});

void test("max-keys beyond 1,000 counts as 1,000", async () => {
  const page = await server.s3.send(new ListObjectsV2Command({ Bucket, MaxKeys: 5_000 }));
  assert.equal(page.MaxKeys, 1_000);
});

for (const query of ["max-keys=-1", "max-keys=x", "max-keys=", "encoding-type=base64", "continuation-token=!"]) {
  void test(`list-type=2&${query} is InvalidArgument`, async () => {
    const answer = await server.raw({ method: "GET", path: `/${Bucket}?list-type=2&${query}` });
    assert.equal(answer.status, 400);
    assert.match(answer.text, /<Code>InvalidArgument</);
  });
}

void test("encoding-type=url encodes keys, prefixes and markers", async () => {
  const page = await server.raw({
    method: "GET",
    path: `/${Bucket}?list-type=2&encoding-type=url&start-after=c&delimiter=%2B`,
  });
  assert.match(page.text, /<EncodingType>url<\/EncodingType>/);
  assert.match(page.text, /<Prefix>d%20e%2B<\/Prefix>/);
  assert.match(page.text, /<Key>z%26%3C%3E<\/Key>/);
  assert.match(page.text, /<Delimiter>%2B<\/Delimiter>/);
});

void test("V1 goes on from a marker and names the next one with a delimiter", async () => {
  const first = await server.s3.send(new ListObjectsCommand({ Bucket, Delimiter: "/", MaxKeys: 2 }));
  assert.deepEqual([first.IsTruncated, first.NextMarker], [true, "a/"]);
  const second = await server.s3.send(
    new ListObjectsCommand({ Bucket, Delimiter: "/", MaxKeys: 2, Marker: first.NextMarker }),
  );
  assert.deepEqual(names(second.Contents), ["a0"]);
  assert.deepEqual(prefixes(second.CommonPrefixes), ["b/"]);
  assert.ok(second.Contents?.[0]?.Owner?.ID);
  const plain = await server.s3.send(new ListObjectsCommand({ Bucket, MaxKeys: 2 }));
  assert.deepEqual([plain.IsTruncated, plain.NextMarker], [true, undefined]);
});

void test("every object is the null version of its key", async () => {
  const page = await server.s3.send(new ListObjectVersionsCommand({ Bucket, MaxKeys: 3 }));
  assert.deepEqual(
    page.Versions?.map((version) => [version.Key, version.VersionId, version.IsLatest]),
    keys.slice(0, 3).map((key) => [key, "null", true]),
  );
  const rest = await server.s3.send(
    new ListObjectVersionsCommand({ Bucket, KeyMarker: page.NextKeyMarker, VersionIdMarker: page.NextVersionIdMarker }),
  );
  assert.deepEqual(names(rest.Versions), keys.slice(3));
});

void test("a bucket that is not there cannot be listed", async () => {
  await failsWith(server.s3.send(new ListObjectsV2Command({ Bucket: "missing" })), 404, "NoSuchBucket");
});
