/** Server access logs through the AWS SDK: how they are switched on, what is refused, and what the logs say. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  CopyObjectCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketLoggingCommand,
  GetObjectAclCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutBucketEncryptionCommand,
  PutBucketLoggingCommand,
  PutBucketOwnershipControlsCommand,
  PutBucketPolicyCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  PutPublicAccessBlockCommand,
  type LoggingEnabled,
} from "@aws-sdk/client-s3";
import { presignUrl } from "../../src/gateway/signer.ts";
import type { Objects } from "../../src/object/object.ts";
import { parseLog, type ParsedLine } from "../../src/logging/line.fixture.ts";
import { accessKey, failsWith, secretKey, sendRaw, startTestServer, type TestServer } from "./server.ts";

let server: TestServer;
let made = 0;
/** Calls that read what a bucket is configured to be. */
let configurationsRead = 0;
before(async () => {
  const counting = (objects: Objects): Objects =>
    new Proxy(objects, {
      get(target, name) {
        if (name === "configurations") configurationsRead += 1;
        const value: unknown = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  server = await startTestServer({ hasKeyring: true, wrap: counting });
});
after(() => server.close());

type World = { readonly Bucket: string; readonly target: string };

const service = "logging.s3.amazonaws.com";

async function allow(target: string, statement: object = {}): Promise<void> {
  const Statement = [
    {
      Effect: "Allow",
      Principal: { Service: service },
      Action: "s3:PutObject",
      Resource: `arn:aws:s3:::${target}/*`,
      ...statement,
    },
  ];
  const Policy = JSON.stringify({ Version: "2012-10-17", Statement });
  await server.s3.send(new PutBucketPolicyCommand({ Bucket: target, Policy }));
}

/** A bucket, and one that takes logs; nothing is logged yet. */
async function newWorld(): Promise<World> {
  const Bucket = `logged-${made++}`;
  const target = `logs-${made}`;
  for (const name of [Bucket, target]) await server.bucket(name);
  await allow(target);
  return { Bucket, target };
}

async function configure(Bucket: string, LoggingEnabled: LoggingEnabled | undefined): Promise<void> {
  const BucketLoggingStatus = LoggingEnabled === undefined ? {} : { LoggingEnabled };
  await server.s3.send(new PutBucketLoggingCommand({ Bucket, BucketLoggingStatus }));
}

async function loggedWorld(TargetPrefix = "log/"): Promise<World> {
  const world = await newWorld();
  await configure(world.Bucket, { TargetBucket: world.target, TargetPrefix });
  return world;
}

const loggingOf = async (Bucket: string): Promise<LoggingEnabled | undefined> =>
  (await server.s3.send(new GetBucketLoggingCommand({ Bucket }))).LoggingEnabled;

const put = (Bucket: string, Key: string, Body = "hello") =>
  server.s3.send(new PutObjectCommand({ Bucket, Key, Body }));

async function keysIn(Bucket: string): Promise<string[]> {
  const { Contents = [] } = await server.s3.send(new ListObjectsV2Command({ Bucket }));
  return Contents.map(({ Key }) => Key!);
}

/** Every line in all logs in a bucket, in the order of their requests. */
async function linesIn(target: string): Promise<ParsedLine[]> {
  await server.flushLogs();
  const lines: ParsedLine[] = [];
  for (const Key of await keysIn(target)) {
    const { Body } = await server.s3.send(new GetObjectCommand({ Bucket: target, Key }));
    lines.push(...parseLog(await Body!.transformToString()));
  }
  return lines;
}

const summary = ({ operation, key, status, code }: ParsedLine): string => `${operation} ${key} ${status} ${code}`;

async function summariesIn(target: string): Promise<string[]> {
  return (await linesIn(target)).map(summary);
}

void test("a bucket is not logged until it is said to be, and then it says where to", async () => {
  const { Bucket, target } = await newWorld();
  assert.equal(await loggingOf(Bucket), undefined);
  await configure(Bucket, { TargetBucket: target, TargetPrefix: "" });
  assert.deepEqual(await loggingOf(Bucket), { TargetBucket: target, TargetPrefix: "" });
  await configure(Bucket, undefined);
  assert.equal(await loggingOf(Bucket), undefined);
  await put(Bucket, "after");
  const keys = (await linesIn(target)).map(({ key }) => key);
  assert.ok(!keys.includes("after"));
});

void test("grants and the format of names are given back as they were set", async () => {
  const { Bucket, target } = await newWorld();
  const { canonicalId: ID } = await server.identity.accounts.own();
  const TargetGrants: LoggingEnabled["TargetGrants"] = [
    { Grantee: { Type: "CanonicalUser", ID }, Permission: "FULL_CONTROL" },
    {
      Grantee: { Type: "Group", URI: "http://acs.amazonaws.com/groups/global/AuthenticatedUsers" },
      Permission: "READ",
    },
  ];
  const common = { TargetBucket: target, TargetPrefix: "p<&>" };
  const formats: LoggingEnabled["TargetObjectKeyFormat"][] = [
    { SimplePrefix: {} },
    { PartitionedPrefix: { PartitionDateSource: "EventTime" } },
    { PartitionedPrefix: { PartitionDateSource: "DeliveryTime" } },
  ];
  for (const TargetObjectKeyFormat of formats) {
    await configure(Bucket, { ...common, TargetGrants, TargetObjectKeyFormat });
    assert.deepEqual(await loggingOf(Bucket), { ...common, TargetGrants, TargetObjectKeyFormat });
  }
});

void test("a target that is not there, takes no logs, or is another account's is refused", async () => {
  const { Bucket, target } = await newWorld();
  const refused = (TargetBucket: string, TargetPrefix = "") =>
    failsWith(configure(Bucket, { TargetBucket, TargetPrefix }), 400, "InvalidTargetBucketForLogging");
  await refused("no-such-bucket-at-all");
  await refused("NO");
  const closed = `closed-${made++}`;
  await server.bucket(closed);
  await refused(closed);
  await allow(target, { Resource: `arn:aws:s3:::${target}/only/*` });
  await refused(target, "other/");
  await configure(Bucket, { TargetBucket: target, TargetPrefix: "only/" });
  const foreign = `foreign-${made++}`;
  const { account } = await server.identity.directory.createAccount(`other-${made}`);
  await server.objects.createBucket(foreign, { region: "us-east-1", account });
  await allow(foreign);
  await refused(foreign);
  assert.deepEqual(await loggingOf(Bucket), { TargetBucket: target, TargetPrefix: "only/" });
});

void test("what the document says wrongly is refused", async () => {
  const { Bucket, target } = await newWorld();
  const send = async (inner: string): Promise<string> => {
    const body = `<BucketLoggingStatus xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${inner}</BucketLoggingStatus>`;
    const answer = await server.raw({ method: "PUT", path: `/${Bucket}?logging`, body: Buffer.from(body) });
    return `${answer.status} ${/<Code>(.*)<\/Code>/.exec(answer.text)?.[1]}`;
  };
  const enabled = (more: string, prefix = "p") =>
    `<LoggingEnabled><TargetBucket>${target}</TargetBucket><TargetPrefix>${prefix}</TargetPrefix>${more}</LoggingEnabled>`;
  const grant = (grantee: string, permission = "READ") =>
    `<TargetGrants><Grant><Grantee>${grantee}</Grantee><Permission>${permission}</Permission></Grant></TargetGrants>`;
  const format = (inner: string) => `<TargetObjectKeyFormat>${inner}</TargetObjectKeyFormat>`;
  const simple = "<SimplePrefix/>";
  const partitioned = "<PartitionedPrefix><PartitionDateSource>EventTime</PartitionDateSource></PartitionedPrefix>";
  const everybody = "<URI>http://acs.amazonaws.com/groups/global/AllUsers</URI>";
  const answers: [string, string][] = [
    ["<Other/>", "400 MalformedXML"],
    ["<LoggingEnabled/>", "400 MalformedXML"],
    [`<LoggingEnabled><TargetBucket>${target}</TargetBucket></LoggingEnabled>`, "400 MalformedXML"],
    [enabled(format("")), "400 MalformedXML"],
    [enabled(format(simple + partitioned)), "400 MalformedXML"],
    [enabled(format(partitioned.replace("EventTime", "Yesterday"))), "400 MalformedXML"],
    [enabled(grant(everybody, "READ_ACP")), "400 MalformedXML"],
    [enabled(grant(everybody, "LOOK")), "400 MalformedXML"],
    [enabled(grant(`<ID>${"0".repeat(64)}</ID>`)), "400 InvalidArgument"],
    [enabled(grant("<URI>http://acs.amazonaws.com/groups/global/Nobody</URI>")), "400 InvalidArgument"],
    [enabled(grant("<EmailAddress>a@example.org</EmailAddress>")), "400 UnresolvableGrantByEmailAddress"],
    [enabled("", "p".repeat(1_000)), "400 InvalidArgument"],
    [enabled(format(partitioned), "p".repeat(960)), "400 InvalidArgument"],
  ];
  for (const [inner, expected] of answers) assert.equal(await send(inner), expected, inner);
  assert.equal(await loggingOf(Bucket), undefined);
  assert.equal(await send(enabled(format(partitioned) + grant(everybody))), "200 undefined");
});

void test("grants are refused where the target has no ACLs, or none that are public", async () => {
  const { Bucket, target } = await newWorld();
  const URI = "http://acs.amazonaws.com/groups/global/AllUsers";
  const setting: LoggingEnabled = {
    TargetBucket: target,
    TargetPrefix: "",
    TargetGrants: [{ Grantee: { Type: "Group", URI }, Permission: "READ" }],
  };
  const PublicAccessBlockConfiguration = { BlockPublicAcls: true };
  await server.s3.send(new PutPublicAccessBlockCommand({ Bucket: target, PublicAccessBlockConfiguration }));
  await failsWith(configure(Bucket, setting), 403, "AccessDenied");
  const OwnershipControls = { Rules: [{ ObjectOwnership: "BucketOwnerEnforced" as const }] };
  await server.s3.send(new PutBucketOwnershipControlsCommand({ Bucket: target, OwnershipControls }));
  await failsWith(configure(Bucket, setting), 400, "AccessControlListNotSupported");
  await configure(Bucket, { TargetBucket: target, TargetPrefix: "" });
});

void test("a policy may allow logs of one bucket, or of one account, and no others", async () => {
  const { Bucket, target } = await newWorld();
  const { account } = await server.identity.accounts.own();
  const setting = { TargetBucket: target, TargetPrefix: "" };
  const refused = () => failsWith(configure(Bucket, setting), 400, "InvalidTargetBucketForLogging");
  const source = (arn: string) => ({ Condition: { ArnLike: { "aws:SourceArn": arn } } });
  await allow(target, source("arn:aws:s3:::another"));
  await refused();
  await allow(target, source(`arn:aws:s3:::${Bucket}`));
  await configure(Bucket, setting);
  await allow(target, { Condition: { StringEquals: { "aws:SourceAccount": "000000000000" } } });
  await refused();
  await allow(target, { Condition: { StringEquals: { "aws:SourceAccount": account } } });
  await configure(Bucket, setting);
  await allow(target, { Principal: { Service: "cloudtrail.amazonaws.com" } });
  await refused();
});

void test("the log-delivery group may be given WRITE instead", async () => {
  const Bucket = `logged-${made++}`;
  const target = `logs-${made}`;
  for (const name of [Bucket, target]) await server.bucket(name);
  const headers = { "x-amz-acl": "log-delivery-write" };
  assert.equal((await server.raw({ method: "PUT", path: `/${target}?acl`, headers })).status, 200);
  await configure(Bucket, { TargetBucket: target, TargetPrefix: "" });
  await put(Bucket, "a");
  assert.deepEqual(await summariesIn(target), ["REST.PUT.OBJECT a 200 -"]);
});

void test("each request leaves a line, with whose it was and what became of it", async () => {
  const { Bucket, target } = await loggedWorld();
  await put(Bucket, "dir/a b", "hello");
  await server.s3.send(new GetObjectCommand({ Bucket, Key: "dir/a b", Range: "bytes=1-2" }));
  const lines = await linesIn(target);
  const { canonicalId, account } = await server.identity.accounts.own();
  assert.equal(account.length, 12);
  const [written, read] = lines;
  assert.ok(written && read);
  const { time, requestId, totalMs, turnAroundMs, request, userAgent, hostId, ...rest } = written;
  assert.match(time, /^\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000$/);
  assert.match(requestId, /^[0-9A-F]{16}$/);
  assert.ok(Number(totalMs) >= Number(turnAroundMs));
  assert.match(request, new RegExp(`^PUT /${Bucket}/dir/a%20b\\?x-id=PutObject HTTP/1\\.1$`));
  assert.match(userAgent, /aws-sdk-js/);
  assert.ok(hostId.length > 20);
  assert.deepEqual(rest, {
    owner: canonicalId,
    bucket: Bucket,
    remoteAddress: "127.0.0.1",
    requester: canonicalId,
    operation: "REST.PUT.OBJECT",
    key: "dir/a%20b",
    status: "200",
    code: "-",
    bytesSent: "-",
    objectBytes: "5",
    referer: "-",
    versionId: "-",
    signatureVersion: "SigV4",
    cipher: "-",
    authType: "AuthHeader",
    host: `127.0.0.1:${server.port}`,
    tlsVersion: "-",
    accessPoint: "-",
    aclRequired: "-",
    sourceRegion: "-",
  });
  const { operation, status, bytesSent, objectBytes } = read;
  assert.deepEqual(
    { operation, status, bytesSent, objectBytes },
    { operation: "REST.GET.OBJECT", status: "206", bytesSent: "2", objectBytes: "5" },
  );
});

void test("operations bear AWS's names, and keys their own line where there are several", async () => {
  const { Bucket, target } = await loggedWorld();
  const { s3 } = server;
  await put(Bucket, "a");
  await s3.send(new HeadObjectCommand({ Bucket, Key: "a" }));
  await s3.send(new ListObjectsV2Command({ Bucket }));
  await s3.send(new CopyObjectCommand({ Bucket, Key: "b", CopySource: `${Bucket}/a` }));
  await s3.send(new DeleteObjectCommand({ Bucket, Key: "a" }));
  await failsWith(s3.send(new GetObjectCommand({ Bucket, Key: "a" })), 404, "NoSuchKey");
  const Objects = [{ Key: "b" }, { Key: "c", VersionId: "no-version" }];
  await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
  assert.deepEqual(await summariesIn(target), [
    "REST.PUT.OBJECT a 200 -",
    "REST.HEAD.OBJECT a 200 -",
    "REST.GET.BUCKET - 200 -",
    "REST.COPY.OBJECT b 200 -",
    "REST.COPY.OBJECT_GET a 200 -",
    "REST.DELETE.OBJECT a 204 -",
    "REST.GET.OBJECT a 404 NoSuchKey",
    "REST.POST.MULTI_OBJECT_DELETE - 200 -",
    "BATCH.DELETE.OBJECT b 204 -",
    "BATCH.DELETE.OBJECT c 400 InvalidArgument",
  ]);
});

void test("every key that a commit or a rename changes has a line", async () => {
  const { Bucket, target } = await loggedWorld();
  const bytes = (entries: object[]) => Buffer.from(JSON.stringify({ entries }));
  const commit = (...entries: object[]) =>
    server.raw({ method: "POST", path: `/${Bucket}?holdfast-commit=`, body: bytes(entries) });
  const rename = (from: string, key: string, more: Record<string, string> = {}) => {
    const headers = { "x-amz-rename-source": from, ...more };
    return server.raw({ method: "PUT", path: `/${Bucket}/${key}?renameObject=`, headers });
  };
  await commit({ put: "p/a", text: "x" }, { put: "p/b", text: "x" });
  const more = [
    { rename: "p/b", to: "b" },
    { delete: "gone", versionId: "null" },
    { check: "p/a", ifMatch: "*" },
  ];
  await commit({ put: "c", from: { key: "p/a" } }, ...more);
  await commit({ put: "never", text: "x" }, { check: "missing", ifMatch: "*" });
  await rename("b", "p/c");
  await rename("p/", "q/", { "x-holdfast-rename-prefix": "true" });
  assert.deepEqual(await summariesIn(target), [
    "REST.POST.COMMIT - 200 -",
    "BATCH.PUT.OBJECT p/a 200 -",
    "BATCH.PUT.OBJECT p/b 200 -",
    "REST.POST.COMMIT - 200 -",
    "BATCH.COPY.OBJECT c 200 -",
    "BATCH.COPY.OBJECT_GET p/a 200 -",
    "BATCH.PUT.OBJECT_RENAME b 200 -",
    "BATCH.PUT.OBJECT_RENAME_DELETE p/b 200 -",
    "BATCH.DELETE.OBJECT gone 204 -",
    "BATCH.HEAD.OBJECT p/a 200 -",
    "REST.POST.COMMIT - 404 NoSuchKey",
    "REST.PUT.OBJECT_RENAME p/c 200 -",
    "REST.PUT.OBJECT_RENAME_DELETE b 200 -",
    "REST.PUT.OBJECT_RENAME q/ 200 -",
    "BATCH.PUT.OBJECT_RENAME q/a 200 -",
    "BATCH.PUT.OBJECT_RENAME_DELETE p/a 200 -",
    "BATCH.PUT.OBJECT_RENAME q/c 200 -",
    "BATCH.PUT.OBJECT_RENAME_DELETE p/c 200 -",
  ]);
});

void test("a copy is told to the log of the bucket it reads from", async () => {
  const { Bucket, target } = await loggedWorld();
  const other = `other-${made++}`;
  await server.bucket(other);
  await put(Bucket, "a");
  await server.s3.send(new CopyObjectCommand({ Bucket: other, Key: "b", CopySource: `${Bucket}/a` }));
  assert.deepEqual(await summariesIn(target), ["REST.PUT.OBJECT a 200 -", "REST.COPY.OBJECT_GET a 200 -"]);
});

void test("what is refused leaves a line too: of nobody, of a wrong signature, of a request that means nothing", async () => {
  const { Bucket, target } = await loggedWorld();
  const { port } = server;
  await sendRaw(port, { method: "GET", path: `/${Bucket}/a` });
  const wrong = server.client({ credentials: { accessKeyId: accessKey, secretAccessKey: "wrong" } });
  await failsWith(wrong.send(new GetObjectCommand({ Bucket, Key: "a" })), 403, "SignatureDoesNotMatch");
  await server.raw({ method: "GET", path: `/${Bucket}?torrent` });
  await sendRaw(port, {
    method: "OPTIONS",
    path: `/${Bucket}/a`,
    headers: { origin: "http://a.example.org", "access-control-request-method": "GET" },
  });
  const lines = await linesIn(target);
  assert.deepEqual(lines.map(summary), [
    "REST.GET.OBJECT a 403 AccessDenied",
    "REST.GET.OBJECT a 403 SignatureDoesNotMatch",
    "REST.GET.BUCKET - 501 NotImplemented",
    "REST.OPTIONS.PREFLIGHT a 403 AccessForbidden",
  ]);
  for (const { requester, signatureVersion, authType } of lines)
    assert.deepEqual([requester, signatureVersion, authType], ["-", "-", "-"]);
});

void test("the first request of all to a logged bucket leaves a line though its signature is wrong", async () => {
  const { Bucket, target } = await loggedWorld();
  // As after a start: nothing is known of any bucket.
  server.forgetLogged();
  const wrong = server.client({ credentials: { accessKeyId: "NOSUCHKEY", secretAccessKey: "wrong" } });
  await failsWith(wrong.send(new GetObjectCommand({ Bucket, Key: "a" })), 403, "InvalidAccessKeyId");
  assert.deepEqual(await summariesIn(target), ["REST.GET.OBJECT a 403 InvalidAccessKeyId"]);
});

void test("a presigned URL is logged without what would let others use it", async () => {
  const { Bucket, target } = await loggedWorld();
  await put(Bucket, "a");
  const { origin, port } = server;
  const url = presignUrl({
    method: "GET",
    origin,
    rawPath: `/${Bucket}/a`,
    region: "us-east-1",
    accessKey,
    secretKey,
    expiresSeconds: 60,
    nowMs: Date.now(),
  });
  const answer = await sendRaw(port, { method: "GET", path: url.slice(origin.length) });
  assert.equal(answer.status, 200);
  const [, read] = await linesIn(target);
  assert.ok(read);
  assert.deepEqual([read.authType, read.signatureVersion], ["QueryString", "SigV4"]);
  assert.match(read.request, /&X-Amz-Signature=REDACTED HTTP\/1\.1$/);
});

void test("a user is named by its ARN, and what an ACL allowed is marked", async () => {
  const { Bucket, target } = await loggedWorld();
  const { directory } = server.identity;
  const { account } = await directory.ownAccount();
  await directory.createUser({ account, name: "ann" });
  const owner = { kind: "user", account, user: "ann" } as const;
  const { accessKey: accessKeyId, secretKey: secretAccessKey } = await server.identity.create({ owner });
  const ann = server.client({ credentials: { accessKeyId, secretAccessKey } });
  await failsWith(ann.send(new GetObjectCommand({ Bucket, Key: "a" })), 403, "AccessDenied");
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "a", Body: "hello", ACL: "public-read" }));
  await sendRaw(server.port, { method: "GET", path: `/${Bucket}/a` });
  const [refused, written, read] = await linesIn(target);
  assert.ok(refused && written && read);
  assert.match(refused.requester, /^arn:aws:iam::\d{12}:user\/ann$/);
  assert.deepEqual([written.aclRequired, read.aclRequired, read.requester], ["-", "Yes", "-"]);
});

void test("a browser's form leaves a line with the key that it named", async () => {
  const { Bucket, target } = await loggedWorld();
  const boundary = "boundary-of-a-form";
  const part = (name: string, value: string, more = "") =>
    `--${boundary}\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n${value}\r\n`;
  const file = part("file", "hello", '; filename="a.txt"');
  const body = Buffer.from(`${part("key", "up/a.txt")}${file}--${boundary}--\r\n`);
  const headers = { "content-type": `multipart/form-data; boundary=${boundary}` };
  const answer = await sendRaw(server.port, { method: "POST", path: `/${Bucket}`, headers, body });
  assert.equal(answer.status, 403);
  assert.deepEqual(await summariesIn(target), ["REST.POST.BUCKET up/a.txt 403 AccessDenied"]);
});

void test("log objects are named by their time, and in folders where that is asked for", async () => {
  const simple = await loggedWorld("log/");
  await put(simple.Bucket, "a");
  await server.flushLogs();
  const [name, ...more] = await keysIn(simple.target);
  assert.match(name!, /^log\/\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d-[0-9A-F]{16}$/);
  assert.equal(more.length, 0);
  const { account } = await server.identity.accounts.own();
  for (const PartitionDateSource of ["EventTime", "DeliveryTime"] as const) {
    const { Bucket, target } = await newWorld();
    const TargetObjectKeyFormat = { PartitionedPrefix: { PartitionDateSource } };
    await configure(Bucket, { TargetBucket: target, TargetPrefix: "p/", TargetObjectKeyFormat });
    await put(Bucket, "a");
    await server.flushLogs();
    const [key] = await keysIn(target);
    const [, year, month, day, rest] =
      new RegExp(`^p/${account}/us-east-1/${Bucket}/(\\d{4})/(\\d\\d)/(\\d\\d)/(.*)$`).exec(key!) ?? [];
    const time = PartitionDateSource === "EventTime" ? "00-00-00" : "\\d\\d-\\d\\d-\\d\\d";
    assert.match(rest!, new RegExp(`^${year}-${month}-${day}-${time}-[0-9A-F]{16}$`));
  }
});

void test("a log object is the target's owner's, bears the grants, the target's encryption and a version", async () => {
  const { Bucket, target } = await newWorld();
  const URI = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
  const TargetGrants: LoggingEnabled["TargetGrants"] = [{ Grantee: { Type: "Group", URI }, Permission: "READ" }];
  await configure(Bucket, { TargetBucket: target, TargetPrefix: "", TargetGrants });
  const Rules = [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: "AES256" as const } }];
  const ServerSideEncryptionConfiguration = { Rules };
  await server.s3.send(new PutBucketEncryptionCommand({ Bucket: target, ServerSideEncryptionConfiguration }));
  const VersioningConfiguration = { Status: "Enabled" as const };
  await server.s3.send(new PutBucketVersioningCommand({ Bucket: target, VersioningConfiguration }));
  await put(Bucket, "a");
  await server.flushLogs();
  const [Key] = await keysIn(target);
  const { canonicalId } = await server.identity.accounts.own();
  const { Owner, Grants } = await server.s3.send(new GetObjectAclCommand({ Bucket: target, Key: Key! }));
  assert.equal(Owner?.ID, canonicalId);
  const granted = (Grants ?? []).map(({ Grantee, Permission }) => `${Grantee?.ID ?? Grantee?.URI} ${Permission}`);
  assert.deepEqual(granted.toSorted(), [`${canonicalId} FULL_CONTROL`, `${URI} READ`].toSorted());
  const head = await server.s3.send(new HeadObjectCommand({ Bucket: target, Key: Key! }));
  assert.deepEqual([head.ServerSideEncryption, head.ContentType], ["AES256", "text/plain"]);
  assert.equal(typeof head.VersionId, "string");
});

void test("logs for a target that is gone, or takes none any more, are dropped and counted", async () => {
  const gone = await loggedWorld();
  await put(gone.Bucket, "a");
  await server.s3.send(new DeleteBucketCommand({ Bucket: gone.target }));
  const before = await server.flushLogs();
  const closed = await loggedWorld();
  await put(closed.Bucket, "a");
  await put(closed.Bucket, "b");
  await allow(closed.target, { Effect: "Deny" });
  const after = await server.flushLogs();
  assert.equal(after.written - before.written, 0);
  assert.equal(after.dropped - before.dropped, 2);
  assert.deepEqual(await keysIn(closed.target), []);
  await allow(closed.target);
  await put(closed.Bucket, "c");
  assert.deepEqual(await summariesIn(closed.target), ["REST.PUT.OBJECT c 200 -"]);
});

void test("a bucket that logs to itself tells of its logs, and does not go on for ever", async () => {
  const { target: Bucket } = await newWorld();
  await configure(Bucket, { TargetBucket: Bucket, TargetPrefix: "log/" });
  await put(Bucket, "a");
  const objects: number[] = [];
  for (let round = 0; round < 5; round++) {
    await server.flushLogs();
    objects.push((await server.objects.list({ bucket: Bucket, limit: 100 })).objects.length);
  }
  // What was put, the log of that, and the log of that log.
  assert.deepEqual(objects, [2, 3, 3, 3, 3]);
  const { objects: all } = await server.objects.list({ bucket: Bucket, prefix: Buffer.from("log/"), limit: 100 });
  const texts: string[] = [];
  for (const { key } of all) {
    const { Body } = await server.s3.send(new GetObjectCommand({ Bucket, Key: key.toString() }));
    texts.push(await Body!.transformToString());
  }
  const deliveries = texts.flatMap(parseLog).filter(({ requester }) => requester === `svc:${service}`);
  assert.equal(deliveries.length, 1);
  assert.match(deliveries[0]!.key, /^log\/\d{4}-/);
  assert.equal(deliveries[0]!.operation, "REST.PUT.OBJECT");
});

void test("a change of where logs go holds for the requests after it", async () => {
  const { Bucket, target } = await loggedWorld();
  await put(Bucket, "a");
  const second = await newWorld();
  await configure(Bucket, { TargetBucket: second.target, TargetPrefix: "" });
  await put(Bucket, "b");
  assert.ok((await summariesIn(target)).includes("REST.PUT.OBJECT a 200 -"));
  assert.deepEqual(await summariesIn(second.target), ["REST.PUT.OBJECT b 200 -"]);
});

void test("a request to a bucket that is not logged reads nothing for it", async () => {
  const plain = `plain-${made++}`;
  await server.bucket(plain);
  const before = configurationsRead;
  await put(plain, "a");
  await server.s3.send(new GetObjectCommand({ Bucket: plain, Key: "a" }));
  await failsWith(server.s3.send(new GetObjectCommand({ Bucket: plain, Key: "b" })), 404, "NoSuchKey");
  assert.equal(configurationsRead, before);
});
