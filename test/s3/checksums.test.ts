import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { after, before, test } from "node:test";
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import type { HeadObjectCommandOutput } from "@aws-sdk/client-s3";
import { systemClock } from "../../src/core/clock.ts";
import { wholeDigests } from "../../src/digest/running.ts";
import { encodeAwsChunked } from "../../src/gateway/aws_chunked.ts";
import { verifyRequest } from "../../src/gateway/sigv4.ts";
import { signRequest } from "../../src/gateway/sigv4.ts";
import type { ChunkedMode } from "../../src/gateway/aws_chunked.ts";
import { accessKey, bytesOf, failsWith, pattern, secretKey, sendRaw, startTestServer } from "./server.ts";
import type { RawAnswer, TestServer } from "./server.ts";

const Bucket = "checksums";
let server: TestServer;
before(async () => {
  server = await startTestServer();
  await server.bucket(Bucket);
});
after(() => server.close());

const algorithms = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"] as const;
type Algorithm = (typeof algorithms)[number];
const field = (algorithm: Algorithm) => `Checksum${algorithm}` as const;

function valueOf(algorithm: Algorithm, body: Uint8Array): string {
  const name = algorithm.toLowerCase() as Lowercase<Algorithm>;
  return wholeDigests([name], body)[name]!.toString("base64");
}

async function gone(Key: string): Promise<void> {
  await failsWith(server.s3.send(new HeadObjectCommand({ Bucket, Key })), 404, "NotFound");
}

async function headWithChecksum(Key: string): Promise<HeadObjectCommandOutput> {
  return server.s3.send(new HeadObjectCommand({ Bucket, Key, ChecksumMode: "ENABLED" }));
}

void test("the digests agree with what others publish", () => {
  const check = Buffer.from("123456789");
  assert.equal(wholeDigests(["crc32c"], check).crc32c?.toString("hex"), "e3069283");
  assert.equal(wholeDigests(["crc64nvme"], check).crc64nvme?.toString("hex"), "ae8b14860a799888");
});

for (const algorithm of algorithms) {
  for (const size of [0, 5_000, 1_200_000]) {
    void test(`${algorithm} of ${size} bytes as a header is checked, kept and given back`, async () => {
      const Body = pattern(size);
      const value = valueOf(algorithm, Body);
      const Key = `header-${algorithm}-${size}`;
      const put = await server.s3.send(new PutObjectCommand({ Bucket, Key, Body, [field(algorithm)]: value }));
      assert.equal(put[field(algorithm)], value);
      assert.equal(put.ChecksumType, "FULL_OBJECT");
      const head = await headWithChecksum(Key);
      assert.equal(head[field(algorithm)], value);
      assert.equal(head.ChecksumType, "FULL_OBJECT");
      const without = await server.raw({ method: "HEAD", path: `/${Bucket}/${Key}` });
      assert.equal(without.headers[`x-amz-checksum-${algorithm.toLowerCase()}`], undefined);
    });
  }

  void test(`${algorithm} as the trailer of a stream is checked and kept`, async () => {
    const body = pattern(300_000);
    const Key = `trailer-${algorithm}`;
    const pieces = [body.subarray(0, 1), body.subarray(1, 100_000), body.subarray(100_000)];
    const ChecksumAlgorithm = algorithm;
    await server.s3.send(
      new PutObjectCommand({ Bucket, Key, Body: Readable.from(pieces), ContentLength: body.length, ChecksumAlgorithm }),
    );
    assert.equal((await headWithChecksum(Key))[field(algorithm)], valueOf(algorithm, body));
    const got = await server.s3.send(new GetObjectCommand({ Bucket, Key, ChecksumMode: "ENABLED" }));
    assert.ok(body.equals(await bytesOf(got.Body)));
  });

  void test(`a wrong ${algorithm} header stores nothing`, async () => {
    const Key = `wrong-header-${algorithm}`;
    const wrong = valueOf(algorithm, Buffer.from("something else"));
    const put = new PutObjectCommand({ Bucket, Key, Body: pattern(400_000), [field(algorithm)]: wrong });
    await failsWith(server.s3.send(put), 400, "BadDigest");
    await gone(Key);
  });

  for (const mode of ["streaming-unsigned-trailer", "streaming-signed-trailer"] as const) {
    void test(`a wrong ${algorithm} trailer (${mode}) stores nothing, a right one does`, async () => {
      const body = pattern(70_000);
      const Key = `${mode}-${algorithm}`;
      const wrong = await chunkedPut({ mode, Key, body, algorithm, value: valueOf(algorithm, Buffer.from("else")) });
      assert.deepEqual([wrong.status, /<Code>(\w+)</.exec(wrong.text)?.[1]], [400, "BadDigest"]);
      await gone(Key);
      const right = await chunkedPut({ mode, Key, body, algorithm, value: valueOf(algorithm, body) });
      assert.equal(right.status, 200, right.text);
      assert.equal((await headWithChecksum(Key))[field(algorithm)], valueOf(algorithm, body));
    });
  }
}

type ChunkedPut = {
  readonly mode: ChunkedMode;
  readonly Key: string;
  readonly body: Buffer;
  readonly algorithm?: Algorithm;
  readonly value?: string;
  /** Changes the encoded body before it is sent. */
  readonly spoil?: (encoded: Buffer) => Buffer;
};

const words: Readonly<Record<ChunkedMode, string>> = {
  "streaming-signed": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
  "streaming-signed-trailer": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
  "streaming-unsigned-trailer": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
};

async function chunkedPut(options: ChunkedPut): Promise<RawAnswer> {
  const { mode, Key, body, algorithm, value, spoil = (same: Buffer) => same } = options;
  const host = `127.0.0.1:${server.port}`;
  const trailer = algorithm === undefined ? undefined : `x-amz-checksum-${algorithm.toLowerCase()}`;
  const rawPath = `/${Bucket}/${Key}`;
  const nowMs = systemClock.nowMs();
  const { headers } = signRequest({
    accessKey,
    secretKey,
    region: "us-east-1",
    method: "PUT",
    rawPath,
    headers: {
      host,
      "content-encoding": "aws-chunked",
      "x-amz-decoded-content-length": String(body.length),
      ...(trailer !== undefined && { "x-amz-trailer": trailer }),
    },
    payloadHash: words[mode],
    nowMs,
  });
  const auth = await verifyRequest({
    method: "PUT",
    rawPath,
    rawQuery: "",
    headers,
    nowMs,
    region: "us-east-1",
    secretFor: () => secretKey,
  });
  assert.equal(auth.kind, "authenticated");
  const pieces = [body.subarray(0, 65_536), body.subarray(65_536)].filter((piece) => piece.length > 0);
  const encoded: Uint8Array[] = [];
  const trailers = trailer === undefined ? undefined : () => ({ [trailer]: value ?? "" });
  for await (const bytes of encodeAwsChunked(pieces, { mode, signing: auth, trailers })) encoded.push(bytes);
  return sendRaw(server.port, { method: "PUT", path: rawPath, headers, body: spoil(Buffer.concat(encoded)) });
}

void test("signed chunks are taken, and a changed one stores nothing", async () => {
  const body = pattern(100_000);
  const right = await chunkedPut({ mode: "streaming-signed", Key: "chunk-signed", body });
  assert.equal(right.status, 200, right.text);
  const wrong = await chunkedPut({
    mode: "streaming-signed",
    Key: "chunk-spoiled",
    body,
    spoil: (encoded) => {
      encoded[80_000]! ^= 1;
      return encoded;
    },
  });
  assert.deepEqual([wrong.status, /<Code>(\w+)</.exec(wrong.text)?.[1]], [403, "SignatureDoesNotMatch"]);
  await gone("chunk-spoiled");
});

void test("a trailer that was announced and does not come is refused", async () => {
  const answer = await chunkedPut({
    mode: "streaming-unsigned-trailer",
    Key: "no-trailer",
    body: pattern(100),
    algorithm: "CRC32",
    value: "AAAAAA==",
    spoil: (encoded) => Buffer.from(encoded.toString("latin1").replace(/x-amz-checksum-crc32:.*\r\n/, ""), "latin1"),
  });
  assert.equal(answer.status, 400);
  await gone("no-trailer");
});

void test("Content-MD5: right is taken, wrong is BadDigest, malformed is InvalidDigest", async () => {
  const body = Buffer.from("some text");
  const put = (md5: string) =>
    server.raw({ method: "PUT", path: `/${Bucket}/md5`, body, headers: { "content-md5": md5 } });
  const wrong = await put(createHash("md5").update("else").digest("base64"));
  assert.deepEqual([wrong.status, /<Code>(\w+)</.exec(wrong.text)?.[1]], [400, "BadDigest"]);
  const malformed = await put("not base64!");
  assert.deepEqual([malformed.status, /<Code>(\w+)</.exec(malformed.text)?.[1]], [400, "InvalidDigest"]);
  await gone("md5");
  assert.equal((await put(createHash("md5").update(body).digest("base64"))).status, 200);
});

void test("a body that is not the one signed stores nothing", async () => {
  const { headers } = signRequest({
    accessKey,
    secretKey,
    region: "us-east-1",
    method: "PUT",
    rawPath: `/${Bucket}/swapped`,
    headers: { host: `127.0.0.1:${server.port}` },
    payloadHash: createHash("sha256").update("signed").digest("hex"),
    nowMs: Date.now(),
  });
  const answer = await sendRaw(server.port, {
    method: "PUT",
    path: `/${Bucket}/swapped`,
    headers,
    body: Buffer.from("sneaky"),
  });
  assert.deepEqual([answer.status, /<Code>(\w+)</.exec(answer.text)?.[1]], [400, "XAmzContentSHA256Mismatch"]);
  await gone("swapped");
});

void test("two checksums at once are InvalidRequest, one that is none BadDigest", async () => {
  const body = Buffer.from("x");
  const both = await server.raw({
    method: "PUT",
    path: `/${Bucket}/both`,
    body,
    headers: { "x-amz-checksum-crc32": valueOf("CRC32", body), "x-amz-checksum-sha1": valueOf("SHA1", body) },
  });
  assert.match(both.text, /<Code>InvalidRequest</);
  const malformed = await server.raw({
    method: "PUT",
    path: `/${Bucket}/both`,
    body,
    headers: { "x-amz-checksum-crc32": "AAA=" },
  });
  // Ceph compares it like any other; AWS documents no code for it.
  assert.match(malformed.text, /<Code>BadDigest</);
  await gone("both");
});

void test("listings and attributes tell the algorithm", async () => {
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "told", Body: "x", ChecksumAlgorithm: "SHA256" }));
  const { Contents } = await server.s3.send(new ListObjectsV2Command({ Bucket, Prefix: "told" }));
  assert.deepEqual([Contents?.[0]?.ChecksumAlgorithm, Contents?.[0]?.ChecksumType], [["SHA256"], "FULL_OBJECT"]);
  const { Checksum } = await server.s3.send(
    new GetObjectAttributesCommand({ Bucket, Key: "told", ObjectAttributes: ["Checksum"] }),
  );
  assert.equal(Checksum?.ChecksumSHA256, valueOf("SHA256", Buffer.from("x")));
});

void test("a range has no checksum", async () => {
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "range", Body: "0123456789", ChecksumAlgorithm: "SHA256" }));
  const got = await server.s3.send(
    new GetObjectCommand({ Bucket, Key: "range", ChecksumMode: "ENABLED", Range: "bytes=2-3" }),
  );
  assert.equal(got.ChecksumSHA256, undefined);
  assert.equal(await got.Body?.transformToString(), "23");
});

for (const [algorithm, type] of [
  ["CRC32", "COMPOSITE"],
  ["CRC32", "FULL_OBJECT"],
  ["CRC32C", "FULL_OBJECT"],
  ["CRC64NVME", "FULL_OBJECT"],
  ["SHA1", "COMPOSITE"],
  ["SHA256", "COMPOSITE"],
] as const) {
  void test(`a multipart upload with ${algorithm} ${type} keeps the checksum of the whole`, async () => {
    const Key = `mp-${algorithm}-${type}`;
    const bodies = [pattern(5 * 1024 * 1024), pattern(1_000)];
    const made = await server.s3.send(
      new CreateMultipartUploadCommand({ Bucket, Key, ChecksumAlgorithm: algorithm, ChecksumType: type }),
    );
    assert.deepEqual([made.ChecksumAlgorithm, made.ChecksumType], [algorithm, type]);
    const UploadId = made.UploadId!;
    const Parts = [];
    for (const [index, Body] of bodies.entries()) {
      const PartNumber = index + 1;
      const part = await server.s3.send(
        new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body, ChecksumAlgorithm: algorithm }),
      );
      assert.equal(part[field(algorithm)], valueOf(algorithm, Body));
      Parts.push({ PartNumber, ETag: part.ETag, [field(algorithm)]: part[field(algorithm)] });
    }
    const done = await server.s3.send(
      new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } }),
    );
    const raw = bodies.map((body) => Buffer.from(valueOf(algorithm, body), "base64"));
    const expected =
      type === "COMPOSITE" ? `${valueOf(algorithm, Buffer.concat(raw))}-2` : valueOf(algorithm, Buffer.concat(bodies));
    assert.deepEqual([done[field(algorithm)], done.ChecksumType], [expected, type]);
    const head = await headWithChecksum(Key);
    assert.deepEqual([head[field(algorithm)], head.ChecksumType], [expected, type]);
    const part = await server.s3.send(new GetObjectCommand({ Bucket, Key, PartNumber: 2, ChecksumMode: "ENABLED" }));
    assert.deepEqual([part[field(algorithm)], part.ChecksumType], [valueOf(algorithm, bodies[1]!), type]);
  });
}

void test("SHA256 of a whole multipart object does not exist", async () => {
  await failsWith(
    server.s3.send(
      new CreateMultipartUploadCommand({
        Bucket,
        Key: "k",
        ChecksumAlgorithm: "SHA256",
        ChecksumType: "FULL_OBJECT",
      }),
    ),
    400,
    "InvalidRequest",
  );
});

void test("completing compares the checksum of the whole it is told", async () => {
  const Key = "mp-compared";
  const body = pattern(1_000);
  const { UploadId } = await server.s3.send(
    new CreateMultipartUploadCommand({ Bucket, Key, ChecksumAlgorithm: "CRC32", ChecksumType: "FULL_OBJECT" }),
  );
  const { ETag } = await server.s3.send(
    new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body: body, ChecksumAlgorithm: "CRC32" }),
  );
  const complete = (ChecksumCRC32: string) =>
    server.s3.send(
      new CompleteMultipartUploadCommand({
        Bucket,
        Key,
        UploadId,
        MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] },
        ChecksumCRC32,
        ChecksumType: "FULL_OBJECT",
      }),
    );
  await failsWith(complete("AAAAAA=="), 400, "BadDigest");
  await gone(Key);
  await complete(valueOf("CRC32", body));
});
