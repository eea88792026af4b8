/** What browsers of other origins ask and are told: preflights, and the headers of answers to what they sent. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { DeleteBucketCorsCommand, PutBucketCorsCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import type { CORSRule } from "@aws-sdk/client-s3";
import { sendRaw, startTestServer } from "./server.ts";
import type { RawAnswer, TestServer } from "./server.ts";

const Bucket = "shared";
let server: TestServer;
before(async () => {
  server = await startTestServer({ domains: ["s3.test"] });
  await server.bucket(Bucket);
  await server.bucket("private");
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "k", Body: "x" }));
});
after(() => server.close());

async function rules(...CORSRules: CORSRule[]): Promise<void> {
  await server.s3.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules } }));
}

type Asked = { readonly origin?: string; readonly method?: string; readonly headers?: string };

function preflight({ origin, method, headers }: Asked, path = `/${Bucket}/k`, host?: string): Promise<RawAnswer> {
  return sendRaw(server.port, {
    method: "OPTIONS",
    path,
    headers: {
      ...(host !== undefined && { host }),
      ...(origin !== undefined && { origin }),
      ...(method !== undefined && { "access-control-request-method": method }),
      ...(headers !== undefined && { "access-control-request-headers": headers }),
    },
  });
}

const codeOf = ({ status, text }: RawAnswer): [number, string | undefined] => [
  status,
  /<Code>(\w+)<\/Code>/.exec(text)?.[1],
];

function allowed({ headers }: RawAnswer): Record<string, string> {
  const found = Object.entries(headers).filter(([name]) => name.startsWith("access-control-"));
  return Object.fromEntries(found.map(([name, value]) => [name.slice("access-control-".length), String(value)]));
}

const vary = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";
const origin = "https://a.example.com";

void test("a preflight needs no signature, and is told what the rule says", async () => {
  await rules({
    AllowedMethods: ["GET", "PUT"],
    AllowedOrigins: ["https://*.example.com"],
    AllowedHeaders: ["Content-Type", "x-amz-*"],
    ExposeHeaders: ["ETag", "x-amz-request-id"],
    MaxAgeSeconds: 600,
  });
  const answer = await preflight({ origin, method: "PUT", headers: "content-type, X-Amz-Date,x-amz-meta-a" });
  assert.equal(answer.status, 200);
  assert.equal(answer.text, "");
  assert.deepEqual(allowed(answer), {
    "allow-origin": origin,
    "allow-methods": "GET, PUT",
    "allow-headers": "content-type, x-amz-date, x-amz-meta-a",
    "expose-headers": "ETag, x-amz-request-id",
    "max-age": "600",
    "allow-credentials": "true",
  });
  assert.equal(answer.headers.vary, vary);
});

for (const [what, asked] of [
  ["another origin", { origin: "https://example.com", method: "GET" }],
  ["an origin that only ends like one", { origin: "http://a.example.com", method: "GET" }],
  ["the origin in other letters", { origin: "https://a.EXAMPLE.com", method: "GET" }],
  ["another method", { origin, method: "DELETE" }],
  ["a header more", { origin, method: "GET", headers: "content-type, range" }],
  ["201 headers", { origin, method: "GET", headers: Array.from({ length: 201 }, (_, n) => `x-amz-${n}`).join() }],
] satisfies [string, Asked][])
  void test(`a preflight of ${what} is AccessForbidden and allows nothing`, async () => {
    await rules({
      AllowedMethods: ["GET"],
      AllowedOrigins: ["https://*.example.com"],
      AllowedHeaders: ["content-type", "x-amz-*"],
    });
    assert.equal((await preflight({ origin, method: "GET", headers: "x-amz-1" })).status, 200);
    const answer = await preflight(asked);
    assert.deepEqual(codeOf(answer), [403, "AccessForbidden"]);
    assert.deepEqual(allowed(answer), {});
    assert.match(answer.text, /<Method>\w+<\/Method><ResourceType>OBJECT<\/ResourceType>/);
  });

void test("a preflight without an origin or a method is BadRequest", async () => {
  await rules({ AllowedMethods: ["GET"], AllowedOrigins: ["*"] });
  assert.deepEqual(codeOf(await preflight({ method: "GET" })), [400, "BadRequest"]);
  assert.deepEqual(codeOf(await preflight({ origin })), [400, "BadRequest"]);
  assert.deepEqual(codeOf(await preflight({ origin, method: "TRACE" })), [400, "BadRequest"]);
});

void test("a preflight of a bucket without CORS, of none, and of the service is AccessForbidden", async () => {
  for (const path of ["/private/k", "/private", "/no-such-bucket/k", "/"])
    assert.deepEqual(codeOf(await preflight({ origin, method: "GET" }, path)), [403, "AccessForbidden"], path);
});

void test("a preflight may name the bucket by its host, and any sub-resource", async () => {
  await rules({ AllowedMethods: ["POST"], AllowedOrigins: ["*"] });
  assert.equal((await preflight({ origin, method: "POST" }, "/k", `${Bucket}.s3.test`)).status, 200);
  assert.equal((await preflight({ origin, method: "POST" }, `/${Bucket}/k?uploads`)).status, 200);
  assert.equal((await preflight({ origin, method: "POST" }, `/${Bucket}?cors`)).status, 200);
  assert.equal((await preflight({ origin, method: "POST" }, "/k", "private.s3.test")).status, 403);
});

void test("a preflight of what is no address is an error and nothing worse", async () => {
  assert.equal((await preflight({ origin, method: "GET" }, `/${Bucket}/%ff`)).status, 400);
  assert.equal((await preflight({ origin, method: "GET" }, "//k")).status, 400);
});

void test("any origin is answered by *, and never with credentials", async () => {
  await rules({ AllowedMethods: ["GET"], AllowedOrigins: ["*"] });
  const answer = await preflight({ origin, method: "GET" });
  assert.deepEqual(allowed(answer), { "allow-origin": "*", "allow-methods": "GET" });
});

void test("the first rule that fits counts, be it after one that does not", async () => {
  await rules(
    { AllowedMethods: ["PUT"], AllowedOrigins: ["*"], MaxAgeSeconds: 1 },
    { AllowedMethods: ["GET"], AllowedOrigins: ["https://other"], MaxAgeSeconds: 2 },
    { AllowedMethods: ["GET"], AllowedOrigins: ["https://*"], MaxAgeSeconds: 3 },
    { AllowedMethods: ["GET"], AllowedOrigins: ["*"], MaxAgeSeconds: 4 },
  );
  assert.equal(allowed(await preflight({ origin, method: "GET" }))["max-age"], "3");
  assert.equal(allowed(await preflight({ origin: "null", method: "GET" }))["max-age"], "4");
});

void test("a wildcard does not let what stands around it overlap", async () => {
  await rules({ AllowedMethods: ["GET"], AllowedOrigins: ["https://aba*aba"] });
  assert.equal((await preflight({ origin: "https://ababa", method: "GET" })).status, 403);
  assert.equal((await preflight({ origin: "https://abaaba", method: "GET" })).status, 200);
});

void test("answers to a page of an allowed origin bear the headers, and nothing of preflights", async () => {
  await rules({ AllowedMethods: ["GET", "HEAD"], AllowedOrigins: [origin], ExposeHeaders: ["ETag"], MaxAgeSeconds: 9 });
  for (const method of ["GET", "HEAD"]) {
    const answer = await server.raw({ method, path: `/${Bucket}/k`, headers: { origin } });
    assert.equal(answer.status, 200);
    assert.deepEqual(allowed(answer), {
      "allow-origin": origin,
      "allow-methods": "GET, HEAD",
      "expose-headers": "ETag",
      "max-age": "9",
      "allow-credentials": "true",
    });
    assert.equal(answer.headers.vary, vary);
  }
});

void test("errors bear them too: a page is to see what was wrong", async () => {
  await rules({ AllowedMethods: ["GET"], AllowedOrigins: ["*"] });
  const missing = await server.raw({ method: "GET", path: `/${Bucket}/missing`, headers: { origin } });
  assert.deepEqual([missing.status, allowed(missing)["allow-origin"]], [404, "*"]);
  const unsigned = await sendRaw(server.port, { method: "GET", path: `/${Bucket}/k`, headers: { origin } });
  assert.deepEqual([unsigned.status, allowed(unsigned)["allow-origin"]], [403, "*"]);
});

void test("a request without an origin, of another origin, or by another method bears none", async () => {
  await rules({ AllowedMethods: ["GET"], AllowedOrigins: [origin] });
  const plain = await server.raw({ method: "GET", path: `/${Bucket}/k` });
  assert.deepEqual([allowed(plain), plain.headers.vary], [{}, undefined]);
  const other = await server.raw({ method: "GET", path: `/${Bucket}/k`, headers: { origin: "https://other" } });
  assert.deepEqual([other.status, allowed(other), other.headers.vary], [200, {}, vary]);
  const put = await server.raw({ method: "PUT", path: `/${Bucket}/k`, headers: { origin }, body: Buffer.from("x") });
  assert.deepEqual([put.status, allowed(put)], [200, {}]);
});

void test("a request may name the method that it stands for", async () => {
  await rules({ AllowedMethods: ["GET"], AllowedOrigins: [origin] });
  const headers = { origin, "access-control-request-method": "GET" };
  const answer = await server.raw({ method: "PUT", path: `/${Bucket}/k`, headers, body: Buffer.from("x") });
  assert.deepEqual([answer.status, allowed(answer)["allow-origin"]], [200, origin]);
});

void test("a request with an origin to a bucket without CORS, or to none, is answered as ever", async () => {
  const empty = await server.raw({ method: "GET", path: "/private?list-type=2", headers: { origin } });
  assert.deepEqual([empty.status, allowed(empty), empty.headers.vary], [200, {}, undefined]);
  const none = await server.raw({ method: "GET", path: "/no-such-bucket/k", headers: { origin } });
  assert.deepEqual([none.status, allowed(none)], [404, {}]);
});

void test("when the rules are deleted nothing is allowed any more", async () => {
  await rules({ AllowedMethods: ["GET"], AllowedOrigins: ["*"] });
  assert.equal((await preflight({ origin, method: "GET" })).status, 200);
  await server.s3.send(new DeleteBucketCorsCommand({ Bucket }));
  assert.equal((await preflight({ origin, method: "GET" })).status, 403);
  const answer = await server.raw({ method: "GET", path: `/${Bucket}/k`, headers: { origin } });
  assert.deepEqual(allowed(answer), {});
});
