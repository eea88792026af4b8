/** RenameObject as the AWS SDK sends it, on general purpose buckets; and the rename of a prefix, which is ours. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  RenameObjectCommand,
  type RenameObjectCommandInput,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { bytesOf, failsWith, pattern, startTestServer, type TestServer } from "./server.ts";

const Bucket = "renames";
const large = pattern(300_000);
let server: TestServer;
before(async () => {
  server = await startTestServer();
  await server.bucket(Bucket);
});
after(() => server.close());

const put = (Key: string, Body: string | Buffer = Key) =>
  server.s3.send(new PutObjectCommand({ Bucket, Key, Body, ContentType: "text/x", Metadata: { a: "1" } }));
const rename = (from: string, Key: string, more: Partial<RenameObjectCommandInput> = {}) =>
  server.s3.send(
    new RenameObjectCommand({ Bucket, Key, RenameSource: `${Bucket}/${encodeURIComponent(from)}`, ...more }),
  );
const head = (Key: string) => server.s3.send(new HeadObjectCommand({ Bucket, Key }));
const gone = (Key: string) => failsWith(head(Key), 404, "NotFound");
async function read(Key: string): Promise<Buffer> {
  return bytesOf((await server.s3.send(new GetObjectCommand({ Bucket, Key }))).Body);
}

void test("a renamed object is the same under another key, be it small or large", async () => {
  for (const [name, body] of [
    ["small", Buffer.from("x")],
    ["large", large],
    ["empty", Buffer.alloc(0)],
  ] as const) {
    await put(name, body);
    const { ETag, LastModified } = await head(name);
    await rename(name, `to ${name} ä`);
    await gone(name);
    const found = await head(`to ${name} ä`);
    assert.deepEqual(
      [found.ETag, found.LastModified, found.ContentType, found.Metadata],
      [ETag, LastModified, "text/x", { a: "1" }],
    );
    assert.ok(body.equals(await read(`to ${name} ä`)));
  }
});

void test("the source is named with or without the bucket and a slash before it", async () => {
  for (const start of ["", `${Bucket}/`, `/${Bucket}/`]) {
    await put("named%20so");
    await rename("", "renamed", { RenameSource: `${start}named%2520so` });
    await gone("named%20so");
  }
  await failsWith(rename("", "renamed", { RenameSource: `${Bucket}/` }), 400, "InvalidArgument");
});

void test("what stands at the new key is replaced, and what is not there cannot be renamed", async () => {
  await put("over", large);
  await put("onto", pattern(200_000));
  await rename("over", "onto");
  assert.ok(large.equals(await read("onto")));
  await failsWith(rename("over", "onto"), 404, "NoSuchKey");
  await failsWith(rename("onto", "onto"), 400, "InvalidRequest");
  assert.ok(large.equals(await read("onto")));
});

void test("conditions on both keys hold, or nothing is changed", async () => {
  await put("from");
  await put("there");
  // Times are of whole seconds, and these two may be of different ones.
  const { ETag: fromTag, LastModified: fromTime } = await head("from");
  const { ETag: thereTag, LastModified: thereTime } = await head("there");
  const past = new Date(fromTime!.getTime() - 10_000);
  const refused: Partial<RenameObjectCommandInput>[] = [
    { DestinationIfNoneMatch: "*" },
    { DestinationIfMatch: fromTag },
    { DestinationIfModifiedSince: thereTime },
    { DestinationIfUnmodifiedSince: past },
    { SourceIfMatch: thereTag },
    { SourceIfNoneMatch: fromTag },
    { SourceIfModifiedSince: fromTime },
    { SourceIfUnmodifiedSince: past },
  ];
  for (const conditions of refused) await failsWith(rename("from", "there", conditions), 412, "PreconditionFailed");
  await failsWith(rename("from", "nothing", { DestinationIfModifiedSince: past }), 412, "PreconditionFailed");
  assert.deepEqual([String(await read("from")), String(await read("there"))], ["from", "there"]);
  await rename("from", "there", {
    SourceIfMatch: fromTag,
    SourceIfModifiedSince: past,
    DestinationIfMatch: thereTag,
    DestinationIfUnmodifiedSince: thereTime,
  });
  await rename("there", "from", { DestinationIfNoneMatch: "*", SourceIfNoneMatch: thereTag });
  assert.equal(String(await read("from")), "from");
});

void test("sent again with its token a rename is answered as done, and does nothing", async () => {
  await put("tokened", large);
  await rename("tokened", "moved", { ClientToken: "t" });
  await put("tokened", "another");
  await rename("tokened", "moved", { ClientToken: "t" });
  assert.equal(String(await read("tokened")), "another");
  assert.ok(large.equals(await read("moved")));
  await put("third");
  await failsWith(rename("third", "moved", { ClientToken: "t" }), 400, "IdempotencyParameterMismatch");
  await failsWith(rename("third", "moved", { ClientToken: "t".repeat(257) }), 400, "InvalidArgument");
  await rename("third", "moved", { ClientToken: "u" });
  assert.equal(String(await read("moved")), "third");
});

void test("with versions the new key gets one more, and the old one a delete marker", async () => {
  const Versioned = "renames-versioned";
  await server.bucket(Versioned);
  await server.s3.send(
    new PutBucketVersioningCommand({ Bucket: Versioned, VersioningConfiguration: { Status: "Enabled" } }),
  );
  for (const Key of ["a", "b"]) await server.s3.send(new PutObjectCommand({ Bucket: Versioned, Key, Body: Key }));
  await server.s3.send(new RenameObjectCommand({ Bucket: Versioned, Key: "b", RenameSource: `${Versioned}/a` }));
  const { Versions = [], DeleteMarkers = [] } = await server.s3.send(
    new ListObjectVersionsCommand({ Bucket: Versioned }),
  );
  assert.deepEqual(
    Versions.map(({ Key, IsLatest }) => [Key, IsLatest]),
    [
      ["a", false],
      ["b", true],
      ["b", false],
    ],
  );
  assert.deepEqual(
    DeleteMarkers.map(({ Key, IsLatest }) => [Key, IsLatest]),
    [["a", true]],
  );
  const { Body } = await server.s3.send(new GetObjectCommand({ Bucket: Versioned, Key: "b" }));
  assert.equal(String(await bytesOf(Body)), "a");
});

void test("who was given a presigned rename cannot make a prefix of it", async () => {
  await put("signed/a");
  const command = new RenameObjectCommand({ Bucket, Key: "signed/b", RenameSource: "signed/a" });
  const url = await getSignedUrl(server.s3, command, { unhoistableHeaders: new Set(["x-amz-rename-source"]) });
  const headers = { "x-amz-rename-source": "signed/a" };
  const prefix = await fetch(url, { method: "PUT", headers: { ...headers, "x-holdfast-rename-prefix": "true" } });
  assert.equal(prefix.status, 403, await prefix.text());
  assert.equal((await fetch(url, { method: "PUT", headers })).status, 200);
});

const renamePrefix = (from: string, to: string, headers: Record<string, string> = {}) =>
  server.raw({
    method: "PUT",
    path: `/${Bucket}/${to}?renameObject`,
    headers: { "x-amz-rename-source": from, "x-holdfast-rename-prefix": "true", ...headers },
  });
async function keysBelow(Prefix: string): Promise<string[]> {
  const { Contents = [] } = await server.s3.send(new ListObjectsV2Command({ Bucket, Prefix }));
  return Contents.map(({ Key }) => Key!);
}

void test("all keys below a prefix are renamed at once", async () => {
  for (const name of ["d/a", "d/b/c", "dx"]) await put(name);
  const answer = await renamePrefix("d/", "e/f/");
  assert.deepEqual([answer.status, answer.headers["x-holdfast-renamed"]], [200, "2"]);
  assert.deepEqual(await keysBelow("d"), ["dx"]);
  assert.deepEqual(await keysBelow("e/"), ["e/f/a", "e/f/b/c"]);
  assert.equal(String(await read("e/f/b/c")), "d/b/c");
});

void test("the rename of a prefix is refused whole, with what is wrong", async () => {
  for (const name of ["g/a", "g/b", "h/b"]) await put(name);
  const exists = await renamePrefix("g/", "h/", { "if-none-match": "*" });
  assert.equal(exists.status, 412);
  assert.match(exists.text, /<Code>PreconditionFailed<.*<Key>h\/b</);
  assert.equal((await renamePrefix("none/", "h/")).status, 404);
  assert.equal((await renamePrefix("g/", "g/within/")).status, 400);
  assert.equal((await renamePrefix("g/", "i/", { "x-amz-rename-source-if-match": "x" })).status, 400);
  assert.equal((await renamePrefix("g/", "i/", { "x-holdfast-rename-prefix": "yes" })).status, 400);
  await Promise.all(Array.from({ length: 101 }, (_, index) => put(`many/${index}`)));
  const many = await renamePrefix("many/", "others/");
  assert.equal(many.status, 400);
  assert.match(many.text, /<Code>InvalidRequest<.*More than 100 keys begin with this prefix/);
  assert.deepEqual(await keysBelow("others/"), []);
  assert.deepEqual(await keysBelow("g/"), ["g/a", "g/b"]);
});
