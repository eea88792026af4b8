import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  GetBucketAclCommand,
  GetBucketCorsCommand,
  GetBucketEncryptionCommand,
  GetBucketLifecycleConfigurationCommand,
  GetBucketLocationCommand,
  GetBucketLoggingCommand,
  GetBucketNotificationConfigurationCommand,
  GetBucketPolicyCommand,
  GetBucketTaggingCommand,
  GetBucketWebsiteCommand,
  GetObjectAclCommand,
  GetObjectLockConfigurationCommand,
  HeadBucketCommand,
  ListBucketsCommand,
  PutObjectCommand,
  type BucketCannedACL,
} from "@aws-sdk/client-s3";
import { failsWith, startTestServer } from "./server.ts";
import type { TestServer } from "./server.ts";

let server: TestServer;
before(async () => (server = await startTestServer()));
after(() => server.close());

void test("a bucket made is listed with its date and region", async () => {
  await server.s3.send(new CreateBucketCommand({ Bucket: "listed-bucket" }));
  const { Buckets, Owner } = await server.s3.send(new ListBucketsCommand({}));
  const found = Buckets?.find((bucket) => bucket.Name === "listed-bucket");
  assert.ok(found?.CreationDate instanceof Date);
  assert.equal(found.BucketRegion, "us-east-1");
  assert.ok(Owner?.ID);
});

void test("buckets are listed by prefix and in pages, in order", async () => {
  for (const name of ["page-c", "page-a", "page-b"]) await server.bucket(name);
  const first = await server.s3.send(new ListBucketsCommand({ Prefix: "page-", MaxBuckets: 2 }));
  assert.deepEqual(
    first.Buckets?.map((bucket) => bucket.Name),
    ["page-a", "page-b"],
  );
  const second = await server.s3.send(
    new ListBucketsCommand({ Prefix: "page-", MaxBuckets: 2, ContinuationToken: first.ContinuationToken }),
  );
  assert.deepEqual(
    second.Buckets?.map((bucket) => bucket.Name),
    ["page-c"],
  );
  assert.equal(second.ContinuationToken, undefined);
});

void test("making an own bucket again in us-east-1 succeeds", async () => {
  await server.bucket("made-twice");
  const again = await server.s3.send(new CreateBucketCommand({ Bucket: "made-twice" }));
  assert.equal(again.Location, "/made-twice");
});

// AWS resets the list to the one that is asked for. Here nothing is changed, and so it is not said to be.
void test("making an own bucket again with another access control list is refused, with the same one it succeeds", async () => {
  const Bucket = "made-twice-public";
  const ObjectOwnership = "ObjectWriter";
  const make = (ACL?: BucketCannedACL) => server.s3.send(new CreateBucketCommand({ Bucket, ACL, ObjectOwnership }));
  await make("public-read");
  await make("public-read");
  await make();
  await failsWith(make("private"), 409, "BucketAlreadyExists");
  await failsWith(make("public-read-write"), 409, "BucketAlreadyExists");
  const { Grants } = await server.s3.send(new GetBucketAclCommand({ Bucket }));
  assert.deepEqual(
    Grants?.map(({ Permission }) => Permission),
    ["READ", "FULL_CONTROL"],
  );
});

void test("making an own bucket again elsewhere is BucketAlreadyOwnedByYou", async () => {
  const other = await startTestServer({ region: "eu-central-1" });
  try {
    const create = new CreateBucketCommand({
      Bucket: "made-twice",
      CreateBucketConfiguration: { LocationConstraint: "eu-central-1" },
    });
    await other.s3.send(create);
    await failsWith(other.s3.send(create), 409, "BucketAlreadyOwnedByYou");
    const { LocationConstraint } = await other.s3.send(new GetBucketLocationCommand({ Bucket: "made-twice" }));
    assert.equal(LocationConstraint, "eu-central-1");
  } finally {
    await other.close();
  }
});

void test("a bucket cannot be made in a region that is not here", async () => {
  await failsWith(
    server.s3.send(
      new CreateBucketCommand({ Bucket: "far-away", CreateBucketConfiguration: { LocationConstraint: "eu-west-3" } }),
    ),
    400,
    "InvalidLocationConstraint",
  );
});

void test("a bucket is made with tags, and not at all where a tag is none", async () => {
  const Bucket = "tagged-bucket";
  const make = (Tags: { Key: string; Value: string }[]) =>
    server.s3.send(new CreateBucketCommand({ Bucket, CreateBucketConfiguration: { Tags } }));
  await failsWith(make([{ Key: "aws:a", Value: "b" }]), 400, "InvalidTag");
  await failsWith(server.s3.send(new HeadBucketCommand({ Bucket })), 404, "NotFound");
  const tags = [{ Key: "a", Value: "b" }];
  await make(tags);
  assert.deepEqual((await server.s3.send(new GetBucketTaggingCommand({ Bucket }))).TagSet, tags);
});

void test("a directory bucket, or one in a namespace of its own, is not made", async () => {
  const Bucket = "directory--use1-az1--here";
  const Location = { Type: "AvailabilityZone", Name: "use1-az1" } as const;
  const sent = { Bucket, CreateBucketConfiguration: { Location, Bucket: { Type: "Directory" } } } as const;
  await failsWith(server.s3.send(new CreateBucketCommand(sent)), 501, "NotImplemented");
  const headers = { "x-amz-bucket-namespace": "account-regional" };
  const answer = await server.raw({ method: "PUT", path: `/${Bucket}`, headers });
  assert.equal(answer.status, 501);
  await failsWith(server.s3.send(new HeadBucketCommand({ Bucket })), 404, "NotFound");
});

for (const name of ["UPPER", "a_b", "ab", "-ab", "192.168.0.1", "x".repeat(64), "a-.b", "a.-b", "a..b", "ab.", "ab-"]) {
  void test(`${name.slice(0, 12)} is no bucket name`, async () => {
    const answer = await server.raw({ method: "PUT", path: `/${name}` });
    assert.equal(answer.status, 400);
    assert.match(answer.text, /<Code>InvalidBucketName<\/Code>/);
  });
}

void test("HeadBucket tells the region, and 404 without a body when there is none", async () => {
  await server.bucket("head-bucket");
  const head = await server.s3.send(new HeadBucketCommand({ Bucket: "head-bucket" }));
  assert.equal(head.BucketRegion, "us-east-1");
  const missing = await server.raw({ method: "HEAD", path: "/no-such-bucket" });
  assert.equal(missing.status, 404);
  assert.equal(missing.text, "");
});

void test("a deleted bucket is gone, one with objects stays", async () => {
  await server.bucket("short-lived");
  await server.s3.send(new PutObjectCommand({ Bucket: "short-lived", Key: "k", Body: "x" }));
  await failsWith(server.s3.send(new DeleteBucketCommand({ Bucket: "short-lived" })), 409, "BucketNotEmpty");
  await server.bucket("empty-bucket");
  await server.s3.send(new DeleteBucketCommand({ Bucket: "empty-bucket" }));
  await failsWith(server.s3.send(new DeleteBucketCommand({ Bucket: "empty-bucket" })), 404, "NoSuchBucket");
});

void test("the location of us-east-1 is empty", async () => {
  await server.bucket("located");
  const { LocationConstraint } = await server.s3.send(new GetBucketLocationCommand({ Bucket: "located" }));
  assert.equal(LocationConstraint, undefined);
});

void test("the ACL of bucket and object is full control of the owner", async () => {
  await server.bucket("acls");
  await server.s3.send(new PutObjectCommand({ Bucket: "acls", Key: "k", Body: "x", ACL: "private" }));
  for (const command of [
    new GetBucketAclCommand({ Bucket: "acls" }),
    new GetObjectAclCommand({ Bucket: "acls", Key: "k" }),
  ] as const) {
    const { Grants, Owner } = await server.s3.send(command as GetBucketAclCommand);
    assert.equal(Grants?.length, 1);
    assert.equal(Grants[0]?.Permission, "FULL_CONTROL");
    assert.equal(Grants[0]?.Grantee?.ID, Owner?.ID);
    assert.equal(Grants[0]?.Grantee?.Type, "CanonicalUser");
  }
});

void test("configurations a bucket does not have answer their own codes", async () => {
  const Bucket = "plain";
  await server.bucket(Bucket);
  const { s3 } = server;
  await failsWith(s3.send(new GetBucketPolicyCommand({ Bucket })), 404, "NoSuchBucketPolicy");
  await failsWith(s3.send(new GetBucketCorsCommand({ Bucket })), 404, "NoSuchCORSConfiguration");
  await failsWith(s3.send(new GetBucketLifecycleConfigurationCommand({ Bucket })), 404, "NoSuchLifecycleConfiguration");
  await failsWith(
    s3.send(new GetBucketEncryptionCommand({ Bucket })),
    404,
    "ServerSideEncryptionConfigurationNotFoundError",
  );
  await failsWith(s3.send(new GetBucketTaggingCommand({ Bucket })), 404, "NoSuchTagSet");
  await failsWith(s3.send(new GetBucketWebsiteCommand({ Bucket })), 404, "NoSuchWebsiteConfiguration");
  await failsWith(
    s3.send(new GetObjectLockConfigurationCommand({ Bucket })),
    404,
    "ObjectLockConfigurationNotFoundError",
  );
  await failsWith(s3.send(new GetBucketPolicyCommand({ Bucket: "missing" })), 404, "NoSuchBucket");
});

void test("a bucket that sends nothing anywhere says so by empty documents", async () => {
  const Bucket = "silent";
  await server.bucket(Bucket);
  const logging = await server.s3.send(new GetBucketLoggingCommand({ Bucket }));
  assert.equal(logging.LoggingEnabled, undefined);
  const notification = await server.s3.send(new GetBucketNotificationConfigurationCommand({ Bucket }));
  assert.deepEqual(
    [notification.QueueConfigurations, notification.TopicConfigurations, notification.EventBridgeConfiguration],
    [undefined, undefined, undefined],
  );
  await failsWith(server.s3.send(new GetBucketLoggingCommand({ Bucket: "missing" })), 404, "NoSuchBucket");
});
