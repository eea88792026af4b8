import assert from "node:assert/strict";
import { test } from "node:test";
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import * as fc from "fast-check";
import { amzDate, canonicalQuery, parseAmzDate } from "./canonical.ts";
import { S3Error } from "./errors.ts";
import type { S3ErrorCode } from "./errors.ts";
import { presignUrl, signRequest, verifyRequest } from "./sigv4.ts";
import type { VerifyOptions } from "./sigv4.ts";

// The keys, the time and the signatures are those of AWS's published examples.
const accessKey = "AKIAIOSFODNN7EXAMPLE";
const secretKey = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const host = "examplebucket.s3.amazonaws.com";
const nowMs = Date.UTC(2013, 4, 24);
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const base = { accessKey, secretKey, region: "us-east-1", nowMs };

const server = (request: Partial<VerifyOptions>): VerifyOptions => ({
  method: "GET",
  rawPath: "/",
  rawQuery: "",
  headers: {},
  nowMs,
  region: "us-east-1",
  secretFor: (key) => (key === accessKey ? secretKey : undefined),
  ...request,
});

const authorization = (signedHeaders: string, signature: string): string =>
  `AWS4-HMAC-SHA256 Credential=${accessKey}/20130524/us-east-1/s3/aws4_request,SignedHeaders=${signedHeaders},Signature=${signature}`;

const examples: readonly { readonly name: string; readonly request: Partial<VerifyOptions> }[] = [
  {
    name: "GET with a range",
    request: {
      rawPath: "/test.txt",
      headers: {
        host,
        range: "bytes=0-9",
        "x-amz-content-sha256": emptyHash,
        "x-amz-date": "20130524T000000Z",
        authorization: authorization(
          "host;range;x-amz-content-sha256;x-amz-date",
          "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
      },
    },
  },
  {
    name: "PUT with an unencoded path and a Date header",
    request: {
      method: "PUT",
      rawPath: "/test$file.text",
      headers: {
        host,
        date: "Fri, 24 May 2013 00:00:00 GMT",
        "x-amz-date": "20130524T000000Z",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
        "x-amz-content-sha256": "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        authorization: authorization(
          "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
          "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
      },
    },
  },
  {
    name: "GET of a sub-resource",
    request: {
      rawQuery: "lifecycle",
      headers: {
        host,
        "x-amz-date": "20130524T000000Z",
        "x-amz-content-sha256": emptyHash,
        authorization: authorization(
          "host;x-amz-content-sha256;x-amz-date",
          "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
      },
    },
  },
  {
    name: "a listing",
    request: {
      rawQuery: "max-keys=2&prefix=J",
      headers: {
        host,
        "x-amz-date": "20130524T000000Z",
        "x-amz-content-sha256": emptyHash,
        authorization: authorization(
          "host;x-amz-content-sha256;x-amz-date",
          "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
      },
    },
  },
];

for (const { name, request } of examples)
  test(`AWS's example: ${name}`, async () => {
    const result = await verifyRequest(server(request));
    assert.equal(result.kind, "authenticated");
    await fails("SignatureDoesNotMatch", { ...request, method: "DELETE" });
  });

test("what signs a URL stands in it once, however it is encoded", async () => {
  for (const also of ["X-Amz-Dat%65=20990101T000000Z", "X-Amz-Expires%3D=1&%58-Amz-Expires=1"]) {
    const of = { ...base, method: "GET", origin: `https://${host}`, rawPath: "/k", expiresSeconds: 60 };
    const url = new URL(presignUrl({ ...of, rawQuery: also }));
    const request = { rawPath: "/k", rawQuery: url.search.slice(1), headers: { host } };
    await fails("AuthorizationQueryParametersError", request);
  }
});

test("a signature that is refused is explained without clients' keys", async () => {
  const key = Buffer.alloc(32, 7).toString("base64");
  const name = "x-amz-server-side-encryption-customer-key";
  const source = "x-amz-copy-source-server-side-encryption-customer-key";
  const sent = { host, [name]: key, [source]: key, [`${name}-md5`]: "md5-of-it" };
  const { headers } = signRequest({ ...base, method: "PUT", rawPath: "/k", headers: sent });
  const inQuery = `Key=${encodeURIComponent(key)}`;
  const hoisted = ["X-Amz-Server-Side-Encryption", "X-Amz-Copy-Source-Server-Side-Encryption"];
  const query = `a=b&${hoisted.map((start) => `${start}-Customer-${inQuery}`).join("&")}&x=y`;
  const request = { ...server({ method: "PUT", rawPath: "/other", rawQuery: query, headers }) };
  const error: unknown = await verifyRequest(request).then(
    () => assert.fail("it was accepted"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof S3Error && error.code === "SignatureDoesNotMatch");
  const bytes = Buffer.from(String(error.details["CanonicalRequestBytes"]).replaceAll(" ", ""), "hex").toString();
  for (const text of [String(error.details["CanonicalRequest"]), bytes]) {
    assert.ok(!text.includes(key) && !text.includes(encodeURIComponent(key)));
    assert.ok(text.includes(`${name}:REDACTED\n`) && text.includes(`${source}:REDACTED\n`));
    assert.ok(text.includes(`${name}-md5:md5-of-it\n`) && /-Key=REDACTED&X.*-Key=REDACTED&a=b&x=y\n/.test(text));
  }
});

test("AWS's example of a presigned URL", async () => {
  const url = new URL(
    presignUrl({ ...base, method: "GET", origin: `https://${host}`, rawPath: "/test.txt", expiresSeconds: 86_400 }),
  );
  const signature = url.searchParams.get("X-Amz-Signature");
  assert.equal(signature, "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
  const request = { rawPath: url.pathname, rawQuery: url.search.slice(1), headers: { host } };
  const result = await verifyRequest(server(request));
  assert.equal(result.kind, "authenticated");
  assert.equal(result.payload, "unsigned");
  await verifyRequest(server({ ...request, nowMs: nowMs + 86_400_000 }));
  await fails("AccessDenied", { ...request, nowMs: nowMs + 86_401_000 });
  await fails("AccessDenied", { ...request, nowMs: nowMs - 16 * 60_000 });
  await fails("SignatureDoesNotMatch", { ...request, rawPath: "/test.tx" });
  await fails("InvalidArgument", { ...request, headers: { host, authorization: "AWS4-HMAC-SHA256 x" } });
  await fails("AccessDenied", { ...request, headers: { host, "x-amz-acl": "public-read" } });
  const changed = (from: string, to: string) => ({ ...request, rawQuery: request.rawQuery.replace(from, to) });
  // AWS documents no code for a life that no URL can have: it is refused as one that is over.
  for (const expires of ["0", "-1", "604801"])
    await fails("AccessDenied", changed("Expires=86400", `Expires=${expires}`));
  for (const expires of ["x", "1e3", ""])
    await fails("AuthorizationQueryParametersError", changed("Expires=86400", `Expires=${expires}`));
  await fails("AuthorizationQueryParametersError", changed("us-east-1", "eu-west-1"));
  await fails("AuthorizationQueryParametersError", changed("%2Fs3%2F", "%2Fsqs%2F"));
  await fails("AuthorizationQueryParametersError", changed("HMAC", "HMA"));
  await fails("AuthorizationQueryParametersError", changed("=20130524T", "=20130525T"));
  await fails("AuthorizationQueryParametersError", changed("SignedHeaders=host", "SignedHeaders=host%0Ax"));
  await fails("AuthorizationQueryParametersError", changed("Credential=", "Credential=%ff"));
  await fails("AuthorizationQueryParametersError", { ...request, rawQuery: `${request.rawQuery}&X-Amz-Expires=1` });
  await fails("SignatureDoesNotMatch", { ...request, rawQuery: `${request.rawQuery}&X-Amz-Security-Token=t` });
});

async function fails(code: S3ErrorCode, request: Partial<VerifyOptions>): Promise<S3Error> {
  let caught: unknown;
  await assert.rejects(verifyRequest(server(request)), (error) => {
    caught = error;
    assert.ok(error instanceof S3Error, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  });
  return caught as S3Error;
}

const signed = (headers: Record<string, string> = {}, payloadHash?: string): Record<string, string> =>
  signRequest({
    ...base,
    method: "GET",
    rawPath: "/",
    headers: { host, ...headers },
    ...(payloadHash !== undefined && { payloadHash }),
  }).headers;

test("every way a header signature fails", async () => {
  const headers = signed();
  const auth = headers["authorization"]!;
  const withAuth = (text: string) => ({ headers: { ...headers, authorization: text } });
  await fails("InvalidRequest", withAuth("AWS key:signature"));
  await fails("InvalidRequest", withAuth(auth.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")));
  await fails("InvalidArgument", withAuth("Basic dXNlcjpwYXNz"));
  await fails("InvalidRequest", { headers: { host }, rawQuery: "AWSAccessKeyId=a&Expires=1&Signature=b" });
  for (const broken of [
    "AWS4-HMAC-SHA256 ",
    auth.replace("Signature=", "Sig="),
    auth.replace("SignedHeaders=", "x="),
    `${auth}, Signature=${"0".repeat(64)}`,
    auth.replace(/.$/, "g"),
    auth.replace("host;", "Host;"),
    auth.replace("aws4_request", "aws4"),
    auth.replace("20130524", "2013-05-24"),
    auth.replace("20130524", "20130523"),
    auth.replace("us-east-1", "us-east-2"),
    auth.replace("/s3/", "/sqs/"),
    auth.replace(`${accessKey}/`, ""),
  ])
    await fails("AuthorizationHeaderMalformed", withAuth(broken));
  await fails("InvalidAccessKeyId", withAuth(auth.replace(accessKey, "NOBODY")));
  await fails("RequestTimeTooSkewed", { headers, nowMs: nowMs + 15 * 60_000 + 1 });
  await fails("RequestTimeTooSkewed", { headers, nowMs: nowMs - 15 * 60_000 - 1 });
  await verifyRequest(server({ headers, nowMs: nowMs + 15 * 60_000 }));
  await fails("AccessDenied", { headers: { ...headers, "x-amz-date": "yesterday" } });
  await fails("AccessDenied", withAuth(auth.replace("=host;", "=")));
  const unsigned = await fails("AccessDenied", { headers: { ...headers, "x-amz-acl": "private" } });
  assert.equal(unsigned.details["HeadersNotSigned"], "x-amz-acl");
  await fails("AccessDenied", { headers: { ...headers, "x-amz-security-token": "t" } });
  const { "x-amz-content-sha256": _, ...without } = headers;
  await fails("InvalidRequest", { headers: without });
  await fails("InvalidArgument", { headers: signed({}, "nonsense") });
  await fails("NotImplemented", { headers: signed({}, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD") });
  await fails("InvalidRequest", { headers: { host, "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" } });
  const mismatch = await fails("SignatureDoesNotMatch", { headers, rawQuery: "acl" });
  assert.match(String(mismatch.details["CanonicalRequest"]), /^GET\n\/\nacl=\nhost:/);
  assert.match(String(mismatch.details["StringToSign"]), /^AWS4-HMAC-SHA256\n20130524T000000Z\n/);
  await fails("SignatureDoesNotMatch", { headers, secretFor: () => "another secret" });
});

test("a signer who was verified before is judged anew", async () => {
  const headers = signed();
  const auth = headers["authorization"]!;
  await verifyRequest(server({ headers }));
  await verifyRequest(server({ headers }));
  const withAuth = (text: string) => ({ headers: { ...headers, authorization: text } });
  await fails("SignatureDoesNotMatch", withAuth(auth.replace(/.$/, (last) => (last === "0" ? "1" : "0"))));
  await fails("SignatureDoesNotMatch", { headers, method: "DELETE" });
  await fails("AuthorizationHeaderMalformed", withAuth(auth.replace(/.$/, "G")));
  await fails("AuthorizationHeaderMalformed", withAuth(`${auth.slice(0, -64)}${", Signature=".padEnd(64, "0")}`));
  await fails("AuthorizationHeaderMalformed", withAuth(auth.slice(0, -64)));
  await fails("InvalidAccessKeyId", { headers, secretFor: () => undefined });
  await fails("SignatureDoesNotMatch", { headers, secretFor: () => "another secret" });
  await fails("AuthorizationHeaderMalformed", { headers: { ...headers, "x-amz-date": "20130525T000000Z" } });
  await fails("AccessDenied", { headers: { ...headers, "x-amz-acl": "private" } });
  const other = signRequest({
    ...base,
    region: "eu-central-1",
    method: "GET",
    rawPath: "/",
    headers: { host },
  }).headers;
  await verifyRequest(server({ headers: other, region: "eu-central-1" }));
  await fails("AuthorizationHeaderMalformed", { headers: other });
});

test("words for the body, anonymous requests, other regions", async () => {
  const payloads = new Map<string, unknown>([
    ["UNSIGNED-PAYLOAD", "unsigned"],
    [emptyHash, { sha256: emptyHash }],
    ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "streaming-signed"],
    ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "streaming-signed-trailer"],
    ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", "streaming-unsigned-trailer"],
  ]);
  for (const [word, payload] of payloads)
    assert.deepEqual((await verifyRequest(server({ headers: signed({}, word) }))).payload, payload);
  assert.deepEqual(await verifyRequest(server({ headers: { host } })), { kind: "anonymous", payload: "unsigned" });
  await verifyRequest(server({ headers: signed(), region: "eu-north-1" }));
});

test("repeated, padded and non-ASCII headers", async () => {
  const { headers } = signRequest({ ...base, method: "GET", rawPath: "/", headers: { host, "x-amz-meta-a": "1,2" } });
  const { "x-amz-meta-a": _, ...rest } = headers;
  const rawHeaders = [...Object.entries(rest).flat(), "X-Amz-Meta-A", " 1 ", "x-amz-meta-a", "2"];
  await verifyRequest(server({ headers: { ...rest, "x-amz-meta-a": "1, 2" }, rawHeaders }));
  await verifyRequest(server({ headers: { ...signed({ "x-amz-meta-b": "a b" }), "x-amz-meta-b": "  a   b " } }));
  await verifyRequest(server({ headers: signed({ "x-amz-meta-c": "\u00e9" }) }));
});

test("what the AWS SDK signs is verified", async () => {
  const seen: VerifyOptions[] = [];
  const client = new S3Client({
    region: "eu-central-1",
    endpoint: "http://127.0.0.1:9000",
    forcePathStyle: true,
    credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
    requestHandler: {
      handle: async (request: { method: string; path: string; query: Record<string, string>; headers: object }) => {
        const rawQuery = Object.entries(request.query)
          .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
          .join("&");
        const headers = Object.fromEntries(Object.entries(request.headers).map(([n, v]) => [n.toLowerCase(), v]));
        seen.push(server({ method: request.method, rawPath: request.path, rawQuery, headers, region: "eu-central-1" }));
        return { response: { statusCode: 200, headers: {}, body: new Uint8Array() } };
      },
    } as never,
  });
  const Key = "a b/ü+'(1)*~!?&=//..$.txt";
  await client.send(new PutObjectCommand({ Bucket: "bucket", Key, Body: "x", Metadata: { a: "b  c" } }));
  await client.send(new ListObjectsV2Command({ Bucket: "bucket", Prefix: "a b+ü/*", MaxKeys: 3 }));
  assert.equal(seen.length, 2);
  for (const request of seen) {
    const current = { ...request, nowMs: Date.now() };
    assert.equal((await verifyRequest(current)).kind, "authenticated");
    await assert.rejects(verifyRequest({ ...current, rawPath: `${request.rawPath}x` }));
  }
  const url = new URL(await getSignedUrl(client, new GetObjectCommand({ Bucket: "bucket", Key }), { expiresIn: 60 }));
  const request = { rawPath: url.pathname, rawQuery: url.search.slice(1), headers: { host: url.host } };
  await verifyRequest(server({ ...request, nowMs: Date.now(), region: "eu-central-1" }));
});

test("sign and verify agree on any path, query and header", async () => {
  const path = fc.string({ unit: "binary", maxLength: 30 }).map((text) => `/${encodeURI(text.toWellFormed())}`);
  const pairs = fc.array(fc.tuple(fc.string({ maxLength: 5 }), fc.string({ maxLength: 5 })), { maxLength: 5 });
  const value = fc.stringMatching(/^[\x20-\x7e\xa0-\xff]{0,20}$/);
  await fc.assert(
    fc.asyncProperty(path, pairs, value, async (rawPath, query, text) => {
      const rawQuery = query.map(([n, v]) => `${encodeURIComponent(n)}=${encodeURIComponent(v)}`).join("&");
      const { headers } = signRequest({
        ...base,
        method: "PUT",
        rawPath,
        rawQuery,
        headers: { host, "x-amz-meta-v": text },
      });
      await verifyRequest(server({ method: "PUT", rawPath, rawQuery, headers }));
      await fails("SignatureDoesNotMatch", { method: "PUT", rawPath, rawQuery: `${rawQuery}&z=1`, headers });
    }),
  );
});

test("no authorization header or query makes the verifier throw anything but an S3Error", async () => {
  const piece = fc.oneof(
    fc.string({ maxLength: 40 }),
    fc.constantFrom(
      "AWS4-HMAC-SHA256 ",
      "Credential=",
      ",",
      "SignedHeaders=",
      "Signature=",
      "X-Amz-Algorithm=",
      "&",
      "%",
    ),
    fc.constantFrom("X-Amz-Credential=", "X-Amz-Date=", "a/20130524/us-east-1/s3/aws4_request", "host", "0".repeat(64)),
  );
  const text = fc.array(piece, { maxLength: 10 }).map((parts) => parts.join(""));
  await fc.assert(
    fc.asyncProperty(fc.option(text, { nil: undefined }), text, async (header, rawQuery) => {
      const headers = { host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": "20130524T000000Z" };
      try {
        const result = await verifyRequest(
          server({ rawQuery, headers: header === undefined ? headers : { ...headers, authorization: header } }),
        );
        assert.equal(result.kind, "anonymous");
      } catch (error) {
        if (!(error instanceof S3Error)) throw error;
      }
    }),
    { numRuns: 500 },
  );
});

test("dates of the credential form; the canonical query", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4_000_000_000 }), (seconds) => {
      assert.equal(parseAmzDate(amzDate(seconds * 1000)), seconds * 1000);
    }),
  );
  const near = fc.stringMatching(/^[0-9]{1,9}T?[0-9]{0,7}Z?$/);
  fc.assert(
    fc.property(fc.oneof(near, fc.string({ maxLength: 20 })), (text) => {
      const ms = parseAmzDate(text);
      assert.ok(ms === undefined || amzDate(ms) === text);
    }),
    { numRuns: 1_000 },
  );
  for (const wrong of ["20130230T000000Z", "20131301T000000Z", "20130524T240000Z", "2013-05-24", ""])
    assert.equal(parseAmzDate(wrong), undefined);
  assert.equal(canonicalQuery("b=2&a=1+x&acl&a-b=%7e&a=0&X-Amz-Signature=no"), "a=0&a=1%20x&a-b=~&acl=&b=2");
});
