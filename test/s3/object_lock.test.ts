/** Object lock through the AWS SDK, behaviour by behaviour. That locks end in time is held by src/object/locks.test.ts. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketVersioningCommand,
  GetObjectCommand,
  GetObjectLegalHoldCommand,
  GetObjectLockConfigurationCommand,
  GetObjectRetentionCommand,
  HeadObjectCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  PutObjectLegalHoldCommand,
  PutObjectLockConfigurationCommand,
  PutObjectRetentionCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import type {
  DefaultRetention,
  GetObjectLegalHoldCommandOutput,
  ObjectLockRetention,
  PutObjectCommandInput,
} from "@aws-sdk/client-s3";
import { failsWith, startTestServer } from "./server.ts";
import type { TestServer } from "./server.ts";

const Bucket = "locked";
const plain = "plain";
const later = new Date(Date.now() + 30 * 86_400_000);
const muchLater = new Date(Date.now() + 60 * 86_400_000);
const gone = new Date(Date.now() - 86_400_000);

let server: TestServer;
before(async () => {
  server = await startTestServer({ hasKeyring: true });
  await server.s3.send(new CreateBucketCommand({ Bucket, ObjectLockEnabledForBucket: true }));
  await server.bucket(plain);
});
after(() => server.close());

async function put(Key: string, more: Partial<PutObjectCommandInput> = {}): Promise<string> {
  const { VersionId } = await server.s3.send(new PutObjectCommand({ Bucket, Key, Body: "x", ...more }));
  assert.ok(VersionId !== undefined);
  return VersionId;
}

const retain = (Key: string, Retention: ObjectLockRetention, BypassGovernanceRetention?: boolean): Promise<unknown> =>
  server.s3.send(
    new PutObjectRetentionCommand({
      Bucket,
      Key,
      Retention,
      ...(BypassGovernanceRetention !== undefined && { BypassGovernanceRetention }),
    }),
  );

const configure = (bucket: string, retention?: DefaultRetention): Promise<unknown> =>
  server.s3.send(
    new PutObjectLockConfigurationCommand({
      Bucket: bucket,
      ObjectLockConfiguration: {
        ObjectLockEnabled: "Enabled",
        ...(retention !== undefined && { Rule: { DefaultRetention: retention } }),
      },
    }),
  );

const remove = (Key: string, VersionId: string, BypassGovernanceRetention = false): Promise<unknown> =>
  server.s3.send(new DeleteObjectCommand({ Bucket, Key, VersionId, BypassGovernanceRetention }));

async function retentionOf(Key: string): Promise<ObjectLockRetention | undefined> {
  return (await server.s3.send(new GetObjectRetentionCommand({ Bucket, Key }))).Retention;
}

void test("a bucket made with object lock has versions and no default retention", async () => {
  const { Status } = await server.s3.send(new GetBucketVersioningCommand({ Bucket }));
  assert.equal(Status, "Enabled");
  const { ObjectLockConfiguration } = await server.s3.send(new GetObjectLockConfigurationCommand({ Bucket }));
  assert.deepEqual(ObjectLockConfiguration, { ObjectLockEnabled: "Enabled" });
  await failsWith(
    server.s3.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: "Suspended" } })),
    409,
    "InvalidBucketState",
  );
});

void test("a bucket without object lock says so, and nothing in it can be locked", async () => {
  const { s3 } = server;
  await s3.send(new PutObjectCommand({ Bucket: plain, Key: "k", Body: "x" }));
  const object = { Bucket: plain, Key: "k" };
  await failsWith(
    s3.send(new GetObjectLockConfigurationCommand({ Bucket: plain })),
    404,
    "ObjectLockConfigurationNotFoundError",
  );
  await failsWith(configure(plain), 409, "InvalidBucketState");
  await failsWith(s3.send(new GetObjectRetentionCommand(object)), 400, "InvalidRequest");
  await failsWith(s3.send(new GetObjectLegalHoldCommand(object)), 400, "InvalidRequest");
  const Retention = { Mode: "GOVERNANCE", RetainUntilDate: later } as const;
  await failsWith(s3.send(new PutObjectRetentionCommand({ ...object, Retention })), 400, "InvalidRequest");
  await failsWith(
    s3.send(new PutObjectLegalHoldCommand({ ...object, LegalHold: { Status: "ON" } })),
    400,
    "InvalidRequest",
  );
  await failsWith(
    s3.send(new PutObjectCommand({ ...object, Body: "x", ObjectLockLegalHoldStatus: "ON" })),
    400,
    "InvalidRequest",
  );
});

void test("object lock can be switched on for a bucket that has versions", async () => {
  const { s3 } = server;
  await server.bucket("later-locked");
  await s3.send(
    new PutBucketVersioningCommand({ Bucket: "later-locked", VersioningConfiguration: { Status: "Enabled" } }),
  );
  await configure("later-locked", { Mode: "GOVERNANCE", Days: 7 });
  const { ObjectLockConfiguration } = await s3.send(new GetObjectLockConfigurationCommand({ Bucket: "later-locked" }));
  assert.deepEqual(ObjectLockConfiguration?.Rule?.DefaultRetention, { Mode: "GOVERNANCE", Days: 7 });
});

void test("an object that is put with a retention and a legal hold shows them and cannot be removed", async () => {
  const VersionId = await put("with", {
    ObjectLockMode: "COMPLIANCE",
    ObjectLockRetainUntilDate: later,
    ObjectLockLegalHoldStatus: "ON",
  });
  const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key: "with" }));
  assert.equal(head.ObjectLockMode, "COMPLIANCE");
  assert.equal(head.ObjectLockRetainUntilDate?.getTime(), later.getTime());
  assert.equal(head.ObjectLockLegalHoldStatus, "ON");
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key: "with" }));
  assert.equal(got.ObjectLockMode, "COMPLIANCE");
  assert.equal(await got.Body?.transformToString(), "x");
  assert.deepEqual(await retentionOf("with"), { Mode: "COMPLIANCE", RetainUntilDate: later });
  for (const bypass of [false, true]) await failsWith(remove("with", VersionId, bypass), 403, "AccessDenied");
  const { DeleteMarker } = await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "with" }));
  assert.equal(DeleteMarker, true);
  await failsWith(server.s3.send(new DeleteBucketCommand({ Bucket })), 409, "BucketNotEmpty");
});

void test("a retention in GOVERNANCE mode is bypassed only by who says so", async () => {
  const VersionId = await put("governed", { ObjectLockMode: "GOVERNANCE", ObjectLockRetainUntilDate: muchLater });
  await failsWith(remove("governed", VersionId), 403, "AccessDenied");
  const shorter = { Mode: "GOVERNANCE", RetainUntilDate: later } as const;
  await failsWith(retain("governed", shorter), 403, "AccessDenied");
  await retain("governed", shorter, true);
  await retain("governed", { Mode: "GOVERNANCE", RetainUntilDate: muchLater });
  await failsWith(retain("governed", { Mode: "COMPLIANCE", RetainUntilDate: muchLater }), 403, "AccessDenied");
  await remove("governed", VersionId, true);
});

void test("a retention in COMPLIANCE mode can be lengthened and nothing else", async () => {
  await put("complies", { ObjectLockMode: "COMPLIANCE", ObjectLockRetainUntilDate: later });
  await retain("complies", { Mode: "COMPLIANCE", RetainUntilDate: muchLater });
  for (const weaker of [
    { Mode: "COMPLIANCE", RetainUntilDate: later },
    { Mode: "GOVERNANCE", RetainUntilDate: muchLater },
    {},
  ] as const)
    await failsWith(retain("complies", weaker, true), 403, "AccessDenied");
  assert.deepEqual(await retentionOf("complies"), { Mode: "COMPLIANCE", RetainUntilDate: muchLater });
});

void test("an empty document takes a retention away, where it may be", async () => {
  await put("emptied", { ObjectLockMode: "GOVERNANCE", ObjectLockRetainUntilDate: later });
  await failsWith(retain("emptied", {}), 403, "AccessDenied");
  await retain("emptied", {}, true);
  await failsWith(retentionOf("emptied"), 404, "NoSuchObjectLockConfiguration");
});

void test("a legal hold keeps a version, and is shown as off once it was taken away", async () => {
  const hold = async (Status: "ON" | "OFF"): Promise<void> => {
    await server.s3.send(new PutObjectLegalHoldCommand({ Bucket, Key: "held", LegalHold: { Status } }));
  };
  const shown = (): Promise<GetObjectLegalHoldCommandOutput> =>
    server.s3.send(new GetObjectLegalHoldCommand({ Bucket, Key: "held" }));
  const VersionId = await put("held");
  await failsWith(shown(), 404, "NoSuchObjectLockConfiguration");
  await hold("ON");
  assert.equal((await shown()).LegalHold?.Status, "ON");
  await failsWith(remove("held", VersionId, true), 403, "AccessDenied");
  await hold("OFF");
  assert.equal((await shown()).LegalHold?.Status, "OFF");
  await remove("held", VersionId);
});

void test("DeleteObjects removes what is not locked and says of each other one why not", async () => {
  const free = await put("many-free");
  const governed = await put("many-governed", { ObjectLockMode: "GOVERNANCE", ObjectLockRetainUntilDate: later });
  const held = await put("many-held", { ObjectLockLegalHoldStatus: "ON" });
  const Objects = [
    { Key: "many-free", VersionId: free },
    { Key: "many-governed", VersionId: governed },
    { Key: "many-held", VersionId: held },
  ];
  const first = await server.s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
  assert.deepEqual(
    first.Errors?.map(({ Key, Code }) => `${Key} ${Code}`),
    ["many-governed AccessDenied", "many-held AccessDenied"],
  );
  const second = await server.s3.send(
    new DeleteObjectsCommand({ Bucket, Delete: { Objects }, BypassGovernanceRetention: true }),
  );
  assert.deepEqual(
    second.Errors?.map(({ Key }) => Key),
    ["many-held"],
  );
});

void test("a default retention counts for objects that bring none, an explicit one instead of it", async () => {
  const { s3 } = server;
  const bucket = "by-default";
  await s3.send(new CreateBucketCommand({ Bucket: bucket, ObjectLockEnabledForBucket: true }));
  await configure(bucket, { Mode: "COMPLIANCE", Years: 2 });
  await s3.send(new PutObjectCommand({ Bucket: bucket, Key: "k", Body: "x" }));
  const head = await s3.send(new HeadObjectCommand({ Bucket: bucket, Key: "k" }));
  assert.equal(head.ObjectLockMode, "COMPLIANCE");
  const years = head.ObjectLockRetainUntilDate!.getUTCFullYear() - head.LastModified!.getUTCFullYear();
  assert.equal(years, 2);
  const own = { ObjectLockMode: "GOVERNANCE", ObjectLockRetainUntilDate: later } as const;
  await s3.send(new PutObjectCommand({ Bucket: bucket, Key: "own", Body: "x", ...own }));
  const shown = await s3.send(new HeadObjectCommand({ Bucket: bucket, Key: "own" }));
  assert.equal(shown.ObjectLockMode, "GOVERNANCE");
});

void test("copies and uploads are locked as they ask, and a source's lock is not copied", async () => {
  const { s3 } = server;
  await put("source", { ObjectLockLegalHoldStatus: "ON" });
  const CopySource = `${Bucket}/source`;
  await s3.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource }));
  assert.equal((await s3.send(new HeadObjectCommand({ Bucket, Key: "copy" }))).ObjectLockLegalHoldStatus, undefined);
  const lock = { ObjectLockMode: "GOVERNANCE", ObjectLockRetainUntilDate: later } as const;
  await s3.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource, ...lock }));
  assert.deepEqual(await retentionOf("copy"), { Mode: "GOVERNANCE", RetainUntilDate: later });
  // Its bytes are written anew.
  await s3.send(new CopyObjectCommand({ Bucket, Key: "sealed", CopySource, ServerSideEncryption: "AES256", ...lock }));
  assert.deepEqual(await retentionOf("sealed"), { Mode: "GOVERNANCE", RetainUntilDate: later });
  const upload = { Bucket, Key: "upload" };
  const { UploadId } = await s3.send(
    new CreateMultipartUploadCommand({ ...upload, ...lock, ObjectLockLegalHoldStatus: "ON" }),
  );
  const { ETag } = await s3.send(new UploadPartCommand({ ...upload, UploadId, PartNumber: 1, Body: "x" }));
  const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
  await s3.send(new CompleteMultipartUploadCommand({ ...upload, UploadId, MultipartUpload }));
  const head = await s3.send(new HeadObjectCommand(upload));
  assert.equal(head.ObjectLockMode, "GOVERNANCE");
  assert.equal(head.ObjectLockLegalHoldStatus, "ON");
});

void test("headers that ask for half a lock, or one that has ended, are refused", async () => {
  const wrong: Partial<PutObjectCommandInput>[] = [
    { ObjectLockMode: "GOVERNANCE" },
    { ObjectLockRetainUntilDate: later },
    { ObjectLockMode: "GOVERNANCE", ObjectLockRetainUntilDate: gone },
    { ObjectLockMode: "governance" as "GOVERNANCE", ObjectLockRetainUntilDate: later },
    { ObjectLockLegalHoldStatus: "on" as "ON" },
  ];
  for (const headers of wrong) await failsWith(put("wrong", headers), 400, "InvalidArgument");
  await failsWith(retain("complies", { Mode: "COMPLIANCE", RetainUntilDate: gone }), 400, "InvalidArgument");
  const unproven = await server.raw({
    method: "PUT",
    path: `/${Bucket}/unproven`,
    headers: { "x-amz-object-lock-legal-hold": "ON" },
    body: Buffer.from("x"),
  });
  assert.equal(unproven.status, 400);
  assert.match(unproven.text, /<Code>InvalidRequest</);
  const dated = await server.raw({
    method: "PUT",
    path: `/${Bucket}/dated`,
    headers: { "x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": "tomorrow" },
    body: Buffer.from("x"),
  });
  assert.match(dated.text, /<Code>InvalidArgument</);
});

void test("documents that say something else than AWS's schema are refused, and change nothing", async () => {
  const enabled = "<ObjectLockEnabled>Enabled</ObjectLockEnabled>";
  const rule = (inside: string): string => `${enabled}<Rule><DefaultRetention>${inside}</DefaultRetention></Rule>`;
  const mode = "<Mode>GOVERNANCE</Mode>";
  const cases: [path: string, root: string, inside: string, code: string][] = [
    ["?object-lock", "ObjectLockConfiguration", "", "MalformedXML"],
    ["?object-lock", "ObjectLockConfiguration", "<ObjectLockEnabled>Disabled</ObjectLockEnabled>", "MalformedXML"],
    ["?object-lock", "ObjectLockConfiguration", `${enabled}<Rule/>`, "MalformedXML"],
    ["?object-lock", "ObjectLockConfiguration", rule(mode), "MalformedXML"],
    ["?object-lock", "ObjectLockConfiguration", rule(`${mode}<Days>1</Days><Years>1</Years>`), "MalformedXML"],
    ["?object-lock", "ObjectLockConfiguration", rule("<Mode>governance</Mode><Days>1</Days>"), "MalformedXML"],
    ["?object-lock", "ObjectLockConfiguration", rule(`${mode}<Days>one</Days>`), "MalformedXML"],
    ["?object-lock", "ObjectLockConfiguration", rule(`${mode}<Days>0</Days>`), "InvalidRetentionPeriod"],
    ["?object-lock", "ObjectLockConfiguration", rule(`${mode}<Years>-1</Years>`), "InvalidRetentionPeriod"],
    ["?object-lock", "ObjectLockConfiguration", rule(`${mode}<Days>36501</Days>`), "InvalidRetentionPeriod"],
    ["?object-lock", "ObjectLockConfiguration", rule(`${mode}<Years>101</Years>`), "InvalidRetentionPeriod"],
    ["/with?retention", "Retention", mode, "MalformedXML"],
    ["/with?retention", "Retention", `${mode}<RetainUntilDate>2099-01-01</RetainUntilDate>`, "MalformedXML"],
    ["/with?legal-hold", "LegalHold", "<Status>on</Status>", "MalformedXML"],
    ["/with?legal-hold", "LegalHold", "", "MalformedXML"],
  ];
  for (const [path, root, inside, code] of cases) {
    const body = Buffer.from(`<${root}>${inside}</${root}>`);
    const answer = await server.raw({ method: "PUT", path: `/${Bucket}${path}`, body });
    assert.equal(answer.status, 400, inside);
    assert.match(answer.text, new RegExp(`<Code>${code}<`), inside);
  }
  const empty = await server.raw({ method: "PUT", path: `/${Bucket}?object-lock` });
  assert.match(empty.text, /<Code>MissingRequestBodyError</);
  const { ObjectLockConfiguration } = await server.s3.send(new GetObjectLockConfigurationCommand({ Bucket }));
  assert.deepEqual(ObjectLockConfiguration, { ObjectLockEnabled: "Enabled" });
});
