/** Renames and commits of what is encrypted: a renamed object stays sealed as it is; what is put is sealed as the bucket says. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import {
  GetObjectCommand,
  HeadObjectCommand,
  PutBucketEncryptionCommand,
  PutObjectCommand,
  RenameObjectCommand,
} from "@aws-sdk/client-s3";
import { bytesOf, failsWith, pattern, startTestServer, type RawAnswer, type TestServer } from "./server.ts";

const plain = "moved-plain";
const sealed = "moved-sealed";
let server: TestServer;
before(async () => {
  server = await startTestServer({ hasKeyring: true });
  await server.bucket(plain);
  await server.bucket(sealed);
  const rule = { ApplyServerSideEncryptionByDefault: { SSEAlgorithm: "AES256" } } as const;
  await server.s3.send(
    new PutBucketEncryptionCommand({ Bucket: sealed, ServerSideEncryptionConfiguration: { Rules: [rule] } }),
  );
});
after(() => server.close());

const secret = randomBytes(32);
const customer = {
  SSECustomerAlgorithm: "AES256",
  SSECustomerKey: secret.toString("base64"),
  SSECustomerKeyMD5: createHash("md5").update(secret).digest("base64"),
};
const modes = {
  plain: [{}, {}],
  s3: [{ ServerSideEncryption: "AES256" }, {}],
  kms: [{ ServerSideEncryption: "aws:kms" }, {}],
  customer: [customer, customer],
} as const;

function commit(bucket: string, ...entries: object[]): Promise<RawAnswer> {
  const body = Buffer.from(JSON.stringify({ entries }));
  return server.raw({ method: "POST", path: `/${bucket}?holdfast-commit=`, body });
}

void test("a renamed object is encrypted as it was, and is read by whoever could read it", async () => {
  for (const [mode, [writing, reading]] of Object.entries(modes))
    for (const body of [Buffer.alloc(0), Buffer.from("small"), pattern(300_000)]) {
      const Key = `${mode} ${body.length}`;
      const { ETag } = await server.s3.send(new PutObjectCommand({ Bucket: plain, Key, Body: body, ...writing }));
      await server.s3.send(new RenameObjectCommand({ Bucket: plain, Key: `to ${Key}`, RenameSource: Key }));
      const at = { Bucket: plain, Key: `to ${Key}` };
      const found = await server.s3.send(new GetObjectCommand({ ...at, ...reading }));
      assert.ok(body.equals(await bytesOf(found.Body)), Key);
      assert.deepEqual(
        [found.ETag, found.ServerSideEncryption, found.SSECustomerAlgorithm],
        [
          ETag,
          "ServerSideEncryption" in writing ? writing.ServerSideEncryption : undefined,
          mode === "customer" ? "AES256" : undefined,
        ],
      );
      if (mode === "customer") await failsWith(server.s3.send(new GetObjectCommand(at)), 400, "InvalidRequest");
    }
});

void test("what a commit puts and copies is encrypted as the bucket says", async () => {
  const put = (Key: string, more: object) =>
    server.s3.send(new PutObjectCommand({ Bucket: sealed, Key, Body: pattern(200_000), ...more }));
  const head = (Key: string) => server.s3.send(new HeadObjectCommand({ Bucket: sealed, Key }));
  await put("sealed", {});
  await put("of kms", { ServerSideEncryption: "aws:kms" });
  await put("of a client", customer);
  const done = await commit(
    sealed,
    { put: "text", text: "secret" },
    { put: "empty", text: "" },
    { put: "copy", from: { key: "sealed" } },
  );
  assert.equal(done.status, 200, done.text);
  for (const Key of ["text", "empty", "copy"]) assert.equal((await head(Key)).ServerSideEncryption, "AES256");
  const { Body } = await server.s3.send(new GetObjectCommand({ Bucket: sealed, Key: "text" }));
  assert.equal(String(await bytesOf(Body)), "secret");
  for (const key of ["of kms", "of a client"]) {
    const refused = await commit(sealed, { put: "never", text: "x" }, { put: "x", from: { key } });
    assert.match(refused.text, /<Code>InvalidRequest<.*<Entry>1</, key);
  }
  await failsWith(head("never"), 404, "NotFound");
});

void test("a request that asks for encryption where none is made is refused", async () => {
  await server.s3.send(new PutObjectCommand({ Bucket: plain, Key: "asked", Body: "x" }));
  const headers = { "x-amz-server-side-encryption": "AES256" };
  const renamed = await server.raw({
    method: "PUT",
    path: `/${plain}/renamed?renameObject=`,
    headers: { ...headers, "x-amz-rename-source": "asked" },
  });
  const body = Buffer.from(JSON.stringify({ entries: [{ put: "x", text: "x" }] }));
  const committed = await server.raw({ method: "POST", path: `/${plain}?holdfast-commit=`, headers, body });
  for (const { status, text } of [renamed, committed]) assert.ok(status >= 400, text);
});
