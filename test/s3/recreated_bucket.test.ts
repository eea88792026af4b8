/**
 * A bucket that is deleted and made again by somebody else between the judging of a request and what it does: the body of the request
 * may take its time, and its sender may see to it.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { request } from "node:http";
import { after, before, test } from "node:test";
import {
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  GetBucketPolicyCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { signRequest } from "../../src/gateway/sigv4.ts";
import { accessKey, bytesOf, failsWith, secretKey, startTestServer, type TestServer } from "./server.ts";

type Key = { readonly accessKey: string; readonly secretKey: string };
type Account = Key & { readonly s3: S3Client; readonly account: string };

const root = { accessKey, secretKey };

let server: TestServer;
let first: Account;
let second: Account;
before(async () => {
  server = await startTestServer();
  first = await accountNamed("first");
  second = await accountNamed("second");
});
after(() => server.close());

async function accountNamed(name: string): Promise<Account> {
  const { account } = await server.identity.directory.createAccount(name);
  const key = await server.identity.create({ owner: { kind: "account", account } });
  const s3 = server.client({ credentials: { accessKeyId: key.accessKey, secretAccessKey: key.secretKey } });
  return { s3, account, ...key };
}

type Held = {
  readonly method: string;
  readonly path: string;
  readonly body: Buffer;
  readonly meanwhile: () => Promise<void>;
  /** The first account if left out. */
  readonly by?: Key;
  readonly headers?: Readonly<Record<string, string>>;
};

/** `meanwhile` runs when the server asks for the body, so when the request was judged. */
function held(sent: Held): Promise<{ readonly status: number; readonly text: string }> {
  const { method, path, body, meanwhile, by = first } = sent;
  const [rawPath, rawQuery = ""] = path.split("?") as [string, string?];
  const { headers } = signRequest({
    accessKey: by.accessKey,
    secretKey: by.secretKey,
    region: "us-east-1",
    method,
    rawPath,
    rawQuery,
    headers: { host: `127.0.0.1:${server.port}`, ...sent.headers },
    payloadHash: createHash("sha256").update(body).digest("hex"),
    nowMs: Date.now(),
  });
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const all = { ...headers, expect: "100-continue", "content-length": body.length };
  const req = request({ host: "127.0.0.1", port: server.port, method, path, headers: all, agent: false }, (res) => {
    let text = "";
    res.setEncoding("utf8").on("data", (piece: string) => (text += piece));
    res.on("end", () => resolve({ status: res.statusCode ?? 0, text }));
  });
  req.on("error", reject);
  req.on("continue", () => void meanwhile().then(() => req.end(body), reject));
  req.flushHeaders();
  return promise;
}

let buckets = 0;
async function bucketOfFirst(): Promise<string> {
  const Bucket = `again-${(buckets += 1)}`;
  await first.s3.send(new CreateBucketCommand({ Bucket }));
  return Bucket;
}

/** The first account's bucket goes, and the second account makes one of that name. */
const changesHands = (Bucket: string) => async (): Promise<void> => {
  await first.s3.send(new DeleteBucketCommand({ Bucket }));
  await second.s3.send(new CreateBucketCommand({ Bucket }));
  await second.s3.send(new PutObjectCommand({ Bucket, Key: "theirs", Body: "theirs" }));
};

function isNotThere({ status, text }: { readonly status: number; readonly text: string }): void {
  assert.equal(status, 404);
  assert.match(text, /<Code>NoSuchBucket<\/Code>/);
}

void test("a policy whose sender was the owner of the old bucket does not become the new one's", async () => {
  const Bucket = await bucketOfFirst();
  const Statement = [{ Effect: "Allow", Principal: "*", Action: "s3:*", Resource: `arn:aws:s3:::${Bucket}/*` }];
  const body = Buffer.from(JSON.stringify({ Version: "2012-10-17", Statement }));
  isNotThere(await held({ method: "PUT", path: `/${Bucket}?policy`, body, meanwhile: changesHands(Bucket) }));
  await failsWith(second.s3.send(new GetBucketPolicyCommand({ Bucket })), 404, "NoSuchBucketPolicy");
});

for (const [size, bytes] of [
  ["a small", 10],
  ["a large", 100_000],
] as const)
  void test(`${size} body that was let into the old bucket is not stored in the new one`, async () => {
    const Bucket = await bucketOfFirst();
    const body = Buffer.alloc(bytes, "x");
    isNotThere(await held({ method: "PUT", path: `/${Bucket}/theirs`, body, meanwhile: changesHands(Bucket) }));
    const { Body } = await second.s3.send(new GetObjectCommand({ Bucket, Key: "theirs" }));
    assert.equal((await bytesOf(Body)).toString(), "theirs");
  });

void test("a commit over several keys changes nothing in the new bucket", async () => {
  const Bucket = await bucketOfFirst();
  const entries = [{ put: "theirs", text: "mine" }, { delete: "more" }];
  const body = Buffer.from(JSON.stringify({ entries }));
  const answer = await held({
    method: "POST",
    path: `/${Bucket}?holdfast-commit`,
    body,
    meanwhile: changesHands(Bucket),
  });
  isNotThere(answer);
  const { Body } = await second.s3.send(new GetObjectCommand({ Bucket, Key: "theirs" }));
  assert.equal((await bytesOf(Body)).toString(), "theirs");
});

void test("parts of an upload in the old bucket end with it", async () => {
  const Bucket = await bucketOfFirst();
  const { UploadId } = await first.s3.send(new CreateMultipartUploadCommand({ Bucket, Key: "k" }));
  const path = `/${Bucket}/k?partNumber=1&uploadId=${UploadId!}`;
  isNotThere(await held({ method: "PUT", path, body: Buffer.alloc(50_000, "x"), meanwhile: changesHands(Bucket) }));
});

void test("where the same account makes the bucket again, too: it is another bucket", async () => {
  const Bucket = await bucketOfFirst();
  const meanwhile = async (): Promise<void> => {
    await first.s3.send(new DeleteBucketCommand({ Bucket }));
    await first.s3.send(new CreateBucketCommand({ Bucket }));
  };
  isNotThere(await held({ method: "PUT", path: `/${Bucket}/k`, body: Buffer.from("x"), meanwhile }));
  await failsWith(first.s3.send(new HeadObjectCommand({ Bucket, Key: "k" })), 404, "NotFound");
});

void test("who expects a bucket of one account does not come to that of another, the root neither", async () => {
  const Bucket = await bucketOfFirst();
  const headers = { "x-amz-expected-bucket-owner": first.account };
  const meanwhile = changesHands(Bucket);
  const path = `/${Bucket}/theirs`;
  isNotThere(await held({ method: "PUT", path, body: Buffer.from("x"), by: root, headers, meanwhile }));
});

void test("a bucket that stays the same takes what was held, whatever happens in it", async () => {
  const Bucket = await bucketOfFirst();
  const meanwhile = async (): Promise<void> => {
    await first.s3.send(new PutObjectCommand({ Bucket, Key: "k", Body: "before" }));
    await first.s3.send(new DeleteObjectCommand({ Bucket, Key: "k" }));
  };
  const { status } = await held({ method: "PUT", path: `/${Bucket}/k`, body: Buffer.from("held"), meanwhile });
  assert.equal(status, 200);
  const { Body } = await first.s3.send(new GetObjectCommand({ Bucket, Key: "k" }));
  assert.equal((await bytesOf(Body)).toString(), "held");
});
