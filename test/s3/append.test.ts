/** Append by write offset: S3 Express's AppendObject, in buckets without versions. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  GetObjectAclCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutBucketEncryptionCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import type { PutObjectCommandInput, PutObjectCommandOutput } from "@aws-sdk/client-s3";
import { bytesOf, failsWith, pattern, sendRaw, startTestServer } from "./server.ts";
import type { TestServer } from "./server.ts";

const Bucket = "appended";
let server: TestServer;
let made = 0;
before(async () => {
  server = await startTestServer({ hasKeyring: true });
  await server.bucket(Bucket);
});
after(() => server.close());

const newKey = (): string => `log-${(made += 1)}`;
type More = Partial<PutObjectCommandInput>;

function append(Key: string, offset: number, Body: Buffer | string, more: More = {}): Promise<PutObjectCommandOutput> {
  return server.s3.send(new PutObjectCommand({ Bucket, Key, Body, WriteOffsetBytes: offset, ...more }));
}

async function read(Key: string, more: { Range?: string; PartNumber?: number } = {}): Promise<Buffer> {
  return bytesOf((await server.s3.send(new GetObjectCommand({ Bucket, Key, ...more }))).Body);
}

void test("an object grows by what is appended, and each answer says how large it is", async () => {
  const Key = newKey();
  const pieces = [
    Buffer.from("one\n"),
    Buffer.from("two\n"),
    pattern(20_000),
    Buffer.from("four\n"),
    pattern(5_000_000),
  ];
  let whole = Buffer.alloc(0);
  const etags = new Set<string>();
  for (const piece of pieces) {
    const { Size, ETag } = await append(Key, whole.length, piece);
    whole = Buffer.concat([whole, piece]);
    assert.equal(Size, whole.length);
    etags.add(ETag!);
    assert.ok((await read(Key)).equals(whole));
    const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key }));
    assert.deepEqual([head.ETag, head.ContentLength], [ETag, whole.length]);
  }
  assert.equal(etags.size, pieces.length);
  assert.ok((await read(Key, { Range: "bytes=5-20010" })).equals(whole.subarray(5, 20_011)));
  assert.ok((await read(Key, { Range: "bytes=-5000003" })).equals(whole.subarray(-5_000_003)));
  const listed = await server.s3.send(new ListObjectsV2Command({ Bucket, Prefix: Key }));
  assert.deepEqual(
    listed.Contents?.map(({ Size, ETag }) => [Size, ETag]),
    [[whole.length, [...etags].at(-1)]],
  );
});

void test("while it is small its ETag is its MD5", async () => {
  const Key = newKey();
  await append(Key, 0, "one");
  const { ETag } = await append(Key, 3, "two");
  assert.equal(ETag, `"${createHash("md5").update("onetwo").digest("hex")}"`);
});

void test("any other offset than its size is InvalidWriteOffset and changes nothing", async () => {
  const Key = newKey();
  await failsWith(append(Key, 1, "x"), 400, "InvalidWriteOffset");
  await failsWith(server.s3.send(new GetObjectCommand({ Bucket, Key })), 404, "NoSuchKey");
  await append(Key, 0, "one");
  for (const offset of [0, 2, 4, 1_000_000])
    await failsWith(append(Key, offset, pattern(20_000)), 400, "InvalidWriteOffset");
  assert.equal((await read(Key)).toString(), "one");
  for (const value of ["-1", "x", "1.5", "0x3", "", "9".repeat(20)]) {
    const headers = { "x-amz-write-offset-bytes": value };
    const answer = await server.raw({ method: "PUT", path: `/${Bucket}/${Key}`, headers, body: Buffer.from("x") });
    assert.match(answer.text, /<Code>InvalidArgument<\/Code>/, value);
  }
  assert.equal((await read(Key)).toString(), "one");
});

void test("nothing cannot be appended", async () => {
  const Key = newKey();
  await failsWith(append(Key, 0, ""), 400, "InvalidRequest");
  await append(Key, 0, "one");
  await failsWith(append(Key, 3, ""), 400, "InvalidRequest");
});

void test("an object that was put, or uploaded in parts, can be appended to; an empty one too", async () => {
  const put = newKey();
  await server.s3.send(new PutObjectCommand({ Bucket, Key: put, Body: pattern(100_000), ContentType: "text/x" }));
  await append(put, 100_000, "tail");
  assert.ok((await read(put)).equals(Buffer.concat([pattern(100_000), Buffer.from("tail")])));
  assert.equal((await server.s3.send(new HeadObjectCommand({ Bucket, Key: put }))).ContentType, "text/x");

  const empty = newKey();
  await server.s3.send(new PutObjectCommand({ Bucket, Key: empty, Body: "", Metadata: { a: "1" } }));
  await append(empty, 0, "first");
  const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key: empty }));
  assert.deepEqual([head.Metadata, head.ContentLength], [{ a: "1" }, 5]);

  const Key = newKey();
  const { UploadId } = await server.s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
  const part = { Bucket, Key, UploadId, PartNumber: 7, Body: pattern(30_000) };
  const { ETag } = await server.s3.send(new UploadPartCommand(part));
  const Parts = [{ PartNumber: 7, ETag }];
  await server.s3.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } }));
  const appended = await append(Key, 30_000, "tail");
  assert.match(appended.ETag!, /-2"$/);
  assert.equal((await read(Key, { PartNumber: 8 })).toString(), "tail");
  assert.ok((await read(Key, { PartNumber: 7 })).equals(pattern(30_000)));
});

void test("appends are parts, to those who ask for them", async () => {
  const Key = newKey();
  await append(Key, 0, pattern(20_000));
  await append(Key, 20_000, pattern(16_380));
  await append(Key, 36_380, "three");
  await append(Key, 36_385, "four, which joins it");
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key, PartNumber: 2 }));
  assert.deepEqual([got.PartsCount, got.ContentRange], [3, "bytes 20000-36379/36405"]);
  assert.ok((await bytesOf(got.Body)).equals(pattern(16_380)));
  assert.equal((await read(Key, { PartNumber: 3 })).toString(), "threefour, which joins it");
  await failsWith(server.s3.send(new GetObjectCommand({ Bucket, Key, PartNumber: 4 })), 416, "InvalidPartNumber");
  const attributes = new GetObjectAttributesCommand({ Bucket, Key, ObjectAttributes: ["ObjectParts", "ObjectSize"] });
  const { ObjectParts, ObjectSize } = await server.s3.send(attributes);
  assert.deepEqual([ObjectParts?.TotalPartsCount, ObjectSize], [3, 36_405]);
});

void test("what is appended is verified, and the checksum of the whole object goes on", async () => {
  const Key = newKey();
  const wrong = { ChecksumCRC32: Buffer.alloc(4, 1).toString("base64") };
  await failsWith(append(Key, 0, "one", wrong), 400, "BadDigest");
  const first = await append(Key, 0, pattern(20_000), { ChecksumAlgorithm: "CRC32C" });
  await failsWith(append(Key, 20_000, pattern(30_000), wrong), 400, "BadDigest");
  await failsWith(append(Key, 20_000, "x", { ContentMD5: Buffer.alloc(16).toString("base64") }), 400, "BadDigest");
  // The algorithm of a later one is its own affair.
  const second = await append(Key, 20_000, pattern(30_000), { ChecksumAlgorithm: "SHA256" });
  assert.notEqual(second.ChecksumCRC32C, first.ChecksumCRC32C);
  const whole = newKey();
  const Body = Buffer.concat([pattern(20_000), pattern(30_000)]);
  const put = await server.s3.send(new PutObjectCommand({ Bucket, Key: whole, Body, ChecksumAlgorithm: "CRC32C" }));
  assert.equal(second.ChecksumCRC32C, put.ChecksumCRC32C);
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key, ChecksumMode: "ENABLED" }));
  assert.deepEqual([got.ChecksumCRC32C, got.ChecksumType], [put.ChecksumCRC32C, "FULL_OBJECT"]);
  // The SDK compares it with what it reads.
  assert.equal((await bytesOf(got.Body)).length, 50_000);
});

void test("conditions are judged", async () => {
  const Key = newKey();
  const { ETag } = await append(Key, 0, "one", { IfNoneMatch: "*" });
  await failsWith(append(Key, 3, "x", { IfNoneMatch: "*" }), 412, "PreconditionFailed");
  await failsWith(append(Key, 3, "x", { IfMatch: '"0"' }), 412, "PreconditionFailed");
  await append(Key, 3, "two", { IfMatch: ETag });
  assert.equal((await read(Key)).toString(), "onetwo");
});

void test("an object is made with metadata, tags and a class; appending changes none of them", async () => {
  const Key = newKey();
  await append(Key, 0, "one", {
    Metadata: { a: "1" },
    Tagging: "t=v",
    ContentType: "text/x",
    CacheControl: "no-store",
  });
  await append(Key, 3, "two", { CacheControl: "no-store" });
  const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key }));
  assert.deepEqual([head.Metadata, head.ContentType, head.CacheControl], [{ a: "1" }, "text/x", "no-store"]);
  for (const more of [{ Metadata: { a: "1" } }, { Tagging: "t=v" }, { CacheControl: "max-age=1" }])
    await failsWith(append(Key, 6, "x", more), 400, "InvalidRequest");
  const { Grants } = await server.s3.send(new GetObjectAclCommand({ Bucket, Key }));
  assert.equal(Grants?.length, 1);
  for (const more of [
    { ACL: "public-read" },
    { GrantRead: 'uri="http://acs.amazonaws.com/groups/global/AllUsers"' },
    { ObjectLockLegalHoldStatus: "ON", ContentMD5: createHash("md5").update("x").digest("base64") },
    { ServerSideEncryption: "AES256" },
  ] satisfies More[])
    await failsWith(append(Key, 6, "x", more), 400, "InvalidRequest");
  assert.equal((await read(Key)).toString(), "onetwo");
});

void test("a copy shares the bytes and goes its own way", async () => {
  const [Key, copy] = [newKey(), newKey()];
  await append(Key, 0, pattern(50_000));
  await append(Key, 50_000, "shared");
  await server.s3.send(new CopyObjectCommand({ Bucket, Key: copy, CopySource: `${Bucket}/${Key}` }));
  await append(Key, 50_006, "mine");
  await append(copy, 50_006, "yours");
  const common = Buffer.concat([pattern(50_000), Buffer.from("shared")]);
  assert.ok((await read(Key)).equals(Buffer.concat([common, Buffer.from("mine")])));
  assert.ok((await read(copy)).equals(Buffer.concat([common, Buffer.from("yours")])));
});

void test("buckets with versions and encrypted objects are refused", async () => {
  const encrypted = newKey();
  await server.s3.send(new PutObjectCommand({ Bucket, Key: encrypted, Body: "one", ServerSideEncryption: "AES256" }));
  await failsWith(append(encrypted, 3, "two"), 400, "InvalidRequest");
  const other = {
    ServerSideEncryptionConfiguration: {
      Rules: [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: "AES256" as const } }],
    },
  };
  await server.bucket("sealed");
  await server.s3.send(new PutObjectCommand({ Bucket: "sealed", Key: "plain", Body: "one" }));
  await server.s3.send(new PutBucketEncryptionCommand({ Bucket: "sealed", ...other }));
  await failsWith(append("new", 0, "x", { Bucket: "sealed" }), 400, "InvalidRequest");
  await failsWith(append("plain", 3, "x", { Bucket: "sealed" }), 400, "InvalidRequest");
  await server.bucket("versions");
  const VersioningConfiguration = { Status: "Enabled" as const };
  await server.s3.send(new PutBucketVersioningCommand({ Bucket: "versions", VersioningConfiguration }));
  await failsWith(append("new", 0, "x", { Bucket: "versions" }), 400, "InvalidRequest");
});

void test("an append needs what a PUT needs", async () => {
  const Key = newKey();
  const headers = { "x-amz-write-offset-bytes": "0" };
  const answer = await sendRaw(server.port, {
    method: "PUT",
    path: `/${Bucket}/${Key}`,
    headers,
    body: Buffer.from("x"),
  });
  assert.equal(answer.status, 403);
  for (const [method, path] of [
    ["POST", `/${Bucket}/${Key}?uploads`],
    ["DELETE", `/${Bucket}/${Key}`],
  ] as const)
    assert.equal((await server.raw({ method, path, headers })).status, 501);
});
