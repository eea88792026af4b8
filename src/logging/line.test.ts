import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseLine } from "./line.fixture.ts";
import { formatLine, logTime, ownAccount, type AccessFacts } from "./line.ts";

const owner = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be";

const of = { owner, bucket: "b", ownAccount: "0".repeat(64) };

const facts: AccessFacts = {
  timeMs: Date.UTC(2019, 1, 6, 0, 0, 38, 700),
  remoteAddress: "192.0.2.3",
  requester: "arn:aws:iam::123456789012:user/ann",
  requestId: "3E57427F3EXAMPLE",
  operation: "REST.GET.OBJECT",
  key: Buffer.from("a b/ü.jpg"),
  request: { method: "GET", target: "/photos/a%20b/%C3%BC.jpg?x=1", httpVersion: "1.1" },
  status: 200,
  code: undefined,
  bytesSent: 113,
  objectBytes: 113,
  totalMs: 6.6,
  turnAroundMs: 4.2,
  referer: undefined,
  userAgent: "S3Console/0.4",
  versionId: undefined,
  hostId: "s9lzHYrFp76ZVxRcpX9+5cjAnEH2ROuNkd2BHfIa6UkFVdtjf5mKR3/eTPFvsiP/XV/VLi31234=",
  signatureVersion: "SigV4",
  authType: "AuthHeader",
  cipher: "TLS_AES_128_GCM_SHA256",
  tlsVersion: "TLSv1.3",
  host: "s3.example.org",
  isByAcl: true,
};

void test("a line has AWS's 27 fields in their order", () => {
  assert.equal(
    formatLine({ ...of, bucket: "photos" }, facts),
    `${owner} photos [06/Feb/2019:00:00:38 +0000] 192.0.2.3 arn:aws:iam::123456789012:user/ann 3E57427F3EXAMPLE ` +
      'REST.GET.OBJECT a%20b/%C3%BC.jpg "GET /photos/a%20b/%C3%BC.jpg?x=1 HTTP/1.1" 200 - 113 113 7 4 "-" "S3Console/0.4" - ' +
      `${facts.hostId} SigV4 TLS_AES_128_GCM_SHA256 AuthHeader s3.example.org TLSv1.3 - Yes -\n`,
  );
});

void test("what is not known is a dash, and so are no bytes", () => {
  const nothing = Object.fromEntries(Object.keys(facts).map((name) => [name, undefined])) as unknown as AccessFacts;
  const { timeMs, requestId, operation, status } = facts;
  const line = formatLine(of, { ...nothing, timeMs, requestId, operation, status, bytesSent: 0 });
  const { request, key, code, bytesSent, objectBytes, aclRequired, requester } = parseLine(line);
  assert.deepEqual(
    { request, key, code, bytesSent, objectBytes, aclRequired, requester },
    { request: "-", key: "-", code: "-", bytesSent: "-", objectBytes: "-", aclRequired: "-", requester: "-" },
  );
});

void test("signatures, tokens and clients' keys do not stand in a line", () => {
  const secret = "0123456789abcdef";
  const names = ["X-Amz-Signature", "x-amz-security-token", "Signature", "X%2DAmz-Signature"];
  for (const name of [...names, "x-amz-server-side-encryption-customer-key"]) {
    const target = `/b/k?X-Amz-Date=20190206T000038Z&${name}=${secret}&partNumber=1`;
    const line = formatLine(of, { ...facts, request: { ...facts.request!, target } });
    const parsed = parseLine(line);
    assert.equal(parsed.request, `GET /b/k?X-Amz-Date=20190206T000038Z&${name}=REDACTED&partNumber=1 HTTP/1.1`);
    assert.ok(!line.includes(secret));
    // A page that was opened by a presigned URL is where its pictures are asked for from.
    const referer = `http://h.test${target}`;
    const fromPage = formatLine(of, { ...facts, referer });
    assert.equal(parseLine(fromPage).referer, referer.replace(secret, "REDACTED"));
  }
});

void test("the store's own account is named by its canonical id", () => {
  assert.equal(parseLine(formatLine(of, { ...facts, requester: ownAccount })).requester, of.ownAccount);
});

void test("the time is that of the request, in seconds", () => {
  assert.equal(logTime(Date.UTC(2026, 11, 31, 23, 59, 59, 999)), "31/Dec/2026:23:59:59 +0000");
  assert.equal(logTime(Date.UTC(2027, 0, 1)), "01/Jan/2027:00:00:00 +0000");
});

const anyText = fc.oneof(fc.string(), fc.string({ unit: "binary" }), fc.constantFrom('"', "\n", "\\", "-", " ", "]"));
const maybeText = fc.option(anyText, { nil: undefined });

void test("whatever clients send, a line is ASCII and taken apart into its 27 fields", () => {
  const arbitrary = fc.record({
    key: fc.uint8Array({ maxLength: 40 }),
    target: anyText,
    referer: maybeText,
    userAgent: maybeText,
    versionId: maybeText,
    host: maybeText,
    requester: maybeText,
  });
  fc.assert(
    fc.property(arbitrary, ({ key, target, ...texts }) => {
      const request = { method: "GET", target: `/${target}`, httpVersion: "1.1" };
      const line = formatLine(of, { ...facts, ...texts, key, request });
      assert.match(line, /^[\x20-\x7e]+\n$/);
      const parsed = parseLine(line.slice(0, -1));
      assert.equal(parsed.status, "200");
      assert.equal(parsed.sourceRegion, "-");
      assert.equal(parsed.aclRequired, "Yes");
    }),
    { seed: 7 },
  );
});

void test("a key is read back from its field", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", minLength: 1 }), (key) => {
      const parsed = parseLine(formatLine(of, { ...facts, key: Buffer.from(key) }));
      assert.equal(decodeURIComponent(parsed.key), key);
    }),
    { seed: 7 },
  );
});

void test("quoted text without foreign characters is read back as it was", () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[\x21\x23-\x5b\x5d-\x7e][\x20\x21\x23-\x5b\x5d-\x7e]*$/), (text) => {
      const parsed = parseLine(formatLine(of, { ...facts, userAgent: text, referer: text }));
      assert.deepEqual([parsed.userAgent, parsed.referer], [text, text]);
    }),
    { seed: 7 },
  );
});
