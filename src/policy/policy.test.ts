/** What a policy document may be, and what is said of one that is none. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { parsePolicy } from "./policy.ts";
import type { PolicyUse } from "./faults.ts";

const bytesMax = limits.bucketPolicyBytesMax;
const allow = { Effect: "Allow", Action: "s3:GetObject", Resource: "arn:aws:s3:::b/*" };
const open = { ...allow, Principal: "*" };

function refused(document: unknown, message: RegExp, use: PolicyUse = "bucket"): void {
  const text = typeof document === "string" ? document : JSON.stringify(document);
  assert.throws(
    () => parsePolicy(text, { use, bytesMax }),
    (error) => hasReason(error, "malformed_policy") && message.test(error.message),
    text.slice(0, 200),
  );
}
const without = (name: string): object => Object.fromEntries(Object.entries(open).filter(([each]) => each !== name));
const one = (change: object): object => ({ Version: "2012-10-17", Statement: [{ ...open, ...change }] });
const resource = (Resource: unknown, Version = "2012-10-17"): object => ({ Version, Statement: { ...open, Resource } });
const when = (Condition: unknown): object => one({ Condition });

test("a document has its elements and nothing else", () => {
  const policy = parsePolicy(JSON.stringify({ Version: "2012-10-17", Id: "x", Statement: { Sid: "a", ...open } }), {
    use: "bucket",
    bytesMax,
  });
  assert.deepEqual([policy.version, policy.id, policy.statements[0]?.sid], ["2012-10-17", "x", "a"]);
  assert.equal(parsePolicy(JSON.stringify({ Statement: [open] }), { use: "bucket", bytesMax }).version, "2008-10-17");
  refused("", /first byte must be '\{'/);
  refused(" {}", /first byte must be '\{'/);
  refused("{", /invalid Json/);
  refused({}, /Missing required field Statement/);
  refused({ Statement: [] }, /Statement is empty/);
  refused({ Statement: [open], Extra: 1 }, /Unknown field Extra/);
  refused({ Version: "2012-10-18", Statement: [open] }, /must contain a valid version string/);
  refused({ Version: 2012, Statement: [open] }, /must contain a valid version string/);
  refused({ Id: 1, Statement: [open] }, /Invalid value of Id/);
  refused({ Statement: "x" }, /Invalid value of Statement/);
});

test("JSON is read strictly", () => {
  const text = JSON.stringify({ Statement: [open] });
  refused(text.replace('"Effect":"Allow"', '"Effect":"Deny","Effect":"Allow"'), /invalid Json/);
  refused(`${text}x`, /invalid Json/);
  refused(text.replace("]", ",]"), /invalid Json/);
  refused(text.replace("b/*", "\\ud800"), /invalid Json/);
  refused(`{"Statement":${"[".repeat(100_000)}`.slice(0, bytesMax), /invalid Json/);
  refused(`{"Statement":${"[".repeat(20)}${"]".repeat(20)}}`, /invalid Json/);
  refused(one({ Action: Array.from({ length: limits.policyListMax + 1 }, () => "*") }), /invalid Json/);
  const latin1 = Buffer.from(text.replace("b/*", "b/ä"), "latin1");
  assert.throws(
    () => parsePolicy(latin1, { use: "bucket", bytesMax }),
    (error) => hasReason(error, "malformed_policy"),
  );
  assert.equal(parsePolicy(Buffer.from(text), { use: "bucket", bytesMax }).statements.length, 1);
});

test("documents are bounded; white space counts in a bucket's only", () => {
  const spaces = " ".repeat(3_000);
  const identity = JSON.stringify({ Statement: [allow] }) + spaces;
  const bounds = { use: "identity", bytesMax: limits.inlinePolicyBytesMax } as const;
  assert.equal(parsePolicy(identity, bounds).statements.length, 1);
  assert.throws(() => parsePolicy(identity.replace("b/*", "b".repeat(2_000)), bounds), /maximum allowed document size/);
  refused(JSON.stringify({ Statement: [open] }) + " ".repeat(bytesMax), /maximum allowed document size/);
  assert.throws(() => parsePolicy(Buffer.alloc(bytesMax + 1), { use: "bucket", bytesMax }), /maximum allowed document/);
  refused(resource(`arn:aws:s3:::b/${"?".repeat(limits.policyQuestionMarksMax + 1)}`), /too many entries/);
  refused(`{"Statement":[${Array.from({ length: limits.policyStatementsMax + 1 }, () => "{}").join()}]}`, /too many/);
});

test("a statement has what it needs, once", () => {
  for (const name of ["Effect", "Principal", "Action", "Resource"])
    refused({ Statement: [without(name)] }, new RegExp(`Missing required field ${name}`));
  for (const name of ["Principal", "Action", "Resource"])
    refused(one({ [`Not${name}`]: open[name as "Action"] }), /Only one of/);
  refused(one({ effect: "Allow" }), /Unknown field effect/);
  refused(one({ Effect: "allow" }), /Invalid effect: allow/);
  refused(one({ Effect: ["Allow"] }), /Invalid effect/);
  refused(one({ Action: [] }), /Invalid value of Action/);
  refused(one({ Action: 1 }), /Invalid value of Action/);
  refused(one({ Sid: 1 }), /Invalid value of Sid/);
  refused(
    {
      Statement: [
        { Sid: "a", ...open },
        { Sid: "a", ...open },
      ],
    },
    /must be unique/,
  );
  const nameless = {
    Statement: [
      { Sid: "", ...open },
      { Sid: "", ...open },
    ],
  };
  assert.equal(parsePolicy(JSON.stringify(nameless), { use: "bucket", bytesMax }).statements.length, 2);
});

test("actions have a vendor, resources are ARNs", () => {
  for (const Action of ["", "GetObject", "s3:", "s3:Get Object", "*:GetObject", "s3:${aws:username}", "s3:Get:Object"])
    refused(one({ Action }), /invalid action/);
  for (const Resource of ["", "b/*", "arn:aws:s3", "arn:aws:s3:::", "arn:aws:s3:::b/${", "arn:aws:s3:::b/${x}"])
    if (Resource !== "arn:aws:s3:::") refused(resource(Resource), /invalid resource/);
  // Variables stand in the last part.
  refused(resource("arn:aws:s3::${aws:PrincipalAccount}:b"), /invalid resource/);
  refused(resource("${s3:prefix}"), /invalid resource/);
  // In a document of 2008 they are text.
  const old = JSON.stringify(resource("arn:aws:s3:::b/${x}", "2008-10-17"));
  assert.equal(parsePolicy(old, { use: "bucket", bytesMax }).keys.size, 0);
});

test("principals are named whole", () => {
  const good = [
    "*",
    { AWS: "*" },
    { AWS: ["111122223333", "arn:aws:iam::111122223333:root"] },
    { AWS: "arn:aws:iam::111122223333:user/division/a" },
    { AWS: ["arn:aws:iam::111122223333:role/r", "arn:aws:sts::111122223333:assumed-role/r/s"] },
    { CanonicalUser: "0f".repeat(32), Service: ["cloudtrail.amazonaws.com", "logs.eu-west-1.amazonaws.com"] },
    { Federated: "accounts.google.com" },
  ];
  for (const Principal of good) parsePolicy(JSON.stringify(one({ Principal })), { use: "bucket", bytesMax });
  const bad = [
    "a",
    {},
    { AWS: "1111" },
    { AWS: "arn:aws:iam::111122223333:user/*" },
    { AWS: "arn:aws:iam::111122223333:group/g" },
    { AWS: "arn:aws:iam::111122223333:user/${aws:username}" },
    { AWS: "arn:aws:sts::111122223333:assumed-role/r/*" },
    { AWS: "arn:aws:sts::111122223333:assumed-role/r" },
    { CanonicalUser: "0f" },
    { Service: "*" },
    { Federated: "*" },
    { "*": "*" },
  ];
  for (const Principal of bad) refused(one({ Principal }), /Invalid principal in policy/);
  refused(one({ Principal: ["*"] }), /Invalid value of Principal/);
});

test("whom an Allow leaves out cannot be said", () => {
  const but = { Principal: undefined, NotPrincipal: { AWS: "111122223333" } };
  refused(one(but), /Allow with NotPrincipal is not allowed/);
  parsePolicy(JSON.stringify(one({ ...but, Effect: "Deny" })), { use: "bucket", bytesMax });
});

test("conditions have an operator, a key and values of its kind", () => {
  refused(when({ StringSimilar: { "s3:prefix": "a" } }), /Invalid Condition type : StringSimilar/);
  refused(when({ stringequals: { "s3:prefix": "a" } }), /Invalid Condition type/);
  refused(when({ NullIfExists: { "s3:prefix": "true" } }), /Invalid Condition type/);
  refused(when({ "ForAll:StringEquals": { "s3:prefix": "a" } }), /Invalid Condition type/);
  refused(when({ StringEquals: { prefix: "a" } }), /invalid condition key/);
  refused(when({ StringEquals: { "s3:prefix": [] } }), /Invalid value/);
  refused(when({ StringEquals: { "s3:prefix": null } }), /Invalid value/);
  refused(when({ StringEquals: { "s3:prefix": { a: "b" } } }), /Invalid value/);
  refused(when({ StringEquals: "s3:prefix" }), /Invalid value/);
  refused(when({ StringEquals: { "s3:prefix": "${" } }), /Invalid value in Conditions for operator StringEquals/);
  refused(when({ Bool: { "aws:SecureTransport": "yes" } }), /Invalid value in Conditions/);
  refused(when({ Null: { "s3:prefix": "maybe" } }), /Invalid value in Conditions/);
  refused(when({ NumericEquals: { "s3:max-keys": "ten" } }), /Invalid value in Conditions/);
  refused(when({ DateLessThan: { "aws:CurrentTime": "2026-02-30" } }), /Invalid value in Conditions/);
  refused(when({ BinaryEquals: { "s3:prefix": "not base64" } }), /Invalid value in Conditions/);
  refused(when({ ArnLike: { "aws:PrincipalArn": "arn:aws:iam" } }), /Invalid value in Conditions/);
  refused(when({ IpAddress: { "aws:SourceIp": "10.0.0.0/33" } }), /Invalid IP address in Conditions/);
  refused(when([]), /Invalid value of Condition/);
});

test("policies of identities have no principal, those of roles no resource, and IAM's own words", () => {
  refused({ Statement: [open] }, /should not specify a principal/, "identity");
  refused({ Statement: [{ Effect: "Allow", Resource: "*" }] }, /must contain actions/, "identity");
  refused({ Statement: [{ Effect: "Allow", Action: "*" }] }, /must contain resources/, "identity");
  refused({ Statement: [{ ...allow, Resource: "b" }] }, /Resource b must be in ARN format or "\*"\./, "identity");
  refused({ Statement: [{ ...allow, Action: "Get" }] }, /must be prefaced by a vendor/, "identity");
  refused({ Statement: [{ ...allow, Sid: "a b" }] }, /Invalid value of Sid/, "identity");
  refused("[]", /Syntax errors in policy\./, "identity");
  refused({ Statement: [open] }, /prohibited field Resource/, "trust");
  const trust = { Statement: [{ Effect: "Allow", Action: "sts:AssumeRole", Principal: { AWS: "111122223333" } }] };
  assert.equal(parsePolicy(JSON.stringify(trust), { use: "trust", bytesMax }).statements[0]!.resources, undefined);
});

test("a policy says which keys it asks for", () => {
  const document = {
    Version: "2012-10-17",
    Statement: {
      ...open,
      Resource: "arn:aws:s3:::b/${aws:PrincipalTag/Team}/*",
      Condition: { StringLike: { "s3:ExistingObjectTag/Team": "${AWS:UserName}" }, Null: { "s3:x-amz-ACL": "true" } },
    },
  };
  const { keys } = parsePolicy(JSON.stringify(document), { use: "bucket", bytesMax });
  assert.deepEqual(
    [...keys].sort(),
    ["aws:principaltag/team", "aws:username", "s3:existingobjecttag/Team", "s3:x-amz-acl"].sort(),
  );
});
