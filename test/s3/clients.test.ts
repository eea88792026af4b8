/** Other ways in: presigned URLs, virtual-host style, the minio client. */
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { after, before, test } from "node:test";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { Client } from "minio";
import { systemClock } from "../../src/core/clock.ts";
import { presignUrl } from "../../src/gateway/sigv4.ts";
import { accessKey, pattern, secretKey, sendRaw, startTestServer } from "./server.ts";
import type { TestServer } from "./server.ts";

const Bucket = "clients";
let server: TestServer;
let now = () => Date.now();
before(async () => {
  const clock = { ...systemClock, nowMs: () => now() };
  server = await startTestServer({ domains: ["s3.example.test"], clock });
  await server.bucket(Bucket);
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "k", Body: "body", ContentType: "text/plain" }));
});
after(() => server.close());

void test("a presigned GET works without headers, with its overrides", async () => {
  const command = new GetObjectCommand({ Bucket, Key: "k", ResponseContentType: "text/other" });
  const answer = await fetch(await getSignedUrl(server.s3, command, { expiresIn: 60 }));
  assert.deepEqual([answer.status, await answer.text()], [200, "body"]);
  assert.equal(answer.headers.get("content-type"), "text/other");
});

void test("a presigned PUT stores the body and the metadata of its URL", async () => {
  const s3 = server.client({ requestChecksumCalculation: "WHEN_REQUIRED" });
  const command = new PutObjectCommand({ Bucket, Key: "presigned", Metadata: { from: "url" } });
  const answer = await fetch(await getSignedUrl(s3, command, { expiresIn: 60 }), { method: "PUT", body: "uploaded" });
  assert.equal(answer.status, 200, await answer.text());
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key: "presigned" }));
  assert.equal(await got.Body?.transformToString(), "uploaded");
  assert.deepEqual(got.Metadata, { from: "url" });
});

void test("a presigned URL that asks for what we lack is NotImplemented", async () => {
  const s3 = server.client({ requestChecksumCalculation: "WHEN_REQUIRED" });
  const command = new DeleteObjectCommand({ Bucket, Key: "presigned-lack", MFA: "serial 123456" });
  const answer = await fetch(await getSignedUrl(s3, command, { expiresIn: 60 }), { method: "DELETE" });
  assert.equal(answer.status, 501);
});

void test("a presigned URL may append", async () => {
  const s3 = server.client({ requestChecksumCalculation: "WHEN_REQUIRED" });
  for (const [offset, body] of [
    [0, "one"],
    [3, "two"],
  ] as const) {
    const command = new PutObjectCommand({ Bucket, Key: "presigned-log", WriteOffsetBytes: offset });
    const answer = await fetch(await getSignedUrl(s3, command, { expiresIn: 60 }), { method: "PUT", body });
    assert.equal(answer.headers.get("x-amz-object-size"), String(offset + 3), await answer.text());
  }
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key: "presigned-log" }));
  assert.equal(await got.Body?.transformToString(), "onetwo");
});

void test("a presigned URL is for one method and one path", async () => {
  const url = await getSignedUrl(server.s3, new GetObjectCommand({ Bucket, Key: "k" }), { expiresIn: 60 });
  assert.equal((await fetch(url, { method: "DELETE" })).status, 403);
  assert.equal((await fetch(url.replace("/k?", "/other?"))).status, 403);
  assert.equal((await fetch(url.replace(/Signature=.{64}/, `Signature=${"0".repeat(64)}`))).status, 403);
});

void test("a presigned URL expires", async () => {
  const url = await getSignedUrl(server.s3, new GetObjectCommand({ Bucket, Key: "k" }), { expiresIn: 60 });
  now = () => Date.now() + 61_000;
  try {
    const answer = await fetch(url);
    assert.equal(answer.status, 403);
    assert.match(await answer.text(), /<Code>AccessDenied<.*expired/);
  } finally {
    now = () => Date.now();
  }
});

void test("a presigned URL lives a week at most", async () => {
  const sign = (expiresSeconds: number): string =>
    presignUrl({
      accessKey,
      secretKey,
      region: "us-east-1",
      method: "GET",
      origin: server.origin,
      rawPath: `/${Bucket}/k`,
      expiresSeconds,
      nowMs: Date.now(),
    });
  assert.equal((await fetch(sign(604_800))).status, 200);
  assert.equal((await fetch(sign(604_801))).status, 403);
  const over = await fetch(sign(0));
  assert.equal(over.status, 403);
  assert.match(await over.text(), /<Code>AccessDenied<.*expired/);
});

void test("the bucket may stand in the host name", async () => {
  const url = new URL(
    presignUrl({
      accessKey,
      secretKey,
      region: "us-east-1",
      method: "GET",
      origin: `http://${Bucket}.s3.example.test:${server.port}`,
      rawPath: "/k",
      expiresSeconds: 60,
      nowMs: Date.now(),
    }),
  );
  const send = (host: string) =>
    sendRaw(server.port, { method: "GET", path: url.pathname + url.search, headers: { host } });
  const answer = await send(url.host);
  assert.deepEqual([answer.status, answer.text], [200, "body"]);
  assert.equal((await send(`other.s3.example.test:${server.port}`)).status, 403);
});

void test("a host that is only the domain is path style", async () => {
  const origin = `http://s3.example.test:${server.port}`;
  const url = new URL(
    presignUrl({
      accessKey,
      secretKey,
      region: "us-east-1",
      method: "GET",
      origin,
      rawPath: `/${Bucket}/k`,
      expiresSeconds: 60,
      nowMs: Date.now(),
    }),
  );
  const answer = await sendRaw(server.port, {
    method: "GET",
    path: url.pathname + url.search,
    headers: { host: url.host },
  });
  assert.equal(answer.text, "body");
});

void test("the minio client makes a round trip", async () => {
  const client = new Client({
    endPoint: "127.0.0.1",
    port: server.port,
    useSSL: false,
    accessKey,
    secretKey,
    region: "us-east-1",
    pathStyle: true,
  });
  await client.makeBucket("minio-bucket", "us-east-1");
  assert.equal(await client.bucketExists("minio-bucket"), true);
  assert.equal(await client.bucketExists("minio-missing"), false);
  const large = pattern(12 * 1024 * 1024);
  await client.putObject("minio-bucket", "dir/small", "text", 4, { "Content-Type": "text/plain", "X-Amz-Meta-A": "b" });
  await client.putObject("minio-bucket", "dir/large", Readable.from([large]), large.length, {});
  const stat = await client.statObject("minio-bucket", "dir/small");
  assert.deepEqual([stat.size, stat.metaData["a"]], [4, "b"]);
  const pieces: Buffer[] = [];
  for await (const piece of await client.getObject("minio-bucket", "dir/large")) pieces.push(piece as Buffer);
  assert.ok(Buffer.concat(pieces).equals(large));
  const names: (string | undefined)[] = [];
  for await (const item of client.listObjectsV2("minio-bucket", "", true)) names.push((item as { name?: string }).name);
  assert.deepEqual(names, ["dir/large", "dir/small"]);
  await client.removeObjects("minio-bucket", ["dir/large", "dir/small"]);
  await client.removeBucket("minio-bucket");
});

void test("the SDK's default client can head and list what another client stored", async () => {
  const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key: "k" }));
  assert.equal(head.ContentLength, 4);
  const { KeyCount } = await server.s3.send(new ListObjectsV2Command({ Bucket, Prefix: "k" }));
  assert.equal(KeyCount, 1);
});
