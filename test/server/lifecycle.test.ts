/** Real processes with a shortened day: what expires goes by itself, also what was there before a kill, and nothing is left of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { testMsMax } from "../bounds.ts";
import { doctor } from "../crash/kill_rounds.ts";
import { ServerProcess, testKeys } from "../crash/server_process.ts";
import { temporaryFolder } from "./harness.ts";

const Bucket = "expiring";
const started = { workers: 2, args: ["--lifecycle-day", "1"] };

function clientOf({ url }: ServerProcess): S3Client {
  const { accessKey: accessKeyId, secretKey: secretAccessKey } = testKeys;
  return new S3Client({
    endpoint: url.href,
    region: "us-east-1",
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
  });
}

async function gone(isGone: () => Promise<boolean>): Promise<void> {
  while (!(await isGone())) await new Promise((resolve) => setTimeout(resolve, 200));
}

test("what rules say goes, though the server was killed in between", { timeout: testMsMax }, async (t) => {
  const folder = temporaryFolder(t);
  const first = await ServerProcess.start(folder, started);
  const s3 = clientOf(first);
  await s3.send(new CreateBucketCommand({ Bucket }));
  const VersioningConfiguration = { Status: "Enabled" } as const;
  await s3.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration }));
  const put = (client: S3Client, Key: string) =>
    client.send(new PutObjectCommand({ Bucket, Key, Body: Buffer.alloc(100_000, Key) }));
  for (const Key of ["log/a", "log/a", "log/b", "kept/a"]) await put(s3, Key);
  await s3.send(new DeleteObjectCommand({ Bucket, Key: "log/b" }));
  const Rules = [
    {
      ID: "logs",
      Status: "Enabled" as const,
      Filter: { Prefix: "log/" },
      Expiration: { Days: 2 },
      NoncurrentVersionExpiration: { NoncurrentDays: 2 },
    },
  ];
  const LifecycleConfiguration = { Rules };
  await s3.send(new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration }));
  await first.killAll();
  s3.destroy();

  const second = await ServerProcess.start(folder, started);
  const again = clientOf(second);
  await put(again, "log/c");
  await gone(async () => {
    const { Versions = [], DeleteMarkers = [] } = await again.send(new ListObjectVersionsCommand({ Bucket }));
    return Versions.length === 1 && DeleteMarkers.length === 0;
  });
  const { Contents } = await again.send(new ListObjectsV2Command({ Bucket }));
  assert.deepEqual(
    Contents!.map(({ Key }) => Key),
    ["kept/a"],
  );
  again.destroy();
  await second.stop();
  assert.match(await doctor(folder), /"findings":0/);
});
