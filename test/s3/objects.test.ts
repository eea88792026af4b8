import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { after, before, test } from "node:test";
import {
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { bytesOf, failsWith, pattern, startTestServer } from "./server.ts";
import type { TestServer } from "./server.ts";

const Bucket = "objects";
let server: TestServer;
before(async () => {
  server = await startTestServer();
  await server.bucket(Bucket);
});
after(() => server.close());

const md5 = (bytes: Uint8Array): string => createHash("md5").update(bytes).digest("hex");

for (const size of [0, 1, 16 * 1024, 16 * 1024 + 1, 300_000, 9 * 1024 * 1024 + 7]) {
  void test(`a body of ${size} bytes comes back as it went in`, async () => {
    const Body = pattern(size);
    const put = await server.s3.send(new PutObjectCommand({ Bucket, Key: `size-${size}`, Body }));
    assert.equal(put.ETag, `"${md5(Body)}"`);
    const got = await server.s3.send(new GetObjectCommand({ Bucket, Key: `size-${size}` }));
    assert.equal(got.ContentLength, size);
    assert.equal(got.ETag, put.ETag);
    assert.equal(got.AcceptRanges, "bytes");
    assert.ok(got.LastModified instanceof Date);
    assert.ok(Buffer.from(Body).equals(await bytesOf(got.Body)));
  });
}

void test("a streamed body of known length is stored", async () => {
  const body = pattern(3_000_000);
  await server.s3.send(
    new PutObjectCommand({ Bucket, Key: "streamed", Body: Readable.from([body]), ContentLength: body.length }),
  );
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key: "streamed" }));
  assert.ok(Buffer.from(body).equals(await bytesOf(got.Body)));
});

void test("content headers and user metadata come back, on GET and HEAD", async () => {
  const kept = {
    ContentType: "text/x-test",
    ContentEncoding: "identity-ish",
    ContentLanguage: "de",
    ContentDisposition: 'attachment; filename="x.txt"',
    CacheControl: "max-age=60",
    Metadata: { colour: "blue", "with-dash": "a, b" },
  };
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "headers", Body: "x", ...kept }));
  for (const command of [
    new GetObjectCommand({ Bucket, Key: "headers" }),
    new HeadObjectCommand({ Bucket, Key: "headers" }),
  ]) {
    const got = await server.s3.send(command);
    for (const [name, value] of Object.entries(kept)) assert.deepEqual(got[name as keyof typeof kept], value, name);
  }
});

void test("a body without a type is binary/octet-stream", async () => {
  const put = await server.raw({ method: "PUT", path: `/${Bucket}/untyped`, body: Buffer.from("x") });
  assert.equal(put.status, 200);
  const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key: "untyped" }));
  assert.equal(head.ContentType, "binary/octet-stream");
});

void test("aws-chunked is not kept as a content encoding", async () => {
  await server.s3.send(
    new PutObjectCommand({ Bucket, Key: "chunked", Body: Readable.from([Buffer.from("abc")]), ContentLength: 3 }),
  );
  const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key: "chunked" }));
  assert.equal(head.ContentEncoding, undefined);
  assert.equal(head.ContentLength, 3);
});

void test("response-* parameters override what was stored", async () => {
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "override", Body: "x", ContentType: "text/plain" }));
  const got = await server.s3.send(
    new GetObjectCommand({
      Bucket,
      Key: "override",
      ResponseContentType: "text/html",
      ResponseContentDisposition: "inline",
      ResponseCacheControl: "no-store",
    }),
  );
  assert.equal(got.ContentType, "text/html");
  assert.equal(got.ContentDisposition, "inline");
  assert.equal(got.CacheControl, "no-store");
});

void test("a response-* parameter cannot smuggle a header in", async () => {
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "override", Body: "x" }));
  const answer = await server.raw({
    method: "GET",
    path: `/${Bucket}/override?response-content-type=a%0D%0AX-Evil%3A%201`,
  });
  assert.equal(answer.status, 400);
});

void test("the second PUT replaces the first", async () => {
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "replaced", Body: "one", Metadata: { a: "1" } }));
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "replaced", Body: "three" }));
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key: "replaced" }));
  assert.equal(await got.Body?.transformToString(), "three");
  assert.deepEqual(got.Metadata, {});
});

void test("what is not there is NoSuchKey on GET and a bare 404 on HEAD", async () => {
  await failsWith(server.s3.send(new GetObjectCommand({ Bucket, Key: "nothing" })), 404, "NoSuchKey");
  await failsWith(server.s3.send(new GetObjectCommand({ Bucket: "no-bucket", Key: "nothing" })), 404, "NoSuchBucket");
  const head = await server.raw({ method: "HEAD", path: `/${Bucket}/nothing` });
  assert.deepEqual([head.status, head.text], [404, ""]);
});

void test("a PUT into a bucket that is not there stores nothing", async () => {
  await failsWith(
    server.s3.send(new PutObjectCommand({ Bucket: "no-bucket", Key: "k", Body: "x" })),
    404,
    "NoSuchBucket",
  );
});

void test("a deleted object is gone; deleting it again succeeds", async () => {
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "deleted", Body: "x" }));
  for (let round = 0; round < 2; round++) {
    const answer = await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "deleted" }));
    assert.equal(answer.$metadata.httpStatusCode, 204);
    assert.equal(answer.DeleteMarker, undefined);
  }
  await failsWith(server.s3.send(new GetObjectCommand({ Bucket, Key: "deleted" })), 404, "NoSuchKey");
});

void test("DeleteObjects deletes many and names each", async () => {
  const keys = Array.from({ length: 70 }, (_, index) => `many/${index}`);
  for (const Key of keys.slice(0, 5)) await server.s3.send(new PutObjectCommand({ Bucket, Key, Body: "x" }));
  const answer = await server.s3.send(
    new DeleteObjectsCommand({ Bucket, Delete: { Objects: keys.map((Key) => ({ Key })) } }),
  );
  assert.deepEqual(
    answer.Deleted?.map((one) => one.Key),
    keys,
  );
  await failsWith(server.s3.send(new HeadObjectCommand({ Bucket, Key: "many/0" })), 404, "NotFound");
});

void test("a quiet DeleteObjects tells only of failures, key by key", async () => {
  const put = await server.s3.send(new PutObjectCommand({ Bucket, Key: "kept", Body: "x" }));
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "gone", Body: "x" }));
  const answer = await server.s3.send(
    new DeleteObjectsCommand({
      Bucket,
      Delete: {
        Quiet: true,
        Objects: [
          { Key: "kept", ETag: '"0123"' },
          { Key: "gone", ETag: put.ETag },
        ],
      },
    }),
  );
  assert.equal(answer.Deleted, undefined);
  assert.deepEqual(
    answer.Errors?.map((one) => [one.Key, one.Code]),
    [["kept", "PreconditionFailed"]],
  );
  await server.s3.send(new HeadObjectCommand({ Bucket, Key: "kept" }));
  await failsWith(server.s3.send(new HeadObjectCommand({ Bucket, Key: "gone" })), 404, "NotFound");
});

void test("DeleteObjects takes 1,000 keys and not one more", async () => {
  const xml = (count: number): Buffer =>
    Buffer.from(
      `<Delete>${Array.from({ length: count }, (_, index) => `<Object><Key>k${index}</Key></Object>`).join("")}</Delete>`,
    );
  const send = (body: Buffer) =>
    server.raw({
      method: "POST",
      path: `/${Bucket}?delete`,
      body,
      headers: { "content-md5": createHash("md5").update(body).digest("base64") },
    });
  assert.equal((await send(xml(1_000))).status, 200);
  assert.match((await send(xml(1_001))).text, /<Code>MalformedXML</);
  assert.match((await send(xml(0))).text, /<Code>MalformedXML</);
});

void test("DeleteObjects with a wrong checksum deletes nothing", async () => {
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "survivor", Body: "x" }));
  const answer = await server.raw({
    method: "POST",
    path: `/${Bucket}?delete`,
    body: Buffer.from("<Delete><Object><Key>survivor</Key></Object></Delete>"),
    headers: { "content-md5": createHash("md5").update("else").digest("base64") },
  });
  assert.match(answer.text, /<Code>BadDigest</);
  await server.s3.send(new HeadObjectCommand({ Bucket, Key: "survivor" }));
});

void test("DeleteObjects without any checksum is refused", async () => {
  const body = Buffer.from("<Delete><Object><Key>k</Key></Object></Delete>");
  const answer = await server.raw({ method: "POST", path: `/${Bucket}?delete`, body });
  assert.equal(answer.status, 400);
  assert.match(answer.text, /<Code>InvalidRequest</);
});

void test("encryption is refused, not ignored", async () => {
  const put = new PutObjectCommand({ Bucket, Key: "refused", Body: "x", ServerSideEncryption: "AES256" });
  await failsWith(server.s3.send(put), 501, "NotImplemented");
  await failsWith(server.s3.send(new HeadObjectCommand({ Bucket, Key: "refused" })), 404, "NotFound");
});

void test("user metadata beyond 2 KiB is refused", async () => {
  const put = new PutObjectCommand({ Bucket, Key: "meta", Body: "x", Metadata: { a: "x".repeat(2_100) } });
  await failsWith(server.s3.send(put), 400, "MetadataTooLarge");
});

void test("every answer bears request ids", async () => {
  const first = await server.raw({ method: "GET", path: `/${Bucket}/nothing` });
  const second = await server.raw({ method: "GET", path: `/${Bucket}/nothing` });
  assert.match(String(first.headers["x-amz-request-id"]), /^[0-9A-F]{16}$/);
  assert.ok(first.headers["x-amz-id-2"]);
  assert.notEqual(first.headers["x-amz-request-id"], second.headers["x-amz-request-id"]);
});
