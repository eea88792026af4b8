/** Objects from browsers' forms: what the policy in the form allows, and nothing else. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { crc32 } from "node:zlib";
import {
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  PutBucketCorsCommand,
  PutBucketVersioningCommand,
} from "@aws-sdk/client-s3";
import { Client } from "minio";
import { limits } from "../../src/core/limits.ts";
import { accessKey, bytesOf, failsWith, pattern, secretKey, sendRaw, startTestServer } from "./server.ts";
import type { RawAnswer, TestServer } from "./server.ts";

const Bucket = "posted";
let server: TestServer;
before(async () => {
  server = await startTestServer({ domains: ["s3.test"], hasKeyring: true });
  await server.bucket(Bucket);
});
after(() => server.close());

type Part = {
  readonly name: string;
  readonly value: string | Buffer;
  readonly filename?: string;
  readonly type?: string;
};

const boundary = "----a-boundary-of-a-test";

function multipart(parts: readonly Part[], end = `--${boundary}--\r\n`): Buffer {
  const pieces: Buffer[] = [];
  for (const { name, value, filename, type } of parts) {
    const file = filename === undefined ? "" : `; filename="${filename}"`;
    const head = `--${boundary}\r\nContent-Disposition: form-data; name="${name}"${file}\r\n`;
    pieces.push(Buffer.from(`${head}${type === undefined ? "" : `Content-Type: ${type}\r\n`}\r\n`));
    pieces.push(Buffer.from(value), Buffer.from("\r\n"));
  }
  return Buffer.concat([...pieces, Buffer.from(end)]);
}

function send(body: Buffer, headers: Record<string, string> = {}, path = `/${Bucket}`): Promise<RawAnswer> {
  const type = { "content-type": `multipart/form-data; boundary=${boundary}` };
  return sendRaw(server.port, { method: "POST", path, headers: { ...type, ...headers }, body });
}

type Signing = {
  readonly expiration?: unknown;
  readonly conditions?: unknown;
  readonly accessKey?: string;
  readonly secretKey?: string;
  readonly region?: string;
  readonly policy?: string;
};

const inAnHour = (): string => new Date(Date.now() + 3_600_000).toISOString();
const hmac = (key: string | Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest();

/** Fields of a signed form, as the maker of the page writes them (Signature V4). */
function signed(conditions: readonly unknown[], signing: Signing = {}): Record<string, string> {
  const { accessKey: key = accessKey, secretKey: secret = secretKey, region = "us-east-1" } = signing;
  const amzDate = new Date().toISOString().replace(/[-:]|\.\d{3}/g, "");
  const credential = `${key}/${amzDate.slice(0, 8)}/${region}/s3/aws4_request`;
  const own = { "x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": credential, "x-amz-date": amzDate };
  const all = [...conditions, ...Object.entries(own).map(([name, value]) => ({ [name]: value }))];
  const document = { expiration: inAnHour(), conditions: all, ...("expiration" in signing && signing) };
  const policy = signing.policy ?? Buffer.from(JSON.stringify({ ...document, ...signing })).toString("base64");
  const dated = hmac(hmac(hmac(`AWS4${secret}`, amzDate.slice(0, 8)), region), "s3");
  const signature = hmac(hmac(dated, "aws4_request"), policy).toString("hex");
  return { ...own, policy, "x-amz-signature": signature };
}

const partsOf = (fields: Readonly<Record<string, string>>): Part[] =>
  Object.entries(fields).map(([name, value]) => ({ name, value }));
const file = (value: string | Buffer, filename = "cat.jpg", type = "image/jpeg"): Part => ({
  name: "file",
  value,
  filename,
  type,
});

const usual = [{ bucket: Bucket }, ["starts-with", "$key", "up/"]];

/** A form that is right but for what is changed. */
function post(
  options: {
    readonly fields?: Readonly<Record<string, string>>;
    readonly more?: readonly unknown[];
    readonly file?: Part;
    readonly signing?: Signing;
    readonly headers?: Record<string, string>;
  } = {},
): Promise<RawAnswer> {
  const { fields = {}, more = [], signing = {} } = options;
  const all = { key: "up/cat", ...signed([...usual, ...more], signing), ...fields };
  return send(multipart([...partsOf(all), options.file ?? file("meow")]), options.headers);
}

const codeOf = ({ status, text }: RawAnswer): [number, string | undefined] => [
  status,
  /<Code>(\w+)<\/Code>/.exec(text)?.[1],
];
const messageOf = ({ text }: RawAnswer): string =>
  (/<Message>(.*?)<\/Message>/.exec(text)?.[1] ?? "").replaceAll("&quot;", '"');

async function stored(Key: string): Promise<string> {
  return (await bytesOf((await server.s3.send(new GetObjectCommand({ Bucket, Key }))).Body)).toString();
}

async function isMissing(Key: string): Promise<void> {
  await failsWith(server.s3.send(new HeadObjectCommand({ Bucket, Key })), 404, "NotFound");
}

void test("a form that its policy allows stores its file", async () => {
  const answer = await post({
    fields: { "Content-Type": "image/png" },
    more: [["starts-with", "$Content-Type", "image/"]],
  });
  assert.deepEqual([answer.status, answer.text], [204, ""]);
  assert.equal(answer.headers.etag, '"4a4be40c96ac6314e91d93f38043a634"');
  assert.equal(answer.headers.location, `${server.origin}/${Bucket}/up/cat`);
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key: "up/cat" }));
  assert.deepEqual([(await bytesOf(got.Body)).toString(), got.ContentType], ["meow", "image/png"]);
});

void test("a file of many chunks is streamed and comes back as it was", async () => {
  const body = pattern(9 * 1024 * 1024);
  const answer = await post({ fields: { key: "up/large" }, file: file(body) });
  assert.equal(answer.status, 204);
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key: "up/large" }));
  assert.ok((await bytesOf(got.Body)).equals(body));
});

void test("a file that is full of what looks like a boundary comes back as it was", async () => {
  const body = Buffer.from(`\r\n--${boundary.slice(0, -1)}\r\n--\r\n\r\n--${boundary.slice(2)}\r\n-`.repeat(3_000));
  assert.equal((await post({ fields: { key: "up/tricky" }, file: file(body) })).status, 204);
  assert.equal(await stored("up/tricky"), body.toString());
});

void test("an empty file makes an empty object", async () => {
  assert.equal((await post({ fields: { key: "up/empty" }, file: file("") })).status, 204);
  assert.equal(await stored("up/empty"), "");
});

void test("the file's name stands in for ${filename}, without its path", async () => {
  const names = [
    ["a cat.jpg", "up/me/a cat.jpg"],
    ["C:\\\\pictures\\\\cat.jpg", "up/me/cat.jpg"],
    ["/home/me/$& größe.jpg", "up/me/$& größe.jpg"],
  ] as const;
  for (const [filename, key] of names) {
    const answer = await post({ fields: { key: "up/me/${filename}" }, file: file(filename, filename) });
    assert.equal(answer.status, 204, answer.text);
    assert.equal(await stored(key), filename);
  }
});

void test("the key is judged as it will be, with the file's name in it", async () => {
  const answer = await post({ fields: { key: "${filename}" }, file: file("x", "up.jpg") });
  assert.deepEqual(codeOf(answer), [403, "AccessDenied"]);
  await isMissing("up.jpg");
});

void test("what is a header of a PUT is a field of a form", async () => {
  const fields = {
    key: "up/headers",
    acl: "private",
    "Cache-Control": "max-age=60",
    "Content-Disposition": 'attachment; filename="größe"',
    "x-amz-meta-Place": "Köln",
    "x-amz-storage-class": "STANDARD_IA",
  };
  const more = Object.entries(fields).flatMap(([name, value]) => (name === "key" ? [] : [{ [name]: value }]));
  const answer = await post({ fields, more });
  assert.equal(answer.status, 204, answer.text);
  const head = await server.raw({ method: "HEAD", path: `/${Bucket}/up/headers` });
  const text = (name: string): string => Buffer.from(String(head.headers[name]), "latin1").toString();
  assert.equal(text("cache-control"), "max-age=60");
  assert.equal(text("content-disposition"), 'attachment; filename="größe"');
  assert.equal(text("x-amz-meta-place"), "Köln");
  assert.equal(text("x-amz-storage-class"), "STANDARD_IA");
});

void test("tags come as a document", async () => {
  const tagging = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
  const more = [["starts-with", "$tagging", ""]];
  assert.equal((await post({ fields: { key: "up/tagged", tagging }, more })).status, 204);
  const { TagSet } = await server.s3.send(new GetObjectTaggingCommand({ Bucket, Key: "up/tagged" }));
  assert.deepEqual(TagSet, [{ Key: "a", Value: "b" }]);
  const answer = await post({ fields: { key: "up/untagged", tagging: "<Tagging/>" }, more });
  assert.deepEqual(codeOf(answer), [400, "MalformedXML"]);
  await isMissing("up/untagged");
});

void test("checksums in fields are compared, and need no condition but Content-MD5", async () => {
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32("meow"));
  const right = await post({ fields: { key: "up/sum", "x-amz-checksum-crc32": sum.toString("base64") } });
  assert.deepEqual([right.status, right.headers["x-amz-checksum-crc32"]], [204, sum.toString("base64")]);
  const wrong = await post({
    fields: { key: "up/wrong-sum", "x-amz-checksum-sha256": Buffer.alloc(32).toString("base64") },
  });
  assert.deepEqual(codeOf(wrong), [400, "BadDigest"]);
  const malformed = await post({ fields: { key: "up/wrong-sum", "x-amz-checksum-sha256": "sailorjerry" } });
  assert.deepEqual(codeOf(malformed), [400, "BadDigest"]);
  const md5 = { key: "up/wrong-sum", "Content-MD5": Buffer.alloc(16).toString("base64") };
  const more = [["starts-with", "$Content-MD5", ""]];
  assert.deepEqual(codeOf(await post({ fields: md5, more })), [400, "BadDigest"]);
  await isMissing("up/wrong-sum");
});

void test("success_action_status says what is answered: 200, 201 with a document, else 204", async () => {
  const more = [["starts-with", "$success_action_status", ""]];
  const asked = (status: string): Promise<RawAnswer> =>
    post({ fields: { key: "up/a & b", success_action_status: status }, more });
  const ok = await asked("200");
  assert.deepEqual([ok.status, ok.text], [200, ""]);
  const created = await asked("201");
  assert.equal(created.status, 201);
  const location = `${server.origin}/${Bucket}/up/a%20%26%20b`;
  assert.ok(
    created.text.endsWith(
      `<PostResponse><Location>${location}</Location><Bucket>${Bucket}</Bucket><Key>up/a &amp; b</Key>` +
        "<ETag>&quot;4a4be40c96ac6314e91d93f38043a634&quot;</ETag></PostResponse>",
    ),
    created.text,
  );
  assert.equal((await asked("404")).status, 204);
});

void test("success_action_redirect sends the browser on, and tells bucket, key and ETag", async () => {
  const more = [["starts-with", "$success_action_redirect", ""]];
  const asked = (success_action_redirect: string): Promise<RawAnswer> =>
    post({ fields: { key: "up/a&b", success_action_redirect }, more });
  const told = `bucket=${Bucket}&key=up%2Fa%26b&etag=%224a4be40c96ac6314e91d93f38043a634%22`;
  const answer = await asked("https://example.com/done");
  assert.deepEqual([answer.status, answer.headers.location], [303, `https://example.com/done?${told}`]);
  const second = await asked("https://example.com/done?a=b");
  assert.equal(second.headers.location, `https://example.com/done?a=b&${told}`);
  for (const none of ["no address", "javascript:alert(1)", "//example.com"]) {
    const ignored = await asked(none);
    assert.equal(ignored.status, 204);
  }
});

void test("a form without a policy is an anonymous request: AccessDenied", async () => {
  assert.deepEqual(codeOf(await send(multipart([...partsOf({ key: "up/nobody" }), file("x")]))), [403, "AccessDenied"]);
  await isMissing("up/nobody");
});

void test("Signature V2 of a form is taken, and a wrong one is not", async () => {
  const policy = Buffer.from(JSON.stringify({ expiration: inAnHour(), conditions: usual })).toString("base64");
  const signature = createHmac("sha1", secretKey).update(policy).digest("base64");
  const fields = { key: "up/v2", AWSAccessKeyId: accessKey, policy, signature };
  assert.equal((await send(multipart([...partsOf(fields), file("two")]))).status, 204);
  assert.equal(await stored("up/v2"), "two");
  const wrong = { ...fields, key: "up/v2-wrong", signature: signature.replace(/^./, (c) => (c === "a" ? "b" : "a")) };
  const refused = await send(multipart([...partsOf(wrong), file("two")]));
  assert.deepEqual(codeOf(refused), [403, "SignatureDoesNotMatch"]);
  await isMissing("up/v2-wrong");
});

for (const [what, signing, status, code] of [
  ["another secret", { secretKey: "wrong" }, 403, "SignatureDoesNotMatch"],
  ["an unknown key", { accessKey: "NOBODY" }, 403, "InvalidAccessKeyId"],
  ["another region", { region: "mars-1" }, 400, "InvalidArgument"],
  ["a policy that is expired", { expiration: "2020-01-01T00:00:00Z" }, 403, "AccessDenied"],
  ["a policy that is no JSON", { policy: "bm9uZQ==" }, 400, "InvalidPolicyDocument"],
  ["a policy that is null", { policy: "bnVsbA==" }, 400, "InvalidPolicyDocument"],
  ["an expiration that is no date", { expiration: "tomorrow" }, 400, "InvalidPolicyDocument"],
  ["no expiration", { expiration: undefined }, 400, "InvalidPolicyDocument"],
  ["no conditions", { conditions: undefined }, 400, "InvalidPolicyDocument"],
  ["conditions that are no list", { conditions: {} }, 400, "InvalidPolicyDocument"],
  ["an empty condition", { conditions: [{}] }, 400, "InvalidPolicyDocument"],
  ["a condition of two", { conditions: [{ a: "b", c: "d" }] }, 400, "InvalidPolicyDocument"],
  ["a condition that is no string", { conditions: [{ key: 1 }] }, 400, "InvalidPolicyDocument"],
  ["a condition of another operation", { conditions: [["ends-with", "$key", "x"]] }, 400, "InvalidPolicyDocument"],
  ["a condition without $", { conditions: [["eq", "key", "x"]] }, 400, "InvalidPolicyDocument"],
  ["a length of one bound", { conditions: [["content-length-range", 0]] }, 400, "InvalidPolicyDocument"],
  ["a length below nothing", { conditions: [["content-length-range", -1, 0]] }, 400, "InvalidPolicyDocument"],
  ["a length of no number", { conditions: [["content-length-range", "a", "b"]] }, 400, "InvalidPolicyDocument"],
] satisfies [string, Signing, number, string][])
  void test(`a form signed with ${what} is ${code} and stores nothing`, async () => {
    const answer = await post({ fields: { key: "up/refused" }, signing });
    assert.deepEqual(codeOf(answer), [status, code], answer.text);
    await isMissing("up/refused");
  });

void test("a policy that was changed after it was signed is SignatureDoesNotMatch", async () => {
  const { policy, ...rest } = signed(usual);
  const wider = Buffer.from(policy!, "base64").toString().replace("up/", "");
  const fields = { key: "elsewhere", ...rest, policy: Buffer.from(wider).toString("base64") };
  const answer = await send(multipart([...partsOf(fields), file("x")]));
  assert.deepEqual(codeOf(answer), [403, "SignatureDoesNotMatch"]);
});

void test("a field that may begin with anything may be missing", async () => {
  const answer = await post({ more: [["starts-with", "$x-amz-server-side-encryption", ""]] });
  assert.equal(answer.status, 204, answer.text);
});

for (const [what, fields, more, message] of [
  ["a key elsewhere", { key: "down/cat" }, [], 'Policy Condition failed: ["starts-with","$key","up/"]'],
  ["a field that no condition covers", { "x-amz-meta-a": "b" }, [], "Extra input fields: x-amz-meta-a"],
  ["a button that no condition covers", { submit: "Upload" }, [], "Extra input fields: submit"],
  ["a field that is not as it must be", { "x-amz-meta-a": "b" }, [{ "x-amz-meta-a": "c" }], "Policy Condition failed"],
  ["a field missing that must be there", {}, [["starts-with", "$x-amz-meta-a", "a"]], "Policy Condition failed"],
  ["a value in other letters", { acl: "PRIVATE" }, [{ acl: "private" }], "Policy Condition failed"],
  [
    "one of several types that is not allowed",
    { "Content-Type": "image/png, text/html" },
    [["starts-with", "$Content-Type", "image/"]],
    "Policy Condition failed",
  ],
] satisfies [string, Record<string, string>, unknown[], string][])
  void test(`a form with ${what} is AccessDenied and stores nothing`, async () => {
    const answer = await post({ fields: { key: "up/denied", ...fields }, more });
    assert.deepEqual(codeOf(answer), [403, "AccessDenied"]);
    assert.ok(messageOf(answer).startsWith(`Invalid according to Policy: ${message}`), messageOf(answer));
    await isMissing("up/denied");
    await isMissing("down/cat");
  });

void test("a policy for another bucket, or for none, allows nothing", async () => {
  for (const conditions of [[{ bucket: "other" }, ["starts-with", "$key", ""]], [["starts-with", "$key", ""]]]) {
    const fields = { key: "up/bucket", bucket: "other", ...signed(conditions) };
    assert.deepEqual(codeOf(await send(multipart([...partsOf(fields), file("x")]))), [403, "AccessDenied"]);
  }
  await isMissing("up/bucket");
});

void test("names of fields and operations are read in any letters, and x-ignore- fields need no condition", async () => {
  const fields = { kEy: "up/letters", "X-Ignore-Button": "Go", "cOnTeNt-TyPe": "a/b" };
  const conditions = [{ bUcKeT: Bucket }, ["StArTs-WiTh", "$KeY", "up/"], ["EQ", "$content-type", "a/b"]];
  const answer = await send(multipart([...partsOf({ ...fields, ...signed(conditions) }), file("x")]));
  assert.equal(answer.status, 204, answer.text);
  assert.equal(await stored("up/letters"), "x");
});

for (const [range, size, code] of [
  [[0, 4], 5, "EntityTooLarge"],
  [[0, 0], 1, "EntityTooLarge"],
  [[5, 10], 4, "EntityTooSmall"],
  [["0", "4"], 5, "EntityTooLarge"],
  [[0, 5_000_000], 5_000_001, "EntityTooLarge"],
  [[1, 100_000], 0, "EntityTooSmall"],
] as const)
  void test(`a file of ${size} bytes where ${range.join(" to ")} are allowed is ${code} and not stored`, async () => {
    const answer = await post({
      fields: { key: "up/length" },
      more: [["content-length-range", ...range]],
      file: file(Buffer.alloc(size, "x")),
    });
    assert.deepEqual(codeOf(answer), [400, code]);
    await isMissing("up/length");
  });

void test("a file as long as the longest and as short as the shortest is stored", async () => {
  for (const size of [2, 70_000]) {
    const more = [["content-length-range", 2, 70_000]];
    const answer = await post({ fields: { key: "up/bounds" }, more, file: file(Buffer.alloc(size, "y")) });
    assert.equal(answer.status, 204);
    assert.equal((await stored("up/bounds")).length, size);
  }
});

void test("a form without a key, with an empty one, or without a file is InvalidArgument", async () => {
  const fields = signed(usual);
  for (const parts of [
    [...partsOf(fields), file("x")],
    [...partsOf({ ...fields, key: "" }), file("x")],
    partsOf({ ...fields, key: "up/k" }),
    [file("x"), ...partsOf({ ...fields, key: "up/k" })],
  ])
    assert.deepEqual(codeOf(await send(multipart(parts))), [400, "InvalidArgument"]);
});

void test("fields behind the file count for nothing", async () => {
  const late = partsOf({ "x-amz-meta-late": "yes", acl: "public-read" });
  const parts = [...partsOf({ key: "up/late", ...signed(usual) }), file("x"), ...late];
  assert.equal((await send(multipart(parts))).status, 204);
  assert.deepEqual((await server.s3.send(new HeadObjectCommand({ Bucket, Key: "up/late" }))).Metadata, {});
});

void test("two files are refused, and neither is stored", async () => {
  for (const second of ["two", Buffer.alloc(1024 * 1024)]) {
    const parts = [...partsOf({ key: "up/two", ...signed(usual) }), file("one"), file(second)];
    assert.deepEqual(codeOf(await send(multipart(parts))), [400, "InvalidArgument"]);
  }
  await isMissing("up/two");
});

void test("a field that is there twice is refused", async () => {
  const parts = [...partsOf({ key: "up/once", ...signed(usual) }), { name: "Key", value: "up/twice" }, file("x")];
  assert.deepEqual(codeOf(await send(multipart(parts))), [400, "MalformedPOSTRequest"]);
});

void test("clients may give every field a file name", async () => {
  const parts = partsOf({ key: "up/all-files", ...signed(usual) }).map((part) => ({ ...part, filename: part.name }));
  const answer = await send(multipart([...parts, { name: "file", value: "bar", filename: "file" }]));
  assert.equal(answer.status, 204, answer.text);
  assert.equal(await stored("up/all-files"), "bar");
});

void test("a file may come without a name, as text", async () => {
  const parts = partsOf({ key: "up/text${filename}", ...signed(usual) });
  assert.equal((await send(multipart([...parts, { name: "file", value: "größe" }]))).status, 204);
  assert.equal(await stored("up/text"), "größe");
  const large = { name: "file", value: "x".repeat(limits.postTextFileBytesMax + 1) };
  assert.deepEqual(codeOf(await send(multipart([...parts, large]))), [400, "EntityTooLarge"]);
  const binary = { name: "file", value: Buffer.from([0xff, 0xfe]) };
  assert.deepEqual(codeOf(await send(multipart([...parts, binary]))), [400, "MalformedPOSTRequest"]);
  assert.equal(await stored("up/text"), "größe");
});

void test("more than 20 KiB of fields, or more than a hundred, are refused", async () => {
  const conditions = [...usual, ["starts-with", "$x-ignore-a", ""]];
  const fields = { key: "up/fields", ...signed(conditions) };
  const large = [...partsOf({ ...fields, "x-ignore-a": "x".repeat(20 * 1024) }), file("x")];
  assert.deepEqual(codeOf(await send(multipart(large))), [400, "MaxPostPreDataLengthExceededError"]);
  const asFiles = large.map((part) => ({ ...part, filename: "f" }));
  assert.deepEqual(codeOf(await send(multipart(asFiles))), [400, "MaxPostPreDataLengthExceededError"]);
  const many = Array.from({ length: 101 }, (_, n) => ({ name: `x-ignore-${n}`, value: "" }));
  const answer = await send(multipart([...partsOf(fields), ...many, file("x")]));
  assert.deepEqual(codeOf(answer), [400, "MaxPostPreDataLengthExceededError"]);
  await isMissing("up/fields");
});

void test("a body that is no form is refused", async () => {
  assert.deepEqual(codeOf(await send(Buffer.from("{}"), { "content-type": "application/json" })), [
    412,
    "PreconditionFailed",
  ]);
  const without = { "content-type": "multipart/form-data" };
  assert.deepEqual(codeOf(await send(Buffer.from("x"), without)), [400, "MalformedPOSTRequest"]);
  for (const body of ["", "no form at all", `--${boundary}\r\nnot a header\r\n`, `--${boundary}--`]) {
    const answer = await send(Buffer.from(body));
    assert.equal(answer.status, 400, body);
  }
});

void test("a form that ends within its file, or before its end, stores nothing", async () => {
  const whole = multipart([...partsOf({ key: "up/cut", ...signed(usual) }), file("x".repeat(50_000))]);
  for (const length of [whole.length - 20, whole.length - 5_000, 300]) {
    const answer = await send(whole.subarray(0, length));
    assert.deepEqual(codeOf(answer), [400, "MalformedPOSTRequest"], String(length));
  }
  await isMissing("up/cut");
});

void test("a client that leaves in the middle of its file stores nothing", async () => {
  const whole = multipart([...partsOf({ key: "up/left", ...signed(usual) }), file("x".repeat(200_000))]);
  const before = server.events.length;
  const socket = connect(server.port, "127.0.0.1");
  const head = `POST /${Bucket} HTTP/1.1\r\nHost: x\r\nContent-Length: ${whole.length}\r\nContent-Type: multipart/form-data; boundary=${boundary}\r\n\r\n`;
  socket.write(head);
  socket.write(whole.subarray(0, 150_000), () => socket.destroy());
  await once(socket, "close");
  while (server.events.length === before) await new Promise((resolve) => setImmediate(resolve));
  const { operation, status } = server.events.at(-1)!;
  assert.deepEqual([operation, status], ["PostObject", 499]);
  await isMissing("up/left");
});

void test("a form asks for encryption in a field; in a header of its request that is refused", async () => {
  const field = { "x-amz-server-side-encryption": "AES256" };
  const answer = await post({ fields: { key: "up/sealed", ...field }, more: [field] });
  assert.deepEqual([answer.status, answer.headers["x-amz-server-side-encryption"]], [204, "AES256"]);
  const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key: "up/sealed" }));
  assert.equal(head.ServerSideEncryption, "AES256");
  const inHeader = await post({ fields: { key: "up/header" }, headers: field });
  assert.deepEqual(codeOf(inHeader), [501, "NotImplemented"]);
  await isMissing("up/header");
});

void test("a value that no header could have is refused", async () => {
  const answer = await post({ fields: { "x-amz-meta-a": "a\r\nb: c" }, more: [["starts-with", "$x-amz-meta-a", ""]] });
  assert.deepEqual(codeOf(answer), [400, "InvalidArgument"]);
});

for (const [name, value] of [
  ["x-amz-server-side-encryption", "aws:kms:dsse"],
  ["x-amz-object-lock-mode", "GOVERNANCE"],
] as const)
  void test(`the field ${name}: ${value} is NotImplemented, and stores nothing`, async () => {
    const answer = await post({ fields: { key: "up/asked", [name]: value }, more: [{ [name]: value }] });
    assert.deepEqual(codeOf(answer), [501, "NotImplemented"]);
    await isMissing("up/asked");
  });

void test("the field acl is the object's, and must be in the policy", async () => {
  const fields = { key: "up/public", acl: "public-read" };
  assert.deepEqual(codeOf(await post({ fields })), [403, "AccessDenied"]);
  assert.equal((await post({ fields, more: [{ acl: "public-read" }] })).status, 204);
  assert.equal((await fetch(`${server.origin}/${Bucket}/up/public`)).status, 200);
});

void test("a checksum of the whole request is NotImplemented: it would not be compared", async () => {
  const answer = await post({ headers: { "content-md5": Buffer.alloc(16).toString("base64") } });
  assert.deepEqual(codeOf(answer), [501, "NotImplemented"]);
});

void test("a form to a bucket that is not there is NoSuchBucket", async () => {
  const fields = { key: "k", ...signed([{ bucket: "nowhere" }, { key: "k" }]) };
  const answer = await send(multipart([...partsOf(fields), file("x")]), {}, "/nowhere/");
  assert.deepEqual(codeOf(answer), [404, "NoSuchBucket"]);
});

void test("a form may be sent to a bucket by its host, and its answer bears CORS headers", async () => {
  const CORSRules = [{ AllowedMethods: ["POST"], AllowedOrigins: ["https://page"] }];
  await server.s3.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules } }));
  const fields = { key: "up/host", ...signed(usual) };
  const headers = { host: `${Bucket}.s3.test`, origin: "https://page" };
  const answer = await send(multipart([...partsOf(fields), file("x")]), headers, "/");
  assert.equal(answer.status, 204);
  assert.equal(answer.headers["access-control-allow-origin"], "https://page");
  assert.equal(answer.headers.location, `http://${Bucket}.s3.test/up/host`);
});

void test("a form makes a version where there are versions", async () => {
  const versioned = { Bucket: "posted-versions" };
  await server.bucket(versioned.Bucket);
  await server.s3.send(
    new PutBucketVersioningCommand({ ...versioned, VersioningConfiguration: { Status: "Enabled" } }),
  );
  const fields = { key: "k", ...signed([{ bucket: versioned.Bucket }, { key: "k" }]) };
  const answer = await send(multipart([...partsOf(fields), file("x")]), {}, `/${versioned.Bucket}`);
  const head = await server.s3.send(new HeadObjectCommand({ ...versioned, Key: "k" }));
  assert.ok(head.VersionId !== undefined);
  assert.equal(answer.headers["x-amz-version-id"], head.VersionId);
});

void test("a form that was made by another vendor's client is taken", async () => {
  const client = new Client({
    endPoint: "127.0.0.1",
    port: server.port,
    useSSL: false,
    accessKey,
    secretKey,
    region: "us-east-1",
    pathStyle: true,
  });
  const policy = client.newPostPolicy();
  policy.setBucket(Bucket);
  policy.setKeyStartsWith("up/");
  policy.setContentLengthRange(1, 100);
  policy.setExpires(new Date(Date.now() + 60_000));
  const { formData } = await client.presignedPostPolicy(policy);
  const form = new FormData();
  for (const [name, value] of Object.entries({ ...formData, key: "up/vendor" })) form.append(name, value);
  form.append("file", new Blob(["vendor"]), "v.txt");
  const answer = await fetch(`${server.origin}/${Bucket}`, { method: "POST", body: form });
  assert.equal(answer.status, 204, await answer.text());
  assert.equal(await stored("up/vendor"), "vendor");
});

test("a form of temporary credentials carries their token, which its policy names", async () => {
  const { directory } = server.identity;
  const { account } = await directory.ownAccount();
  const allowing = (statement: object): string =>
    JSON.stringify({ Version: "2012-10-17", Statement: { Effect: "Allow", ...statement } });
  const trust = allowing({ Action: "sts:AssumeRole", Principal: { AWS: account } });
  const { id, name } = await directory.createRole({ account, name: "poster", trust });
  const document = allowing({ Action: "s3:PutObject", Resource: "*" });
  await directory.putInlinePolicy({ kind: "role", account, name }, { name: "own", document });
  const principal = { kind: "role", account, role: name, id } as const;
  const { session, token } = await server.identity.begin({ principal, seconds: 900, secondsMax: 900, name: "page" });
  const { accessKey: key, secretKey: secret } = session;
  const signing = { accessKey: key, secretKey: secret };
  const fields = { "x-amz-security-token": token };
  assert.equal((await post({ fields, more: [fields], signing })).status, 204);
  assert.deepEqual(codeOf(await post({ fields, signing })), [403, "AccessDenied"]);
  assert.deepEqual(codeOf(await post({ signing })), [403, "InvalidAccessKeyId"]);
  const other = { "x-amz-security-token": "t" };
  assert.deepEqual(codeOf(await post({ fields: other, more: [other], signing })), [400, "InvalidToken"]);
});
