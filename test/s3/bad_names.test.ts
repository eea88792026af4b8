/** Names, queries and metadata beyond their bounds: an answer that says so, never an error of ours, nothing stored. */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import * as fc from "fast-check";
import { startTestServer } from "./server.ts";
import type { RawAnswer, RawRequest, TestServer } from "./server.ts";

const bucket = "names";
const body = Buffer.from("0123456789");
let server: TestServer;
before(async () => {
  server = await startTestServer();
  await server.bucket(bucket);
  assert.equal((await server.raw({ method: "PUT", path: `/${bucket}/there`, body })).status, 200);
});
after(() => server.close());

/** After every test: nothing but `there`, and it can be read. */
afterEach(async () => {
  const listed = await server.raw({ method: "GET", path: `/${bucket}?list-type=2` });
  assert.deepEqual(
    [...listed.text.matchAll(/<Key>([^<]*)</g)].map((match) => match[1]),
    ["there"],
  );
  assert.deepEqual((await server.raw({ method: "GET", path: `/${bucket}/there` })).body, body);
});

const codeOf = ({ status, text }: RawAnswer): [number, string | undefined] => [status, /<Code>(\w+)</.exec(text)?.[1]];
const ask = (method: string, path: string, more: Partial<RawRequest> = {}): Promise<RawAnswer> =>
  server.raw({ method, path, ...more });

const long = "k".repeat(1_025);
for (const [what, encoded] of [
  ["1,025 bytes", long],
  ["1,026 bytes of two each, encoded", "%C3%A9".repeat(513)],
  ["1,028 bytes of four each, encoded", "%F0%9F%98%80".repeat(257)],
  ["10,000 bytes", "k".repeat(10_000)],
] as const) {
  test(`a key of ${what} is KeyTooLongError, whatever is done with it`, async () => {
    const path = `/${bucket}/${encoded}`;
    const upload = `uploadId=${"0".repeat(32)}`;
    for (const [method, target] of [
      ["PUT", path],
      ["GET", path],
      ["DELETE", path],
      ["GET", `${path}?attributes`],
      ["GET", `${path}?acl`],
      ["POST", `${path}?uploads`],
      ["PUT", `${path}?partNumber=1&${upload}`],
      ["GET", `${path}?${upload}`],
      ["DELETE", `${path}?${upload}`],
    ] as const) {
      const headers = target.endsWith("?attributes") ? { "x-amz-object-attributes": "ETag" } : {};
      const answer = await ask(method, target, { headers, ...(method === "PUT" && { body }) });
      assert.deepEqual(codeOf(answer), [400, "KeyTooLongError"], `${method} ${target.slice(-60)}`);
    }
    assert.equal((await ask("HEAD", path)).status, 400);
    const headers = { "x-amz-copy-source": `${bucket}/${encoded}` };
    assert.deepEqual(codeOf(await ask("PUT", `/${bucket}/copy`, { headers })), [400, "KeyTooLongError"]);
  });
}

test("keys of 1,024 bytes are taken", async () => {
  for (const encoded of ["k".repeat(1_024), "%C3%A9".repeat(512), "%F0%9F%98%80".repeat(256)]) {
    assert.equal((await ask("PUT", `/${bucket}/${encoded}`, { body })).status, 200);
    assert.deepEqual((await ask("GET", `/${bucket}/${encoded}`)).body, body);
    assert.equal((await ask("DELETE", `/${bucket}/${encoded}`)).status, 204);
  }
});

test("what is not UTF-8 or not encoded right is InvalidURI: in keys, buckets, queries and copy sources", async () => {
  const wrong = ["%ff", "%c3", "%c3%28", "%ed%a0%80", "%f8%88%80%80%80", "%c0%af", "%", "%4", "%zz", "%u0041"];
  for (const text of wrong) {
    for (const path of [`/${bucket}/${text}`, `/${text}`, `/${bucket}?prefix=${text}`, `/${bucket}?${text}=x`])
      assert.deepEqual(codeOf(await ask("GET", path)), [400, "InvalidURI"], path);
    assert.deepEqual(codeOf(await ask("PUT", `/${bucket}/${text}`, { body })), [400, "InvalidURI"]);
    const headers = { "x-amz-copy-source": `${bucket}/${text}` };
    assert.deepEqual(codeOf(await ask("PUT", `/${bucket}/copy`, { headers })), [400, "InvalidURI"]);
  }
});

test("names that no bucket can have are refused or not found", async () => {
  for (const name of ["b".repeat(64), "b".repeat(10_000), "%00".repeat(64)])
    for (const [method, path] of [
      ["GET", `/${name}`],
      ["GET", `/${name}/k`],
      ["PUT", `/${name}`],
      ["PUT", `/${name}/k`],
      ["DELETE", `/${name}`],
      ["DELETE", `/${name}/k`],
      ["GET", `/${name}?location`],
    ] as const)
      assert.deepEqual(codeOf(await ask(method, path)), [400, "InvalidBucketName"], path.slice(0, 80));
  for (const name of ["..", ".", "%00", "UPPER", "a_b", "%C3%A9", "%2e%2e%2f", "ab"]) {
    assert.deepEqual(codeOf(await ask("GET", `/${name}`)), [404, "NoSuchBucket"], name);
    assert.deepEqual(codeOf(await ask("PUT", `/${name}`)), [400, "InvalidBucketName"], name);
  }
  const headers = { "x-amz-copy-source": `${"b".repeat(5_000)}/k` };
  assert.deepEqual(codeOf(await ask("PUT", `/${bucket}/copy`, { headers })), [404, "NoSuchBucket"]);
});

const texts = [
  "p".repeat(3_000),
  "%00".repeat(1_024),
  "%00",
  "%F4%8F%BF%BF".repeat(300),
  "%EF%BF%BF",
  "a%00",
  "..%2F",
  "%20",
];
const names = [
  "prefix delimiter marker start-after key-marker upload-id-marker version-id-marker continuation-token",
  "encoding-type max-keys max-uploads fetch-owner part-number-marker max-parts versionId uploadId partNumber",
  "response-content-type response-expires X-Amz-Expires list-type x-id allow-unordered max-buckets bucket-region",
]
  .join(" ")
  .split(" ");
const paths = [
  "/",
  `/${bucket}`,
  `/${bucket}?list-type=2`,
  `/${bucket}?uploads`,
  `/${bucket}?versions`,
  `/${bucket}/there`,
];

test("no value of any parameter makes an error of ours", async () => {
  for (const path of paths)
    for (const name of names)
      for (const text of [...texts, "", "-1", "1e3", "9".repeat(400), "NaN", "2", "1_"]) {
        const answer = await ask("GET", `${path}${path.includes("?") ? "&" : "?"}${name}=${text}`);
        assert.ok(answer.status < 500 || answer.status === 501, `${path} ${name} ${text.slice(0, 20)}: ${answer.text}`);
      }
});

test("no query, range, date or condition makes an error of ours", async () => {
  const anyText = fc.oneof(
    fc.constantFrom(...texts),
    fc.string({ maxLength: 6 }).map((text) => encodeURIComponent(text.toWellFormed())),
  );
  const pair = fc.tuple(fc.constantFrom(...names), anyText).map(([name, value]) => `${name}=${value}`);
  const query = fc.array(pair, { maxLength: 4 }).map((pairs) => pairs.join("&"));
  const digits = fc.constantFrom("0", "1", "5", "9", "10", "11", "-1", "", "9".repeat(30), "a");
  const range = fc.oneof(
    fc.tuple(digits, digits).map(([first, last]) => `bytes=${first}-${last}`),
    fc.constantFrom("bytes=", "bytes=0-1,3-4", "items=0-1", "bytes=-0", "bytes 0-1"),
    fc.stringMatching(/^[\x20-\x7e]{0,15}$/),
  );
  const date = fc.oneof(
    fc.constantFrom(
      "Sun, 06 Nov 1994 08:49:37 GMT",
      "Sun, 99 Nov 9999 99:99:99 GMT",
      "0",
      "Thu, 01 Jan 1970 00:00:00 GMT",
    ),
    fc.stringMatching(/^[A-Za-z0-9 :,]{0,30}$/),
  );
  const etag = fc.oneof(
    fc.constantFrom("*", '"', '""', "W/", ",", '"a", "b"'),
    fc.stringMatching(/^[\x21-\x7e]{0,10}$/),
  );
  const optional = (text: fc.Arbitrary<string>): fc.Arbitrary<string | undefined> =>
    fc.option(text, { nil: undefined });
  const headers = fc.record({
    range: optional(range),
    "if-range": optional(fc.oneof(date, etag)),
    "if-modified-since": optional(date),
    "if-unmodified-since": optional(date),
    "if-match": optional(etag),
    "if-none-match": optional(etag),
  });
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...paths), query, headers, async (path, more, given) => {
      const sent = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
      const target = `${path}${path.includes("?") ? "&" : "?"}${more}`;
      const answer = await ask("GET", target, { headers: sent as Record<string, string> });
      assert.ok(answer.status < 500 || answer.status === 501, answer.text);
      const isObject = path.endsWith("there") && answer.status >= 200 && answer.status < 300;
      if (!isObject || answer.headers["content-type"] === "application/xml") return;
      const [, first, last] = /^bytes (\d+)-(\d+)\/10$/.exec(answer.headers["content-range"] ?? "") ?? [0, "0", "9"];
      assert.deepEqual(answer.body, body.subarray(Number(first), Number(last) + 1));
    }),
    { numRuns: 1_000 },
  );
});

test("2 KiB of metadata are taken in whatever letters, one byte more is MetadataTooLarge", async () => {
  const latin1 = Buffer.from("é".repeat(1_023)).toString("latin1");
  const put = (headers: Record<string, string>): Promise<RawAnswer> => ask("PUT", `/${bucket}/meta`, { body, headers });
  for (const value of ["x".repeat(2_046), latin1]) {
    assert.equal((await put({ "x-amz-meta-ab": value })).status, 200, value.slice(0, 5));
    assert.equal((await ask("HEAD", `/${bucket}/meta`)).headers["x-amz-meta-ab"], value);
    assert.equal((await ask("DELETE", `/${bucket}/meta`)).status, 204);
  }
  for (const headers of [
    { "x-amz-meta-ab": "x".repeat(2_047) },
    { "x-amz-meta-ab": `${latin1}x` },
    { "x-amz-meta-a": "x".repeat(1_024), "x-amz-meta-b": "x".repeat(1_024) },
    { [`x-amz-meta-${"a".repeat(2_048)}`]: "x" },
    { "cache-control": "x".repeat(2_049) },
    { "content-type": "x".repeat(2_049) },
  ] as Record<string, string>[]) {
    assert.deepEqual(codeOf(await put(headers)), [400, "MetadataTooLarge"]);
    const created = await ask("POST", `/${bucket}/meta?uploads`, { headers });
    assert.deepEqual(codeOf(created), [400, "MetadataTooLarge"]);
    const replaced = { ...headers, "x-amz-copy-source": `${bucket}/there`, "x-amz-metadata-directive": "REPLACE" };
    assert.deepEqual(codeOf(await ask("PUT", `/${bucket}/meta`, { headers: replaced })), [400, "MetadataTooLarge"]);
  }
});
