/** Temporary credentials over S3: the token comes with the request, in a header or in the URL, and is part of what is signed. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { GetObjectCommand, PutBucketPolicyCommand, PutObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { systemClock, type Clock } from "../../src/core/clock.ts";
import { bytesOf, failsWith, sendRaw, startTestServer, type TestServer } from "./server.ts";

const Bucket = "sessions";
let aheadMs = 0;
const clock: Clock = {
  ...systemClock,
  nowMs: () => systemClock.nowMs() + aheadMs,
  monotonicMs: () => systemClock.monotonicMs(),
  sleep: (ms, signal) => systemClock.sleep(ms, signal),
};
let server: TestServer;
let account: string;
before(async () => {
  server = await startTestServer({ clock });
  await server.bucket(Bucket);
  ({ account } = await server.identity.directory.ownAccount());
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "k", Body: "bytes" }));
});
after(() => server.close());

const policyOf = (...statements: object[]): string =>
  JSON.stringify({ Version: "2012-10-17", Statement: statements.map((each) => ({ Effect: "Allow", ...each })) });
const trust = policyOf({ Action: "sts:AssumeRole", Principal: { AWS: "111122223333" } });

type Credentials = { accessKeyId: string; secretAccessKey: string; sessionToken: string };
let roles = 0;

/** Of a new role that may read. */
async function session(policy?: string): Promise<{ credentials: Credentials; role: string }> {
  const { directory } = server.identity;
  const role = `role-${(roles += 1)}`;
  const { id } = await directory.createRole({ account, name: role, trust });
  const document = policyOf({ Action: ["s3:GetObject"], Resource: "*" });
  await directory.putInlinePolicy({ kind: "role", account, name: role }, { name: "own", document });
  const principal = { kind: "role", account, role, id } as const;
  const begun = await server.identity.begin({ principal, seconds: 900, secondsMax: 3_600, name: "work", policy });
  const { accessKey: accessKeyId, secretKey: secretAccessKey } = begun.session;
  return { credentials: { accessKeyId, secretAccessKey, sessionToken: begun.token }, role };
}

const read = async (s3: S3Client): Promise<string> => {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key: "k" }));
  return (await bytesOf(Body)).toString();
};

test("the session of a role may what the role may", async () => {
  const { credentials } = await session();
  const s3 = server.client({ credentials });
  assert.equal(await read(s3), "bytes");
  await failsWith(s3.send(new PutObjectCommand({ Bucket, Key: "k", Body: "x" })), 403, "AccessDenied");
});

test("a session policy bounds it", async () => {
  const { credentials } = await session(policyOf({ Action: "s3:PutObject", Resource: "*" }));
  await failsWith(read(server.client({ credentials })), 403, "AccessDenied");
});

test("a bucket's policy lets a session in by the role, within the session's policy, or by the session's own name", async () => {
  const { credentials, role } = await session(policyOf({ Action: "s3:GetObject", Resource: "*" }));
  const s3 = server.client({ credentials });
  const put = () => s3.send(new PutObjectCommand({ Bucket, Key: "new", Body: "x" }));
  const letIn = (AWS: string, Action: string) => {
    const Policy = policyOf({ Principal: { AWS }, Action, Resource: `arn:aws:s3:::${Bucket}/*` });
    return server.s3.send(new PutBucketPolicyCommand({ Bucket, Policy }));
  };
  await letIn(`arn:aws:iam::${account}:role/${role}`, "s3:PutObject");
  await failsWith(put(), 403, "AccessDenied");
  const free = await session();
  await letIn(`arn:aws:iam::${account}:role/${free.role}`, "s3:PutObject");
  await server.client({ credentials: free.credentials }).send(new PutObjectCommand({ Bucket, Key: "new", Body: "x" }));
  await letIn(`arn:aws:sts::${account}:assumed-role/${role}/work`, "s3:PutObject");
  await put();
});

test("a presigned URL of a session carries its token", async () => {
  const { credentials } = await session();
  const url = new URL(await getSignedUrl(server.client({ credentials }), new GetObjectCommand({ Bucket, Key: "k" })));
  assert.equal(url.searchParams.get("X-Amz-Security-Token"), credentials.sessionToken);
  const get = (to: URL) =>
    sendRaw(server.port, { method: "GET", path: to.pathname + to.search, headers: { host: to.host } });
  assert.equal((await get(url)).text, "bytes");
  url.searchParams.delete("X-Amz-Security-Token");
  const without = await get(url);
  assert.deepEqual([without.status, /<Code>(\w+)</.exec(without.text)?.[1]], [403, "InvalidAccessKeyId"]);
});

test("a token of another session, none, or one that is no token lets nobody in", async () => {
  const [one, two] = [await session(), await session()];
  const { accessKeyId, secretAccessKey } = one.credentials;
  const other = { ...one.credentials, sessionToken: two.credentials.sessionToken };
  await failsWith(read(server.client({ credentials: other })), 400, "InvalidToken");
  await failsWith(read(server.client({ credentials: { accessKeyId, secretAccessKey } })), 403, "InvalidAccessKeyId");
  await failsWith(read(server.client({ credentials: { ...one.credentials, sessionToken: "t" } })), 400, "InvalidToken");
  const wrong = { ...one.credentials, secretAccessKey: "another-secret" };
  await failsWith(read(server.client({ credentials: wrong })), 403, "SignatureDoesNotMatch");
});

test("a session ends with its role, and when its time is over", async () => {
  const gone = await session();
  const { directory } = server.identity;
  await directory.deleteInlinePolicy({ kind: "role", account, name: gone.role }, "own");
  await directory.deleteRole(account, gone.role);
  await failsWith(read(server.client({ credentials: gone.credentials })), 403, "InvalidAccessKeyId");
  const { credentials } = await session();
  const s3 = server.client({ credentials, systemClockOffset: 901_000 });
  aheadMs = 901_000;
  await failsWith(read(s3), 400, "ExpiredToken");
  aheadMs = 0;
});
