/** Policies of buckets over S3: whom they let in, whom they keep out, and what keeps them from letting everybody in. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  CopyObjectCommand,
  CreateBucketCommand,
  DeleteBucketPolicyCommand,
  DeleteObjectsCommand,
  GetBucketPolicyCommand,
  GetBucketPolicyStatusCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  ListObjectsV2Command,
  PutBucketAclCommand,
  PutBucketPolicyCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  PutPublicAccessBlockCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import type { Objects } from "../../src/object/object.ts";
import { failsWith, startTestServer, type TestServer } from "./server.ts";

let server: TestServer;
let own: string;
/** Calls that read what a bucket says about who may use it. */
let rulesRead = 0;
before(async () => {
  const counting = (objects: Objects): Objects =>
    new Proxy(objects, {
      get(target, name) {
        if (name === "configurations") rulesRead += 1;
        const value: unknown = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  server = await startTestServer({ wrap: counting });
  ({ account: own } = await server.identity.directory.ownAccount());
});
after(() => server.close());

let made = 0;
async function newBucket(): Promise<string> {
  const Bucket = `policy-${(made += 1)}`;
  await server.s3.send(new CreateBucketCommand({ Bucket }));
  for (const Key of ["a", "b"]) await server.s3.send(new PutObjectCommand({ Bucket, Key, Body: Key }));
  return Bucket;
}

async function keysOf(owner: Parameters<typeof server.identity.create>[0]["owner"]): Promise<S3Client> {
  const { accessKey, secretKey } = await server.identity.create({ owner });
  return server.client({ credentials: { accessKeyId: accessKey, secretAccessKey: secretKey } });
}

/** Without policies of its own unless some are given. */
async function newUser(account = own, ...Statement: object[]): Promise<{ s3: S3Client; arn: string }> {
  const user = `user-${(made += 1)}`;
  const { arn } = await server.identity.directory.createUser({ account, name: user });
  const holder = { kind: "user", account, name: user } as const;
  const document = JSON.stringify({ Version: "2012-10-17", Statement });
  if (Statement.length > 0) await server.identity.directory.putInlinePolicy(holder, { name: "own", document });
  return { s3: await keysOf({ kind: "user", account, user }), arn };
}

type Statement = { Effect?: string; Principal?: unknown; Action: unknown; Resource?: unknown; Condition?: object };

const documentOf = (bucket: string, statements: readonly Statement[]): string => {
  const Resource = `arn:aws:s3:::${bucket}/*`;
  const Statement = statements.map((each) => ({ Effect: "Allow", Principal: "*", Resource, ...each }));
  return JSON.stringify({ Version: "2012-10-17", Statement });
};

const setPolicy = (Bucket: string, ...statements: Statement[]) =>
  server.s3.send(new PutBucketPolicyCommand({ Bucket, Policy: documentOf(Bucket, statements) }));
const get = (s3: S3Client, Bucket: string, Key: string) => s3.send(new GetObjectCommand({ Bucket, Key }));
const isPublic = async (Bucket: string): Promise<boolean | undefined> =>
  (await server.s3.send(new GetBucketPolicyStatusCommand({ Bucket }))).PolicyStatus?.IsPublic;
const denied = (promise: Promise<unknown>): Promise<void> => failsWith(promise, 403, "AccessDenied");
const unsigned = async (path: string): Promise<number> => (await fetch(`${server.origin}/${path}`)).status;

void test("a policy is given back as it was put, and is gone when it is deleted", async () => {
  const Bucket = await newBucket();
  await failsWith(server.s3.send(new GetBucketPolicyCommand({ Bucket })), 404, "NoSuchBucketPolicy");
  const { $metadata } = await setPolicy(Bucket, { Action: "s3:GetObject" });
  assert.equal($metadata.httpStatusCode, 204);
  const { Policy } = await server.s3.send(new GetBucketPolicyCommand({ Bucket }));
  assert.equal(Policy, documentOf(Bucket, [{ Action: "s3:GetObject" }]));
  assert.equal(await isPublic(Bucket), true);
  await server.s3.send(new DeleteBucketPolicyCommand({ Bucket }));
  await failsWith(server.s3.send(new GetBucketPolicyCommand({ Bucket })), 404, "NoSuchBucketPolicy");
});

void test("what is no policy of this bucket is refused, and the one that was there stays", async () => {
  const Bucket = await newBucket();
  await setPolicy(Bucket, { Action: "s3:GetObject" });
  for (const Policy of [
    "{",
    "{}",
    documentOf("another-bucket", [{ Action: "s3:GetObject" }]),
    documentOf(Bucket, [{ Effect: "Deny", Action: "s3:ListBucket" }]),
    documentOf(Bucket, [{ Action: "s3:NoSuchAction" }]),
    `${documentOf(Bucket, [{ Action: "s3:GetObject" }])}${" ".repeat(20_480)}`,
  ])
    await failsWith(server.s3.send(new PutBucketPolicyCommand({ Bucket, Policy })), 400, "MalformedPolicy");
  assert.equal(await unsigned(`${Bucket}/a`), 200);
});

void test("a policy lets everybody read, from the next request on, until it is taken away", async () => {
  const Bucket = await newBucket();
  assert.equal(await unsigned(`${Bucket}/a`), 403);
  await setPolicy(Bucket, { Action: "s3:GetObject", Resource: `arn:aws:s3:::${Bucket}/a` });
  assert.equal(await unsigned(`${Bucket}/a`), 200);
  assert.equal(await unsigned(`${Bucket}/b`), 403);
  assert.equal(await unsigned(`${Bucket}/nothing`), 403);
  assert.equal(await unsigned(Bucket), 403);
  const all = [`arn:aws:s3:::${Bucket}`, `arn:aws:s3:::${Bucket}/*`];
  await setPolicy(Bucket, { Action: ["s3:GetObject", "s3:ListBucket"], Resource: all });
  assert.equal(await unsigned(Bucket), 200);
  assert.equal(await unsigned(`${Bucket}/nothing`), 404);
  await server.s3.send(new DeleteBucketPolicyCommand({ Bucket }));
  assert.equal(await unsigned(`${Bucket}/a`), 403);
});

void test("a user who is named needs no policy of its own; a Deny is stronger than any", async () => {
  const Bucket = await newBucket();
  const { s3, arn } = await newUser();
  await denied(get(s3, Bucket, "a"));
  await setPolicy(Bucket, { Principal: { AWS: arn }, Action: "s3:GetObject" });
  await get(s3, Bucket, "a");
  const mighty = await newUser(own, { Effect: "Allow", Action: "s3:*", Resource: "*" });
  await get(mighty.s3, Bucket, "a");
  await setPolicy(Bucket, { Effect: "Deny", Principal: { AWS: mighty.arn }, Action: "s3:GetObject" });
  await assert.rejects(get(mighty.s3, Bucket, "a"), /explicit deny in a resource-based policy/);
  await denied(get(s3, Bucket, "a"));
});

void test("from another account both sides must allow", async () => {
  const Bucket = await newBucket();
  const { account } = await server.identity.directory.createAccount("tenant");
  const root = await keysOf({ kind: "account", account });
  const plain = await newUser(account);
  const allowed = await newUser(account, { Effect: "Allow", Action: "s3:*", Resource: "*" });
  for (const s3 of [root, plain.s3, allowed.s3]) await denied(get(s3, Bucket, "a"));
  await setPolicy(Bucket, { Principal: { AWS: account }, Action: "s3:GetObject" });
  await get(root, Bucket, "a");
  await get(allowed.s3, Bucket, "a");
  await denied(get(plain.s3, Bucket, "a"));
});

void test("a condition on an object's tags is judged by the tags that the object has", async () => {
  const Bucket = await newBucket();
  const { s3, arn } = await newUser();
  const Condition = { StringEquals: { "s3:ExistingObjectTag/open": "yes" } };
  await setPolicy(Bucket, { Principal: { AWS: arn }, Action: ["s3:GetObject", "s3:GetObjectTagging"], Condition });
  const tag = (Value: string) =>
    server.s3.send(new PutObjectTaggingCommand({ Bucket, Key: "a", Tagging: { TagSet: [{ Key: "open", Value }] } }));
  await denied(get(s3, Bucket, "a"));
  await tag("yes");
  await get(s3, Bucket, "a");
  await s3.send(new GetObjectTaggingCommand({ Bucket, Key: "a" }));
  await denied(get(s3, Bucket, "b"));
  await tag("no");
  await denied(get(s3, Bucket, "a"));
});

void test("tags that a request's body gives are known to conditions", async () => {
  const Bucket = await newBucket();
  const { s3, arn } = await newUser();
  const Condition = { StringEquals: { "s3:RequestObjectTag/class": "low" } };
  await setPolicy(Bucket, { Principal: { AWS: arn }, Action: "s3:PutObjectTagging", Condition });
  const tag = (Value: string) =>
    s3.send(new PutObjectTaggingCommand({ Bucket, Key: "a", Tagging: { TagSet: [{ Key: "class", Value }] } }));
  await denied(tag("high"));
  await tag("low");
  const { TagSet } = await server.s3.send(new GetObjectTaggingCommand({ Bucket, Key: "a" }));
  assert.deepEqual(TagSet, [{ Key: "class", Value: "low" }]);
});

void test("a copy is judged by the policies of both buckets; DeleteObjects key by key", async () => {
  const [from, to] = [await newBucket(), await newBucket()];
  const { s3, arn } = await newUser();
  const copy = () => s3.send(new CopyObjectCommand({ Bucket: to, Key: "copy", CopySource: `${from}/a` }));
  await setPolicy(to, { Principal: { AWS: arn }, Action: "s3:PutObject" });
  await denied(copy());
  await setPolicy(from, { Principal: { AWS: arn }, Action: "s3:GetObject" });
  await copy();
  await setPolicy(to, { Principal: { AWS: arn }, Action: "s3:DeleteObject", Resource: `arn:aws:s3:::${to}/a` });
  const Objects = [{ Key: "a" }, { Key: "b" }];
  const { Deleted, Errors } = await s3.send(new DeleteObjectsCommand({ Bucket: to, Delete: { Objects } }));
  assert.deepEqual(
    [Deleted?.map(({ Key }) => Key), Errors?.map(({ Key, Code }) => [Key, Code])],
    [["a"], [["b", "AccessDenied"]]],
  );
});

void test("without a policy a bucket is as public as its list is, where lists count", async () => {
  const Bucket = await newBucket();
  const seen: (boolean | undefined)[] = [await isPublic(Bucket)];
  const look = async (): Promise<void> => void seen.push(await isPublic(Bucket));
  for (const ACL of ["public-read", "authenticated-read", "private", "public-read"] as const) {
    await server.s3.send(new PutBucketAclCommand({ Bucket, ACL }));
    await look();
  }
  const block = { Bucket, PublicAccessBlockConfiguration: { IgnorePublicAcls: true } };
  await server.s3.send(new PutPublicAccessBlockCommand(block));
  await look();
  await setPolicy(Bucket, { Action: "s3:GetObject" });
  await look();
  assert.deepEqual(seen, [false, true, true, false, true, false, true]);
});

void test("a public policy is refused where such are blocked, and lets no stranger in where they are restricted", async () => {
  const Bucket = await newBucket();
  const block = (name: string) =>
    server.s3.send(new PutPublicAccessBlockCommand({ Bucket, PublicAccessBlockConfiguration: { [name]: true } }));
  await setPolicy(Bucket, { Action: "s3:GetObject" });
  const { s3 } = await newUser();
  assert.equal(await unsigned(`${Bucket}/a`), 200);
  await block("RestrictPublicBuckets");
  assert.equal(await unsigned(`${Bucket}/a`), 403);
  await get(s3, Bucket, "a");
  await block("BlockPublicPolicy");
  await denied(setPolicy(Bucket, { Action: "s3:GetObject" }));
  await setPolicy(Bucket, { Principal: { AWS: own }, Action: "s3:GetObject" });
  assert.equal(await isPublic(Bucket), false);
});

void test("conditions on the request hold: prefix of a listing, address, how it was signed", async () => {
  const Bucket = await newBucket();
  const { s3, arn } = await newUser();
  const Resource = `arn:aws:s3:::${Bucket}`;
  const list = (Prefix?: string) => s3.send(new ListObjectsV2Command({ Bucket, Prefix }));
  const Principal = { AWS: arn };
  const Action = "s3:ListBucket";
  await setPolicy(Bucket, { Principal, Action, Resource, Condition: { StringLike: { "s3:prefix": "mine/*" } } });
  await list("mine/x");
  await denied(list("theirs/x"));
  await denied(list());
  const from = (address: string) => ({ IpAddress: { "aws:SourceIp": address } });
  await setPolicy(Bucket, { Principal, Action, Resource, Condition: from("192.0.2.0/24") });
  await denied(list());
  await setPolicy(Bucket, { Principal, Action, Resource, Condition: from("127.0.0.0/8") });
  await list();
  const signed = { StringEquals: { "s3:authType": "REST-QUERY-STRING" } };
  await setPolicy(Bucket, { Principal, Action, Resource, Condition: signed });
  await denied(list());
});

void test("a key that may do everything has nothing read for it, and is kept out by no policy", async () => {
  const Bucket = await newBucket();
  const all = [`arn:aws:s3:::${Bucket}`, `arn:aws:s3:::${Bucket}/*`];
  await setPolicy(Bucket, { Effect: "Deny", Action: "s3:*", Resource: all });
  rulesRead = 0;
  await get(server.s3, Bucket, "a");
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "c", Body: "x" }));
  await server.s3.send(new ListObjectsV2Command({ Bucket }));
  await server.s3.send(new DeleteBucketPolicyCommand({ Bucket }));
  assert.equal(rulesRead, 0);
  await denied(get((await newUser()).s3, Bucket, "a"));
  assert.equal(rulesRead, 1);
});
