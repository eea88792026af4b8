/** Quotas as clients of S3 meet them: what would go beyond is refused with 403 QuotaExceeded, what makes room never is. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import { hasReason } from "../../src/core/errors.ts";
import type { Objects } from "../../src/object/object.ts";
import { bytesOf, failsWith, pattern, startTestServer, type TestServer } from "./server.ts";

const none = { bytesMax: undefined, objectsMax: undefined };
const MiB = 1024 * 1024;
let server: TestServer;
before(async () => {
  server = await startTestServer();
});
after(() => server.close());

const put = (Bucket: string, Key: string, Body: string | Uint8Array) =>
  server.s3.send(new PutObjectCommand({ Bucket, Key, Body }));
const remove = (Bucket: string, Key: string) => server.s3.send(new DeleteObjectCommand({ Bucket, Key }));
const exceeded = (call: Promise<unknown>) => failsWith(call, 403, "QuotaExceeded");
const held = async (bucket: string) => (await server.objects.quota(bucket)).held;

test("a PUT up to the quota is taken and one byte more is refused; a DELETE makes room", async () => {
  await server.bucket("bytes");
  await server.objects.setQuota("bytes", { ...none, bytesMax: 100 });
  await put("bytes", "a", "x".repeat(60));
  await exceeded(put("bytes", "b", "x".repeat(41)));
  await put("bytes", "b", "x".repeat(40));
  await exceeded(put("bytes", "c", "x"));
  await put("bytes", "empty", "");
  await remove("bytes", "a");
  await put("bytes", "c", "x".repeat(60));
  assert.deepEqual(await held("bytes"), { objects: 3, bytes: 100 });
});

test("an object that is replaced counts for what it grows by", async () => {
  await server.bucket("replacing");
  await server.objects.setQuota("replacing", { bytesMax: 100, objectsMax: 1 });
  await put("replacing", "a", "x".repeat(90));
  await put("replacing", "a", "y".repeat(100));
  await exceeded(put("replacing", "a", "z".repeat(101)));
  await exceeded(put("replacing", "b", ""));
  const { Body } = await server.s3.send(new GetObjectCommand({ Bucket: "replacing", Key: "a" }));
  assert.equal((await bytesOf(Body)).toString(), "y".repeat(100), "what was refused changed nothing");
});

test("a quota below what is there refuses growth only, and none lifts it", async () => {
  await server.bucket("lowered");
  for (const key of ["a", "b", "c"]) await put("lowered", key, "x".repeat(50));
  await server.objects.setQuota("lowered", { bytesMax: 60, objectsMax: 2 });
  await exceeded(put("lowered", "a", "x".repeat(51)));
  await put("lowered", "a", "x".repeat(10));
  await remove("lowered", "b");
  await exceeded(put("lowered", "c", "x".repeat(51)));
  await remove("lowered", "c");
  await put("lowered", "d", "x".repeat(50));
  await server.objects.setQuota("lowered", none);
  await put("lowered", "e", "x".repeat(500));
  assert.deepEqual(await held("lowered"), { objects: 3, bytes: 560 });
});

test("a body that has no room is refused before it is read", async () => {
  await server.bucket("early");
  await server.objects.setQuota("early", { ...none, bytesMax: 1_000 });
  const answer = await server.raw({ method: "PUT", path: "/early/large", body: Buffer.alloc(2 * MiB) });
  assert.equal(answer.status, 403);
  assert.match(answer.text, /<Code>QuotaExceeded<\/Code>/);
  assert.match(answer.text, /<QuotaBytes>1000<\/QuotaBytes>/);
  const unread = (sizeBytes: number): Parameters<Objects["put"]>[0]["body"] => ({
    sizeBytes,
    collect: () => Promise.reject(new Error("the body was read")),
    stream: () => {
      throw new Error("the body was read");
    },
  });
  const verifier = { digests: [], verify: () => undefined };
  const metadata = { headers: {}, user: {} };
  const address = { bucket: "early", key: Buffer.from("large") };
  const refused = (call: Promise<unknown>) => assert.rejects(call, (error) => hasReason(error, "quota_exceeded"));
  await refused(server.objects.put({ ...address, body: unread(100_000), metadata, verifier }));
  const { id: uploadId } = await server.objects.createUpload({ ...address, metadata });
  await refused(server.objects.uploadPart({ ...address, uploadId, partNumber: 1, body: unread(1_001), verifier }));
});

test("versions and delete markers count, and a marker is never refused", async () => {
  const Bucket = "versions";
  await server.bucket(Bucket);
  await server.s3.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: "Enabled" } }));
  await server.objects.setQuota(Bucket, { bytesMax: 20, objectsMax: 2 });
  const { VersionId } = await put(Bucket, "a", "x".repeat(10));
  await put(Bucket, "a", "x".repeat(10));
  await exceeded(put(Bucket, "a", ""));
  await remove(Bucket, "a");
  assert.deepEqual(await held(Bucket), { objects: 3, bytes: 20 });
  await exceeded(put(Bucket, "b", ""));
  await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "a", VersionId }));
  await exceeded(put(Bucket, "b", ""));
  const { Versions = [], DeleteMarkers = [] } = await server.s3.send(new ListObjectVersionsCommand({ Bucket }));
  const Objects = [...Versions, ...DeleteMarkers].map(({ Key, VersionId: id }) => ({ Key, VersionId: id }));
  await server.s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
  assert.deepEqual(await held(Bucket), { objects: 0, bytes: 0 });
  await put(Bucket, "b", "x".repeat(20));
});

test("copies and renames: a copy counts in full, a rename nothing", async () => {
  const Bucket = "copies";
  await server.bucket(Bucket);
  await server.objects.setQuota(Bucket, { ...none, bytesMax: 100 });
  await put(Bucket, "a", "x".repeat(40));
  const copy = (Key: string) => server.s3.send(new CopyObjectCommand({ Bucket, Key, CopySource: `${Bucket}/a` }));
  await copy("b");
  await exceeded(copy("c"));
  await copy("b");
  await server.objects.rename({
    bucket: Bucket,
    key: Buffer.from("d"),
    source: { bucket: Bucket, key: Buffer.from("a") },
  } as Parameters<TestServer["objects"]["rename"]>[0]);
  assert.deepEqual(await held(Bucket), { objects: 2, bytes: 80 });
});

test("parts count as they come, are given back on abort, and not counted twice when completed", async () => {
  const Bucket = "parts";
  const Key = "large";
  await server.bucket(Bucket);
  await server.objects.setQuota(Bucket, { bytesMax: 12 * MiB, objectsMax: 1 });
  const begin = async () => (await server.s3.send(new CreateMultipartUploadCommand({ Bucket, Key }))).UploadId!;
  const part = (UploadId: string, PartNumber: number, sizeBytes: number) =>
    server.s3.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body: pattern(sizeBytes) }));
  const given = await begin();
  await part(given, 1, 6 * MiB);
  const kept = await begin();
  const first = await part(kept, 1, 5 * MiB);
  await exceeded(part(kept, 2, 2 * MiB));
  await exceeded(put(Bucket, "other", pattern(2 * MiB)));
  await server.s3.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId: given }));
  assert.deepEqual(await held(Bucket), { objects: 0, bytes: 5 * MiB });
  await part(kept, 2, 7 * MiB);
  const second = await part(kept, 2, 6 * MiB);
  await exceeded(
    server.s3.send(
      new UploadPartCopyCommand({
        Bucket,
        Key,
        UploadId: kept,
        PartNumber: 3,
        CopySource: `bytes/${await largeSource()}`,
      }),
    ),
  );
  const Parts = [first, second].map(({ ETag }, index) => ({ ETag, PartNumber: index + 1 }));
  await server.s3.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId: kept, MultipartUpload: { Parts } }));
  assert.deepEqual(await held(Bucket), { objects: 1, bytes: 11 * MiB });
});

async function largeSource(): Promise<string> {
  await server.objects.setQuota("bytes", none);
  await put("bytes", "source", pattern(2 * MiB));
  return "source";
}

test("completing is refused where the object has no place, and the upload stays", async () => {
  const Bucket = "full";
  await server.bucket(Bucket);
  await server.objects.setQuota(Bucket, { ...none, objectsMax: 1 });
  await put(Bucket, "a", "");
  const { UploadId } = await server.s3.send(new CreateMultipartUploadCommand({ Bucket, Key: "b" }));
  const { ETag } = await server.s3.send(
    new UploadPartCommand({ Bucket, Key: "b", UploadId, PartNumber: 1, Body: "bytes" }),
  );
  const complete = () =>
    server.s3.send(
      new CompleteMultipartUploadCommand({
        Bucket,
        Key: "b",
        UploadId,
        MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] },
      }),
    );
  await exceeded(complete());
  await remove(Bucket, "a");
  await complete();
  assert.deepEqual(await held(Bucket), { objects: 1, bytes: 5 });
});

test("the quota of an account is that of all its buckets together, new ones too", async () => {
  await server.bucket("one");
  await put("one", "a", "x".repeat(30));
  // What the store's own account has from the tests above counts too.
  const { held: before } = await server.objects.setAccountQuota(undefined, { ...none, objectsMax: 1_000_000 });
  await server.objects.setAccountQuota(undefined, { ...none, bytesMax: before!.bytes + 100 });
  await server.bucket("two");
  await put("two", "a", "x".repeat(60));
  await exceeded(put("one", "b", "x".repeat(41)));
  await put("one", "b", "x".repeat(40));
  await exceeded(put("two", "b", "x"));
  await exceeded(put("two", "b", pattern(100_000)));
  await remove("one", "a");
  await put("two", "b", "x".repeat(30));
  assert.equal((await server.objects.accountQuota(undefined)).held!.bytes, before!.bytes + 100);
  await server.objects.setAccountQuota(undefined, none);
  await put("two", "c", "x".repeat(300));
});

test("of 64 writers at once as many are taken as there is room for", async () => {
  await server.bucket("crowded");
  await server.objects.setQuota("crowded", { bytesMax: 1_000, objectsMax: 20 });
  const results = await Promise.allSettled(
    Array.from({ length: 64 }, (_, index) => put("crowded", `k${index}`, "x".repeat(10))),
  );
  assert.equal(results.filter(({ status }) => status === "fulfilled").length, 20);
  assert.deepEqual(await held("crowded"), { objects: 20, bytes: 200 });
});
