import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { CopyObjectCommand, GetObjectCommand, HeadObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import type { CopyObjectCommandInput } from "@aws-sdk/client-s3";
import { bytesOf, failsWith, pattern, startTestServer } from "./server.ts";
import type { TestServer } from "./server.ts";

const Bucket = "copies";
const body = pattern(5_000_000);
let server: TestServer;
let ETag = "";
before(async () => {
  server = await startTestServer();
  await server.bucket(Bucket);
  await server.bucket("copies-other");
  const put = await server.s3.send(
    new PutObjectCommand({ Bucket, Key: "source", Body: body, ContentType: "text/source", Metadata: { a: "1" } }),
  );
  ETag = put.ETag!;
});
after(() => server.close());

const copy = (Key: string, more: Partial<CopyObjectCommandInput> = {}) =>
  server.s3.send(new CopyObjectCommand({ Bucket, Key, CopySource: `${Bucket}/source`, ...more }));

void test("a copy has the bytes, ETag and metadata of its source", async () => {
  const { CopyObjectResult } = await copy("copied");
  assert.equal(CopyObjectResult?.ETag, ETag);
  assert.ok(CopyObjectResult.LastModified instanceof Date);
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key: "copied" }));
  assert.deepEqual([got.ContentType, got.Metadata], ["text/source", { a: "1" }]);
  assert.ok(Buffer.from(body).equals(await bytesOf(got.Body)));
});

void test("a copy into another bucket lives on when its source is replaced", async () => {
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "fleeting", Body: body }));
  await copy("k", { Bucket: "copies-other", CopySource: `/${Bucket}/fleeting` });
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "fleeting", Body: "new" }));
  const got = await server.s3.send(new GetObjectCommand({ Bucket: "copies-other", Key: "k" }));
  assert.ok(Buffer.from(body).equals(await bytesOf(got.Body)));
});

void test("REPLACE gives the copy metadata of its own", async () => {
  await copy("replaced", { MetadataDirective: "REPLACE", ContentType: "text/new", Metadata: { b: "2" } });
  const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key: "replaced" }));
  assert.deepEqual([head.ContentType, head.Metadata], ["text/new", { b: "2" }]);
});

void test("onto itself only with REPLACE", async () => {
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "self", Body: "x" }));
  const CopySource = `${Bucket}/self`;
  await failsWith(copy("self", { CopySource }), 400, "InvalidRequest");
  await copy("self", { CopySource, MetadataDirective: "REPLACE", Metadata: { c: "3" } });
  const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key: "self" }));
  assert.deepEqual(head.Metadata, { c: "3" });
});

void test("a new storage class keeps the other metadata", async () => {
  await copy("classed", { StorageClass: "STANDARD_IA" });
  const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key: "classed" }));
  assert.deepEqual([head.StorageClass, head.ContentType, head.Metadata], ["STANDARD_IA", "text/source", { a: "1" }]);
});

void test("storage class and website redirect are never the source's, as with AWS", async () => {
  const put = { Bucket, Key: "labelled", Body: "x", Metadata: { a: "1" }, CacheControl: "no-store" };
  await server.s3.send(
    new PutObjectCommand({ ...put, StorageClass: "STANDARD_IA", WebsiteRedirectLocation: "/elsewhere" }),
  );
  const CopySource = `${Bucket}/labelled`;
  const headOf = async (Key: string) => {
    const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key }));
    assert.deepEqual([head.Metadata, head.CacheControl], [{ a: "1" }, "no-store"]);
    return [head.StorageClass, head.WebsiteRedirectLocation];
  };
  await copy("plain", { CopySource });
  assert.deepEqual(await headOf("plain"), [undefined, undefined]);
  await copy("redirected", { CopySource, WebsiteRedirectLocation: "/there" });
  assert.deepEqual(await headOf("redirected"), [undefined, "/there"]);
  await copy("labelled", { CopySource, WebsiteRedirectLocation: "/onto-itself" });
  assert.deepEqual(await headOf("labelled"), [undefined, "/onto-itself"]);
});

void test("a source name is URL-encoded", async () => {
  const Key = "träge +?%/ü&x=1";
  await server.s3.send(new PutObjectCommand({ Bucket, Key, Body: "odd" }));
  await copy("from-odd", { CopySource: `${Bucket}/${encodeURIComponent(Key)}` });
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key: "from-odd" }));
  assert.equal(await got.Body?.transformToString(), "odd");
});

void test("conditions on the source", async () => {
  const other = '"00000000000000000000000000000000"';
  const { LastModified } = await server.s3.send(new HeadObjectCommand({ Bucket, Key: "source" }));
  await copy("c1", { CopySourceIfMatch: ETag });
  await failsWith(copy("c2", { CopySourceIfMatch: other }), 412, "PreconditionFailed");
  await failsWith(copy("c2", { CopySourceIfNoneMatch: ETag }), 412, "PreconditionFailed");
  await failsWith(copy("c2", { CopySourceIfModifiedSince: LastModified }), 412, "PreconditionFailed");
  await failsWith(copy("c2", { CopySourceIfUnmodifiedSince: new Date(1e12) }), 412, "PreconditionFailed");
  await failsWith(server.s3.send(new HeadObjectCommand({ Bucket, Key: "c2" })), 404, "NotFound");
});

void test("conditions on the destination", async () => {
  await copy("d1", { IfNoneMatch: "*" });
  await failsWith(copy("d1", { IfNoneMatch: "*" }), 412, "PreconditionFailed");
  await copy("d1", { IfMatch: ETag });
});

void test("what cannot be a source", async () => {
  await failsWith(copy("x", { CopySource: `${Bucket}/missing` }), 404, "NoSuchKey");
  await failsWith(copy("x", { CopySource: "missing-bucket/k" }), 404, "NoSuchBucket");
  await failsWith(copy("x", { CopySource: "nothing" }), 400, "InvalidArgument");
  await failsWith(copy("x", { MetadataDirective: "BOTH" as never }), 400, "InvalidArgument");
});

void test("a copy can be given another checksum than its source has", async () => {
  const { CopyObjectResult } = await copy("rechecked", { ChecksumAlgorithm: "SHA256" });
  assert.ok(CopyObjectResult?.ChecksumSHA256);
  const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key: "rechecked", ChecksumMode: "ENABLED" }));
  assert.equal(head.ChecksumSHA256, CopyObjectResult.ChecksumSHA256);
});
