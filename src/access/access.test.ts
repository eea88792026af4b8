/** The one decision: what policies, lists, ownership and public access block say together. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseBucketPolicy } from "../policy/bucket_policy.ts";
import { parsePolicy, type Policy } from "../policy/policy.ts";
import type { Caller } from "../policy/principals.ts";
import { isPublic } from "../policy/public.ts";
import { decide, ownerOfNew, type BucketRules, type ObjectOwnership, type Question } from "./access.ts";
import { anonymousId, cannedAcl, cannedAcls, groups, permissions, privateAcl, type Acl } from "./acl.ts";

const home = { account: "111111111111", canonicalId: "aa".repeat(32) };
const away = { account: "222222222222", canonicalId: "bb".repeat(32) };
const rootOf = (of: typeof home): Caller => ({ kind: "root", ...of });
const userOf = (of: typeof home): Caller => ({
  kind: "user",
  arn: `arn:aws:iam::${of.account}:user/u`,
  name: "u",
  id: "AIDA1",
  tags: new Map(),
  ...of,
});
const nobody: Caller = { kind: "anonymous" };
const private_: BucketRules = {
  account: home.account,
  owner: home.canonicalId,
  policy: undefined,
  acl: undefined,
  ownership: undefined,
  block: undefined,
};
const open = {
  BlockPublicAcls: false,
  IgnorePublicAcls: false,
  BlockPublicPolicy: false,
  RestrictPublicBuckets: false,
};

function identity(...statements: object[]): Policy {
  const document = JSON.stringify({ Version: "2012-10-17", Statement: statements });
  return parsePolicy(document, { use: "identity", bytesMax: 20_000 });
}

function bucketPolicy(...statements: object[]): NonNullable<BucketRules["policy"]> {
  const Statement = statements.map((each) => ({ Resource: ["arn:aws:s3:::b", "arn:aws:s3:::b/*"], ...each }));
  const policy = parseBucketPolicy(JSON.stringify({ Version: "2012-10-17", Statement }), "b");
  return { policy, isPublic: isPublic(policy) };
}

const all = identity({ Effect: "Allow", Action: "s3:*", Resource: "*" });

function outcome(
  caller: Caller,
  action: string,
  more: { bucket?: Partial<BucketRules>; object?: Question["object"]; policies?: readonly Policy[] } = {},
): string {
  const isOfBucket = action.includes("Bucket");
  return decide({
    caller,
    action,
    policies: { identity: more.policies ?? [] },
    resource: isOfBucket ? "arn:aws:s3:::b" : "arn:aws:s3:::b/k",
    keys: { get: () => undefined },
    bucket: { ...private_, ...more.bucket },
    object: more.object,
  }).outcome;
}

void test("a bucket that says nothing is its account's alone", () => {
  assert.equal(outcome(rootOf(home), "s3:GetObject", { object: "default" }), "allow");
  assert.equal(outcome(userOf(home), "s3:GetObject", { object: "default" }), "implicit_deny");
  assert.equal(outcome(userOf(home), "s3:GetObject", { object: "default", policies: [all] }), "allow");
  for (const caller of [rootOf(away), userOf(away), nobody])
    assert.equal(outcome(caller, "s3:GetObject", { object: "default", policies: [all] }), "implicit_deny");
});

void test("an object of another account is that one's: neither the bucket's account nor its policy reaches it", () => {
  const policy = bucketPolicy({ Effect: "Allow", Principal: "*", Action: "s3:*" });
  const object = privateAcl(away.canonicalId);
  for (const action of ["s3:GetObject", "s3:PutObjectAcl", "s3:GetObjectTagging"]) {
    assert.equal(outcome(rootOf(home), action, { object, bucket: { policy } }), "implicit_deny", action);
    assert.equal(outcome(nobody, action, { object, bucket: { policy } }), "implicit_deny", action);
    assert.equal(outcome(rootOf(away), action, { object, bucket: { policy } }), "allow", action);
  }
  // It can be deleted by the bucket's account, which is about the key.
  assert.equal(outcome(rootOf(home), "s3:DeleteObject"), "allow");
  const granted = cannedAcl("bucket-owner-full-control", away.canonicalId, home.canonicalId);
  assert.equal(outcome(rootOf(home), "s3:GetObject", { object: granted }), "allow");
});

void test("what a bucket's policy denies is denied for objects of others too", () => {
  const policy = bucketPolicy({ Effect: "Deny", Principal: "*", Action: "s3:GetObject" });
  const object = privateAcl(away.canonicalId);
  assert.equal(outcome(rootOf(away), "s3:GetObject", { object, bucket: { policy } }), "explicit_deny");
});

void test("where the bucket's owner owns everything, lists count for nothing", () => {
  const ownership = "BucketOwnerEnforced" as const;
  const object = cannedAcl("public-read", away.canonicalId, home.canonicalId);
  assert.equal(outcome(nobody, "s3:GetObject", { object }), "allow");
  assert.equal(outcome(nobody, "s3:GetObject", { object, bucket: { ownership } }), "implicit_deny");
  assert.equal(outcome(rootOf(away), "s3:GetObject", { object, bucket: { ownership } }), "implicit_deny");
  assert.equal(outcome(rootOf(home), "s3:GetObject", { object, bucket: { ownership } }), "allow");
  const acl = cannedAcl("public-read-write", home.canonicalId, undefined);
  assert.equal(outcome(nobody, "s3:PutObject", { bucket: { acl } }), "allow");
  assert.equal(outcome(nobody, "s3:PutObject", { bucket: { acl, ownership } }), "implicit_deny");
});

void test("what is granted to an account lets its own policies decide for its users", () => {
  const grant = { grantee: { kind: "account", id: away.canonicalId }, permission: "READ" } as const;
  const object: Acl = { owner: home.canonicalId, grants: [grant] };
  assert.equal(outcome(rootOf(away), "s3:GetObject", { object }), "allow");
  assert.equal(outcome(userOf(away), "s3:GetObject", { object }), "implicit_deny");
  assert.equal(outcome(userOf(away), "s3:GetObject", { object, policies: [all] }), "allow");
});

void test("a public policy is for its own account alone where public buckets are restricted", () => {
  const policy = bucketPolicy({ Effect: "Allow", Principal: "*", Action: "s3:GetObject" });
  const block = { ...open, RestrictPublicBuckets: true };
  const asked = { object: "default", policies: [all] } as const;
  for (const caller of [nobody, rootOf(away), userOf(away)]) {
    assert.equal(outcome(caller, "s3:GetObject", { ...asked, bucket: { policy } }), "allow");
    assert.equal(outcome(caller, "s3:GetObject", { ...asked, bucket: { policy, block } }), "implicit_deny");
  }
  assert.equal(outcome(userOf(home), "s3:GetObject", { object: "default", bucket: { policy, block } }), "allow");
  const named = bucketPolicy({ Effect: "Allow", Principal: { AWS: away.account }, Action: "s3:GetObject" });
  assert.equal(outcome(rootOf(away), "s3:GetObject", { ...asked, bucket: { policy: named, block } }), "allow");
});

void test("public lists do not count where they are to be ignored", () => {
  const object = cannedAcl("public-read", home.canonicalId, home.canonicalId);
  const block = { ...open, IgnorePublicAcls: true };
  assert.equal(outcome(nobody, "s3:GetObject", { object }), "allow");
  assert.equal(outcome(nobody, "s3:GetObject", { object, bucket: { block } }), "implicit_deny");
});

void test("who stores an object owns it, unless the bucket's owner does", () => {
  const of = (ownership: ObjectOwnership | undefined, caller: Caller | undefined, canned?: string): string =>
    ownerOfNew({ ...private_, ownership }, caller, canned);
  assert.equal(of(undefined, rootOf(away)), away.canonicalId);
  assert.equal(of("ObjectWriter", userOf(away)), away.canonicalId);
  assert.equal(of("BucketOwnerPreferred", rootOf(away)), away.canonicalId);
  assert.equal(of("BucketOwnerPreferred", rootOf(away), "bucket-owner-full-control"), home.canonicalId);
  assert.equal(of("ObjectWriter", rootOf(away), "bucket-owner-full-control"), away.canonicalId);
  assert.equal(of("BucketOwnerEnforced", rootOf(away)), home.canonicalId);
  assert.equal(of(undefined, nobody), anonymousId);
  assert.equal(of(undefined, undefined), home.canonicalId);
});

// ---- What holds of every combination ----

const ids = fc.constantFrom(home.canonicalId, away.canonicalId, "cc".repeat(32));
const grantees = fc.oneof(
  ids.map((id) => ({ kind: "account" as const, id })),
  fc.constantFrom(...groups).map((group) => ({ kind: "group" as const, group })),
);
const grants = fc.array(fc.record({ grantee: grantees, permission: fc.constantFrom(...permissions) }), {
  maxLength: 4,
});
const lists = fc.oneof(
  fc.record({ owner: ids, grants }),
  fc.constantFrom(...cannedAcls).map((name) => cannedAcl(name, home.canonicalId, away.canonicalId)),
);
const actions = fc.constantFrom(
  ..."GetObject GetObjectAcl PutObjectAcl GetObjectTagging PutObject DeleteObject ListBucket GetBucketAcl".split(" "),
  ..."PutBucketAcl PutBucketPolicy DeleteBucket ListBucketVersions DeleteObjectVersion AbortMultipartUpload".split(" "),
);
const statements = fc.record({
  Effect: fc.constantFrom("Allow", "Deny"),
  Principal: fc.constantFrom("*", { AWS: home.account }, { AWS: away.account }),
  Action: actions.map((name) => `s3:${name}`),
});
const rules = fc.record({
  account: fc.constant(home.account),
  owner: fc.constant(home.canonicalId),
  policy: fc.option(
    fc.array(statements, { minLength: 1, maxLength: 3 }).map((each) => {
      // Whether an action fits its resource is parseBucketPolicy's to say, and no matter here.
      const document = { Statement: each.map((statement) => ({ ...statement, Resource: "arn:aws:s3:::b*" })) };
      const policy = parsePolicy(JSON.stringify(document), { use: "bucket", bytesMax: 20_000 });
      return { policy, isPublic: isPublic(policy) };
    }),
    { nil: undefined },
  ),
  acl: fc.option(
    grants.map((each) => ({ owner: home.canonicalId, grants: each })),
    { nil: undefined },
  ),
  ownership: fc.constantFrom(undefined, "BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"),
  block: fc.option(
    fc.record({
      BlockPublicAcls: fc.boolean(),
      IgnorePublicAcls: fc.boolean(),
      BlockPublicPolicy: fc.boolean(),
      RestrictPublicBuckets: fc.boolean(),
    }),
    { nil: undefined },
  ),
}) as fc.Arbitrary<BucketRules>;
const questions = fc.record({
  caller: fc.constantFrom(nobody, rootOf(home), userOf(home), rootOf(away), userOf(away)),
  policies: fc.constantFrom({ identity: [] }, { identity: [all] }),
  action: actions.map((name) => `s3:${name}`),
  resource: fc.constant("arn:aws:s3:::b/k"),
  keys: fc.constant({ get: () => undefined }),
  bucket: rules,
  object: fc.oneof(fc.constant("default" as const), fc.constant(undefined), lists),
}) as fc.Arbitrary<Question>;

const allowed = (question: Question): boolean => decide(question).outcome === "allow";

void test("whoever is let in is let in by something: root of the owner, a policy, or a list", () => {
  fc.assert(
    fc.property(questions, (question) => {
      const { caller, bucket } = question;
      const closed = {
        ...question,
        bucket: { ...bucket, policy: undefined, ownership: "BucketOwnerEnforced" as const },
      };
      const isHome = "account" in caller && caller.account === home.account;
      if (!isHome) assert.equal(allowed(closed), false);
      else assert.equal(allowed(closed), caller.kind === "root" || question.policies.identity.length > 0);
    }),
  );
});

void test("a public access block never lets anybody in, and a Deny never does", () => {
  fc.assert(
    fc.property(questions, (question) => {
      const { bucket } = question;
      const blocked = { ...bucket, block: { ...open, IgnorePublicAcls: true, RestrictPublicBuckets: true } };
      if (allowed({ ...question, bucket: blocked }))
        assert.ok(allowed({ ...question, bucket: { ...bucket, block: undefined } }));
      const denying = identity({ Effect: "Deny", Action: "s3:*", Resource: "*" });
      const policies = { ...question.policies, identity: [...question.policies.identity, denying] };
      assert.equal(decide({ ...question, policies }).outcome, "explicit_deny");
    }),
  );
});

void test("with everything public blocked nobody comes in who is not named", () => {
  fc.assert(
    fc.property(questions, (question) => {
      const block = { ...open, IgnorePublicAcls: true, RestrictPublicBuckets: true };
      const bucket = { ...question.bucket, block };
      // A policy that names accounts only is not public, and nobody has no account.
      assert.equal(allowed({ ...question, caller: nobody, bucket }), false);
    }),
  );
});

void test("another grant never takes anything away", () => {
  fc.assert(
    fc.property(questions, lists, (question, more) => {
      const { object } = question;
      if (object === undefined || object === "default" || !allowed(question)) return;
      assert.ok(allowed({ ...question, object: { ...object, grants: [...object.grants, ...more.grants] } }));
    }),
  );
});
