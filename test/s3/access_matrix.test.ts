/**
 * Every operation of the table, asked for by everybody there is: nobody, a user with nothing, one who is allowed just what the
 * operation needs, one who is allowed everything but its action, one who is allowed everything and denied it, a stranger of
 * another account who may do everything at home, and sessions of a role that may do everything: while they last, bounded by a
 * policy of their own, and over. Made from the table, so that no operation comes without being judged.
 */
import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { after, before, test } from "node:test";
import { PutObjectCommand } from "@aws-sdk/client-s3";
import { systemClock, type Clock } from "../../src/core/clock.ts";
import { operations, type Operation } from "../../src/gateway/operations.ts";
import { signRequest } from "../../src/gateway/sigv4.ts";
import { sendRaw, startTestServer, type RawAnswer, type RawRequest, type TestServer } from "./server.ts";

const Bucket = "matrix";
type Keys = { readonly accessKey: string; readonly secretKey: string; readonly token?: string };

let server: TestServer;
let account: string;
let aheadMs = 0;
const clock: Clock = { ...systemClock, nowMs: () => systemClock.nowMs() + aheadMs };
before(async () => {
  server = await startTestServer({ clock });
  ({ account } = await server.identity.directory.ownAccount());
});
after(() => server.close());

let users = 0;
async function userWith(...statements: object[]): Promise<Keys> {
  const { directory } = server.identity;
  const user = `user-${(users += 1)}`;
  await directory.createUser({ account, name: user });
  if (statements.length > 0) {
    const document = JSON.stringify({ Version: "2012-10-17", Statement: statements });
    await directory.putInlinePolicy({ kind: "user", account, name: user }, { name: "own", document });
  }
  return server.identity.create({ owner: { kind: "user", account, user } });
}

const statementsOf = (...Statement: object[]): string => JSON.stringify({ Version: "2012-10-17", Statement });
const sessionSeconds = 900;

/** Of a new role that may do what the statement says. */
async function sessionOf(statement: object, policy?: string): Promise<Keys> {
  const { directory } = server.identity;
  const role = `role-${(users += 1)}`;
  const trust = statementsOf({ Effect: "Allow", Action: "sts:AssumeRole", Principal: { AWS: account } });
  const { id } = await directory.createRole({ account, name: role, trust });
  await directory.putInlinePolicy(
    { kind: "role", account, name: role },
    { name: "own", document: statementsOf(statement) },
  );
  const principal = { kind: "role", account, role, id } as const;
  const begun = { principal, seconds: sessionSeconds, secondsMax: sessionSeconds, name: "matrix", policy };
  const { session, token } = await server.identity.begin(begun);
  return { accessKey: session.accessKey, secretKey: session.secretKey, token };
}

/** It was begun so long ago that its time is over. */
async function endedSession(statement: object): Promise<Keys> {
  aheadMs = -(sessionSeconds + 1) * 1_000;
  try {
    return await sessionOf(statement);
  } finally {
    aheadMs = 0;
  }
}

async function stranger(): Promise<Keys> {
  const { account: other } = await server.identity.directory.createAccount(`stranger-${(users += 1)}`);
  return server.identity.create({ owner: { kind: "account", account: other } });
}

/** What each operation needs to be a request at all; what is not here needs nothing. */
const bodies: Partial<Record<Operation, string>> = {
  CommitObjects: '{"entries": [{"put": "object", "text": "x"}]}',
  DeleteObjects: "<Delete><Object><Key>object</Key></Object></Delete>",
  PutObject: "x",
  PutObjectTagging: "<Tagging><TagSet></TagSet></Tagging>",
  PutObjectRetention: "<Retention></Retention>",
  PutObjectLegalHold: "<LegalHold><Status>ON</Status></LegalHold>",
  RestoreObject: "<RestoreRequest><Days>1</Days></RestoreRequest>",
  UploadPart: "x",
};
const headers: Partial<Record<Operation, Record<string, string>>> = {
  CopyObject: { "x-amz-copy-source": `/${Bucket}/source` },
  UploadPartCopy: { "x-amz-copy-source": `/${Bucket}/source` },
  RenameObject: { "x-amz-rename-source": "source" },
  GetObjectAttributes: { "x-amz-object-attributes": "ETag" },
  PutObjectAcl: { "x-amz-acl": "private" },
  PutBucketAcl: { "x-amz-acl": "private" },
};
const queries: Readonly<Record<string, string>> = {
  "list-type": "list-type=2",
  uploadId: `uploadId=${"0".repeat(32)}`,
};

function requestOf(operation: Operation): RawRequest {
  const { level, method, sub, named } = operations[operation];
  const bucket = operation === "CreateBucket" ? `/made-${(users += 1)}` : `/${Bucket}`;
  const path = level === "service" ? "/" : level === "bucket" ? bucket : `${bucket}/object`;
  const more = `${operation.startsWith("UploadPart") ? "&partNumber=1" : ""}${named === true ? "&id=one" : ""}`;
  const query = sub === "" ? "" : `?${queries[sub] ?? sub}${more}`;
  const body = Buffer.from(bodies[operation] ?? "");
  const md5 = operation === "DeleteObjects" ? { "content-md5": createHash("md5").update(body).digest("base64") } : {};
  return { method, path: path + query, headers: { ...headers[operation], ...md5 }, body };
}

function send(operation: Operation, keys: Keys | undefined): Promise<RawAnswer> {
  if (operation === "PostObject") return sendForm(keys);
  const raw = requestOf(operation);
  if (keys === undefined) return sendRaw(server.port, raw);
  const [rawPath, rawQuery = ""] = raw.path.split("?") as [string, string?];
  const { token, ...own } = keys;
  const signed = signRequest({
    ...own,
    region: "us-east-1",
    method: raw.method,
    rawPath,
    rawQuery,
    headers: { host: `127.0.0.1:${server.port}`, ...raw.headers, ...(token && { "x-amz-security-token": token }) },
    payloadHash: createHash("sha256").update(raw.body!).digest("hex"),
    nowMs: Date.now(),
  });
  return sendRaw(server.port, { ...raw, headers: signed.headers });
}

function sendForm(keys: Keys | undefined): Promise<RawAnswer> {
  const fields: Record<string, string> = { key: "object" };
  if (keys !== undefined) {
    if (keys.token !== undefined) fields["x-amz-security-token"] = keys.token;
    const conditions = [{ bucket: Bucket }, ...Object.entries(fields).map(([name, value]) => ({ [name]: value }))];
    const document = { expiration: new Date(Date.now() + 60_000), conditions };
    fields["policy"] = Buffer.from(JSON.stringify(document)).toString("base64");
    fields["AWSAccessKeyId"] = keys.accessKey;
    fields["signature"] = createHmac("sha1", keys.secretKey).update(fields["policy"]).digest("base64");
  }
  const parts = Object.entries(fields).map(([name, value]) => `name="${name}"\r\n\r\n${value}`);
  const disposition = "\r\n--limit\r\nContent-Disposition: form-data; ";
  const all = [...parts, `name="file"; filename="f"\r\n\r\nx`].map((part) => disposition + part).join("");
  const body = Buffer.from(`${all.slice(2)}\r\n--limit--\r\n`);
  const type = { "content-type": "multipart/form-data; boundary=limit" };
  return sendRaw(server.port, { method: "POST", path: `/${Bucket}`, headers: type, body });
}

/** DeleteObjects says it of each key, HEAD by its status alone. */
const isDenied = ({ status, text }: RawAnswer): boolean =>
  text.includes("<Code>AccessDenied</Code>") || (status === 403 && text === "");

const hasExpired = ({ status, text }: RawAnswer): boolean =>
  status === 400 && (text === "" || text.includes("<Code>ExpiredToken</Code>"));

/** Beyond the action of the table. */
const further: Partial<Record<Operation, readonly string[]>> = {
  CopyObject: ["s3:GetObject"],
  UploadPartCopy: ["s3:GetObject"],
  RenameObject: ["s3:GetObject", "s3:DeleteObject"],
  GetObjectAttributes: ["s3:GetObject"],
};

/** An operation that is allowed may take them, or the bucket, away. */
async function putObjects(): Promise<void> {
  await server.bucket(Bucket);
  for (const Key of ["object", "source"]) await server.s3.send(new PutObjectCommand({ Bucket, Key, Body: "x" }));
}

for (const operation of Object.keys(operations) as Operation[]) {
  void test(`${operation}: only for whom it is allowed`, async () => {
    const { action } = operations[operation];
    const Resource = "*";
    await putObjects();
    const all = { Effect: "Allow", Action: "s3:*", Resource };
    const refused: [string, Keys | undefined][] = [
      ["nobody", undefined],
      ["a user with nothing", await userWith()],
      ["everything but it", await userWith({ Effect: "Allow", NotAction: action, Resource })],
      ["everything, and denied it", await userWith(all, { Effect: "Deny", Action: action, Resource })],
    ];
    const without = statementsOf({ Effect: "Allow", NotAction: action, Resource });
    refused.push(["a session whose own policy leaves it out", await sessionOf(all, without)]);
    // What is a stranger's own is allowed to the stranger.
    if (operation !== "ListBuckets" && operation !== "CreateBucket") refused.push(["a stranger", await stranger()]);
    for (const [who, keys] of refused) {
      const answer = await send(operation, keys);
      assert.ok(isDenied(answer), `${who}: ${answer.status} ${answer.text}`);
    }
    const late = await send(operation, await endedSession(all));
    assert.ok(hasExpired(late), `a session that is over: ${late.status} ${late.text}`);
    const Action = [action, ...(further[operation] ?? [])];
    const needed = { Effect: "Allow", Action, Resource };
    for (const keys of [await userWith(needed), await sessionOf(needed), await sessionOf(all, statementsOf(needed))]) {
      await putObjects();
      const allowed = await send(operation, keys);
      assert.ok(
        !isDenied(allowed) && !hasExpired(allowed) && allowed.status !== 500,
        `${allowed.status} ${allowed.text}`,
      );
    }
  });
}
