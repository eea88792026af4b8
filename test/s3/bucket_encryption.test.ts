/** A bucket's default encryption: what it says of new objects, whichever way they come, and of nothing else. */
import assert from "node:assert/strict";
import { randomBytes, createHash } from "node:crypto";
import { test } from "node:test";
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteBucketEncryptionCommand,
  GetBucketEncryptionCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutBucketEncryptionCommand,
  PutObjectCommand,
  UploadPartCommand,
  type ServerSideEncryptionRule,
} from "@aws-sdk/client-s3";
import { bytesOf, failsWith, pattern, startTestServer } from "./server.ts";

const server = await startTestServer({ hasKeyring: true });
test.after(() => server.close());
const { s3 } = server;
await server.keyring!.create("blue");

let buckets = 0;
async function newBucket(): Promise<string> {
  const Bucket = `default-${(buckets += 1)}`;
  await server.bucket(Bucket);
  return Bucket;
}

const kms: ServerSideEncryptionRule = {
  ApplyServerSideEncryptionByDefault: { SSEAlgorithm: "aws:kms", KMSMasterKeyID: "blue" },
  BucketKeyEnabled: true,
};
const own: ServerSideEncryptionRule = { ApplyServerSideEncryptionByDefault: { SSEAlgorithm: "AES256" } };

function setDefault(Bucket: string, rule: ServerSideEncryptionRule): Promise<unknown> {
  const ServerSideEncryptionConfiguration = { Rules: [rule] };
  return s3.send(new PutBucketEncryptionCommand({ Bucket, ServerSideEncryptionConfiguration }));
}

/** Its mode, and its key's id. */
async function shown(Bucket: string, Key: string): Promise<string> {
  const head = await s3.send(new HeadObjectCommand({ Bucket, Key }));
  return [
    head.ServerSideEncryption ?? "plain",
    head.SSEKMSKeyId,
    head.BucketKeyEnabled === true ? "bucket key" : undefined,
  ]
    .filter((each) => each !== undefined)
    .join(" ");
}

void test("a default is set, shown, replaced and taken away", async () => {
  const Bucket = await newBucket();
  const get = async (): Promise<unknown> =>
    (await s3.send(new GetBucketEncryptionCommand({ Bucket }))).ServerSideEncryptionConfiguration?.Rules;
  const absent = "ServerSideEncryptionConfigurationNotFoundError";
  await failsWith(get(), 404, absent);
  await setDefault(Bucket, kms);
  assert.deepEqual(await get(), [kms]);
  await setDefault(Bucket, own);
  assert.deepEqual(await get(), [{ ...own, BucketKeyEnabled: false }]);
  await s3.send(new DeleteBucketEncryptionCommand({ Bucket }));
  await failsWith(get(), 404, absent);
  await s3.send(new DeleteBucketEncryptionCommand({ Bucket }));
});

void test("every way in which an object comes is encrypted by default, and says so; what was there stays as it is", async () => {
  const Bucket = await newBucket();
  await s3.send(new PutObjectCommand({ Bucket, Key: "before", Body: "x" }));
  await setDefault(Bucket, kms);
  const expected = "aws:kms blue bucket key";
  const put = await s3.send(new PutObjectCommand({ Bucket, Key: "put", Body: pattern(100_000) }));
  assert.equal(put.SSEKMSKeyId, "blue");
  await s3.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource: `${Bucket}/before` }));
  const { UploadId, SSEKMSKeyId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key: "parts" }));
  assert.equal(SSEKMSKeyId, "blue");
  // The upload was begun with it, so that it holds for the upload.
  await s3.send(new DeleteBucketEncryptionCommand({ Bucket }));
  const part = { Bucket, Key: "parts", UploadId, PartNumber: 1 };
  const { ETag } = await s3.send(new UploadPartCommand({ ...part, Body: "part" }));
  const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
  await s3.send(new CompleteMultipartUploadCommand({ Bucket, Key: "parts", UploadId, MultipartUpload }));
  for (const Key of ["put", "copy", "parts"]) assert.equal(await shown(Bucket, Key), expected, Key);
  await s3.send(new PutObjectCommand({ Bucket, Key: "after", Body: "x" }));
  for (const Key of ["before", "after"]) assert.equal(await shown(Bucket, Key), "plain", Key);
  const found = await s3.send(new GetObjectCommand({ Bucket, Key: "put" }));
  assert.ok((await bytesOf(found.Body)).equals(pattern(100_000)));
});

void test("a request that says how overrules the bucket", async () => {
  const Bucket = await newBucket();
  await setDefault(Bucket, kms);
  await s3.send(new PutObjectCommand({ Bucket, Key: "own", Body: "x", ServerSideEncryption: "AES256" }));
  assert.equal(await shown(Bucket, "own"), "AES256");
  const key = randomBytes(32);
  const customer = {
    SSECustomerAlgorithm: "AES256",
    SSECustomerKey: key.toString("base64"),
    SSECustomerKeyMD5: createHash("md5").update(key).digest("base64"),
  };
  await s3.send(new PutObjectCommand({ Bucket, Key: "mine", Body: "x", ...customer }));
  await failsWith(s3.send(new GetObjectCommand({ Bucket, Key: "mine" })), 400, "InvalidRequest");
});

void test("the default is the target's, not that of a copy's source", async () => {
  const [from, to] = [await newBucket(), await newBucket()];
  await setDefault(from, kms);
  await s3.send(new PutObjectCommand({ Bucket: from, Key: "k", Body: "x" }));
  await s3.send(new CopyObjectCommand({ Bucket: to, Key: "k", CopySource: `${from}/k` }));
  assert.equal(await shown(to, "k"), "plain");
  await setDefault(to, own);
  await s3.send(new CopyObjectCommand({ Bucket: to, Key: "k", CopySource: `${from}/k` }));
  assert.equal(await shown(to, "k"), "AES256");
});

const inner = (text: string): string =>
  `<Rule><ApplyServerSideEncryptionByDefault>${text}</ApplyServerSideEncryptionByDefault></Rule>`;

for (const [what, text, status, code] of [
  ["no rule", "", 400, "MalformedXML"],
  ["two rules", inner("<SSEAlgorithm>AES256</SSEAlgorithm>").repeat(2), 400, "MalformedXML"],
  ["an unknown algorithm", inner("<SSEAlgorithm>ROT13</SSEAlgorithm>"), 400, "MalformedXML"],
  ["two layers", inner("<SSEAlgorithm>aws:kms:dsse</SSEAlgorithm>"), 501, "NotImplemented"],
  [
    "a key for AES256",
    inner("<SSEAlgorithm>AES256</SSEAlgorithm><KMSMasterKeyID>blue</KMSMasterKeyID>"),
    400,
    "InvalidArgument",
  ],
  [
    "a key that there is not",
    inner("<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>none</KMSMasterKeyID>"),
    400,
    "KMS.NotFoundException",
  ],
  [
    "blocked types",
    "<Rule><BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes></Rule>",
    501,
    "NotImplemented",
  ],
] as const)
  void test(`a default with ${what} is refused, and none is set`, async () => {
    const Bucket = await newBucket();
    const root = "ServerSideEncryptionConfiguration";
    const body = Buffer.from(`<${root}>${text}</${root}>`);
    const answer = await server.raw({ method: "PUT", path: `/${Bucket}?encryption`, body });
    assert.deepEqual([answer.status, /<Code>(.*?)</.exec(answer.text)?.[1]], [status, code], answer.text);
    await s3.send(new PutObjectCommand({ Bucket, Key: "k", Body: "x" }));
    assert.equal(await shown(Bucket, "k"), "plain");
  });

void test("without a master key no default can be set", async () => {
  const bare = await startTestServer();
  try {
    await bare.bucket("bare");
    const ServerSideEncryptionConfiguration = { Rules: [own] };
    const set = new PutBucketEncryptionCommand({ Bucket: "bare", ServerSideEncryptionConfiguration });
    await failsWith(bare.s3.send(set), 501, "NotImplemented");
  } finally {
    await bare.close();
  }
});
