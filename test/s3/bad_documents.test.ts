/** XML bodies that are not what an operation takes: MalformedXML or its sister, and nothing is changed. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, afterEach, before, test } from "node:test";
import { pattern, startTestServer } from "./server.ts";
import type { RawAnswer, TestServer } from "./server.ts";

const bucket = "documents";
const key = Buffer.from("k");
let server: TestServer;
let uploadId: string;
let etags: string[];
before(async () => {
  server = await startTestServer();
  await server.bucket(bucket);
  assert.equal((await server.raw({ method: "PUT", path: `/${bucket}/kept`, body: pattern(10) })).status, 200);
  ({ id: uploadId } = await server.objects.createUpload({ bucket, key, metadata: { headers: {}, user: {} } }));
  etags = [await part(1, 5 * 1024 * 1024), await part(2, 10)];
});
after(() => server.close());

/** After every test: what was there is there, nothing has been completed or made, and requests are answered. */
afterEach(async () => {
  const { objects } = await server.objects.list({ bucket, limit: 10 });
  assert.deepEqual(
    objects.map((object) => object.key.toString()),
    ["kept"],
  );
  assert.equal((await server.objects.listParts({ bucket, key, uploadId, after: 0, limit: 10 })).parts.length, 2);
  assert.equal((await server.raw({ method: "HEAD", path: "/made" })).status, 404);
  for (const kind of ["cors", "tagging", "publicAccessBlock", "notification", "lifecycle"] as const)
    assert.equal(await server.objects.configuration(bucket, kind), undefined);
  assert.equal((await server.objects.head({ bucket, key: Buffer.from("kept") })).info.tags, undefined);
});

async function part(number: number, sizeBytes: number): Promise<string> {
  const path = `/${bucket}/k?partNumber=${number}&uploadId=${uploadId}`;
  const answer = await server.raw({ method: "PUT", path, body: pattern(sizeBytes) });
  return String(answer.headers.etag);
}

const post = (path: string, body: Buffer | string, method = "POST"): Promise<RawAnswer> => {
  const bytes = Buffer.from(body);
  const headers = { "content-md5": createHash("md5").update(bytes).digest("base64") };
  return server.raw({ method, path, body: bytes, headers });
};
const deleteObjects = (body: Buffer | string): Promise<RawAnswer> => post(`/${bucket}?delete`, body);
const complete = (body: Buffer | string): Promise<RawAnswer> => post(`/${bucket}/k?uploadId=${uploadId}`, body);
const create = (body: Buffer | string): Promise<RawAnswer> => post("/made", body, "PUT");

function answered(answer: RawAnswer, code: string): void {
  assert.deepEqual([answer.status, /<Code>(\w+)</.exec(answer.text)?.[1]], [400, code], answer.text.slice(0, 500));
}

const kept = "<Object><Key>kept</Key></Object>";
const deep = (levels: number): string => "<a>".repeat(levels) + "</a>".repeat(levels);
const bomb = `<!DOCTYPE x [<!ENTITY a "${"a".repeat(100)}">${Array.from("bcdefghij", (name, at) => {
  const last = "abcdefghi"[at]!;
  return `<!ENTITY ${name} "${`&${last};`.repeat(10)}">`;
}).join("")}]>`;

/** `root` and `inner` are of a right document; each of these is that document, spoiled. */
function spoiled(root: string, inner: string): [what: string, body: string | Buffer][] {
  const document = (content: string, name = root): string => `<${name}>${content}</${name}>`;
  return [
    ["no XML", "this is no XML"],
    ["JSON", "{}"],
    ["an unclosed root", `<${root}>${inner}`],
    ["a root closed by another name", `<${root}>${inner}</Other>`],
    ["another root", document(inner, "Other")],
    ["two roots", document(inner) + document(inner)],
    ["text behind the root", `${document(inner)}x`],
    ["an entity bomb", `${bomb}${document(`${inner}<x>&j;</x>`)}`],
    ["an external entity", `<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>${document(`${inner}<x>&e;</x>`)}`],
    ["an empty DOCTYPE", `<!DOCTYPE ${root}>${document(inner)}`],
    ["an entity nobody declared", document(`${inner}<x>&nbsp;</x>`)],
    ["a reference to NUL", document(`${inner}<x>&#0;</x>`)],
    ["a reference beyond Unicode", document(`${inner}<x>&#x110000;</x>`)],
    ["a NUL", document(`${inner}<x>\0</x>`)],
    ["17 levels", document(inner + deep(16))],
    ["a million levels", document(inner + deep(500_000))],
    ["100,001 elements", document(inner + "<a/>".repeat(100_000))],
    ["an attribute twice", document(`${inner}<x a="1" a="2"/>`)],
    ["an attribute without quotes", document(`${inner}<x a=1/>`)],
    [
      "bytes that are not UTF-8",
      Buffer.concat([Buffer.from(`<${root}>${inner}<x>`), Buffer.from([0xff]), Buffer.from(`</x></${root}>`)]),
    ],
    ["UTF-16", Buffer.from(`\ufeff${document(inner)}`, "utf16le")],
  ];
}

/** Configuration: sub-resource, root and what is right within it. */
const documents = [
  [
    "?cors",
    "CORSConfiguration",
    "<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>",
  ],
  ["?tagging", "Tagging", "<TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet>"],
  ["/kept?tagging", "Tagging", "<TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet>"],
  ["?publicAccessBlock", "PublicAccessBlockConfiguration", "<BlockPublicAcls>true</BlockPublicAcls>"],
] as const;

const rightPart = (number: number): string =>
  `<Part><PartNumber>${number}</PartNumber><ETag>${etags[number - 1]}</ETag></Part>`;

test("every operation with a body refuses what is no document of its own", async () => {
  const location = "<LocationConstraint></LocationConstraint>";
  for (const [what, body] of spoiled("Delete", kept)) {
    answered(await deleteObjects(body), "MalformedXML");
    assert.ok(what);
  }
  for (const [, body] of spoiled("CompleteMultipartUpload", rightPart(1) + rightPart(2)))
    answered(await complete(body), "MalformedXML");
  for (const [sub, root, inner] of documents)
    for (const [, body] of spoiled(root, inner)) answered(await post(`/${bucket}${sub}`, body, "PUT"), "MalformedXML");
  for (const [, body] of spoiled("CreateBucketConfiguration", location)) answered(await create(body), "MalformedXML");
});

test("more than 4 MiB is MaxMessageLengthExceeded, with a length announced or without", async () => {
  const large = `<Delete>${kept}${" ".repeat(4 * 1024 * 1024)}</Delete>`;
  answered(await deleteObjects(large), "MaxMessageLengthExceeded");
  answered(await complete(large), "MaxMessageLengthExceeded");
});

test("a hundred thousand attributes are read over in no time", async () => {
  const many = Array.from({ length: 100_000 }, (_, at) => `a${at}=""`).join(" ");
  const answer = await deleteObjects(`<Delete><Object ${many}><Key>nothing</Key></Object></Delete>`);
  assert.equal(answer.status, 200);
});

for (const [what, inner, code] of [
  ["nothing", "", "MalformedXML"],
  ["an object without a key", "<Object></Object>", "MalformedXML"],
  ["an object with an empty key", "<Object><Key></Key></Object>", "UserKeyMustBeSpecified"],
  ["a right object and one without a key", `${kept}<Object><VersionId>null</VersionId></Object>`, "MalformedXML"],
  ["two keys in one object", "<Object><Key>kept</Key><Key>other</Key></Object>", "MalformedXML"],
  ["elements within a key", "<Object><Key><a>kept</a></Key></Object>", "MalformedXML"],
  ["a size that is none", "<Object><Key>kept</Key><Size>-1</Size></Object>", "InvalidArgument"],
  ["a date that is none", "<Object><Key>kept</Key><LastModifiedTime>x</LastModifiedTime></Object>", "InvalidArgument"],
  ["1,001 objects", kept.repeat(1_001), "MalformedXML"],
] as const) {
  test(`DeleteObjects of ${what}: ${code}`, async () => {
    answered(await deleteObjects(`<Delete>${inner}</Delete>`), code);
  });
}

test("DeleteObjects tells of a key that is too long beside those it deletes", async () => {
  const answer = await deleteObjects(
    `<Delete><Object><Key>${"x".repeat(1_025)}</Key></Object><Object><Key>no</Key></Object></Delete>`,
  );
  assert.equal(answer.status, 200);
  assert.match(answer.text, /<Error><Key>x{1025}<\/Key><Code>KeyTooLongError<\/Code>/);
  assert.match(answer.text, /<Deleted><Key>no<\/Key><\/Deleted>/);
});

test("DeleteObjects without a checksum, or with a wrong one, deletes nothing", async () => {
  const body = Buffer.from(`<Delete>${kept}</Delete>`);
  const path = `/${bucket}?delete`;
  answered(await server.raw({ method: "POST", path, body }), "InvalidRequest");
  const send = (headers: Record<string, string>) => server.raw({ method: "POST", path, body, headers });
  answered(await send({ "content-md5": Buffer.alloc(16).toString("base64") }), "BadDigest");
  answered(await send({ "content-md5": "x" }), "InvalidDigest");
  answered(await send({ "x-amz-checksum-crc32": "AAAAAA==" }), "BadDigest");
  answered(await send({ "x-amz-checksum-crc32": "x" }), "BadDigest");
  for (const name of ["mode", "type", "algorithm", "crc31"])
    answered(await send({ [`x-amz-checksum-${name}`]: "ENABLED" }), "InvalidRequest");
});

const partOf = (number: string, etag = '"0"'): string =>
  `<Part><PartNumber>${number}</PartNumber><ETag>${etag}</ETag></Part>`;

for (const [what, inner, code] of [
  ["no parts", () => "", "MalformedXML"],
  ["a part without a number", () => `<Part><ETag>${etags[0]}</ETag></Part>`, "MalformedXML"],
  ["a part without an ETag", () => "<Part><PartNumber>1</PartNumber></Part>", "MalformedXML"],
  [
    "two numbers",
    () => `<Part><PartNumber>1</PartNumber><PartNumber>2</PartNumber><ETag>x</ETag></Part>`,
    "MalformedXML",
  ],
  ["the part number 0", () => partOf("0"), "InvalidArgument"],
  ["the part number 10001", () => partOf("10001"), "InvalidArgument"],
  ["the part number -1", () => partOf("-1"), "MalformedXML"],
  ["the part number 1e3", () => partOf("1e3"), "MalformedXML"],
  ["the part number ' 1'", () => partOf(" 1"), "MalformedXML"],
  ["the part number 1.0", () => partOf("1.0"), "MalformedXML"],
  ["a part number of 400 digits", () => partOf("1".repeat(400)), "MalformedXML"],
  ["another part's ETag", () => partOf("1", etags[1]), "InvalidPart"],
  ["a part that was never sent", () => rightPart(1) + partOf("3"), "InvalidPart"],
  ["a part twice, the last time of another ETag", () => rightPart(1) + partOf("1", etags[1]), "InvalidPart"],
  ["parts backwards", () => rightPart(2) + rightPart(1), "InvalidPartOrder"],
  ["10,001 parts", () => Array.from({ length: 10_001 }, (_, at) => partOf(String(at + 1))).join(""), "InvalidArgument"],
  ["10,001 parts of one number", () => partOf("1").repeat(10_001), "MalformedXML"],
] as const) {
  test(`CompleteMultipartUpload of ${what}: ${code}`, async () => {
    answered(await complete(`<CompleteMultipartUpload>${inner()}</CompleteMultipartUpload>`), code);
  });
}

for (const number of ["0", "10001", "-1", "1e3", "%201", "1%20", "+1", "1.0", "0x1", "", "%00", "9".repeat(400)]) {
  test(`UploadPart of the part number "${number.slice(0, 9)}" is InvalidArgument`, async () => {
    const path = `/${bucket}/k?partNumber=${number}&uploadId=${uploadId}`;
    answered(await server.raw({ method: "PUT", path, body: Buffer.from("x") }), "InvalidArgument");
  });
}

test("CreateBucket elsewhere is refused, by name or by nonsense", async () => {
  const at = (place: string): string =>
    `<CreateBucketConfiguration><LocationConstraint>${place}</LocationConstraint></CreateBucketConfiguration>`;
  for (const place of ["eu-west-9", "x".repeat(10_000), "us-east-1 "])
    answered(await create(at(place)), "InvalidLocationConstraint");
  answered(await create(at("<a/>")), "MalformedXML");
});
