/** What a request brings to conditions. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Caller } from "./principals.ts";
import { requestKeys, type RequestFacts } from "./request_keys.ts";

const account = { account: "111122223333", canonicalId: "ab".repeat(32) };
const user: Caller = {
  kind: "user",
  arn: "arn:aws:iam::111122223333:user/a",
  name: "a",
  id: "AIDA1",
  tags: new Map([
    ["Team", "x"],
    ["twice", "1"],
    ["Twice", "2"],
  ]),
  ...account,
};
const session: Caller = {
  kind: "session",
  arn: "arn:aws:sts::111122223333:assumed-role/r/s",
  roleArn: "arn:aws:iam::111122223333:role/r",
  id: "AROA1:s",
  issuedMs: Date.UTC(2026, 0, 1),
  usedMfa: true,
  tags: new Map(),
  ...account,
};
const facts: RequestFacts = {
  caller: user,
  action: "s3:PutObject",
  resourceAccount: "444455556666",
  nowMs: Date.UTC(2026, 0, 2),
  sourceIp: "192.0.2.1",
  isSecure: true,
  tlsVersion: "1.3",
  region: "us-east-1",
  headers: new Map([
    ["user-agent", "test/1"],
    ["x-amz-acl", "private"],
    ["x-amz-copy-source", "/src/a%20b"],
    ["if-none-match", "*"],
    ["x-amz-content-sha256", "UNSIGNED-PAYLOAD"],
  ]),
  query: new Map([
    ["prefix", "p/"],
    ["versionId", "v"],
  ]),
  signature: { authType: "REST-HEADER", ageMs: 250 },
  requestTags: new Map([["Owner", "b"]]),
  objectTags: new Map([["Owner", "c"]]),
  lock: { mode: "GOVERNANCE", retainUntilMs: Date.UTC(2026, 0, 3, 12) },
};

function has(change: Partial<RequestFacts>, expected: Record<string, unknown>): void {
  const keys = requestKeys({ ...facts, ...change });
  for (const [name, value] of Object.entries(expected)) assert.deepEqual(keys.get(name), value, name);
}

test("who asks", () => {
  has(
    {},
    {
      "aws:principalarn": "arn:aws:iam::111122223333:user/a",
      "aws:principalaccount": "111122223333",
      "aws:principaltype": "User",
      "aws:userid": "AIDA1",
      "aws:username": "a",
      "aws:principaltag/team": "x",
      // Two tags that IAM would not tell apart: neither is believed.
      "aws:principaltag/twice": undefined,
      "aws:tokenissuetime": undefined,
      "aws:multifactorauthpresent": undefined,
    },
  );
  has(
    { caller: session },
    {
      "aws:principalarn": "arn:aws:iam::111122223333:role/r",
      "aws:principaltype": "AssumedRole",
      "aws:userid": "AROA1:s",
      "aws:username": undefined,
      "aws:tokenissuetime": "2026-01-01T00:00:00.000Z",
      "aws:multifactorauthpresent": "true",
    },
  );
  has(
    { caller: { kind: "root", ...account } },
    {
      "aws:principalarn": "arn:aws:iam::111122223333:root",
      "aws:principaltype": "Account",
      "aws:userid": "111122223333",
    },
  );
  has(
    { caller: { kind: "anonymous" }, signature: undefined },
    {
      "aws:principalaccount": "anonymous",
      "aws:principaltype": "Anonymous",
      "aws:principalarn": undefined,
      "aws:userid": undefined,
      "s3:authtype": undefined,
      "s3:signatureversion": undefined,
      "s3:signatureage": undefined,
    },
  );
});

test("how and when", () => {
  has(
    {},
    {
      "aws:currenttime": "2026-01-02T00:00:00.000Z",
      "aws:epochtime": "1767312000",
      "aws:securetransport": "true",
      "aws:sourceip": "192.0.2.1",
      "aws:useragent": "test/1",
      "aws:referer": undefined,
      "s3:tlsversion": "1.3",
      "s3:authtype": "REST-HEADER",
      "s3:signatureversion": "AWS4-HMAC-SHA256",
      "s3:signatureage": "250",
      "s3:x-amz-content-sha256": "UNSIGNED-PAYLOAD",
      "s3:resourceaccount": "444455556666",
      "aws:sourcevpc": undefined,
    },
  );
});

test("what is asked for, where the action knows the key", () => {
  has(
    {},
    {
      "s3:x-amz-acl": "private",
      "s3:x-amz-copy-source": "src/a b",
      "s3:x-amz-storage-class": undefined,
      "s3:if-none-match": "*",
      "s3:requestobjecttag/Owner": "b",
      "s3:requestobjecttag/owner": undefined,
      "s3:requestobjecttagkeys": ["Owner"],
      "s3:object-lock-mode": "GOVERNANCE",
      "s3:object-lock-retain-until-date": "2026-01-03T12:00:00.000Z",
      "s3:object-lock-remaining-retention-days": "2",
      "s3:existingobjecttag/Owner": undefined,
      "s3:prefix": undefined,
      "s3:unknown": undefined,
    },
  );
  has(
    { action: "s3:GetObject" },
    { "s3:existingobjecttag/Owner": "c", "s3:x-amz-acl": undefined, "s3:versionid": undefined },
  );
  has({ action: "s3:GetObjectVersion" }, { "s3:versionid": "v" });
  has({ action: "s3:ListBucket" }, { "s3:prefix": "p/", "s3:delimiter": undefined, "s3:max-keys": "1000" });
});
