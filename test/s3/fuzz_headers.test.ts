/** Right signatures over wrong headers, in any combination: never an error of ours, and what was there stays as it was. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as fc from "fast-check";
import { startTestServer } from "./server.ts";
import type { TestServer } from "./server.ts";

const bucket = "headers";
const body = Buffer.from("0123456789");
let server: TestServer;
let uploadId: string;
before(async () => {
  server = await startTestServer();
  await server.bucket(bucket);
  assert.equal((await server.raw({ method: "PUT", path: `/${bucket}/source`, body })).status, 200);
  const upload = { bucket, key: Buffer.from("m"), metadata: { headers: {}, user: {} } };
  ({ id: uploadId } = await server.objects.createUpload(upload));
});
after(() => server.close());

const pieces = [
  bucket,
  "/",
  "%2F",
  "source",
  "?versionId=",
  "null",
  "%00",
  "%ff",
  "%",
  "?",
  "arn:aws:s3",
  ":",
  " ",
  "\xe9",
];
const source = fc.array(fc.constantFrom(...pieces, "..", "k".repeat(1_100), "b".repeat(70)), { maxLength: 6 });
const names = [
  "x-amz-copy-source-range x-amz-copy-source-if-match x-amz-copy-source-if-none-match x-amz-metadata-directive",
  "x-amz-copy-source-if-modified-since x-amz-copy-source-if-unmodified-since x-amz-tagging-directive if-match",
  "if-none-match x-amz-storage-class x-amz-checksum-algorithm x-amz-checksum-mode x-amz-checksum-type x-amz-acl",
  "x-amz-sdk-checksum-algorithm x-amz-object-attributes x-amz-max-parts x-amz-part-number-marker",
  "x-amz-mp-object-size x-amz-if-match-size x-amz-if-match-last-modified-time x-amz-expected-bucket-owner",
]
  .join(" ")
  .split(" ");
const values = [
  ["", "*", '"', "bytes=0-1", "bytes=0-99", "bytes=5-1", "bytes=a", "bytes=999999999999999-9999999999999999", "COPY"],
  [
    "REPLACE",
    "x",
    "CRC32",
    "SHA512",
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "9".repeat(300),
    "ENABLED",
    "-1",
    "1",
    "STANDARD",
  ],
  ["ETag", "ETag,Foo", "COMPOSITE", "private", "\xff"],
].flat();
const headers = fc.dictionary(fc.constantFrom(...names), fc.constantFrom(...values), { maxKeys: 4 });

test("copies, parts, attributes, deletes and uploads", async () => {
  const upload = `/${bucket}/m?uploadId=${uploadId}`;
  const requests = fc.constantFrom<[string, string]>(
    ["PUT", `/${bucket}/copy`],
    ["PUT", `${upload}&partNumber=1`],
    ["GET", `/${bucket}/source?attributes`],
    ["HEAD", `/${bucket}/source`],
    ["DELETE", `/${bucket}/copy`],
    ["POST", `/${bucket}/copy?uploads`],
    ["POST", upload],
    ["GET", upload],
    ["PUT", `/${bucket}`],
  );
  await fc.assert(
    fc.asyncProperty(requests, fc.option(source, { nil: undefined }), headers, async ([method, path], from, more) => {
      const copied = from !== undefined && { "x-amz-copy-source": from.join("") };
      const { status, text } = await server.raw({ method, path, headers: { ...more, ...copied } });
      assert.ok(status < 500 || status === 501, text);
    }),
    { numRuns: 500 },
  );
  assert.deepEqual((await server.raw({ method: "GET", path: `/${bucket}/source` })).body, body);
});
