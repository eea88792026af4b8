/** SSE-KMS and SSE-S3 with keys of an outside service: every call that reads or writes bytes, and what happens while it is away. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetBucketEncryptionCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutBucketEncryptionCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
  type PutObjectCommandInput,
  type S3Client,
} from "@aws-sdk/client-s3";
import { systemClock } from "../../src/core/clock.ts";
import { silentLog } from "../../src/core/log.ts";
import { systemRandom } from "../../src/core/random.ts";
import { TransitServer } from "../../src/keyring/transit.fixture.ts";
import { VaultClient } from "../../src/keyring/vault_client.ts";
import { VaultKeys } from "../../src/keyring/vault_keys.ts";
import { bytesOf, failsWith, pattern, startTestServer, type TestServer } from "./server.ts";

const KiB = 1024;
const MiB = 1024 * KiB;
const md5 = (bytes: Uint8Array): string => createHash("md5").update(bytes).digest("hex");

type WithVault = { readonly server: TestServer; readonly s3: S3Client; readonly transit: TransitServer };

/** With the keys blue and green in Vault, the first one by default; without a cache everything is asked for. */
async function startWithVault(keptMs: number): Promise<WithVault> {
  const transit = await TransitServer.start();
  transit.make("blue");
  transit.make("green");
  const client = new VaultClient({
    address: { origin: transit.origin, mount: transit.mount, namespace: undefined },
    token: { current: () => "root-token", renewed: () => "root-token" },
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
  });
  const keys = new VaultKeys({ client, clock: systemClock, dataKeys: { countMax: 1_000, keptMs } });
  const defaults = { kms: "vault:blue", s3: "vault:green" };
  const server = await startTestServer({ hasKeyring: true, vault: { keys, defaults } });
  test.after(async () => {
    await server.close();
    client.close();
    await transit.stop();
  });
  return { server, s3: server.s3, transit };
}

const { server, s3, transit } = await startWithVault(60_000);
const Bucket = "sealed";
await server.bucket(Bucket);
await server.keyring!.create("own");

const kms = { ServerSideEncryption: "aws:kms" } as const;
const blue = { ...kms, SSEKMSKeyId: "vault:blue" };
const green = { ...kms, SSEKMSKeyId: "vault:green" };

const put = (Key: string, Body: Buffer, extra: Partial<PutObjectCommandInput> = {}) =>
  s3.send(new PutObjectCommand({ Bucket, Key, Body, ...extra }));

async function read(Key: string, Range?: string): Promise<Buffer> {
  return bytesOf((await s3.send(new GetObjectCommand({ Bucket, Key, ...(Range && { Range }) }))).Body);
}

void test("what is read is what was written, whole and in ranges, and answers say which key", async () => {
  for (const sizeBytes of [0, 1, 16 * KiB, 16 * KiB + 1, 300 * KiB, 4 * MiB + 1]) {
    const Key = `size-${sizeBytes}`;
    const Body = pattern(sizeBytes);
    const stored = await put(Key, Body, kms);
    assert.deepEqual([stored.ServerSideEncryption, stored.SSEKMSKeyId], ["aws:kms", "vault:blue"]);
    assert.notEqual(stored.ETag, `"${md5(Body)}"`);
    assert.ok((await read(Key)).equals(Body), Key);
    const shown = await s3.send(new HeadObjectCommand({ Bucket, Key }));
    assert.deepEqual([shown.SSEKMSKeyId, shown.ContentLength], ["vault:blue", sizeBytes]);
    if (sizeBytes > 100) assert.ok((await read(Key, "bytes=90-99")).equals(Body.subarray(90, 100)), Key);
  }
});

void test("SSE-S3 is sealed by the key that is set for it, and says no more than ever", async () => {
  const before = transit.asked.length;
  const Body = pattern(20_000);
  const stored = await put("s3", Body, { ServerSideEncryption: "AES256" });
  assert.deepEqual(
    [stored.ServerSideEncryption, stored.SSEKMSKeyId, stored.ETag],
    ["AES256", undefined, `"${md5(Body)}"`],
  );
  assert.ok(transit.asked.slice(before).includes("POST encrypt/green"));
  assert.ok((await read("s3")).equals(Body));
});

void test("keys of the store's own go on beside those of the service", async () => {
  for (const SSEKMSKeyId of ["own", "default", "vault:green"]) {
    const Body = pattern(30_000);
    const stored = await put("beside", Body, { ...kms, SSEKMSKeyId });
    assert.equal(stored.SSEKMSKeyId, SSEKMSKeyId);
    assert.ok((await read("beside")).equals(Body));
  }
});

void test("an encryption context is bound and kept with the object", async () => {
  const SSEKMSEncryptionContext = Buffer.from(JSON.stringify({ project: "blue" })).toString("base64");
  await put("context", pattern(500), { ...blue, SSEKMSEncryptionContext });
  assert.ok((await read("context")).equals(pattern(500)));
});

void test("copies: to another key of the service, to and from the store's own, and plain, without losing a byte", async () => {
  const targets = {
    green,
    own: { ...kms, SSEKMSKeyId: "own" },
    sse: { ServerSideEncryption: "AES256" },
    plain: {},
  } as const;
  for (const sizeBytes of [700, 5 * MiB]) {
    const Body = pattern(sizeBytes);
    await put("source", Body, blue);
    for (const [Key, extra] of Object.entries(targets)) {
      await s3.send(new CopyObjectCommand({ Bucket, Key, CopySource: `${Bucket}/source`, ...extra }));
      assert.ok((await read(Key)).equals(Body), `${Key} of ${sizeBytes}`);
      await s3.send(new CopyObjectCommand({ Bucket, Key: "back", CopySource: `${Bucket}/${Key}`, ...blue }));
      assert.ok((await read("back")).equals(Body), `back from ${Key} of ${sizeBytes}`);
    }
  }
});

void test("multipart: parts, parts that are copied, and ranges over their borders", async () => {
  const Key = "parts";
  const [first, second] = [pattern(5 * MiB), pattern(5 * MiB + 7)];
  await put("part", second, green);
  const { UploadId, SSEKMSKeyId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key, ...blue }));
  assert.equal(SSEKMSKeyId, "vault:blue");
  const upload = { Bucket, Key, UploadId };
  const one = await s3.send(new UploadPartCommand({ ...upload, PartNumber: 1, Body: first }));
  const two = await s3.send(new UploadPartCopyCommand({ ...upload, PartNumber: 2, CopySource: `${Bucket}/part` }));
  const Parts = [
    { PartNumber: 1, ETag: one.ETag },
    { PartNumber: 2, ETag: two.CopyPartResult?.ETag },
  ];
  await s3.send(new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts } }));
  const whole = Buffer.concat([first, second]);
  assert.ok((await read(Key)).equals(whole));
  const at = 5 * MiB;
  assert.ok((await read(Key, `bytes=${at - 5}-${at + 4}`)).equals(whole.subarray(at - 5, at + 5)));
});

void test("a bucket's default: its key must be there, and its versions are read whichever key they have", async () => {
  const name = "by-default";
  await server.bucket(name);
  const setKey = (KMSMasterKeyID: string): Promise<unknown> => {
    const Rules = [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: "aws:kms" as const, KMSMasterKeyID } }];
    return s3.send(new PutBucketEncryptionCommand({ Bucket: name, ServerSideEncryptionConfiguration: { Rules } }));
  };
  await s3.send(new PutBucketVersioningCommand({ Bucket: name, VersioningConfiguration: { Status: "Enabled" } }));
  await failsWith(setKey("vault:none"), 400, "KMS.NotFoundException");
  const versions: { readonly VersionId: string | undefined; readonly keyId: string }[] = [];
  for (const keyId of ["vault:blue", "vault:green"]) {
    await setKey(keyId);
    const { VersionId, SSEKMSKeyId } = await s3.send(new PutObjectCommand({ Bucket: name, Key: "k", Body: keyId }));
    assert.equal(SSEKMSKeyId, keyId);
    versions.push({ VersionId, keyId });
  }
  for (const { VersionId, keyId } of versions) {
    const found = await s3.send(new GetObjectCommand({ Bucket: name, Key: "k", VersionId }));
    assert.equal(await found.Body?.transformToString(), keyId);
  }
  const { ServerSideEncryptionConfiguration: shown } = await s3.send(new GetBucketEncryptionCommand({ Bucket: name }));
  assert.equal(shown?.Rules?.[0]?.ApplyServerSideEncryptionByDefault?.KMSMasterKeyID, "vault:green");
});

void test("a rotation in the service rewrites nothing: what was there is read, and what comes has the new version", async () => {
  await put("before", pattern(9_000), blue);
  transit.rotate("blue");
  await put("after", pattern(9_001), blue);
  assert.ok((await read("before")).equals(pattern(9_000)));
  assert.ok((await read("after")).equals(pattern(9_001)));
});

void test("keys that are not there or seal nothing: AWS's errors, and nothing is stored or made", async () => {
  transit.make("signing", { type: "ed25519" });
  for (const [SSEKMSKeyId, code] of [
    ["vault:none", "KMS.NotFoundException"],
    ["vault:../sys", "KMS.NotFoundException"],
    ["vault:signing", "KMS.InvalidKeyUsageException"],
  ] as const) {
    for (const sizeBytes of [10, 100_000])
      await failsWith(put("refused", pattern(sizeBytes), { ...kms, SSEKMSKeyId }), 400, code);
    const upload = new CreateMultipartUploadCommand({ Bucket, Key: "refused", ...kms, SSEKMSKeyId });
    await failsWith(s3.send(upload), 400, code);
  }
  await failsWith(read("refused"), 404, "NoSuchKey");
  assert.ok(!transit.keys.has("none"));
});

// ---- Away ----

const cold = await startWithVault(0);
await cold.server.bucket(Bucket);

void test("while the service is away what needs it is 503 with Retry-After, all else goes on, and nothing is lost", async () => {
  const ask = cold.s3;
  const [small, large] = [pattern(400), pattern(200_000)];
  const store = (Key: string, Body: Buffer, extra: object) =>
    ask.send(new PutObjectCommand({ Bucket, Key, Body, ...extra }));
  const get = async (Key: string): Promise<Buffer> =>
    bytesOf((await ask.send(new GetObjectCommand({ Bucket, Key }))).Body);
  await store("small", small, blue);
  await store("large", large, blue);
  await store("plain", large, {});
  await store("gone", small, blue);
  const upload = { Bucket, Key: "upload" };
  const { UploadId } = await ask.send(new CreateMultipartUploadCommand({ ...upload, ...blue }));
  const part = { ...upload, UploadId, PartNumber: 1, Body: large };
  const first = await ask.send(new UploadPartCommand(part));

  const { port } = cold.transit;
  await cold.transit.stop();
  const away = (promise: Promise<unknown>): Promise<void> => failsWith(promise, 503, "ServiceUnavailable");
  for (const Key of ["small", "large"]) await away(get(Key));
  await away(store("small", pattern(500), blue));
  await away(store("large", pattern(300_000), blue));
  await away(ask.send(new UploadPartCommand({ ...part, Body: pattern(300_000) })));
  await away(ask.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource: `${Bucket}/small`, ...green })));
  const { status, headers, text } = await cold.server.raw({ method: "GET", path: `/${Bucket}/small` });
  assert.deepEqual([status, headers["retry-after"]], [503, "1"]);
  assert.match(
    text,
    /<Code>ServiceUnavailable<\/Code><Message>The key service cannot be used at this moment\.<\/Message>/,
  );
  // What needs no data key needs no service.
  assert.ok((await get("plain")).equals(large));
  assert.equal((await ask.send(new HeadObjectCommand({ Bucket, Key: "small" }))).SSEKMSKeyId, "vault:blue");
  await ask.send(new DeleteObjectCommand({ Bucket, Key: "gone" }));
  const listed = await ask.send(new ListObjectsV2Command({ Bucket }));
  assert.deepEqual(
    listed.Contents?.map(({ Key }) => Key),
    ["large", "plain", "small"],
  );

  await cold.transit.listen(port);
  assert.ok((await get("small")).equals(small));
  assert.ok((await get("large")).equals(large));
  const Parts = [{ PartNumber: 1, ETag: first.ETag }];
  await ask.send(new CompleteMultipartUploadCommand({ ...upload, UploadId, MultipartUpload: { Parts } }));
  assert.ok((await get("upload")).equals(large));
});

void test("a sealed service, a token that may not, a version that opens no more: each has its own answer", async () => {
  const ask = cold.s3;
  const get = (): Promise<unknown> => ask.send(new GetObjectCommand({ Bucket, Key: "answers" }));
  await ask.send(new PutObjectCommand({ Bucket, Key: "answers", Body: "yes", ...blue }));
  cold.transit.isSealed = true;
  await failsWith(get(), 503, "ServiceUnavailable");
  cold.transit.isSealed = false;
  cold.transit.tokens.set("root-token", "nothing");
  await failsWith(get(), 403, "AccessDenied");
  cold.transit.tokens.delete("root-token");
  await failsWith(get(), 503, "ServiceUnavailable");
  cold.transit.tokens.set("root-token", "all");
  cold.transit.rotate("blue");
  cold.transit.keys.get("blue")!.minDecryptionVersion = 2;
  await failsWith(get(), 400, "KMS.DisabledException");
  cold.transit.keys.get("blue")!.minDecryptionVersion = 1;
  const key = cold.transit.keys.get("blue")!;
  cold.transit.keys.delete("blue");
  await failsWith(get(), 400, "KMS.NotFoundException");
  cold.transit.keys.set("blue", key);
  await get();
});
