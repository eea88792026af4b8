/** Access logs of a whole server: what waits is written when it stops, and calls of the file API stand in them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CreateBucketCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutBucketLoggingCommand,
  PutBucketPolicyCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { createServer, type HoldfastServer } from "../../src/index.ts";
import { parseLog, type ParsedLine } from "../../src/logging/line.fixture.ts";
import { basic, temporaryFolder } from "./harness.ts";

function clientOf({ url, accessKey, secretKey, region }: HoldfastServer): S3Client {
  const credentials = { accessKeyId: accessKey, secretAccessKey: secretKey };
  return new S3Client({ endpoint: url, region, forcePathStyle: true, maxAttempts: 1, credentials });
}

async function logTo(s3: S3Client, Bucket: string, target: string): Promise<void> {
  for (const name of [Bucket, target]) await s3.send(new CreateBucketCommand({ Bucket: name }));
  const Statement = [
    {
      Effect: "Allow",
      Principal: { Service: "logging.s3.amazonaws.com" },
      Action: "s3:PutObject",
      Resource: `arn:aws:s3:::${target}/*`,
    },
  ];
  const Policy = JSON.stringify({ Version: "2012-10-17", Statement });
  await s3.send(new PutBucketPolicyCommand({ Bucket: target, Policy }));
  const BucketLoggingStatus = { LoggingEnabled: { TargetBucket: target, TargetPrefix: "" } };
  await s3.send(new PutBucketLoggingCommand({ Bucket, BucketLoggingStatus }));
}

async function linesIn(s3: S3Client, Bucket: string): Promise<ParsedLine[]> {
  const lines: ParsedLine[] = [];
  for (const { Key } of (await s3.send(new ListObjectsV2Command({ Bucket }))).Contents ?? []) {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key: Key! }));
    lines.push(...parseLog(await Body!.transformToString()));
  }
  return lines;
}

void test("what waits when a server is stopped is there when it has started again", async (t) => {
  const drive = temporaryFolder(t);
  const first = await createServer({ drives: [drive], accessLogIntervalSeconds: 3_600 });
  t.after(() => first.close());
  const s3 = clientOf(first);
  await logTo(s3, "source", "target");
  await s3.send(new PutObjectCommand({ Bucket: "source", Key: "a", Body: "hello" }));
  assert.deepEqual(await linesIn(s3, "target"), []);
  s3.destroy();
  await first.close();
  const again = await createServer({ drives: [drive] });
  t.after(() => again.close());
  const later = clientOf(again);
  const lines = await linesIn(later, "target");
  later.destroy();
  assert.deepEqual(
    lines.map(({ operation, key }) => `${operation} ${key}`),
    ["REST.PUT.OBJECT a"],
  );
});

void test("calls of the file API stand in the log of the bucket that files lie in", async (t) => {
  const drive = temporaryFolder(t);
  const first = await createServer({ drives: [drive] });
  t.after(() => first.close());
  const s3 = clientOf(first);
  await logTo(s3, "files", "target");
  const signedIn = basic(first.accessKey, first.secretKey);
  const call = (address: string, init: RequestInit = {}): Promise<Response> =>
    fetch(`${first.url}/_/files${address}`, { headers: signedIn, ...init });
  const form = new FormData();
  for (const name of ["one.txt", "two.txt"]) form.append("file", new Blob([name]), name);
  const [one] = (await (await call("", { method: "POST", body: form })).json()) as { id: string }[];
  assert.ok(one);
  await (await call(`/${one.id}`)).text();
  await call(`/${one.id}`, { method: "DELETE" });
  assert.equal((await call(`/${one.id}`)).status, 404);
  assert.equal((await call("", { headers: {} })).status, 401);
  s3.destroy();
  await first.close();
  const again = await createServer({ drives: [drive] });
  t.after(() => again.close());
  const later = clientOf(again);
  const lines = await linesIn(later, "target");
  later.destroy();
  const summaries = lines.map(({ operation, key, status, code, objectBytes, authType }) =>
    [operation, key.replace(/^.*\//, ""), status, code, objectBytes, authType].join(" "),
  );
  assert.deepEqual(summaries, [
    "REST.PUT.OBJECT one.txt 201 - 7 Basic",
    "REST.PUT.OBJECT two.txt 201 - 7 Basic",
    "REST.GET.OBJECT one.txt 200 - 7 Basic",
    "REST.DELETE.OBJECT one.txt 204 - - Basic",
    `REST.GET.OBJECT ${one.id} 404 NoSuchKey - Basic`,
    "REST.GET.BUCKET - 401 AccessDenied - -",
  ]);
});
