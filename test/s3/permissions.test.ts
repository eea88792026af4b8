/** What users may do over S3: what their policies say, and nothing else. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test } from "node:test";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCorsCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketCorsCommand,
  GetBucketTaggingCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  PutBucketVersioningCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  S3ServiceException,
  UploadPartCommand,
  UploadPartCopyCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { signRequest } from "../../src/gateway/sigv4.ts";
import { failsWith, sendRaw, startTestServer, type TestServer } from "./server.ts";

const Bucket = "permitted";
let server: TestServer;
let account: string;
before(async () => {
  server = await startTestServer({ hasKeyring: true });
  await server.keyring!.create("blue");
  await server.bucket(Bucket);
  ({ account } = await server.identity.directory.ownAccount());
  for (const Key of ["mine/a", "mine/b", "theirs/a"])
    await server.s3.send(new PutObjectCommand({ Bucket, Key, Body: Key }));
});
after(() => server.close());

let users = 0;
type Statement = { Effect?: string; Action: string | string[]; Resource: string | string[]; Condition?: object };

/** A client of a new user with these statements. */
async function userWith(...statements: Statement[]): Promise<{ s3: S3Client; name: string }> {
  const { directory } = server.identity;
  const name = `user-${(users += 1)}`;
  await directory.createUser({ account, name });
  if (statements.length > 0) await give(name, ...statements);
  return { s3: await clientOf(name), name };
}

void test("tags of a bucket that is being made need s3:TagResource", async () => {
  const Resource = "arn:aws:s3:::tagged-*";
  const create = new CreateBucketCommand({
    Bucket: "tagged-at-once",
    CreateBucketConfiguration: { Tags: [{ Key: "a", Value: "b" }] },
  });
  const { s3, name } = await userWith({ Action: "s3:CreateBucket", Resource });
  await failsWith(s3.send(create), 403, "AccessDenied");
  await failsWith(server.s3.send(new HeadBucketCommand({ Bucket: "tagged-at-once" })), 404, "NotFound");
  await give(name, { Action: ["s3:CreateBucket", "s3:TagResource"], Resource });
  await s3.send(create);
});

function give(name: string, ...statements: Statement[]): Promise<void> {
  const Statement = statements.map((statement) => ({ Effect: "Allow", ...statement }));
  const document = JSON.stringify({ Version: "2012-10-17", Statement });
  return server.identity.directory.putInlinePolicy({ kind: "user", account, name }, { name: "own", document });
}

type Key = { readonly accessKey: string; readonly secretKey: string };

/** A PUT whose headers stand as they are given. Resolves to its status. */
async function putRaw(key: Key, path: string, given: Record<string, string>): Promise<number> {
  const headers = { host: `127.0.0.1:${server.port}`, ...given };
  const signed = signRequest({
    ...key,
    method: "PUT",
    rawPath: path,
    headers,
    region: "us-east-1",
    nowMs: Date.now(),
  });
  return (await sendRaw(server.port, { method: "PUT", path, headers: signed.headers })).status;
}

const method = "x-amz-server-side-encryption";

/** An upload of somebody else's, encrypted by the key `blue`; what adds to it, and what completes it, as `s3` sends it. */
async function blueUpload(s3: S3Client) {
  const at = { Bucket, Key: "mine/keyed" };
  const start = new CreateMultipartUploadCommand({ ...at, ServerSideEncryption: "aws:kms", SSEKMSKeyId: "blue" });
  const { UploadId } = await server.s3.send(start);
  const part = new UploadPartCommand({ ...at, UploadId, PartNumber: 1, Body: "x" });
  const { ETag } = await server.s3.send(new UploadPartCommand({ ...at, UploadId, PartNumber: 1, Body: "x" }));
  const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
  return {
    part: () => s3.send(part),
    complete: () => s3.send(new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload })),
  };
}

/** Sends these headers with everything; the SDK has no such fields of parts. */
function naming(s3: S3Client, headers: Readonly<Record<string, string>>): void {
  s3.middlewareStack.add(
    (next) => (args) => {
      Object.assign((args.request as { headers: Record<string, string> }).headers, headers);
      return next(args);
    },
    { step: "build" },
  );
}

void test("parts, and what completes an upload, are judged by how the upload is encrypted and not by what they say", async () => {
  const { s3, name } = await userWith();
  const Condition = (key: string) => ({ StringEquals: { [`s3:${method}-aws-kms-key-id`]: key } });
  const allow = (key: string) => give(name, { Action: "s3:PutObject", Resource: mine, Condition: Condition(key) });
  const silent = await blueUpload(s3);
  await allow("red");
  await denied(silent.part());
  await denied(silent.complete());
  await allow("blue");
  await silent.part();
  assert.equal((await silent.complete()).SSEKMSKeyId, "blue");
  naming(s3, { [method]: "aws:kms", [`${method}-aws-kms-key-id`]: "red" });
  const liar = await blueUpload(s3);
  await allow("red");
  await denied(liar.part());
  await denied(liar.complete());
});

void test("a policy that denies what is not encrypted lets a multipart upload in that is", async () => {
  const put = { Action: "s3:PutObject", Resource: mine };
  const Condition = { StringNotEquals: { [`s3:${method}`]: "AES256" } };
  const { s3 } = await userWith(put, { Effect: "Deny", ...put, Condition });
  const at = { Bucket, Key: "mine/encrypted" };
  await denied(s3.send(new CreateMultipartUploadCommand(at)));
  const start = new CreateMultipartUploadCommand({ ...at, ServerSideEncryption: "AES256" });
  const { UploadId } = await s3.send(start);
  const { ETag } = await s3.send(new UploadPartCommand({ ...at, UploadId, PartNumber: 1, Body: "x" }));
  const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
  await s3.send(new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload }));
});

function keyOf(user: string): Promise<Key> {
  return server.identity.create({ owner: { kind: "user", account, user } });
}

async function clientOf(user: string): Promise<S3Client> {
  const { accessKey, secretKey } = await keyOf(user);
  return server.client({ credentials: { accessKeyId: accessKey, secretAccessKey: secretKey } });
}

const denied = (promise: Promise<unknown>): Promise<void> => failsWith(promise, 403, "AccessDenied");
const mine = `arn:aws:s3:::${Bucket}/mine/*`;

void test("a new user may do nothing, and is told who may not do what", async () => {
  const { s3, name } = await userWith();
  await denied(s3.send(new ListBucketsCommand({})));
  await denied(s3.send(new CreateBucketCommand({ Bucket: "another" })));
  await denied(s3.send(new ListObjectsV2Command({ Bucket })));
  await denied(s3.send(new GetObjectCommand({ Bucket, Key: "mine/a" })));
  await denied(s3.send(new PutObjectCommand({ Bucket, Key: "mine/new", Body: "x" })));
  await assert.rejects(s3.send(new DeleteObjectCommand({ Bucket, Key: "mine/a" })), {
    message:
      `User: arn:aws:iam::${account}:user/${name} is not authorized to perform: s3:DeleteObject on resource: ` +
      `"arn:aws:s3:::${Bucket}/mine/a" because no identity-based policy allows the s3:DeleteObject action`,
  });
  await server.s3.send(new HeadObjectCommand({ Bucket, Key: "mine/a" }));
});

void test("keys of nobody and of the account itself may do everything", async () => {
  for (const owner of [undefined, { kind: "account", account } as const]) {
    const { accessKey, secretKey } = await server.identity.create({ owner });
    const s3 = server.client({ credentials: { accessKeyId: accessKey, secretAccessKey: secretKey } });
    await s3.send(new PutObjectCommand({ Bucket, Key: "everything", Body: "x" }));
    await s3.send(new ListBucketsCommand({}));
    await s3.send(new DeleteObjectCommand({ Bucket, Key: "everything" }));
  }
});

/** A form's answer; its maker signed that any key and any tags may be in it. */
async function postForm(maker: Key, key: string, tagging?: string): Promise<number> {
  const conditions = [{ bucket: Bucket }, ["starts-with", "$key", ""]];
  if (tagging !== undefined) conditions.push(["starts-with", "$tagging", ""]);
  const expiration = new Date(Date.now() + 60_000).toISOString();
  const policy = Buffer.from(JSON.stringify({ expiration, conditions })).toString("base64");
  const signature = createHmac("sha1", maker.secretKey).update(policy).digest("base64");
  const form = new FormData();
  const fields = { key, AWSAccessKeyId: maker.accessKey, policy, signature, ...(tagging && { tagging }) };
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  form.append("file", new Blob(["x"]), "f");
  return (await fetch(`${server.origin}/${Bucket}`, { method: "POST", body: form })).status;
}

void test("a form may what its maker may: on the key it names, with the tags it brings", async () => {
  const { name } = await userWith({ Action: "s3:PutObject", Resource: mine });
  const maker = await keyOf(name);
  const tagging = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
  assert.equal(await postForm(maker, "mine/form"), 204);
  assert.equal(await postForm(maker, "theirs/form"), 403);
  assert.equal(await postForm(maker, "mine/tagged", tagging), 403);
  const condition = { StringEquals: { "s3:RequestObjectTag/a": "b", "s3:authType": "POST" } };
  await give(
    name,
    { Action: "s3:PutObject", Resource: mine },
    { Action: "s3:PutObjectTagging", Resource: mine, Condition: condition },
  );
  assert.equal(await postForm(maker, "mine/tagged", tagging), 204);
  assert.equal(await postForm(maker, "mine/tagged", tagging.replace(">b<", ">c<")), 403);
  await failsWith(server.s3.send(new HeadObjectCommand({ Bucket, Key: "theirs/form" })), 404, "NotFound");
});

void test("tags and documents have actions of their own", async () => {
  const { s3 } = await userWith(
    { Action: ["s3:GetObject", "s3:GetObjectTagging"], Resource: mine },
    { Action: "s3:GetBucketCORS", Resource: `arn:aws:s3:::${Bucket}` },
  );
  const Tagging = { TagSet: [{ Key: "a", Value: "b" }] };
  await s3.send(new GetObjectTaggingCommand({ Bucket, Key: "mine/a" }));
  await denied(s3.send(new PutObjectTaggingCommand({ Bucket, Key: "mine/a", Tagging })));
  await denied(s3.send(new GetObjectTaggingCommand({ Bucket, Key: "theirs/a" })));
  await failsWith(s3.send(new GetBucketCorsCommand({ Bucket })), 404, "NoSuchCORSConfiguration");
  await denied(s3.send(new DeleteBucketCorsCommand({ Bucket })));
  await denied(s3.send(new GetBucketTaggingCommand({ Bucket })));
});

void test("another account's own key may do nothing with this one's buckets", async () => {
  const other = await server.identity.directory.createAccount("tenant");
  const owner = { kind: "account", account: other.account } as const;
  const { accessKey, secretKey } = await server.identity.create({ owner });
  const s3 = server.client({ credentials: { accessKeyId: accessKey, secretAccessKey: secretKey } });
  await denied(s3.send(new GetObjectCommand({ Bucket, Key: "mine/a" })));
  await denied(s3.send(new HeadBucketCommand({ Bucket })).catch(asDenied));
});

/** The answer to a HEAD has no document that could say a code. */
function asDenied(error: { $metadata: { httpStatusCode?: number } }): never {
  assert.equal(error.$metadata.httpStatusCode, 403);
  throw Object.assign(error, { name: "AccessDenied" });
}

void test("what is allowed on a prefix is allowed there only", async () => {
  const { s3 } = await userWith({ Action: ["s3:GetObject", "s3:PutObject"], Resource: mine });
  const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key: "mine/a" }));
  assert.equal(await Body?.transformToString(), "mine/a");
  await s3.send(new PutObjectCommand({ Bucket, Key: "mine/c", Body: "x" }));
  await denied(s3.send(new GetObjectCommand({ Bucket, Key: "theirs/a" })));
  await denied(s3.send(new PutObjectCommand({ Bucket, Key: "theirs/c", Body: "x" })));
  await denied(s3.send(new DeleteObjectCommand({ Bucket, Key: "mine/c" })));
  await denied(s3.send(new PutObjectCommand({ Bucket, Key: "mine/d", Body: "x", ACL: "private" })));
});

void test("a refused upload is refused before its body is read", async () => {
  const { s3 } = await userWith();
  const big = Buffer.alloc(8 * 1024 * 1024);
  await denied(s3.send(new PutObjectCommand({ Bucket, Key: "big", Body: big })));
  await assert.rejects(server.s3.send(new HeadObjectCommand({ Bucket, Key: "big" })), { name: "NotFound" });
});

void test("conditions see the request: prefix of a listing, address, time, how it was signed", async () => {
  const { s3 } = await userWith({
    Action: "s3:ListBucket",
    Resource: `arn:aws:s3:::${Bucket}`,
    Condition: {
      StringLike: { "s3:prefix": "mine/*" },
      IpAddress: { "aws:SourceIp": ["127.0.0.0/8", "::1"] },
      Bool: { "aws:SecureTransport": "false" },
      DateGreaterThan: { "aws:CurrentTime": "2026-01-01T00:00:00Z" },
      StringEquals: { "s3:authType": "REST-HEADER", "s3:signatureversion": "AWS4-HMAC-SHA256" },
      NumericLessThan: { "s3:signatureAge": "600000" },
      NumericLessThanEquals: { "s3:max-keys": "10" },
    },
  });
  const { Contents } = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: "mine/", MaxKeys: 10 }));
  assert.ok(Contents?.some(({ Key }) => Key === "mine/a"));
  await denied(s3.send(new ListObjectsV2Command({ Bucket, Prefix: "mine/" })));
  await denied(s3.send(new ListObjectsV2Command({ Bucket, Prefix: "theirs/", MaxKeys: 10 })));
  await denied(s3.send(new ListObjectsV2Command({ Bucket, MaxKeys: 10 })));
});

void test("a presigned URL may do what its user may do when it is used", async () => {
  const { s3, name } = await userWith({
    Action: "s3:GetObject",
    Resource: mine,
    Condition: { StringEquals: { "s3:authType": "REST-QUERY-STRING" } },
  });
  const url = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: "mine/a" }), { expiresIn: 60 });
  assert.equal((await fetch(url)).status, 200);
  await denied(s3.send(new GetObjectCommand({ Bucket, Key: "mine/a" })));
  await server.identity.directory.deleteInlinePolicy({ kind: "user", account, name }, "own");
  assert.equal((await fetch(url)).status, 403);
});

void test("the age of a signature is that of the time which was signed, whatever else the query says", async () => {
  const { name } = await userWith(
    { Action: "s3:GetObject", Resource: mine },
    {
      Effect: "Deny",
      Action: "s3:*",
      Resource: mine,
      Condition: { NumericGreaterThan: { "s3:signatureAge": "600000" } },
    },
  );
  const key = await keyOf(name);
  const statusOf = async (ageMs: number, query: string): Promise<number> => {
    const headers = { host: `127.0.0.1:${server.port}` };
    const request = { method: "GET", rawPath: `/${Bucket}/mine/a`, rawQuery: query, headers };
    const signed = signRequest({ ...key, ...request, region: "us-east-1", nowMs: Date.now() - ageMs });
    return (await sendRaw(server.port, { method: "GET", path: `/${Bucket}/mine/a?${query}`, headers: signed.headers }))
      .status;
  };
  assert.equal(await statusOf(0, "x=y"), 200);
  assert.equal(await statusOf(660_000, "x=y"), 403);
  assert.equal(await statusOf(660_000, "X-Amz-Date=20990101T000000Z"), 403);
});

void test("a policy sees the source of a copy however it is written", async () => {
  const secret = `${Bucket}/theirs/gehörnt`;
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "theirs/gehörnt", Body: "x" }));
  const { name } = await userWith(
    { Action: ["s3:GetObject", "s3:PutObject"], Resource: `arn:aws:s3:::${Bucket}/*` },
    {
      Effect: "Deny",
      Action: "s3:PutObject",
      Resource: mine,
      Condition: { StringEquals: { "s3:x-amz-copy-source": secret } },
    },
  );
  const key = await keyOf(name);
  const copy = (source: string): Promise<number> =>
    putRaw(key, `/${Bucket}/mine/copy`, { "x-amz-copy-source": source });
  assert.equal(await copy(`${Bucket}/theirs/a`), 200);
  const encoded = encodeURIComponent(secret);
  const bytes = Buffer.from(secret).toString("latin1");
  for (const source of [encoded, `/${encoded}`, `%2F${encoded}`, `%2f${encoded}`, bytes, `/${bytes}`])
    assert.equal(await copy(source), 403, source);
});

void test("a copy that takes its source's tags needs to read them, and to give them", async () => {
  const Tagging = "level=secret";
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "theirs/tagged", Body: "x", Tagging }));
  const all = `arn:aws:s3:::${Bucket}/*`;
  const { s3, name } = await userWith({ Action: ["s3:GetObject", "s3:PutObject"], Resource: all });
  const copy = (Key: string, more: object = {}): Promise<unknown> =>
    s3.send(new CopyObjectCommand({ Bucket, Key: "mine/copied", CopySource: `${Bucket}/${Key}`, ...more }));
  await copy("theirs/a");
  await denied(copy("theirs/tagged"));
  await copy("theirs/tagged", { TaggingDirective: "REPLACE" });
  const tagging = ["s3:GetObjectTagging", "s3:PutObjectTagging"];
  for (const one of tagging) {
    await give(name, { Action: ["s3:GetObject", "s3:PutObject", one], Resource: all });
    await denied(copy("theirs/tagged"));
  }
  const Condition = { StringEquals: { "s3:RequestObjectTag/level": "public" } };
  await give(
    name,
    { Action: ["s3:GetObject", "s3:PutObject", "s3:GetObjectTagging"], Resource: all },
    { Action: "s3:PutObjectTagging", Resource: all, Condition },
  );
  await denied(copy("theirs/tagged"));
  // These would not be the copy's.
  await denied(copy("theirs/tagged", { Tagging: "level=public" }));
  await copy("theirs/tagged", { Tagging: "level=public", TaggingDirective: "REPLACE" });
  await give(name, { Action: ["s3:GetObject", "s3:PutObject", ...tagging], Resource: all });
  await copy("theirs/tagged");
  const { TagSet } = await s3.send(new GetObjectTaggingCommand({ Bucket, Key: "mine/copied" }));
  assert.deepEqual(TagSet, [{ Key: "level", Value: "secret" }]);
});

void test("how many tags an object has is told to whoever may read them", async () => {
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "mine/counted", Body: "x", Tagging: "a=b" }));
  const { s3, name } = await userWith({ Action: "s3:GetObject", Resource: mine });
  const count = async (): Promise<(number | undefined)[]> => {
    const asked = { Bucket, Key: "mine/counted" };
    const answers = [await s3.send(new HeadObjectCommand(asked)), await s3.send(new GetObjectCommand(asked))];
    return answers.map(({ TagCount }) => TagCount);
  };
  assert.deepEqual(await count(), [undefined, undefined]);
  await give(name, { Action: ["s3:GetObject", "s3:GetObjectTagging"], Resource: mine });
  assert.deepEqual(await count(), [1, 1]);
});

void test("a policy sees tags as they will be stored, however the header writes them", async () => {
  const { name } = await userWith(
    { Action: ["s3:PutObject", "s3:PutObjectTagging"], Resource: mine },
    {
      Effect: "Deny",
      Action: "s3:PutObject*",
      Resource: mine,
      Condition: { StringEquals: { "s3:RequestObjectTag/level": "geheim-ä" } },
    },
  );
  const key = await keyOf(name);
  const put = (tagging: string): Promise<number> => putRaw(key, `/${Bucket}/mine/tagged`, { "x-amz-tagging": tagging });
  assert.equal(await put("level=offen"), 200);
  assert.equal(await put("level=geheim-%C3%A4"), 403);
  assert.equal(await put(Buffer.from("level=geheim-ä").toString("latin1")), 403);
});

void test("who may not list is not told what is not there", async () => {
  const reader = await userWith({ Action: "s3:GetObject", Resource: `arn:aws:s3:::${Bucket}/*` });
  await denied(reader.s3.send(new GetObjectCommand({ Bucket, Key: "mine/nothing" })));
  await give(
    reader.name,
    { Action: "s3:GetObject", Resource: `arn:aws:s3:::${Bucket}/*` },
    { Action: "s3:ListBucket", Resource: `arn:aws:s3:::${Bucket}` },
  );
  await failsWith(reader.s3.send(new GetObjectCommand({ Bucket, Key: "mine/nothing" })), 404, "NoSuchKey");
  // What buckets there are is no secret: their names are everybody's, as with AWS.
  await failsWith(reader.s3.send(new ListObjectsV2Command({ Bucket: "not-there" })), 404, "NoSuchBucket");
});

void test("who may not list is not told of delete markers, not in headers either", async () => {
  const kept = "permitted-kept";
  await server.bucket(kept);
  const Status = "Enabled";
  await server.s3.send(new PutBucketVersioningCommand({ Bucket: kept, VersioningConfiguration: { Status } }));
  await server.s3.send(new DeleteObjectCommand({ Bucket: kept, Key: "k" }));
  const get = async (client: S3Client): Promise<Record<string, string>> => {
    try {
      await client.send(new GetObjectCommand({ Bucket: kept, Key: "k" }));
    } catch (error) {
      assert.ok(error instanceof S3ServiceException);
      return (error.$response as { headers: Record<string, string> }).headers;
    }
    throw new Error("a delete marker was read");
  };
  assert.equal((await get(server.s3))["x-amz-delete-marker"], "true");
  const { s3 } = await userWith({ Action: "s3:GetObject", Resource: `arn:aws:s3:::${kept}/*` });
  const headers = await get(s3);
  assert.deepEqual([headers["x-amz-delete-marker"], headers["x-amz-version-id"]], [undefined, undefined]);
});

void test("a copy needs to read its source", async () => {
  const { s3, name } = await userWith({ Action: "s3:PutObject", Resource: mine });
  const copy = (source: string) =>
    s3.send(new CopyObjectCommand({ Bucket, Key: "mine/copy", CopySource: `/${Bucket}/${source}` }));
  await denied(copy("mine/a"));
  await give(name, { Action: ["s3:PutObject", "s3:GetObject"], Resource: mine });
  await copy("mine/a");
  await denied(copy("theirs/a"));
  await denied(copy("mine/nothing"));
  const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key: "mine/parts" }));
  const part = { Bucket, Key: "mine/parts", UploadId, PartNumber: 1 };
  await denied(s3.send(new UploadPartCopyCommand({ ...part, CopySource: `${Bucket}/theirs/a` })));
  await s3.send(new UploadPartCopyCommand({ ...part, CopySource: `${Bucket}/mine/a` }));
  const { ETag } = await s3.send(new UploadPartCommand({ ...part, Body: "x" }));
  await denied(s3.send(new AbortMultipartUploadCommand({ Bucket, Key: "mine/parts", UploadId })));
  const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
  await s3.send(new CompleteMultipartUploadCommand({ Bucket, Key: "mine/parts", UploadId, MultipartUpload }));
});

void test("of many keys those are deleted that may be", async () => {
  for (const Key of ["mine/x", "theirs/x"]) await server.s3.send(new PutObjectCommand({ Bucket, Key, Body: "x" }));
  const { s3 } = await userWith({ Action: "s3:DeleteObject", Resource: mine });
  const Objects = [{ Key: "mine/x" }, { Key: "theirs/x" }];
  const { Deleted, Errors } = await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
  assert.deepEqual(
    Deleted?.map(({ Key }) => Key),
    ["mine/x"],
  );
  assert.deepEqual(
    Errors?.map(({ Key, Code }) => [Key, Code]),
    [["theirs/x", "AccessDenied"]],
  );
  await server.s3.send(new HeadObjectCommand({ Bucket, Key: "theirs/x" }));
  const bypassing = { Bucket, Delete: { Objects: [{ Key: "mine/a" }] }, BypassGovernanceRetention: true };
  const refused = await s3.send(new DeleteObjectsCommand(bypassing));
  assert.equal(refused.Errors?.[0]?.Code, "AccessDenied");
});

void test("a version by its id is another action than the newest one", async () => {
  const Versioned = "permitted-versions";
  await server.bucket(Versioned);
  const VersioningConfiguration = { Status: "Enabled" } as const;
  await server.s3.send(new PutBucketVersioningCommand({ Bucket: Versioned, VersioningConfiguration }));
  const at = { Bucket: Versioned, Key: "k" };
  const { VersionId } = await server.s3.send(new PutObjectCommand({ ...at, Body: "old" }));
  await server.s3.send(new PutObjectCommand({ ...at, Body: "new" }));
  const all = `arn:aws:s3:::${Versioned}/*`;
  const newest = (await userWith({ Action: ["s3:GetObject", "s3:DeleteObject"], Resource: all })).s3;
  const named = (await userWith({ Action: "s3:GetObjectVersion", Resource: all })).s3;
  await newest.send(new GetObjectCommand(at));
  await denied(newest.send(new GetObjectCommand({ ...at, VersionId })));
  await denied(newest.send(new DeleteObjectCommand({ ...at, VersionId })));
  await named.send(new GetObjectCommand({ ...at, VersionId }));
  await denied(named.send(new GetObjectCommand(at)));
  await newest.send(new DeleteObjectCommand(at));
});

void test("GetObjectAttributes needs to read the object too", async () => {
  const { s3, name } = await userWith({ Action: "s3:GetObjectAttributes", Resource: mine });
  const ask = () => s3.send(new GetObjectAttributesCommand({ Bucket, Key: "mine/a", ObjectAttributes: ["ETag"] }));
  await denied(ask());
  await give(name, { Action: ["s3:GetObjectAttributes", "s3:GetObject"], Resource: mine });
  await ask();
});

void test("a policy that changes holds for the next request, and so does a key that is removed", async () => {
  const { directory } = server.identity;
  const { s3, name } = await userWith();
  const arn = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
  await denied(s3.send(new GetObjectCommand({ Bucket, Key: "mine/a" })));
  await directory.attachPolicy({ kind: "user", account, name }, arn);
  await s3.send(new GetObjectCommand({ Bucket, Key: "mine/a" }));
  await s3.send(new ListObjectsV2Command({ Bucket }));
  await s3.send(new ListBucketsCommand({}));
  await denied(s3.send(new PutObjectCommand({ Bucket, Key: "mine/a", Body: "x" })));
  await give(name, { Effect: "Deny", Action: "s3:*", Resource: "*", Condition: { Null: { "aws:username": "false" } } });
  await assert.rejects(s3.send(new ListObjectsV2Command({ Bucket })), {
    message: /with an explicit deny in an identity-based policy$/,
  });
  const { accessKeys } = await directory.user(account, name);
  for (const accessKey of accessKeys) await server.identity.remove(accessKey);
  await failsWith(s3.send(new ListBucketsCommand({})), 403, "InvalidAccessKeyId");
});

void test("a home of one's own, for every user of a group by one policy", async () => {
  const { directory } = server.identity;
  await directory.createGroup({ account, name: "homes" });
  const document = JSON.stringify({
    Version: "2012-10-17",
    Statement: { Effect: "Allow", Action: "s3:*Object", Resource: `arn:aws:s3:::${Bucket}/home/\${aws:username}/*` },
  });
  await directory.putInlinePolicy({ kind: "group", account, name: "homes" }, { name: "home", document });
  const [one, two] = [await userWith(), await userWith()];
  for (const { name: user } of [one, two])
    await directory.setMembership(account, { user, group: "homes", isMember: true });
  const Key = `home/${one.name}/k`;
  await one.s3.send(new PutObjectCommand({ Bucket, Key, Body: "x" }));
  await denied(two.s3.send(new GetObjectCommand({ Bucket, Key })));
  await denied(two.s3.send(new PutObjectCommand({ Bucket, Key: `home/${one.name}*/k`, Body: "x" })));
});
