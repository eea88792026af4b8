import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { DeleteObjectCommand, GetObjectCommand, HeadObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { failsWith, startTestServer } from "./server.ts";
import type { TestServer } from "./server.ts";

const Bucket = "conditions";
const Key = "k";
let server: TestServer;
let ETag: string;
let LastModified: Date;
before(async () => {
  server = await startTestServer();
  await server.bucket(Bucket);
});
after(() => server.close());
beforeEach(async () => {
  ETag = (await server.s3.send(new PutObjectCommand({ Bucket, Key, Body: "first" }))).ETag!;
  LastModified = (await server.s3.send(new HeadObjectCommand({ Bucket, Key }))).LastModified!;
});

const get = (headers: Record<string, string>) => server.raw({ method: "GET", path: `/${Bucket}/${Key}`, headers });
const other = '"00000000000000000000000000000000"';
const shift = (ms: number): string => new Date(LastModified.getTime() + ms).toUTCString();

void test("GET If-Match: the right ETag or * passes, another is 412 with its condition named", async () => {
  assert.equal((await get({ "if-match": ETag })).status, 200);
  assert.equal((await get({ "if-match": "*" })).status, 200);
  assert.equal((await get({ "if-match": `${other}, ${ETag}` })).status, 200);
  const failed = await get({ "if-match": other });
  assert.equal(failed.status, 412);
  assert.match(failed.text, /<Code>PreconditionFailed<\/Code>/);
  assert.match(failed.text, /<Condition>If-Match<\/Condition>/);
});

void test("GET If-None-Match: the stored ETag is 304 without a body, with ETag", async () => {
  const same = await get({ "if-none-match": ETag });
  assert.deepEqual([same.status, same.text, same.headers.etag], [304, "", ETag]);
  assert.ok(same.headers["last-modified"]);
  assert.equal((await get({ "if-none-match": other })).status, 200);
});

void test("GET If-Modified-Since and If-Unmodified-Since", async () => {
  assert.equal((await get({ "if-modified-since": shift(0) })).status, 304);
  assert.equal((await get({ "if-modified-since": shift(-5_000) })).status, 200);
  assert.equal((await get({ "if-unmodified-since": shift(0) })).status, 200);
  assert.equal((await get({ "if-unmodified-since": shift(-5_000) })).status, 412);
});

void test("an ETag condition outweighs its date", async () => {
  assert.equal((await get({ "if-match": ETag, "if-unmodified-since": shift(-5_000) })).status, 200);
  assert.equal((await get({ "if-none-match": other, "if-modified-since": shift(0) })).status, 200);
});

void test("HEAD answers 304 and 412 without a body", async () => {
  const head = (headers: Record<string, string>) => server.raw({ method: "HEAD", path: `/${Bucket}/${Key}`, headers });
  const same = await head({ "if-none-match": ETag });
  assert.deepEqual([same.status, same.text], [304, ""]);
  const failed = await head({ "if-match": other });
  assert.deepEqual([failed.status, failed.text], [412, ""]);
});

void test("PUT If-None-Match: * only makes what was not there", async () => {
  const put = new PutObjectCommand({ Bucket, Key, Body: "second", IfNoneMatch: "*" });
  await failsWith(server.s3.send(put), 412, "PreconditionFailed");
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key }));
  assert.equal(await got.Body?.transformToString(), "first");
  await server.s3.send(new DeleteObjectCommand({ Bucket, Key }));
  await server.s3.send(put);
});

void test("PUT If-None-Match: * has exactly one winner", async () => {
  const Key = "race";
  const results = await Promise.allSettled(
    Array.from({ length: 16 }, (_, index) =>
      server.s3.send(new PutObjectCommand({ Bucket, Key, Body: String(index), IfNoneMatch: "*" })),
    ),
  );
  assert.equal(results.filter((result) => result.status === "fulfilled").length, 1);
});

void test("PUT If-Match replaces only the version it names", async () => {
  const put = (IfMatch: string, Key = "k") =>
    server.s3.send(new PutObjectCommand({ Bucket, Key, Body: "second", IfMatch }));
  await failsWith(put(other), 412, "PreconditionFailed");
  await put(ETag);
  await failsWith(put(ETag), 412, "PreconditionFailed");
  await failsWith(put(ETag, "never-there"), 404, "NoSuchKey");
});

void test("DELETE If-Match deletes only the version it names", async () => {
  const remove = (IfMatch: string) => server.s3.send(new DeleteObjectCommand({ Bucket, Key, IfMatch }));
  await failsWith(remove(other), 412, "PreconditionFailed");
  await server.s3.send(new HeadObjectCommand({ Bucket, Key }));
  await remove(ETag);
  await failsWith(server.s3.send(new HeadObjectCommand({ Bucket, Key })), 404, "NotFound");
});

void test("DELETE by size and by date deletes only what has them", async () => {
  const remove = (input: { IfMatchSize?: number; IfMatchLastModifiedTime?: Date }) =>
    server.s3.send(new DeleteObjectCommand({ Bucket, Key, ...input }));
  await failsWith(remove({ IfMatchSize: 4 }), 412, "PreconditionFailed");
  await failsWith(remove({ IfMatchLastModifiedTime: new Date(1e12) }), 412, "PreconditionFailed");
  await remove({ IfMatchSize: 5, IfMatchLastModifiedTime: LastModified });
  await failsWith(server.s3.send(new HeadObjectCommand({ Bucket, Key })), 404, "NotFound");
});
