import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand } from "@aws-sdk/client-s3";
import { failsWith, startTestServer } from "./server.ts";
import type { TestServer } from "./server.ts";

const Bucket = "keys";
let server: TestServer;
before(async () => {
  server = await startTestServer();
  await server.bucket(Bucket);
});
after(() => server.close());

/** Encodes every byte, so that nothing on the way can take the path for something else. */
const encoded = (key: string): string =>
  [...Buffer.from(key)].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");

const odd = [
  "a",
  "a/",
  "a/b",
  "a//b",
  "/",
  "//",
  "/leading",
  ".",
  "..",
  "../up",
  "a/../b",
  "a/./b",
  "x%2Fy",
  "100%",
  "a b",
  "a+b",
  "a&b=c?d#e",
  "q?versionId=1",
  "träge/ü",
  "日本語",
  "👩‍👩‍👧‍👦",
  "e\u0301 is not é",
  "<&>\"'",
  "\u0001\u001f",
  "line\nfeed\r\ttab",
  "\u007f\u0080\u0085",
  "nul\0byte",
  "\ufffe\uffff",
  "x".repeat(1_024),
  "é".repeat(512),
];

const named = (key: string): string => JSON.stringify(key.length > 40 ? `${key.slice(0, 10)}…(${key.length})` : key);

for (const key of odd) {
  void test(`${named(key)} is a key like any other`, async () => {
    const body = Buffer.from(`body of ${key}`);
    const path = `/${Bucket}/${encoded(key)}`;
    const put = await server.raw({ method: "PUT", path, body });
    assert.equal(put.status, 200, put.text);
    const got = await server.raw({ method: "GET", path });
    assert.ok(got.body.equals(body));
    const listed = await server.raw({
      method: "GET",
      path: `/${Bucket}?list-type=2&encoding-type=url&prefix=${encodeURIComponent(key)}`,
    });
    const keys = [...listed.text.matchAll(/<Key>([^<]*)<\/Key>/g)].map((match) => decodeURIComponent(match[1]!));
    assert.ok(keys.includes(key), listed.text);
  });
}

void test("all of them are there at once, in byte order", async () => {
  const listed = await server.raw({ method: "GET", path: `/${Bucket}?list-type=2&encoding-type=url` });
  const keys = [...listed.text.matchAll(/<Key>([^<]*)<\/Key>/g)].map((match) => decodeURIComponent(match[1]!));
  assert.deepEqual(
    keys,
    [...odd].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
  );
});

void test("the SDK puts, gets and lists keys it has to encode", async () => {
  const Bucket = "sdk-keys";
  await server.bucket(Bucket);
  const keys = ["sp ace", "plus+", "ü", "a//b", "q?x=1&y", "100%", "tab\tkey", "\u0001", "<&>"];
  for (const Key of keys) await server.s3.send(new PutObjectCommand({ Bucket, Key, Body: Key }));
  for (const Key of keys) {
    const got = await server.s3.send(new GetObjectCommand({ Bucket, Key }));
    assert.equal(await got.Body?.transformToString(), Key);
  }
  const { Contents } = await server.s3.send(new ListObjectsV2Command({ Bucket, EncodingType: "url" }));
  assert.deepEqual(new Set(Contents?.map((entry) => decodeURIComponent(entry.Key!))), new Set(keys));
});

void test("1,025 bytes are KeyTooLongError", async () => {
  await failsWith(
    server.s3.send(new PutObjectCommand({ Bucket, Key: "x".repeat(1_025), Body: "" })),
    400,
    "KeyTooLongError",
  );
});

void test("a path that is not UTF-8 or not encoded right is InvalidURI", async () => {
  for (const path of [`/${Bucket}/%ff`, `/${Bucket}/%zz`, `/${Bucket}/%2`]) {
    const answer = await server.raw({ method: "GET", path });
    assert.deepEqual([answer.status, /<Code>(\w+)</.exec(answer.text)?.[1]], [400, "InvalidURI"], path);
  }
});

void test("an error names its resource without breaking its XML", async () => {
  const answer = await server.raw({ method: "GET", path: `/${Bucket}/${encoded("<&>\u0001")}x` });
  assert.equal(answer.status, 404);
  assert.match(answer.text, /<Code>NoSuchKey<\/Code>/);
});
