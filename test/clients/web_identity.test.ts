/** AWS's SDK and command line with nothing but a token of an identity provider, against a real server, up to S3. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { systemClock } from "../../src/core/clock.ts";
import { signRequest } from "../../src/gateway/sigv4.ts";
import { newKey, openIssuer, signed, type TestIssuer } from "../../src/oidc/issuer.fixture.ts";
import { testMsMax } from "../bounds.ts";
import { ServerProcess, testKeys } from "../crash/server_process.ts";

const run = promisify(execFile);
const aws = "/usr/bin/aws";

let directory: string;
let server: ServerProcess;
let issuer: TestIssuer;
let tokenFile: string;
let token: string;
let roleArn: string;

async function iam(fields: Readonly<Record<string, string>>): Promise<string> {
  const body = new URLSearchParams({ Version: "2010-05-08", ...fields }).toString();
  const { headers } = signRequest({
    method: "POST",
    rawPath: "/",
    region: "us-east-1",
    service: "iam",
    headers: { host: server.url.host, "content-type": "application/x-www-form-urlencoded" },
    payloadHash: createHash("sha256").update(body).digest("hex"),
    nowMs: systemClock.nowMs(),
    ...testKeys,
  });
  const { host: _, ...sent } = headers;
  const answer = await fetch(server.url, { method: "POST", headers: sent, body });
  const text = await answer.text();
  assert.equal(answer.status, 200, text);
  return text;
}

const policyOf = (statement: object): string =>
  JSON.stringify({ Version: "2012-10-17", Statement: { Effect: "Allow", ...statement } });

before(async () => {
  directory = mkdtempSync(path.join(tmpdir(), "holdfast-web-identity-"));
  server = await ServerProcess.start(path.join(directory, "data"), { workers: 2, args: ["--oidc-over-http", "yes"] });
  issuer = await openIssuer();
  const key = await newKey("k", "ES256");
  issuer.publish(key);
  const made = await iam({
    Action: "CreateOpenIDConnectProvider",
    Url: issuer.url,
    "ClientIDList.member.1": "storage",
  });
  const provider = /<OpenIDConnectProviderArn>([^<]+)</.exec(made)![1]!;
  const name = issuer.url.replace("http://", "");
  const trust = policyOf({
    Action: "sts:AssumeRoleWithWebIdentity",
    Principal: { Federated: provider },
    Condition: { StringEquals: { [`${name}:aud`]: "storage" } },
  });
  const role = await iam({ Action: "CreateRole", RoleName: "staff", AssumeRolePolicyDocument: trust });
  roleArn = /<Arn>([^<]+)</.exec(role)![1]!;
  const own = policyOf({ Action: "s3:*Object", Resource: `arn:aws:s3:::homes/\${${name}:sub}/*` });
  await iam({ Action: "PutRolePolicy", RoleName: "staff", PolicyName: "own", PolicyDocument: own });
  const credentials = { accessKeyId: testKeys.accessKey, secretAccessKey: testKeys.secretKey };
  const root = new S3Client({ endpoint: server.url.origin, region: "us-east-1", forcePathStyle: true, credentials });
  await root.send(new CreateBucketCommand({ Bucket: "homes" }));
  root.destroy();
  const seconds = Math.floor(systemClock.nowMs() / 1_000);
  token = await signed(key, { iss: issuer.url, sub: "ada", aud: "storage", iat: seconds, exp: seconds + 3_600 });
  tokenFile = path.join(directory, "token");
  writeFileSync(tokenFile, token);
});
after(async () => {
  await issuer.close();
  await server.stop();
  rmSync(directory, { recursive: true, force: true });
});

/** What a container that is given an identity finds in its environment. */
function environment(): Record<string, string> {
  return {
    PATH: process.env["PATH"] ?? "",
    HOME: directory,
    AWS_WEB_IDENTITY_TOKEN_FILE: tokenFile,
    AWS_ROLE_ARN: roleArn,
    AWS_ROLE_SESSION_NAME: "pod",
    AWS_ENDPOINT_URL: server.url.origin,
    AWS_REGION: "us-east-1",
    AWS_EC2_METADATA_DISABLED: "true",
  };
}

test("the SDK reads and writes in the folder of whom its token names, and nowhere else", async () => {
  const program = `
    import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
    const s3 = new S3Client({ forcePathStyle: true });
    await s3.send(new PutObjectCommand({ Bucket: "homes", Key: "ada/note", Body: "mine" }));
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: "homes", Key: "ada/note" }));
    const other = await s3.send(new GetObjectCommand({ Bucket: "homes", Key: "bob/note" })).catch(({ name }) => name);
    console.log(await Body.transformToString(), other);`;
  const args = ["--input-type=module", "--eval", program];
  const { stdout } = await run(process.execPath, args, { env: environment(), timeout: testMsMax });
  assert.equal(stdout.trim(), "mine AccessDenied");
});

const skip = existsSync(aws) ? false : `${aws} is not installed: apt-get install awscli`;
test("AWS's command line shows the token to STS and is somebody then", { skip }, async () => {
  const { AWS_WEB_IDENTITY_TOKEN_FILE: _unused, AWS_ROLE_ARN: _neither, ...env } = environment();
  const asked = ["--role-arn", roleArn, "--role-session-name", "line", "--web-identity-token", token];
  const args = ["--endpoint-url", server.url.origin, "sts", "assume-role-with-web-identity", ...asked];
  const { stdout } = await run(aws, args, { env, timeout: testMsMax });
  const answer = JSON.parse(stdout) as Record<string, unknown>;
  assert.equal(answer["SubjectFromWebIdentityToken"], "ada");
  const { AccessKeyId, SecretAccessKey, SessionToken } = answer["Credentials"] as Record<string, string>;
  const credentials = {
    accessKeyId: AccessKeyId!,
    secretAccessKey: SecretAccessKey!,
    sessionToken: SessionToken!,
  };
  const s3 = new S3Client({ endpoint: server.url.origin, region: "us-east-1", forcePathStyle: true, credentials });
  await s3.send(new PutObjectCommand({ Bucket: "homes", Key: "ada/line", Body: "x" }));
  await assert.rejects(s3.send(new GetObjectCommand({ Bucket: "homes", Key: "bob/line" })), { name: "AccessDenied" });
  s3.destroy();
});
