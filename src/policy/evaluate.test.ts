/** Whose word counts: identity, boundary, session and resource policies, in one account and across two. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "../core/limits.ts";
import { judge, type Policies, type Verdict } from "./evaluate.ts";
import { parsePolicy, type Policy } from "./policy.ts";
import type { Caller } from "./principals.ts";

const [mine, other] = ["111122223333", "444455556666"];
const ofAccount = (account: string) => ({ account, canonicalId: account.slice(0, 2).repeat(32), tags: new Map() });
const root = (account = mine): Caller => ({ kind: "root", ...ofAccount(account) });
const user = (account = mine): Caller => ({
  kind: "user",
  arn: `arn:aws:iam::${account}:user/a`,
  name: "a",
  id: "AIDA",
  ...ofAccount(account),
});
const session = (account = mine): Caller => ({
  kind: "session",
  arn: `arn:aws:sts::${account}:assumed-role/r/s`,
  roleArn: `arn:aws:iam::${account}:role/r`,
  id: "AROA:s",
  issuedMs: 0,
  usedMfa: false,
  ...ofAccount(account),
});
const anonymous: Caller = { kind: "anonymous" };

const bytesMax = limits.bucketPolicyBytesMax;
const compile = (statement: object, use: "identity" | "bucket"): Policy =>
  parsePolicy(JSON.stringify({ Version: "2012-10-17", Statement: statement }), { use, bytesMax });
const every = { Action: "s3:*", Resource: "*" };
const allow = compile({ Effect: "Allow", ...every }, "identity");
const deny = compile({ Effect: "Deny", ...every }, "identity");
const nothing = compile({ Effect: "Allow", Action: "iam:*", Resource: "*" }, "identity");
const toWhom = (Principal: unknown, Effect = "Allow"): Policy => compile({ Effect, Principal, ...every }, "bucket");
const notTo = (NotPrincipal: unknown): Policy => compile({ Effect: "Deny", NotPrincipal, ...every }, "bucket");

function verdict(caller: Caller, policies: Partial<Policies>, action = "s3:GetObject"): Verdict {
  const request = { caller, action, resource: "arn:aws:s3:::b/k", resourceAccount: mine, keys: new Map() };
  return judge(request, { identity: [], ...policies });
}
const outcome = (...args: Parameters<typeof verdict>): string => verdict(...args).outcome;

test("without a policy only the account's root may do anything", () => {
  assert.equal(outcome(root(), {}), "allow");
  for (const caller of [user(), session(), anonymous, root(other), user(other)])
    assert.equal(outcome(caller, {}), "implicit_deny", caller.kind);
});

test("an explicit deny wins, whatever policy it stands in, and is named", () => {
  const open = toWhom("*");
  for (const caller of [user(), session()]) {
    assert.equal(outcome(caller, { identity: [allow, deny], resource: open }), "explicit_deny");
    assert.equal(outcome(caller, { identity: [allow], boundary: deny, resource: open }), "explicit_deny");
    assert.equal(outcome(caller, { identity: [allow], session: [allow, deny], resource: open }), "explicit_deny");
  }
  const denied = verdict(root(), { resource: toWhom({ AWS: mine }, "Deny") });
  assert.ok(denied.outcome === "explicit_deny" && denied.by.kind === "resource");
  assert.equal(denied.by.statement.effect, "Deny");
});

test("in one account an identity policy or the bucket's is enough", () => {
  assert.equal(outcome(user(), { identity: [nothing, allow] }), "allow");
  assert.equal(outcome(user(), { resource: toWhom({ AWS: `arn:aws:iam::${mine}:user/a` }) }), "allow");
  assert.equal(outcome(user(), { resource: toWhom("*") }), "allow");
  assert.equal(outcome(user(), { resource: toWhom({ AWS: `arn:aws:iam::${mine}:user/b` }) }), "implicit_deny");
  // What the account is allowed, its own policies hand on.
  assert.equal(outcome(user(), { resource: toWhom({ AWS: mine }) }), "implicit_deny");
  assert.equal(outcome(user(), { resource: toWhom({ AWS: mine }), identity: [allow] }), "allow");
});

test("boundaries and session policies narrow what identity policies allow", () => {
  const bounded = verdict(user(), { identity: [allow], boundary: nothing });
  assert.deepEqual(bounded, { outcome: "implicit_deny", missing: "boundary" });
  assert.deepEqual(verdict(session(), { identity: [allow], session: [nothing] }), {
    outcome: "implicit_deny",
    missing: "session",
  });
  assert.equal(outcome(session(), { identity: [allow], session: [nothing, allow], boundary: allow }), "allow");
  assert.equal(outcome(session(), { identity: [allow], session: [] }), "implicit_deny");
  assert.equal(outcome(user(), { boundary: allow }), "implicit_deny");
});

test("what the bucket's policy allows a user or session by name is not bounded; what it allows a role is", () => {
  const named = (arn: string): Policy => toWhom({ AWS: arn });
  const bounds = { boundary: nothing, session: [nothing] };
  assert.equal(outcome(user(), { resource: named(`arn:aws:iam::${mine}:user/a`), boundary: nothing }), "allow");
  assert.equal(outcome(session(), { resource: named(`arn:aws:sts::${mine}:assumed-role/r/s`), ...bounds }), "allow");
  const role = named(`arn:aws:iam::${mine}:role/r`);
  assert.equal(outcome(session(), { resource: role }), "allow");
  assert.equal(outcome(session(), { resource: role, boundary: nothing }), "implicit_deny");
  assert.equal(outcome(session(), { resource: role, session: [nothing] }), "implicit_deny");
  assert.equal(outcome(session(), { resource: toWhom("*"), session: [nothing] }), "implicit_deny");
  // Of several statements the one that names the caller most closely counts.
  const both = [mine, `arn:aws:iam::${mine}:user/a`].map((AWS) => ({ Effect: "Allow", Principal: { AWS }, ...every }));
  for (const Statement of [both, both.toReversed()])
    assert.equal(outcome(user(), { resource: compile(Statement, "bucket"), boundary: nothing }), "allow");
});

test("from another account both sides must allow", () => {
  const resource = toWhom({ AWS: other });
  assert.deepEqual(verdict(user(other), { resource }), { outcome: "implicit_deny", missing: "identity" });
  assert.deepEqual(verdict(user(other), { identity: [allow] }), { outcome: "implicit_deny", missing: "resource" });
  assert.equal(outcome(user(other), { identity: [allow], resource }), "allow");
  assert.equal(outcome(user(other), { identity: [allow], resource: toWhom("*") }), "allow");
  assert.equal(outcome(user(other), { resource: toWhom({ AWS: `arn:aws:iam::${other}:user/a` }) }), "implicit_deny");
  assert.equal(outcome(user(other), { identity: [allow], resource, boundary: nothing }), "implicit_deny");
  assert.equal(outcome(root(other), { resource }), "allow");
  assert.equal(outcome(root(other), { resource: toWhom({ CanonicalUser: "44".repeat(32) }) }), "allow");
});

test("anonymous requests and services have the bucket's policy only", () => {
  const service: Caller = { kind: "service", name: "logging.s3.amazonaws.com" };
  assert.equal(outcome(anonymous, { resource: toWhom("*") }), "allow");
  assert.equal(outcome(anonymous, { resource: toWhom({ AWS: ["*"] }) }), "allow");
  assert.equal(outcome(anonymous, { resource: toWhom({ AWS: mine }) }), "implicit_deny");
  assert.equal(outcome(anonymous, { identity: [allow] }), "implicit_deny");
  assert.equal(outcome(service, { resource: toWhom({ Service: "logging.s3.amazonaws.com" }) }), "allow");
  assert.equal(outcome(service, { resource: toWhom({ Service: "sns.amazonaws.com" }) }), "implicit_deny");
  assert.equal(outcome({ kind: "federated", provider: "idp" }, { resource: toWhom({ Federated: "idp" }) }), "allow");
});

test("NotPrincipal spares only who is named with all that stands above", () => {
  const arn = `arn:aws:iam::${mine}:user/a`;
  const identity = [allow];
  assert.equal(outcome(user(), { identity, resource: notTo({ AWS: [arn, mine] }) }), "allow");
  assert.equal(outcome(user(), { identity, resource: notTo({ AWS: arn }) }), "explicit_deny");
  assert.equal(outcome(anonymous, { resource: notTo({ AWS: mine }) }), "explicit_deny");
  const whole = [mine, `arn:aws:iam::${mine}:role/r`, `arn:aws:sts::${mine}:assumed-role/r/s`];
  assert.equal(outcome(session(), { identity, resource: notTo({ AWS: whole }) }), "allow");
  for (const missing of whole) {
    const AWS = whole.filter((each) => each !== missing);
    assert.equal(outcome(session(), { identity, resource: notTo({ AWS }) }), "explicit_deny", missing);
  }
});

test("the owner's root is never locked out of the bucket's policy itself", () => {
  const resource = toWhom("*", "Deny");
  for (const action of ["s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"])
    assert.equal(outcome(root(), { resource }, action), "allow");
  assert.equal(outcome(root(), { resource }, "s3:GetObject"), "explicit_deny");
  assert.equal(outcome(user(), { resource, identity: [allow] }, "s3:PutBucketPolicy"), "explicit_deny");
  assert.equal(outcome(root(other), { resource }, "s3:PutBucketPolicy"), "explicit_deny");
});

test("actions ignore case, resources do not, and wildcards stay in their part of an ARN", () => {
  const judged = (statement: object, resource: string, keys = new Map<string, string>()): string =>
    judge(
      { caller: user(), action: "s3:GetObject", resource, resourceAccount: mine, keys },
      { identity: [compile({ Effect: "Allow", ...statement }, "identity")] },
    ).outcome;
  const of = (Resource: string, at: string): string => judged({ Action: "S3:gET*", Resource }, at);
  assert.equal(of("arn:aws:s3:::b/*", "arn:aws:s3:::b/k/l:m"), "allow");
  assert.equal(of("arn:aws:s3:::B/*", "arn:aws:s3:::b/k"), "implicit_deny");
  assert.equal(of("arn:aws:s3:*", "arn:aws:s3:::b/k"), "allow");
  assert.equal(of("arn:*", "arn:aws:s3:::b/k"), "allow");
  assert.equal(of("arn:aws:*:::b/k", "arn:aws:s3:::b/k"), "allow");
  assert.equal(of("arn:aws:s3:*:*:b/k", "arn:aws:s3:::x:b/k"), "implicit_deny");
  assert.equal(judged({ NotAction: "s3:Get*", Resource: "*" }, "arn:aws:s3:::b/k"), "implicit_deny");
  assert.equal(judged({ Action: "*", NotResource: "arn:aws:s3:::b/*" }, "arn:aws:s3:::c/k"), "allow");
  const home = { Action: "*", Resource: "arn:aws:s3:::b/${aws:username}/*" };
  assert.equal(judged(home, "arn:aws:s3:::b/a/k", new Map([["aws:username", "a"]])), "allow");
  assert.equal(judged(home, "arn:aws:s3:::b/c/k", new Map([["aws:username", "*"]])), "implicit_deny");
  assert.equal(judged(home, "arn:aws:s3:::b//k"), "implicit_deny");
  const away = { Action: "*", NotResource: "arn:aws:s3:::b/${aws:username}/*" };
  assert.equal(judged(away, "arn:aws:s3:::b/c/k", new Map([["aws:username", "a"]])), "allow");
  assert.equal(judged(away, "arn:aws:s3:::b/c/k"), "implicit_deny");
});
