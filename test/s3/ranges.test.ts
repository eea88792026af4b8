import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { PutObjectCommand } from "@aws-sdk/client-s3";
import { pattern, startTestServer } from "./server.ts";
import type { TestServer } from "./server.ts";

const Bucket = "ranges";
const small = pattern(1_000);
const large = pattern(5_000_000);
let server: TestServer;
let etag = "";
before(async () => {
  server = await startTestServer();
  await server.bucket(Bucket);
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "small", Body: small }));
  etag = (await server.s3.send(new PutObjectCommand({ Bucket, Key: "large", Body: large }))).ETag!;
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "empty", Body: "" }));
});
after(() => server.close());

const get = (key: string, range: string, more: Record<string, string> = {}) =>
  server.raw({ method: "GET", path: `/${Bucket}/${key}`, headers: { range, ...more } });

for (const [key, body] of [
  ["small", small],
  ["large", large],
] as const) {
  const size = body.length;
  for (const [range, first, last] of [
    ["bytes=0-0", 0, 0],
    ["bytes=10-19", 10, 19],
    ["bytes=990-", 990, size - 1],
    ["bytes=-7", size - 7, size - 1],
    [`bytes=-${size + 1}`, 0, size - 1],
    [`bytes=5-${size + 100}`, 5, size - 1],
    [`bytes=${size - 1}-${size - 1}`, size - 1, size - 1],
  ] as const) {
    void test(`${key}: ${range} is 206`, async () => {
      const answer = await get(key, range);
      assert.equal(answer.status, 206);
      assert.equal(answer.headers["content-range"], `bytes ${first}-${last}/${size}`);
      assert.equal(answer.headers["content-length"], String(last - first + 1));
      assert.ok(answer.body.equals(body.subarray(first, last + 1)));
    });
  }
}

void test("a range beyond the end is 416 and tells the size", async () => {
  for (const range of ["bytes=1000-", "bytes=5000-6000", "bytes=-0"]) {
    const answer = await get("small", range);
    assert.equal(answer.status, 416, range);
    assert.equal(answer.headers["content-range"], "bytes */1000");
    assert.match(answer.text, /<Code>InvalidRange<\/Code>/);
    assert.match(answer.text, /<ActualObjectSize>1000<\/ActualObjectSize>/);
  }
});

void test("an empty object satisfies no range", async () => {
  assert.equal((await get("empty", "bytes=0-")).status, 416);
});

void test("what is no single byte range is ignored", async () => {
  for (const range of ["bytes=5-2", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "bytes="]) {
    const answer = await get("small", range);
    assert.deepEqual([answer.status, answer.body.length], [200, 1_000], range);
  }
});

void test("HEAD answers a range with its length", async () => {
  const answer = await server.raw({ method: "HEAD", path: `/${Bucket}/large`, headers: { range: "bytes=1-10" } });
  assert.deepEqual([answer.status, answer.headers["content-length"]], [206, "10"]);
});

void test("If-Range: the range of the version meant, the whole of any other", async () => {
  assert.equal((await get("large", "bytes=0-9", { "if-range": etag })).status, 206);
  const other = await get("large", "bytes=0-9", { "if-range": '"00000000000000000000000000000000"' });
  assert.deepEqual([other.status, other.body.length], [200, large.length]);
});

void test("a range across chunks of a large object is exact", async () => {
  const edge = 4 * 1024 * 1024;
  const answer = await get("large", `bytes=${edge - 3}-${edge + 2}`);
  assert.ok(answer.body.equals(large.subarray(edge - 3, edge + 3)));
});
