import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  PutObjectCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import type { CreateMultipartUploadCommandInput, CompletedPart } from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { bytesOf, failsWith, pattern, startTestServer } from "./server.ts";
import type { TestServer } from "./server.ts";

const MiB = 1024 * 1024;
const Bucket = "multipart";
let server: TestServer;
before(async () => {
  server = await startTestServer();
  await server.bucket(Bucket);
});
after(() => server.close());

async function begin(Key: string, more: Partial<CreateMultipartUploadCommandInput> = {}): Promise<string> {
  const { UploadId } = await server.s3.send(new CreateMultipartUploadCommand({ Bucket, Key, ...more }));
  assert.ok(UploadId);
  return UploadId;
}

async function part(Key: string, UploadId: string, PartNumber: number, Body: Uint8Array): Promise<CompletedPart> {
  const { ETag } = await server.s3.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body }));
  assert.match(ETag ?? "", /^"[0-9a-f]{32}"$/);
  return { PartNumber, ETag };
}

const complete = (Key: string, UploadId: string, Parts: CompletedPart[], more: object = {}) =>
  server.s3.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts }, ...more }));

const whole = [pattern(5 * MiB), pattern(5 * MiB + 3), pattern(100)];

async function uploaded(Key: string): Promise<string> {
  const UploadId = await begin(Key, { ContentType: "text/parts", Metadata: { a: "b" } });
  const parts: CompletedPart[] = [];
  for (const [index, body] of whole.entries()) parts.push(await part(Key, UploadId, index + 1, body));
  const done = await complete(Key, UploadId, parts);
  assert.equal(done.Bucket, Bucket);
  assert.equal(done.Key, Key);
  assert.ok(done.Location?.endsWith(`/${Bucket}/${Key}`));
  return done.ETag!;
}

void test("parts become one object with an ETag of its own kind and the upload's metadata", async () => {
  const etag = await uploaded("three-parts");
  assert.match(etag, /^"[0-9a-f]{32}-3"$/);
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key: "three-parts" }));
  assert.deepEqual([got.ETag, got.ContentType, got.Metadata], [etag, "text/parts", { a: "b" }]);
  assert.ok(Buffer.concat(whole).equals(await bytesOf(got.Body)));
});

void test("a part is read by its number; the whole tells how many there are", async () => {
  await uploaded("by-number");
  const second = await server.s3.send(new GetObjectCommand({ Bucket, Key: "by-number", PartNumber: 2 }));
  assert.equal(second.PartsCount, 3);
  assert.equal(second.$metadata.httpStatusCode, 206);
  assert.equal(second.ContentRange, `bytes ${5 * MiB}-${10 * MiB + 2}/${10 * MiB + 103}`);
  assert.ok(Buffer.from(whole[1]!).equals(await bytesOf(second.Body)));
  const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key: "by-number", PartNumber: 3 }));
  assert.deepEqual([head.ContentLength, head.PartsCount], [100, 3]);
  await failsWith(
    server.s3.send(new GetObjectCommand({ Bucket, Key: "by-number", PartNumber: 4 })),
    // AWS documents no code for it (416 InvalidPartNumber has been seen there); this is Ceph's.
    400,
    "InvalidPart",
  );
});

void test("an object that is one piece has one part", async () => {
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "single", Body: "abc" }));
  const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key: "single", PartNumber: 1 }));
  assert.deepEqual([head.ContentLength, head.$metadata.httpStatusCode], [3, 206]);
});

void test("a range across parts is exact", async () => {
  await uploaded("ranged");
  const got = await server.s3.send(
    new GetObjectCommand({ Bucket, Key: "ranged", Range: `bytes=${5 * MiB - 2}-${10 * MiB + 4}` }),
  );
  assert.ok(
    Buffer.concat(whole)
      .subarray(5 * MiB - 2, 10 * MiB + 5)
      .equals(await bytesOf(got.Body)),
  );
});

void test("a part sent again replaces the first; parts not named are dropped", async () => {
  const Key = "replaced";
  const UploadId = await begin(Key);
  await part(Key, UploadId, 1, pattern(10));
  await part(Key, UploadId, 2, pattern(20));
  const again = await part(Key, UploadId, 1, pattern(30));
  await complete(Key, UploadId, [again]);
  const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key }));
  assert.equal(head.ContentLength, 30);
});

void test("an object is not there before its upload is complete", async () => {
  const UploadId = await begin("pending");
  await part("pending", UploadId, 1, pattern(10));
  await failsWith(server.s3.send(new HeadObjectCommand({ Bucket, Key: "pending" })), 404, "NotFound");
});

void test("completing refuses parts that are wrong, out of order, too small or not there", async () => {
  const Key = "refused";
  const UploadId = await begin(Key);
  const one = await part(Key, UploadId, 1, pattern(10));
  const two = await part(Key, UploadId, 2, pattern(10));
  await failsWith(complete(Key, UploadId, [{ ...one, ETag: two.ETag! + "0" }]), 400, "InvalidPart");
  await failsWith(complete(Key, UploadId, [one, { PartNumber: 3, ETag: one.ETag }]), 400, "InvalidPart");
  await failsWith(complete(Key, UploadId, [two, one]), 400, "InvalidPartOrder");
  await failsWith(complete(Key, UploadId, [one, two]), 400, "EntityTooSmall");
  await failsWith(complete(Key, UploadId, []), 400, "MalformedXML");
  await complete(Key, UploadId, [two]);
});

void test("completing twice gives the same answer twice", async () => {
  const Key = "twice";
  const UploadId = await begin(Key);
  const parts = [await part(Key, UploadId, 1, pattern(10))];
  const first = await complete(Key, UploadId, parts);
  const second = await complete(Key, UploadId, parts);
  assert.equal(second.ETag, first.ETag);
});

void test("completing with If-None-Match: * loses against an object that is there", async () => {
  const Key = "conditional";
  await server.s3.send(new PutObjectCommand({ Bucket, Key, Body: "there" }));
  const UploadId = await begin(Key);
  const parts = [await part(Key, UploadId, 1, pattern(10))];
  await failsWith(complete(Key, UploadId, parts, { IfNoneMatch: "*" }), 412, "PreconditionFailed");
  await complete(Key, UploadId, parts, {
    IfMatch: (await server.s3.send(new HeadObjectCommand({ Bucket, Key }))).ETag,
  });
});

void test("completing checks the size it is told", async () => {
  const Key = "sized";
  const UploadId = await begin(Key);
  const parts = [await part(Key, UploadId, 1, pattern(10))];
  await failsWith(complete(Key, UploadId, parts, { MpuObjectSize: 11 }), 400, "InvalidRequest");
  await complete(Key, UploadId, parts, { MpuObjectSize: 10 });
});

void test("an aborted upload is gone with its parts", async () => {
  const Key = "aborted";
  const UploadId = await begin(Key);
  const one = await part(Key, UploadId, 1, pattern(10));
  const aborted = await server.s3.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }));
  assert.equal(aborted.$metadata.httpStatusCode, 204);
  await failsWith(complete(Key, UploadId, [one]), 404, "NoSuchUpload");
  await failsWith(server.s3.send(new ListPartsCommand({ Bucket, Key, UploadId })), 404, "NoSuchUpload");
  await failsWith(part(Key, UploadId, 1, pattern(10)), 404, "NoSuchUpload");
});

void test("an upload that never was is NoSuchUpload", async () => {
  await failsWith(part("k", "no-upload", 1, pattern(10)), 404, "NoSuchUpload");
  await failsWith(
    server.s3.send(new AbortMultipartUploadCommand({ Bucket, Key: "k", UploadId: "0".repeat(32) })),
    404,
    "NoSuchUpload",
  );
});

for (const partNumber of ["0", "10001", "x", "-1"]) {
  void test(`part number ${partNumber} is InvalidArgument`, async () => {
    const answer = await server.raw({
      method: "PUT",
      path: `/${Bucket}/k?uploadId=${"0".repeat(32)}&partNumber=${partNumber}`,
      body: Buffer.from("x"),
    });
    assert.equal(answer.status, 400);
    assert.match(answer.text, /<Code>InvalidArgument</);
  });
}

void test("parts are listed in pages", async () => {
  const Key = "listed";
  const UploadId = await begin(Key);
  for (const number of [3, 1, 2, 10]) await part(Key, UploadId, number, pattern(number));
  const first = await server.s3.send(new ListPartsCommand({ Bucket, Key, UploadId, MaxParts: 3 }));
  assert.deepEqual(
    first.Parts?.map((one) => [one.PartNumber, one.Size]),
    [
      [1, 1],
      [2, 2],
      [3, 3],
    ],
  );
  assert.deepEqual([first.IsTruncated, first.NextPartNumberMarker, first.UploadId], [true, "3", UploadId]);
  const rest = await server.s3.send(
    new ListPartsCommand({ Bucket, Key, UploadId, PartNumberMarker: first.NextPartNumberMarker }),
  );
  assert.deepEqual([rest.Parts?.map((one) => one.PartNumber), rest.IsTruncated], [[10], false]);
});

void test("uploads are listed by key, by prefix, in pages and rolled up", async () => {
  const Bucket = "uploads-listed";
  await server.bucket(Bucket);
  const ids: string[] = [];
  for (const Key of ["b", "a/1", "a/2", "c"]) {
    const made = await server.s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
    ids.push(made.UploadId!);
  }
  const list = (input: object) => server.s3.send(new ListMultipartUploadsCommand({ Bucket, ...input }));
  const all = await list({});
  assert.deepEqual(
    all.Uploads?.map((one) => one.Key),
    ["a/1", "a/2", "b", "c"],
  );
  assert.deepEqual(new Set(all.Uploads?.map((one) => one.UploadId)), new Set(ids));
  assert.ok(all.Uploads?.every((one) => one.Initiated instanceof Date));
  const rolled = await list({ Delimiter: "/" });
  assert.deepEqual(
    rolled.Uploads?.map((one) => one.Key),
    ["b", "c"],
  );
  assert.deepEqual(
    rolled.CommonPrefixes?.map((one) => one.Prefix),
    ["a/"],
  );
  const first = await list({ MaxUploads: 3 });
  assert.equal(first.IsTruncated, true);
  const rest = await list({ KeyMarker: first.NextKeyMarker, UploadIdMarker: first.NextUploadIdMarker });
  assert.deepEqual(
    rest.Uploads?.map((one) => one.Key),
    ["c"],
  );
});

void test("a part is copied from a range of another object", async () => {
  const source = pattern(6 * MiB);
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "copy-source", Body: source }));
  const Key = "copied-parts";
  const UploadId = await begin(Key);
  const copy = async (PartNumber: number, CopySourceRange?: string): Promise<CompletedPart> => {
    const { CopyPartResult } = await server.s3.send(
      new UploadPartCopyCommand({
        Bucket,
        Key,
        UploadId,
        PartNumber,
        CopySource: `${Bucket}/copy-source`,
        ...(CopySourceRange !== undefined && { CopySourceRange }),
      }),
    );
    assert.ok(CopyPartResult?.LastModified instanceof Date);
    return { PartNumber, ETag: CopyPartResult.ETag };
  };
  const parts = [await copy(1), await copy(2, "bytes=10-109")];
  await complete(Key, UploadId, parts);
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key }));
  assert.ok(Buffer.concat([source, source.subarray(10, 110)]).equals(await bytesOf(got.Body)));
});

void test("a copied range beyond the source is refused", async () => {
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "short-source", Body: "0123456789" }));
  const UploadId = await begin("short-copy");
  for (const range of ["bytes=5-10", "bytes=3-", "5-6"]) {
    const answer = await server.raw({
      method: "PUT",
      path: `/${Bucket}/short-copy?uploadId=${UploadId}&partNumber=1`,
      headers: { "x-amz-copy-source": `${Bucket}/short-source`, "x-amz-copy-source-range": range },
    });
    assert.ok(answer.status === 400 || answer.status === 416, `${range}: ${answer.status}`);
  }
});

void test("the attributes of a multipart object tell its parts", async () => {
  const Key = "attributes";
  const UploadId = await begin(Key, { ChecksumAlgorithm: "SHA256" });
  const { ETag, ChecksumSHA256 } = await server.s3.send(
    new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body: pattern(100), ChecksumAlgorithm: "SHA256" }),
  );
  await complete(Key, UploadId, [{ PartNumber: 1, ETag, ChecksumSHA256 }]);
  const attributes = await server.s3.send(
    new GetObjectAttributesCommand({
      Bucket,
      Key,
      ObjectAttributes: ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"],
    }),
  );
  assert.match(attributes.ETag ?? "", /^[0-9a-f]{32}-1$/);
  assert.equal(attributes.ObjectSize, 100);
  assert.equal(attributes.StorageClass, "STANDARD");
  assert.equal(attributes.ObjectParts?.TotalPartsCount, 1);
  assert.deepEqual(
    attributes.ObjectParts.Parts?.map((one) => [one.PartNumber, one.Size, one.ChecksumSHA256]),
    [[1, 100, ChecksumSHA256]],
  );
  assert.match(attributes.Checksum?.ChecksumSHA256 ?? "", /-1$/);
  assert.equal(attributes.Checksum?.ChecksumType, "COMPOSITE");
  assert.ok(attributes.LastModified instanceof Date);
});

void test("lib-storage uploads a stream of unknown length", async () => {
  const Body = Buffer.concat(whole);
  const { Readable } = await import("node:stream");
  await new Upload({ client: server.s3, params: { Bucket, Key: "lib-storage", Body: Readable.from([Body]) } }).done();
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key: "lib-storage" }));
  assert.ok(Body.equals(await bytesOf(got.Body)));
});
