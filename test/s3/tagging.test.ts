/** Tags of objects: with the object, by themselves, through copies and uploads. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectTaggingCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import type { PutObjectCommandInput, Tag } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { bytesOf, failsWith, pattern, sendRaw, startTestServer } from "./server.ts";
import type { TestServer } from "./server.ts";

const Bucket = "tagged";
let server: TestServer;
before(async () => {
  server = await startTestServer();
  await server.bucket(Bucket);
});
after(() => server.close());

async function put(Key: string, more: Partial<PutObjectCommandInput> = {}): Promise<void> {
  await server.s3.send(new PutObjectCommand({ Bucket, Key, Body: "x", ...more }));
}

async function tagsOf(Key: string): Promise<Record<string, string>> {
  const { TagSet } = await server.s3.send(new GetObjectTaggingCommand({ Bucket, Key }));
  return Object.fromEntries((TagSet ?? []).map(({ Key: name, Value }) => [name, Value ?? ""]));
}

const setTags = (Key: string, TagSet: Tag[]): Promise<{ $metadata: { httpStatusCode?: number } }> =>
  server.s3.send(new PutObjectTaggingCommand({ Bucket, Key, Tagging: { TagSet } }));

void test("an object has the tags that it came with", async () => {
  await put("came-with", { Tagging: "zeta=1&alpha=a%20b+c&empty=&bare&gr%C3%B6%C3%9Fe=%E6%97%A5" });
  assert.deepEqual(await tagsOf("came-with"), { zeta: "1", alpha: "a b c", empty: "", bare: "", größe: "日" });
});

void test("tags are shown by name, however they were set", async () => {
  const show = async (Key: string): Promise<(string | undefined)[]> => {
    const { TagSet } = await server.s3.send(new GetObjectTaggingCommand({ Bucket, Key }));
    return (TagSet ?? []).map((tag) => tag.Key);
  };
  await put("sorted", { Tagging: "foo=bar&bar" });
  assert.deepEqual(await show("sorted"), ["bar", "foo"]);
  await setTags("sorted", [
    { Key: "z", Value: "" },
    { Key: "a", Value: "" },
  ]);
  assert.deepEqual(await show("sorted"), ["a", "z"]);
});

void test("an object without tags has an empty set", async () => {
  await put("without");
  assert.deepEqual(await tagsOf("without"), {});
  await put("without", { Tagging: "" });
  assert.deepEqual(await tagsOf("without"), {});
});

void test("tags are set and deleted without changing the object", async () => {
  const Body = pattern(40_000);
  await put("set", { Body, Metadata: { kept: "yes" } });
  const before = await server.s3.send(new HeadObjectCommand({ Bucket, Key: "set" }));
  assert.equal(before.TagCount, undefined);
  const set = await setTags("set", [
    { Key: "a", Value: "1" },
    { Key: "b", Value: "2" },
  ]);
  assert.equal(set.$metadata.httpStatusCode, 200);
  assert.deepEqual(await tagsOf("set"), { a: "1", b: "2" });
  const tagged = await server.s3.send(new GetObjectCommand({ Bucket, Key: "set" }));
  assert.equal(tagged.TagCount, 2);
  assert.deepEqual(await bytesOf(tagged.Body), Body);
  assert.deepEqual(
    [tagged.ETag, tagged.LastModified, tagged.Metadata],
    [before.ETag, before.LastModified, { kept: "yes" }],
  );
  await setTags("set", [{ Key: "c", Value: "3" }]);
  assert.deepEqual(await tagsOf("set"), { c: "3" });
  const deleted = await server.s3.send(new DeleteObjectTaggingCommand({ Bucket, Key: "set" }));
  assert.equal(deleted.$metadata.httpStatusCode, 204);
  assert.deepEqual(await tagsOf("set"), {});
  assert.equal((await server.s3.send(new HeadObjectCommand({ Bucket, Key: "set" }))).TagCount, undefined);
});

void test("a small object keeps its bytes when its tags change, and an empty set takes them away", async () => {
  await put("small", { Body: "small", Tagging: "a=b" });
  await setTags("small", [{ Key: "c", Value: "d" }]);
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key: "small" }));
  assert.equal((await bytesOf(got.Body)).toString(), "small");
  await setTags("small", []);
  assert.deepEqual(await tagsOf("small"), {});
});

void test("an object that is written over has the tags of the new one", async () => {
  await put("over", { Tagging: "a=b" });
  await put("over");
  assert.deepEqual(await tagsOf("over"), {});
});

void test("tags of what is not there are NoSuchKey, NoSuchBucket, NoSuchVersion", async () => {
  const tag = [{ Key: "a", Value: "b" }];
  await failsWith(tagsOf("nothing"), 404, "NoSuchKey");
  await failsWith(setTags("nothing", tag), 404, "NoSuchKey");
  await failsWith(server.s3.send(new DeleteObjectTaggingCommand({ Bucket, Key: "nothing" })), 404, "NoSuchKey");
  const elsewhere = new PutObjectTaggingCommand({ Bucket: "nowhere", Key: "k", Tagging: { TagSet: tag } });
  await failsWith(server.s3.send(elsewhere), 404, "NoSuchBucket");
  await put("only-null", { Tagging: "a=b" });
  for (const VersionId of ["null", undefined])
    await server.s3.send(new GetObjectTaggingCommand({ Bucket, Key: "only-null", VersionId }));
});

const many = (count: number): Tag[] => Array.from({ length: count }, (_, n) => ({ Key: `k${n}`, Value: "v" }));
for (const [what, tags, code] of [
  ["11 tags", many(11), "InvalidTag"],
  ["a key twice", [...many(1), ...many(1)], "InvalidTag"],
  ["an empty key", [{ Key: "", Value: "v" }], "InvalidTag"],
  ["a key of 129 characters", [{ Key: "k".repeat(129), Value: "v" }], "InvalidTag"],
  ["a value of 257 characters", [{ Key: "k", Value: "v".repeat(257) }], "InvalidTag"],
  ["a key of AWS's own", [{ Key: "aws:x", Value: "v" }], "InvalidTag"],
  ["a sign that no tag has", [{ Key: "k", Value: "a|b" }], "InvalidTag"],
] satisfies [string, Tag[], string][]) {
  void test(`PutObjectTagging with ${what} is ${code} and changes nothing`, async () => {
    await put("refusing", { Tagging: "kept=yes" });
    await failsWith(setTags("refusing", tags), 400, code);
    assert.deepEqual(await tagsOf("refusing"), { kept: "yes" });
  });

  const inHeader = what === "a key twice" ? "InvalidArgument" : code;
  void test(`PutObject with ${what} is ${inHeader} and stores nothing`, async () => {
    const Tagging = tags.map(({ Key, Value }) => `${encodeURIComponent(Key!)}=${encodeURIComponent(Value!)}`).join("&");
    await failsWith(put("never", { Tagging }), 400, inHeader);
    const create = new CreateMultipartUploadCommand({ Bucket, Key: "never", Tagging });
    await failsWith(server.s3.send(create), 400, inHeader);
    await failsWith(server.s3.send(new HeadObjectCommand({ Bucket, Key: "never" })), 404, "NotFound");
  });
}

for (const Tagging of ["a=%", "a=%ff", "%zz=1"])
  void test(`the tagging header "${Tagging}" is InvalidArgument`, async () => {
    await failsWith(put("never", { Tagging }), 400, "InvalidArgument");
  });

void test("ten tags of 128 and 256 characters are kept", async () => {
  const TagSet = many(10).map(({ Key }) => ({ Key: Key!.padEnd(128, "日"), Value: "ö".repeat(256) }));
  await put("full");
  await setTags("full", TagSet);
  const got = await server.s3.send(new GetObjectTaggingCommand({ Bucket, Key: "full" }));
  assert.deepEqual(got.TagSet, TagSet);
});

void test("a copy takes its source's tags along, unless it is told to replace them", async () => {
  await put("source", { Tagging: "from=source" });
  const copy = (Key: string, more: object = {}): Promise<unknown> =>
    server.s3.send(new CopyObjectCommand({ Bucket, Key, CopySource: `${Bucket}/source`, ...more }));
  await copy("copied");
  assert.deepEqual(await tagsOf("copied"), { from: "source" });
  await copy("copied", { TaggingDirective: "COPY", Tagging: "not=taken" });
  assert.deepEqual(await tagsOf("copied"), { from: "source" });
  await copy("copied", { TaggingDirective: "REPLACE", Tagging: "from=copy" });
  assert.deepEqual(await tagsOf("copied"), { from: "copy" });
  await copy("copied", { TaggingDirective: "REPLACE" });
  assert.deepEqual(await tagsOf("copied"), {});
  await failsWith(copy("copied", { TaggingDirective: "KEEP" }), 400, "InvalidArgument");
  await copy("source", { MetadataDirective: "REPLACE" });
  assert.deepEqual(await tagsOf("source"), { from: "source" });
});

void test("an upload gives its tags to the object it becomes", async () => {
  const Key = "uploaded";
  const { UploadId } = await server.s3.send(new CreateMultipartUploadCommand({ Bucket, Key, Tagging: "a=b&c=d" }));
  const part = new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body: "part" });
  const { ETag } = await server.s3.send(part);
  const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
  await server.s3.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload }));
  assert.deepEqual(await tagsOf(Key), { a: "b", c: "d" });
});

void test("a presigned URL brings the tags that were signed into it", async () => {
  const put = new PutObjectCommand({ Bucket, Key: "presigned", Tagging: "a=b%20c" });
  const url = new URL(await getSignedUrl(server.s3, put, { unhoistableHeaders: new Set(["x-amz-tagging"]) }));
  const path = url.pathname + url.search;
  const headers = { "x-amz-tagging": "a=b%20c" };
  const answer = await sendRaw(server.port, { method: "PUT", path, headers, body: Buffer.from("x") });
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual(await tagsOf("presigned"), { a: "b c" });
  const hoisted = new URL(await getSignedUrl(server.s3, put));
  const second = await sendRaw(server.port, {
    method: "PUT",
    path: hoisted.pathname + hoisted.search,
    body: Buffer.from("y"),
  });
  assert.equal(second.status, 200, second.text);
  assert.deepEqual(await tagsOf("presigned"), { a: "b c" });
});

void test("tags set while the object is written over again and again belong to one of its versions", async () => {
  await put("raced");
  const writes = Array.from({ length: 20 }, (_, n) => put("raced", { Body: `body ${n}`, Tagging: `n=${n}` }));
  const sets = Array.from({ length: 20 }, (_, n) => setTags("raced", [{ Key: "set", Value: String(n) }]));
  await Promise.all([...writes, ...sets]);
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key: "raced" }));
  assert.match((await bytesOf(got.Body)).toString(), /^body \d+$/);
  assert.equal(Object.keys(await tagsOf("raced")).length, 1);
});

void test("every version has tags of its own, which may be changed where it stands", async () => {
  const Key = "versions";
  await server.bucket("tagged-versions");
  const inVersions = { Bucket: "tagged-versions", Key };
  const enabled = { Bucket: "tagged-versions", VersioningConfiguration: { Status: "Enabled" } } as const;
  const made = async (Body: string, Tagging: string): Promise<string | undefined> =>
    (await server.s3.send(new PutObjectCommand({ ...inVersions, Body, Tagging }))).VersionId;
  await made("null version", "n=0");
  await server.s3.send(new PutBucketVersioningCommand(enabled));
  const first = await made("first", "n=1");
  const second = await made("second".padEnd(40_000, "."), "n=2");
  const shown = async (VersionId?: string): Promise<[string | undefined, string | undefined]> => {
    const answer = await server.s3.send(new GetObjectTaggingCommand({ ...inVersions, VersionId }));
    return [answer.VersionId, answer.TagSet?.map(({ Key: name, Value }) => `${name}=${Value}`).join()];
  };
  assert.deepEqual(await shown(), [second, "n=2"]);
  const set = (VersionId: string | undefined, Value: string): Promise<{ VersionId?: string | undefined }> =>
    server.s3.send(
      new PutObjectTaggingCommand({ ...inVersions, VersionId, Tagging: { TagSet: [{ Key: "set", Value }] } }),
    );
  assert.equal((await set(first, "1")).VersionId, first);
  assert.equal((await set("null", "0")).VersionId, "null");
  assert.equal((await set(undefined, "2")).VersionId, second);
  for (const [id, value] of [
    ["null", "0"],
    [first, "1"],
    [second, "2"],
  ] as const)
    assert.deepEqual(await shown(id), [id, `set=${value}`]);
  const get = async (VersionId: string): Promise<[string, number | undefined]> => {
    const answer = await server.s3.send(new GetObjectCommand({ ...inVersions, VersionId }));
    return [(await bytesOf(answer.Body)).toString().replace(/\.+$/, ""), answer.TagCount];
  };
  assert.deepEqual(await get("null"), ["null version", 1]);
  assert.deepEqual(await get(first!), ["first", 1]);
  const untagged = await server.s3.send(new DeleteObjectTaggingCommand({ ...inVersions, VersionId: first }));
  assert.equal(untagged.VersionId, first);
  assert.deepEqual(await shown(first), [first, ""]);
  // What was written anew among the past ones becomes current again as it is.
  await server.s3.send(new DeleteObjectCommand({ ...inVersions, VersionId: second }));
  await server.s3.send(new DeleteObjectCommand({ ...inVersions, VersionId: first }));
  assert.deepEqual(await shown(), ["null", "set=0"]);
});

void test("a delete marker has no tags: MethodNotAllowed by its id, NoSuchKey where it is current", async () => {
  const where = { Bucket: "tagged-versions", Key: "marked" };
  await server.s3.send(new PutObjectCommand({ ...where, Body: "x", Tagging: "a=b" }));
  const { VersionId } = await server.s3.send(new DeleteObjectCommand(where));
  const Tagging = { TagSet: [{ Key: "a", Value: "c" }] };
  await failsWith(server.s3.send(new PutObjectTaggingCommand({ ...where, Tagging })), 404, "NoSuchKey");
  const byId = { ...where, VersionId };
  await failsWith(server.s3.send(new PutObjectTaggingCommand({ ...byId, Tagging })), 405, "MethodNotAllowed");
  await failsWith(server.s3.send(new GetObjectTaggingCommand(byId)), 405, "MethodNotAllowed");
  const none = { ...where, VersionId: "AAAAAAAAAAEAAAAAAAAAAAAAAAAAAA" };
  await failsWith(server.s3.send(new PutObjectTaggingCommand({ ...none, Tagging })), 404, "NoSuchVersion");
  const copy = new CopyObjectCommand({ ...where, Key: "copy", CopySource: "tagged-versions/marked" });
  await failsWith(server.s3.send(copy), 404, "NoSuchKey");
});

void test("a part brings no tags: asking for some is NotImplemented", async () => {
  const answer = await server.raw({
    method: "PUT",
    path: `/${Bucket}/k?uploadId=x&partNumber=1`,
    headers: { "x-amz-tagging": "a=b" },
    body: Buffer.from("x"),
  });
  assert.equal(answer.status, 501);
});
