/** Lifecycle through the AWS SDK: what expires and when, what clients are told of that, and that locks and events hold. */
import assert from "node:assert/strict";
import { after, before, test, type TestContext } from "node:test";
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteBucketLifecycleCommand,
  DeleteObjectCommand,
  GetBucketLifecycleConfigurationCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  ListPartsCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketNotificationConfigurationCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  PutObjectLegalHoldCommand,
  PutObjectTaggingCommand,
  UploadPartCommand,
  type LifecycleRule,
} from "@aws-sdk/client-s3";
import { tags } from "../../src/meta/keys.ts";
import { rowsOf } from "../../src/jobs/jobs.fixture.ts";
import { SettableClock } from "../../src/object/object.fixture.ts";
import { startReceiver } from "./receiver.ts";
import { failsWith, startTestServer, type TestServer } from "./server.ts";

const dayMs = 24 * 3_600_000;
const clock = new SettableClock();
let server: TestServer;
let made = 0;
before(async () => {
  server = await startTestServer({ objectClock: clock });
});
after(() => server.close());

async function newBucket(versioning?: "Enabled" | "Suspended"): Promise<string> {
  const Bucket = `expiring-${made++}`;
  await server.bucket(Bucket);
  if (versioning !== undefined)
    await server.s3.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: versioning } }));
  return Bucket;
}

async function rules(Bucket: string, ...Rules: Partial<LifecycleRule>[]): Promise<void> {
  const all = Rules.map((rule) => ({ Status: "Enabled" as const, Filter: {}, ...rule }));
  const LifecycleConfiguration = { Rules: all };
  await server.s3.send(new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration }));
}

const put = (Bucket: string, Key: string, more: object = {}) =>
  server.s3.send(new PutObjectCommand({ Bucket, Key, Body: "body", ...more }));

async function pass(days: number): Promise<void> {
  clock.aheadMs += days * dayMs;
  await server.expire();
}

async function keysOf(Bucket: string): Promise<string[]> {
  const { Contents = [] } = await server.s3.send(new ListObjectsV2Command({ Bucket }));
  return Contents.map(({ Key }) => Key!);
}

/** Newest first; a marker is `x`. */
async function versionsOf(Bucket: string): Promise<string[]> {
  const { Versions = [], DeleteMarkers = [] } = await server.s3.send(new ListObjectVersionsCommand({ Bucket }));
  return [...Versions.map(({ Key }) => Key!), ...DeleteMarkers.map(({ Key }) => `x${Key}`)];
}

test("objects below a prefix expire at the midnight after their days have passed, and others stay", async () => {
  const Bucket = await newBucket();
  await put(Bucket, "log/old");
  await put(Bucket, "kept/old");
  await rules(Bucket, { Filter: { Prefix: "log/" }, Expiration: { Days: 2 } });
  await put(Bucket, "log/new");
  await pass(1.99);
  assert.deepEqual(await keysOf(Bucket), ["kept/old", "log/new", "log/old"]);
  await pass(1.01);
  assert.deepEqual(await keysOf(Bucket), ["kept/old"]);
});

test("a date expires what is there when it comes, and what comes after it", async () => {
  const Bucket = await newBucket();
  const day = Math.ceil((clock.nowMs() + dayMs) / dayMs) * dayMs;
  await put(Bucket, "a");
  await rules(Bucket, { Expiration: { Date: new Date(day) } });
  await pass(0);
  assert.deepEqual(await keysOf(Bucket), ["a"]);
  await pass(2);
  assert.deepEqual(await keysOf(Bucket), []);
  await put(Bucket, "b");
  await pass(0);
  assert.deepEqual(await keysOf(Bucket), []);
});

test("tags and sizes are judged as they are when the time has come", async () => {
  const Bucket = await newBucket();
  const Tag = { Key: "keep", Value: "no" };
  const And = { Prefix: "t/", Tags: [Tag], ObjectSizeGreaterThan: 3, ObjectSizeLessThan: 100 };
  await rules(Bucket, { Filter: { And }, Expiration: { Days: 1 } });
  const Tagging = "keep=no&other=x";
  await put(Bucket, "t/goes", { Tagging });
  await put(Bucket, "t/small", { Tagging, Body: "abc" });
  await put(Bucket, "t/large", { Tagging, Body: "x".repeat(100) });
  await put(Bucket, "t/untagged");
  await put(Bucket, "t/later");
  await put(Bucket, "t/saved", { Tagging });
  const tag = (Key: string, TagSet: { Key: string; Value: string }[]) =>
    server.s3.send(new PutObjectTaggingCommand({ Bucket, Key, Tagging: { TagSet } }));
  await tag("t/saved", []);
  await pass(2);
  assert.deepEqual(await keysOf(Bucket), ["t/large", "t/later", "t/saved", "t/small", "t/untagged"]);
  await tag("t/later", [Tag]);
  await pass(0);
  assert.deepEqual(await keysOf(Bucket), ["t/large", "t/saved", "t/small", "t/untagged"]);
});

test("where there are versions a marker takes the object's place, and goes when nothing is left behind it", async () => {
  const Bucket = await newBucket("Enabled");
  await put(Bucket, "a");
  await rules(
    Bucket,
    { ID: "now", Expiration: { Days: 1 } },
    { ID: "then", NoncurrentVersionExpiration: { NoncurrentDays: 2 } },
  );
  await pass(2);
  assert.deepEqual(await versionsOf(Bucket), ["a", "xa"]);
  await pass(1);
  assert.deepEqual(await versionsOf(Bucket), ["a", "xa"]);
  await pass(2);
  assert.deepEqual(await versionsOf(Bucket), []);
  assert.deepEqual(await rowsOf(server.kv, tags.past), []);
});

test("ExpiredObjectDeleteMarker takes away a marker that stands alone, and no other", async () => {
  const Bucket = await newBucket("Enabled");
  await put(Bucket, "behind");
  const { VersionId } = await put(Bucket, "alone");
  for (const Key of ["behind", "alone"]) await server.s3.send(new DeleteObjectCommand({ Bucket, Key }));
  await rules(Bucket, { Expiration: { ExpiredObjectDeleteMarker: true } });
  await pass(2);
  assert.deepEqual(await versionsOf(Bucket), ["alone", "behind", "xalone", "xbehind"]);
  await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "alone", VersionId }));
  await pass(0);
  assert.deepEqual(await versionsOf(Bucket), ["behind", "xbehind"]);
});

test("NewerNoncurrentVersions keeps so many, also of versions that became old enough before", async () => {
  const Bucket = await newBucket("Enabled");
  await rules(Bucket, { NoncurrentVersionExpiration: { NoncurrentDays: 1, NewerNoncurrentVersions: 2 } });
  for (let at = 0; at < 3; at++) await put(Bucket, "a");
  await pass(5);
  assert.equal((await versionsOf(Bucket)).length, 3);
  await put(Bucket, "a");
  await pass(1);
  assert.equal((await versionsOf(Bucket)).length, 3);
});

test("an upload that is not completed ends, and its answers say when", async () => {
  const Bucket = await newBucket();
  const Key = "big";
  const abort = { ID: "end it", AbortIncompleteMultipartUpload: { DaysAfterInitiation: 3 } };
  const early = await server.s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
  assert.equal(early.AbortDate, undefined);
  await rules(Bucket, abort);
  const created = await server.s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
  assert.equal(created.AbortRuleId, "end%20it");
  assert.equal(created.AbortDate!.getTime(), Math.ceil((clock.nowMs() + 3 * dayMs) / dayMs) * dayMs);
  const { UploadId } = created;
  const part = await server.s3.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body: "part" }));
  const listed = await server.s3.send(new ListPartsCommand({ Bucket, Key, UploadId }));
  assert.deepEqual([listed.AbortDate, listed.AbortRuleId], [created.AbortDate, "end%20it"]);
  const done = await server.s3.send(new CreateMultipartUploadCommand({ Bucket, Key: "done" }));
  const finished = { Bucket, Key: "done", UploadId: done.UploadId };
  const only = await server.s3.send(new UploadPartCommand({ ...finished, PartNumber: 1, Body: "part" }));
  const Parts = [{ PartNumber: 1, ETag: only.ETag }];
  await server.s3.send(new CompleteMultipartUploadCommand({ ...finished, MultipartUpload: { Parts } }));
  await pass(2);
  assert.equal((await server.s3.send(new ListMultipartUploadsCommand({ Bucket }))).Uploads!.length, 2);
  await pass(2);
  assert.equal((await server.s3.send(new ListMultipartUploadsCommand({ Bucket }))).Uploads, undefined);
  assert.deepEqual(await keysOf(Bucket), ["done"]);
  const completion = { Bucket, Key, UploadId, MultipartUpload: { Parts: [{ PartNumber: 1, ETag: part.ETag }] } };
  await failsWith(server.s3.send(new CompleteMultipartUploadCommand(completion)), 404, "NoSuchUpload");
});

test("a locked version stays until its retention and its legal hold have ended", async () => {
  const Bucket = `expiring-${made++}`;
  await server.s3.send(new CreateBucketCommand({ Bucket, ObjectLockEnabledForBucket: true }));
  const ObjectLockRetainUntilDate = new Date(clock.nowMs() + 10 * dayMs);
  const lock = { ObjectLockMode: "GOVERNANCE", ObjectLockRetainUntilDate, ChecksumAlgorithm: "CRC32" };
  await put(Bucket, "retained", lock);
  const held = await put(Bucket, "held", { ObjectLockLegalHoldStatus: "ON", ChecksumAlgorithm: "CRC32" });
  await rules(Bucket, { Expiration: { Days: 1 }, NoncurrentVersionExpiration: { NoncurrentDays: 1 } });
  await pass(2);
  assert.deepEqual(await versionsOf(Bucket), ["held", "retained", "xheld", "xretained"]);
  await pass(6);
  assert.deepEqual(await versionsOf(Bucket), ["held", "retained", "xheld", "xretained"]);
  await pass(4);
  assert.deepEqual(await versionsOf(Bucket), ["held", "xheld"]);
  const Key = "held";
  const { VersionId } = held;
  const LegalHold = { Status: "OFF" } as const;
  await server.s3.send(new PutObjectLegalHoldCommand({ Bucket, Key, VersionId, LegalHold }));
  await pass(0);
  assert.deepEqual(await versionsOf(Bucket), []);
});

test("x-amz-expiration says the earliest end, in the answers of whatever makes or shows an object", async () => {
  const Bucket = await newBucket();
  const part = { Expiration: { Days: 3 }, Filter: { Prefix: "a" } };
  await rules(Bucket, { ID: "late", Expiration: { Days: 9 } }, { ID: 'so "on"', ...part });
  const said = (days: number, id: string): string => {
    const end = new Date(Math.ceil((clock.nowMs() + days * dayMs) / dayMs) * dayMs).toUTCString();
    return `expiry-date="${end}", rule-id="${id}"`;
  };
  const early = said(3, "so%20%22on%22");
  assert.equal((await put(Bucket, "a")).Expiration, early);
  assert.equal((await put(Bucket, "b")).Expiration, said(9, "late"));
  const Key = "a";
  assert.equal((await server.s3.send(new GetObjectCommand({ Bucket, Key }))).Expiration, early);
  assert.equal((await server.s3.send(new HeadObjectCommand({ Bucket, Key }))).Expiration, early);
  const copied = await server.s3.send(new CopyObjectCommand({ Bucket, Key: "a2", CopySource: `${Bucket}/b` }));
  assert.equal(copied.Expiration, early);
  const { UploadId } = await server.s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
  const { ETag } = await server.s3.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body: "p" }));
  const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
  const completed = await server.s3.send(
    new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload }),
  );
  assert.equal(completed.Expiration, early);
  await server.s3.send(new DeleteBucketLifecycleCommand({ Bucket }));
  assert.equal((await server.s3.send(new HeadObjectCommand({ Bucket, Key }))).Expiration, undefined);
});

test("those who asked for it are told of what expires", async (t: TestContext) => {
  const Bucket = await newBucket("Enabled");
  const receiver = await startReceiver();
  t.after(() => receiver.close());
  const { arn } = await server.destinations.set("ends", { url: receiver.url, headers: [], secret: undefined });
  const queue = { Id: "ends", QueueArn: arn, Events: ["s3:LifecycleExpiration:*" as const] };
  const NotificationConfiguration = { QueueConfigurations: [queue] };
  await server.s3.send(
    new PutBucketNotificationConfigurationCommand({
      Bucket,
      NotificationConfiguration,
      SkipDestinationValidation: true,
    }),
  );
  await put(Bucket, "a");
  await rules(Bucket, { Expiration: { Days: 1 }, NoncurrentVersionExpiration: { NoncurrentDays: 1 } });
  await pass(2);
  await pass(2);
  while (receiver.taken.length < 3) await server.deliver();
  assert.deepEqual(
    receiver.events().map(({ eventName }) => eventName),
    ["LifecycleExpiration:DeleteMarkerCreated", "LifecycleExpiration:Delete", "LifecycleExpiration:Delete"],
  );
});

test("a document that is changed or taken away counts at once; one that is disabled does nothing", async () => {
  const Bucket = await newBucket();
  await put(Bucket, "a");
  await rules(Bucket, { Expiration: { Days: 1 } });
  await server.expire();
  await rules(Bucket, { Expiration: { Days: 5 } });
  await pass(3);
  assert.deepEqual(await keysOf(Bucket), ["a"]);
  await rules(Bucket, { Expiration: { Days: 1 }, Status: "Disabled" });
  await pass(9);
  assert.deepEqual(await keysOf(Bucket), ["a"]);
  await rules(Bucket, { Expiration: { Days: 1 } });
  await server.s3.send(new DeleteBucketLifecycleCommand({ Bucket }));
  await pass(9);
  assert.deepEqual(await keysOf(Bucket), ["a"]);
});

test("without rules, and with its bucket, nothing of lifecycle is left", async () => {
  const Bucket = await newBucket();
  for (let at = 0; at < 300; at++) await put(Bucket, `a${at}`);
  await rules(Bucket, { Expiration: { Days: 1 } });
  await server.expire();
  const before = (await rowsOf(server.kv, tags.due)).length;
  assert.ok(before >= 300);
  await server.s3.send(new DeleteBucketLifecycleCommand({ Bucket }));
  await server.expire();
  assert.equal((await rowsOf(server.kv, tags.due)).length, before - 300);
  await rules(Bucket, { Expiration: { Days: 1 } });
  await pass(2);
  assert.deepEqual(await keysOf(Bucket), []);
  await put(Bucket, "last");
  await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "last" }));
  await server.s3.send(new DeleteBucketCommand({ Bucket }));
  await server.expire();
  assert.deepEqual(
    (await rowsOf(server.kv, tags.due)).filter(({ key }) => key.includes("last")),
    [],
  );
  await failsWith(server.s3.send(new GetBucketLifecycleConfigurationCommand({ Bucket })), 404, "NoSuchBucket");
});
