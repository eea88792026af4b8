/**
 * Presigned URLs as the AWS SDK makes them. Since 2025 it writes the CRC32 of the body it knows, which is none, into every
 * URL for an upload. AWS pays no heed to a checksum in the query, and neither does Holdfast; one that the URL's holder
 * must send as a header is held to.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { crc32 } from "node:zlib";
import { GetObjectCommand, HeadObjectCommand, PutObjectCommand, UploadPartCommand } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { presignUrl } from "../../src/gateway/sigv4.ts";
import { accessKey, failsWith, secretKey, startTestServer } from "./server.ts";
import type { TestServer } from "./server.ts";

const Bucket = "presigned";
const body = Buffer.from("what the browser sends");
const ChecksumCRC32 = (() => {
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
  return sum.toString("base64");
})();
let server: TestServer;
before(async () => {
  server = await startTestServer();
  await server.bucket(Bucket);
});
after(() => server.close());

const expiresIn = 60;
const codeOf = async (answer: Response): Promise<[number, string | undefined]> => [
  answer.status,
  /<Code>(\w+)</.exec(await answer.text())?.[1],
];
const put = (url: string, headers: Record<string, string> = {}, sent: Buffer = body): Promise<Response> =>
  fetch(url, { method: "PUT", body: sent, headers });

test("an upload's URL with the checksum of nothing in it takes any body, and keeps no checksum", async () => {
  const url = await getSignedUrl(server.s3, new PutObjectCommand({ Bucket, Key: "any" }), { expiresIn });
  const query = new URL(url).searchParams;
  assert.deepEqual(
    [query.get("x-amz-checksum-crc32"), query.get("x-amz-sdk-checksum-algorithm")],
    ["AAAAAA==", "CRC32"],
  );
  assert.equal((await put(url)).status, 200);
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key: "any", ChecksumMode: "ENABLED" }));
  assert.equal(await got.Body?.transformToString(), body.toString());
  assert.deepEqual([got.ChecksumCRC32, got.ChecksumType], [undefined, undefined]);
  const changed = url.replace("x-amz-checksum-crc32=AAAAAA", "x-amz-checksum-crc32=BAAAAA");
  assert.deepEqual(await codeOf(await put(changed)), [403, "SignatureDoesNotMatch"]);
});

test("so does the URL of a part", async () => {
  const upload = { bucket: Bucket, key: Buffer.from("parts"), metadata: { headers: {}, user: {} } };
  const { id: UploadId } = await server.objects.createUpload(upload);
  const command = new UploadPartCommand({ Bucket, Key: "parts", UploadId, PartNumber: 1 });
  const url = await getSignedUrl(server.s3, command, { expiresIn });
  assert.ok(new URL(url).searchParams.has("x-amz-checksum-crc32"));
  const answer = await put(url);
  assert.equal(answer.status, 200);
  assert.ok(answer.headers.has("etag"));
});

test("a checksum that must be sent as a header is compared, and kept", async () => {
  const name = "x-amz-checksum-crc32";
  const command = new PutObjectCommand({ Bucket, Key: "held", ChecksumCRC32 });
  const unhoistableHeaders = new Set([name]);
  const url = await getSignedUrl(server.s3, command, { expiresIn, unhoistableHeaders });
  assert.ok(!new URL(url).searchParams.has(name));
  assert.deepEqual(await codeOf(await put(url)), [403, "SignatureDoesNotMatch"]);
  assert.deepEqual(await codeOf(await put(url, { [name]: "AAAAAA==" })), [403, "SignatureDoesNotMatch"]);
  const other = await put(url, { [name]: ChecksumCRC32 }, Buffer.from("something else"));
  assert.deepEqual(await codeOf(other), [400, "BadDigest"]);
  await failsWith(server.s3.send(new HeadObjectCommand({ Bucket, Key: "held" })), 404, "NotFound");
  assert.equal((await put(url, { [name]: ChecksumCRC32 })).status, 200);
  const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key: "held", ChecksumMode: "ENABLED" }));
  assert.equal(head.ChecksumCRC32, ChecksumCRC32);
});

test("an unsigned checksum header beside the URL is AccessDenied, as any x-amz header", async () => {
  const url = await getSignedUrl(server.s3, new PutObjectCommand({ Bucket, Key: "beside" }), { expiresIn });
  const answer = await put(url, { "x-amz-checksum-sha1": Buffer.alloc(20).toString("base64") });
  assert.deepEqual(await codeOf(answer), [403, "AccessDenied"]);
});

/** With x-amz headers in its query, as SDKs move them there. */
function presigned(rawQuery: string, method = "PUT", Key = "hoisted"): string {
  const signing = { accessKey, secretKey, region: "us-east-1", nowMs: Date.now(), expiresSeconds: 60 };
  return presignUrl({ ...signing, method, origin: server.origin, rawPath: `/${Bucket}/${Key}`, rawQuery });
}

test("metadata in the query is what it would have been as headers", async () => {
  const url = await getSignedUrl(server.s3, new PutObjectCommand({ Bucket, Key: "meta", Metadata: { a: "b" } }), {
    expiresIn,
  });
  assert.equal(new URL(url).searchParams.get("x-amz-meta-a"), "b");
  assert.equal((await put(url)).status, 200);
  assert.deepEqual((await server.s3.send(new HeadObjectCommand({ Bucket, Key: "meta" }))).Metadata, { a: "b" });
  assert.equal((await put(presigned("x-amz-meta-euro=%E2%82%AC&x-amz-meta-e=%C3%A9"))).status, 200);
  const head = await server.raw({ method: "HEAD", path: `/${Bucket}/hoisted` });
  const utf8 = (name: string): string => Buffer.from(String(head.headers[name]), "latin1").toString();
  assert.deepEqual([head.status, utf8("x-amz-meta-euro"), utf8("x-amz-meta-e")], [200, "€", "é"]);
});

test("what no header can be is no header in the query either: it would never come out again", async () => {
  for (const query of [
    "x-amz-meta-a=%0D%0AX-Injected:%20yes",
    "x-amz-meta-a=%00",
    "x-amz-meta-a%20b=c",
    "x-amz-meta-%C3%A9=c",
    "x-amz-meta-a%0Ab=c",
    "x-amz-website-redirect-location=%2Fa%0Ab",
  ])
    assert.deepEqual(await codeOf(await put(presigned(query, "PUT", "never"))), [400, "InvalidArgument"], query);
  assert.deepEqual(
    await codeOf(await fetch(presigned("uploads&x-amz-meta-a=%0A", "POST", "never"), { method: "POST" })),
    [400, "InvalidArgument"],
  );
  await failsWith(server.s3.send(new HeadObjectCommand({ Bucket, Key: "never" })), 404, "NotFound");
});

test("what changes the meaning of a request is not overlooked in the query", async () => {
  const publicly = presigned("x-amz-acl=public-read", "PUT", "publicly");
  assert.equal((await put(publicly)).status, 200);
  assert.equal((await fetch(`${server.origin}/${Bucket}/publicly`)).status, 200);
  const encrypted = presigned("x-amz-server-side-encryption=AES256", "PUT", "never");
  assert.deepEqual(await codeOf(await put(encrypted)), [501, "NotImplemented"]);
  const tooMuch = presigned(`x-amz-meta-a=${"x".repeat(2_048)}`, "PUT", "never");
  assert.deepEqual(await codeOf(await put(tooMuch)), [400, "MetadataTooLarge"]);
  await failsWith(server.s3.send(new HeadObjectCommand({ Bucket, Key: "never" })), 404, "NotFound");
});
