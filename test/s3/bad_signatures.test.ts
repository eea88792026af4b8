/** Uploads whose signature is wrong in one way each: S3's code, nothing stored, and the server goes on. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, afterEach, before, test } from "node:test";
import { presignUrl, signRequest } from "../../src/gateway/sigv4.ts";
import { accessKey, secretKey, sendRaw, startTestServer } from "./server.ts";
import type { RawAnswer, TestServer } from "./server.ts";

const Bucket = "signatures";
const path = `/${Bucket}/new`;
const body = Buffer.from("body");
const bodyHash = createHash("sha256").update(body).digest("hex");
let server: TestServer;
before(async () => {
  server = await startTestServer({ region: "eu-central-1" });
  await server.bucket(Bucket);
});
after(() => server.close());

/** After every test: nothing is stored, and right requests are answered. */
afterEach(async () => {
  const { objects } = await server.objects.list({ bucket: Bucket, limit: 10 });
  assert.deepEqual(objects, []);
  assert.equal((await sendRaw(server.port, { method: "HEAD", path, headers: signed("HEAD") })).status, 404);
});

const signer = () => ({ accessKey, secretKey, region: "eu-central-1", nowMs: Date.now() });
type Signer = Partial<ReturnType<typeof signer>>;
type Headers = Readonly<Record<string, string>>;

function signed(method = "PUT", other: Signer = {}, more: Headers = {}): Record<string, string> {
  const headers = { host: `127.0.0.1:${server.port}`, ...more };
  const payloadHash = method === "PUT" ? bodyHash : "UNSIGNED-PAYLOAD";
  return signRequest({ ...signer(), ...other, method, rawPath: path, headers, payloadHash }).headers;
}

function answered(answer: RawAnswer, code: string): void {
  const status = code === "RequestTimeTooSkewed" || forbidden.has(code) ? 403 : 400;
  assert.deepEqual([answer.status, /<Code>(\w+)</.exec(answer.text)?.[1]], [status, code], answer.text);
}
const forbidden = new Set(["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"]);

const changed = (name: string, from: string | RegExp, to: string) => (headers: Record<string, string>) => ({
  ...headers,
  [name]: headers[name]!.replace(from, to),
});
const inAuthorization = (from: string | RegExp, to: string) => changed("authorization", from, to);
const without = (name: string) => (headers: Record<string, string>) => {
  const { [name]: _, ...rest } = headers;
  return rest;
};
const withHeader = (name: string, value: string) => (headers: Record<string, string>) => ({
  ...headers,
  [name]: value,
});
const malformed = "AuthorizationHeaderMalformed";

for (const [what, change, code] of [
  [
    "a signature of other digits",
    inAuthorization(/Signature=.{64}/, `Signature=${"0".repeat(64)}`),
    "SignatureDoesNotMatch",
  ],
  ["a short signature", inAuthorization(/.$/, ""), malformed],
  ["a signature in capitals", inAuthorization(/Signature=.{64}/, `Signature=${"A".repeat(64)}`), malformed],
  ["no signature", inAuthorization(/, Signature=.*/, ""), malformed],
  ["two signatures", inAuthorization(/, Signature=.*/, "$&$&"), malformed],
  ["no credential", inAuthorization(/Credential=[^,]*, /, ""), malformed],
  ["a credential without a scope", inAuthorization(/Credential=[^,]*/, "Credential=KEY"), malformed],
  ["another region", inAuthorization("eu-central-1", "eu-central-2"), malformed],
  ["another service", inAuthorization("/s3/", "/sts/"), malformed],
  ["another terminator", inAuthorization("aws4_request", "aws5_request"), malformed],
  ["another day", inAuthorization(/\/\d{8}\//, "/20200101/"), malformed],
  ["a day that is none", inAuthorization(/\/\d{8}\//, "/today/"), malformed],
  ["no signed headers", inAuthorization(/SignedHeaders=[^,]*, /, ""), malformed],
  ["empty signed headers", inAuthorization(/SignedHeaders=[^,]*/, "SignedHeaders="), malformed],
  ["a hole in the signed headers", inAuthorization("host;", "host;;"), malformed],
  ["more signed headers than there can be", inAuthorization("host;", `${"a;".repeat(200)}host;`), malformed],
  ["host not signed", inAuthorization("host;", ""), "AccessDenied"],
  ["x-amz-date not signed", inAuthorization(";x-amz-date", ""), "AccessDenied"],
  ["x-amz-content-sha256 not signed", inAuthorization(";x-amz-content-sha256", ""), "AccessDenied"],
  ["a signed header that is not sent", inAuthorization("host;", "expires;host;"), "SignatureDoesNotMatch"],
  ["an access key that cannot be one", inAuthorization(accessKey, "x".repeat(5_000)), "InvalidAccessKeyId"],
  ["only the scheme", withHeader("authorization", "AWS4-HMAC-SHA256"), "InvalidRequest"],
  ["commas only", withHeader("authorization", "AWS4-HMAC-SHA256 ,,,"), malformed],
  ["another scheme", withHeader("authorization", "Bearer abc"), "InvalidArgument"],
  ["asymmetric signatures", inAuthorization("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), "InvalidRequest"],
  ["no date", without("x-amz-date"), "AccessDenied"],
  ["a date that is none", withHeader("x-amz-date", "20260230T000000Z"), "AccessDenied"],
  ["another second", changed("x-amz-date", /\d\dZ$/, "77Z"), "AccessDenied"],
  ["no word for the body", without("x-amz-content-sha256"), "InvalidRequest"],
  ["a word that is none", withHeader("x-amz-content-sha256", "nonsense"), "InvalidArgument"],
  ["another body's hash", withHeader("x-amz-content-sha256", "0".repeat(64)), "SignatureDoesNotMatch"],
  ["a session token that is not signed", withHeader("x-amz-security-token", "token"), "AccessDenied"],
  ["an x-amz header added", withHeader("x-amz-meta-a", "b"), "AccessDenied"],
  ["another host", withHeader("host", "other.test"), "SignatureDoesNotMatch"],
] as const) {
  test(`${what}: ${code}`, async () => {
    const headers = change(signed());
    answered(await sendRaw(server.port, { method: "PUT", path, headers, body }), code);
  });
}

test("another body than the signed one is XAmzContentSHA256Mismatch, also one larger than is kept in a row", async () => {
  answered(await sendRaw(server.port, { method: "PUT", path, headers: signed(), body: Buffer.from("bodY") }), mismatch);
  answered(
    await sendRaw(server.port, { method: "PUT", path, headers: signed(), body: Buffer.alloc(3_000_000) }),
    mismatch,
  );
});
const mismatch = "XAmzContentSHA256Mismatch";

test("times beyond a quarter of an hour either way are RequestTimeTooSkewed", async () => {
  for (const minutes of [-16, 16, -60 * 24 * 365]) {
    const headers = signed("PUT", { nowMs: Date.now() + minutes * 60_000 });
    answered(await sendRaw(server.port, { method: "PUT", path, headers, body }), "RequestTimeTooSkewed");
  }
});

type Spoil = (query: URLSearchParams) => void;
const set =
  (name: string, value: string): Spoil =>
  (query) =>
    query.set(`X-Amz-${name}`, value);
const queryError = "AuthorizationQueryParametersError";

/** A presigned URL, spoiled: the signature is over what was there before. */
function presigned(spoil: Spoil, nowMs = Date.now(), expiresSeconds = 60): string {
  const options = { ...signer(), method: "PUT", origin: server.origin, rawPath: path, expiresSeconds, nowMs };
  const query = new URL(presignUrl(options)).searchParams;
  spoil(query);
  return `${path}?${query.toString()}`;
}

const parameters = ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"] as const;
const wrong: [what: string, spoil: Spoil, code: string][] = [
  ["another algorithm", set("Algorithm", "AWS4-HMAC-SHA1"), queryError],
  ["a credential without a scope", set("Credential", accessKey), queryError],
  ["a date that is none", set("Date", "yesterday"), queryError],
  ["signed headers without host", set("SignedHeaders", "range"), "AccessDenied"],
  ["another signature", set("Signature", "0".repeat(64)), "SignatureDoesNotMatch"],
  ["a signature that is none", set("Signature", "x"), queryError],
  ["a parameter added", (query) => query.append("x-amz-acl", "private"), "SignatureDoesNotMatch"],
  ["a longer life", set("Expires", "61"), "SignatureDoesNotMatch"],
  ["a session token", set("Security-Token", "t"), "InvalidToken"],
  ["a life of 0", set("Expires", "0"), "AccessDenied"],
  ["a life of -1", set("Expires", "-1"), "AccessDenied"],
  ["a life of 604801", set("Expires", "604801"), "AccessDenied"],
  ...["NaN", "1e3", " 60", "60.5", "0x10", "9".repeat(400)].map((expires): [string, Spoil, string] => [
    `a life of ${expires.slice(0, 9)}`,
    set("Expires", expires),
    queryError,
  ]),
  ...parameters.flatMap((name): [string, Spoil, string][] => [
    [`no X-Amz-${name}`, (query) => query.delete(`X-Amz-${name}`), queryError],
    [`an empty X-Amz-${name}`, set(name, ""), queryError],
    [`two X-Amz-${name}`, (query) => query.append(`X-Amz-${name}`, query.get(`X-Amz-${name}`)!), queryError],
  ]),
];
for (const [what, spoil, code] of wrong) {
  test(`presigned, ${what}: ${code}`, async () => {
    answered(await sendRaw(server.port, { method: "PUT", path: presigned(spoil), body }), code);
  });
}

test("presigned: expired, not yet valid, for another method, beside an Authorization header", async () => {
  const asIs: Spoil = () => undefined;
  const send = (url: string, headers: Headers = {}) =>
    sendRaw(server.port, { method: "PUT", path: url, body, headers });
  answered(await send(presigned(asIs, Date.now() - 61_000)), "AccessDenied");
  answered(await send(presigned(asIs, Date.now() - 604_801_000, 604_800)), "AccessDenied");
  answered(await send(presigned(asIs, Date.now(), 0)), "AccessDenied");
  answered(await send(presigned(asIs, Date.now() + 60_000, 0)), "AccessDenied");
  answered(await send(presigned(asIs, Date.now() + 16 * 60_000)), "AccessDenied");
  answered(await sendRaw(server.port, { method: "DELETE", path: presigned(asIs) }), "SignatureDoesNotMatch");
  answered(await send(presigned(asIs), { authorization: signed()["authorization"]! }), "InvalidArgument");
  answered(await send(presigned(asIs), { "x-amz-acl": "private" }), "AccessDenied");
});
