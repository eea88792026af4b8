/** Object lock and policies: who may lock, for how long, who may bypass, and who sees that something is locked. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  HeadObjectCommand,
  PutObjectCommand,
  PutObjectLegalHoldCommand,
  PutObjectRetentionCommand,
} from "@aws-sdk/client-s3";
import type { PutObjectCommandInput, PutObjectRetentionCommandInput, S3Client } from "@aws-sdk/client-s3";
import { failsWith, startTestServer, type TestServer } from "./server.ts";

const Bucket = "locked";
const Resource = `arn:aws:s3:::${Bucket}/*`;
const inDays = (days: number): Date => new Date(Date.now() + days * 86_400_000);

let server: TestServer;
before(async () => {
  server = await startTestServer();
  await server.s3.send(new CreateBucketCommand({ Bucket, ObjectLockEnabledForBucket: true }));
});
after(() => server.close());

let users = 0;
async function userWith(...statements: object[]): Promise<S3Client> {
  const { directory } = server.identity;
  const { account } = await directory.ownAccount();
  const name = `user-${(users += 1)}`;
  await directory.createUser({ account, name });
  const Statement = statements.map((statement) => ({ Effect: "Allow", Resource, ...statement }));
  const document = JSON.stringify({ Version: "2012-10-17", Statement });
  await directory.putInlinePolicy({ kind: "user", account, name }, { name: "own", document });
  const { accessKey, secretKey } = await server.identity.create({ owner: { kind: "user", account, user: name } });
  return server.client({ credentials: { accessKeyId: accessKey, secretAccessKey: secretKey } });
}

const denied = (promise: Promise<unknown>): Promise<void> => failsWith(promise, 403, "AccessDenied");

async function put(Key: string, more: Partial<PutObjectCommandInput> = {}): Promise<string> {
  return (await server.s3.send(new PutObjectCommand({ Bucket, Key, Body: "x", ...more }))).VersionId!;
}

const governed = (days: number): Partial<PutObjectCommandInput> => ({
  ObjectLockMode: "GOVERNANCE",
  ObjectLockRetainUntilDate: inDays(days),
});

function retain(
  s3: S3Client,
  Key: string,
  days: number,
  more: Partial<PutObjectRetentionCommandInput> = {},
): Promise<unknown> {
  const Retention = { Mode: "GOVERNANCE", RetainUntilDate: inDays(days) } as const;
  return s3.send(new PutObjectRetentionCommand({ Bucket, Key, Retention, ...more }));
}

void test("a policy may say for how long somebody can lock, in documents and in headers", async () => {
  await put("k");
  const upTo = { NumericLessThanEquals: { "s3:object-lock-remaining-retention-days": "10" } };
  const s3 = await userWith({ Action: "s3:PutObject" }, { Action: "s3:PutObjectRetention", Condition: upTo });
  await denied(retain(s3, "k", 30));
  await retain(s3, "k", 5);
  const own = { Bucket, Key: "own", Body: "x" };
  await denied(s3.send(new PutObjectCommand({ ...own, ...governed(30) })));
  await s3.send(new PutObjectCommand({ ...own, ...governed(5) }));
});

void test("a policy may say which holds somebody can set", async () => {
  await put("held");
  const s3 = await userWith({
    Action: "s3:PutObjectLegalHold",
    Condition: { StringEquals: { "s3:object-lock-legal-hold": "ON" } },
  });
  const hold = (Status: "ON" | "OFF"): Promise<unknown> =>
    s3.send(new PutObjectLegalHoldCommand({ Bucket, Key: "held", LegalHold: { Status } }));
  await hold("ON");
  await denied(hold("OFF"));
});

void test("locking with a PUT needs the right to lock", async () => {
  const s3 = await userWith({ Action: "s3:PutObject" });
  const own = { Bucket, Key: "locking", Body: "x" };
  await denied(s3.send(new PutObjectCommand({ ...own, ...governed(1) })));
  await denied(s3.send(new PutObjectCommand({ ...own, ObjectLockLegalHoldStatus: "ON" })));
  await s3.send(new PutObjectCommand(own));
});

void test("making a bucket with object lock needs the right to switch on its versions and its lock", async () => {
  const make = (s3: S3Client, name: string): Promise<unknown> =>
    s3.send(new CreateBucketCommand({ Bucket: name, ObjectLockEnabledForBucket: true }));
  const needed = ["s3:CreateBucket", "s3:PutBucketVersioning", "s3:PutBucketObjectLockConfiguration"];
  for (const missing of needed) {
    const Action = needed.filter((action) => action !== missing);
    await denied(make(await userWith({ Action, Resource: "*" }), "made"));
  }
  await make(await userWith({ Action: needed, Resource: "*" }), "made");
});

void test("bypassing needs the right to bypass, wherever it is asked for", async () => {
  const without = await userWith({ Action: ["s3:DeleteObject*", "s3:PutObjectRetention"] });
  const may = await userWith({
    Action: ["s3:DeleteObject*", "s3:PutObjectRetention", "s3:BypassGovernanceRetention"],
  });
  const bypass = { BypassGovernanceRetention: true };
  const VersionId = await put("bypassed", governed(30));
  const version = { Bucket, Key: "bypassed", VersionId };
  const Delete = { Objects: [{ Key: "bypassed", VersionId }] };
  await denied(retain(without, "bypassed", 5, bypass));
  await denied(without.send(new DeleteObjectCommand({ ...version, ...bypass })));
  const many = await without.send(new DeleteObjectsCommand({ Bucket, Delete, ...bypass }));
  assert.deepEqual(
    many.Errors?.map(({ Code }) => Code),
    ["AccessDenied"],
  );
  await denied(may.send(new DeleteObjectCommand(version)));
  await retain(may, "bypassed", 5, bypass);
  await may.send(new DeleteObjectCommand({ ...version, ...bypass }));
});

void test("a lock is shown only to who may see it", async () => {
  await put("seen", { ...governed(1), ObjectLockLegalHoldStatus: "ON" });
  const object = { Bucket, Key: "seen" };
  const plain = await (await userWith({ Action: "s3:GetObject" })).send(new HeadObjectCommand(object));
  assert.equal(plain.ObjectLockMode, undefined);
  assert.equal(plain.ObjectLockLegalHoldStatus, undefined);
  const holds = await userWith({ Action: ["s3:GetObject", "s3:GetObjectLegalHold"] });
  const shown = await holds.send(new HeadObjectCommand(object));
  assert.equal(shown.ObjectLockMode, undefined);
  assert.equal(shown.ObjectLockLegalHoldStatus, "ON");
});
