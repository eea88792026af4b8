/** What nothing has any more: websites and the file API say so in words, as S3 does, on a connection that goes on. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { closeSync, openSync, readdirSync, readSync, statSync, writeSync } from "node:fs";
import { Agent, request } from "node:http";
import path from "node:path";
import { test } from "node:test";
import {
  CreateBucketCommand,
  PutBucketPolicyCommand,
  PutBucketWebsiteCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { createServer } from "../../src/index.ts";
import { testKeys } from "../crash/server_process.ts";
import { basic, temporaryFolder } from "./harness.ts";

const Bucket = "site";
const body = randomBytes(100_000);

/** Turns a bit over in every block of every segment. */
function damageAll(drive: string): void {
  const folder = path.join(drive, "segments");
  for (const file of readdirSync(folder).map((name) => path.join(folder, name))) {
    const fd = openSync(file, "r+");
    const byte = Buffer.alloc(1);
    for (let at = 4_000; at < statSync(file).size; at += 32_000) {
      readSync(fd, byte, 0, 1, at);
      byte[0]! ^= 1;
      writeSync(fd, byte, 0, 1, at);
    }
    closeSync(fd);
  }
}

async function startSite(drive: string) {
  const server = await createServer({ drives: [drive], websiteDomain: ["web.test"], credentials: testKeys });
  const s3 = new S3Client({
    endpoint: server.url,
    region: "us-east-1",
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: testKeys.accessKey, secretAccessKey: testKeys.secretKey },
  });
  await s3.send(new CreateBucketCommand({ Bucket }));
  for (const Key of ["index.html", "error.html"]) await s3.send(new PutObjectCommand({ Bucket, Key, Body: body }));
  const config = { IndexDocument: { Suffix: "index.html" }, ErrorDocument: { Key: "error.html" } };
  await s3.send(new PutBucketWebsiteCommand({ Bucket, WebsiteConfiguration: config }));
  const all = { Effect: "Allow", Principal: "*", Action: ["s3:GetObject", "s3:ListBucket"] };
  const Policy = JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ ...all, Resource: [`arn:aws:s3:::${Bucket}`, `arn:aws:s3:::${Bucket}/*`] }],
  });
  await s3.send(new PutBucketPolicyCommand({ Bucket, Policy }));
  s3.destroy();
  return server;
}

type Answer = { readonly status: number; readonly bytes: Buffer; readonly isReused: boolean };

test("a page, a page for errors and a file that cannot be read are refused in words", async (t) => {
  const drive = path.join(temporaryFolder(t), "drive");
  const server = await startSite(drive);
  t.after(() => server.close());
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const get = (target: string, headers: Record<string, string>): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const asked = request({ host: "127.0.0.1", port: server.port, path: target, headers, agent }, (answer) => {
        const pieces: Buffer[] = [];
        answer.on("data", (piece: Buffer) => pieces.push(piece)).on("error", reject);
        answer.on("end", () =>
          resolve({
            status: answer.statusCode ?? 0,
            bytes: Buffer.concat(pieces),
            isReused: asked.reusedSocket,
          }),
        );
      });
      asked.on("error", reject).end();
    });
  const auth = basic(testKeys.accessKey, testKeys.secretKey);
  const uploaded = await fetch(`${server.url}/_/files?name=f`, { method: "PUT", body, headers: auth });
  const { id } = (await uploaded.json()) as { id: string };
  const host = { host: `${Bucket}.web.test` };
  for (const [status, target, headers] of [
    [200, "/", host],
    [404, "/nowhere", host],
    [200, `/_/files/${id}`, auth],
  ] as const) {
    const { bytes, ...answer } = await get(target, headers);
    assert.deepEqual([answer.status, bytes.equals(body)], [status, true], target);
  }

  damageAll(drive);
  const page = await get("/", host);
  assert.deepEqual([page.status, page.isReused], [500, true]);
  assert.match(page.bytes.toString(), /<h1>500 [^<]*<\/h1>[^]*Code: InternalError/);
  const error = await get("/nowhere", host);
  assert.deepEqual([error.status, error.isReused], [404, true]);
  assert.match(error.bytes.toString(), /Code: NoSuchKey[^]*Custom Error Document[^]*Code: InternalError/);
  const file = await get(`/_/files/${id}`, auth);
  assert.deepEqual([file.status, file.isReused], [500, true]);
  const refused = JSON.parse(file.bytes.toString()) as { error: { code: string } };
  assert.equal(refused.error.code, "corrupt_chunk");
});
