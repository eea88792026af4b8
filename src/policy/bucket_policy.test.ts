/** A bucket's policy held to its bucket, and whether it is public. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { s3Actions } from "./actions.ts";
import { parseBucketPolicy } from "./bucket_policy.ts";
import { isPublic } from "./public.ts";

const open = { Effect: "Allow", Principal: "*", Action: "s3:GetObject", Resource: "arn:aws:s3:::bucket/*" };
const document = (change: object): string =>
  JSON.stringify({ Version: "2012-10-17", Statement: [{ ...open, ...change }] });
const takes = (change: object): unknown => parseBucketPolicy(document(change), "bucket");

function refuses(change: object, message: string): void {
  assert.throws(
    () => takes(change),
    (error) => hasReason(error, "malformed_policy") && error.message === message,
    JSON.stringify(change),
  );
}
const mismatch = "Action does not apply to any resource(s) in statement";
const inverted = { Action: undefined, Resource: undefined };

test("resources are the bucket or objects in it", () => {
  for (const name of [
    "bucket/*",
    "bucket/a?${aws:username}/*",
    "*",
    "b*t/x",
    "*/*",
    "bucket*",
    "bu?ket/*",
    "bucket/a:b",
  ])
    takes({ Resource: `arn:aws:s3:::${name}` });
  for (const Resource of ["*", "arn:aws:s3:*", "arn:aws:s3:*:*:bucket/*"]) takes({ Resource });
  for (const name of ["bucket/", "other/*", "bucket2/*", "buck/*", "b?/*", "", "bucket2*", "Bucket/*"])
    refuses({ Resource: [open.Resource, `arn:aws:s3:::${name}`] }, "Policy has invalid resource");
  for (const Resource of ["arn:aws:sqs:::bucket/*", "arn:aws-cn:s3:::bucket/*", "arn:aws:s3:eu-west-1::bucket/*"])
    refuses({ Resource }, "Policy has invalid resource");
});

// AWS refuses both. What allows nothing is harmless, and Ceph takes it; what denies nothing looks as if it protected something.
test("every action that is denied fits one of the resources", () => {
  const bucket = "arn:aws:s3:::bucket";
  for (const change of [
    { Resource: bucket },
    { Action: "s3:ListBucket" },
    { Action: ["s3:GetObject", "s3:ListBucket"] },
    { Action: "s3:GetBucket*" },
  ]) {
    refuses({ Effect: "Deny", ...change }, mismatch);
    takes(change);
  }
  takes({ Action: ["s3:GetObject", "s3:ListBucket"], Resource: [bucket, `${bucket}/*`] });
  takes({ Action: "s3:listbucket", Resource: bucket });
  takes({ Action: "s3:Get*", Resource: bucket });
  takes({ Action: "s3:ListBucket", Resource: ["arn:aws:s3:::*", "arn:aws:s3:::*/*"] });
  for (const Action of ["s3:*", "*"]) takes({ Action });
  takes({ ...inverted, NotAction: "s3:GetObject", Resource: bucket });
  takes({ ...inverted, Action: "s3:ListBucket", NotResource: open.Resource });
});

test("actions are actions of S3 on buckets and objects", () => {
  for (const Action of [
    "s3:GetObjects",
    "s3:Foo*",
    "ec2:RunInstances",
    "iam:*",
    "s3:ListAllMyBuckets",
    "s3:CreateAccessPoint",
  ])
    refuses({ Action }, "Policy has invalid action");
  for (const [name, target] of s3Actions)
    takes({ Action: `s3:${name}`, Resource: `arn:aws:s3:::bucket${target === "object" ? "/*" : ""}` });
});

test("condition keys are S3's, and each action knows them", () => {
  const when = (key: string, value = "a") => ({ Condition: { StringEquals: { [key]: value } } });
  refuses(when("s3:x-acl"), "Policy has an invalid condition key");
  refuses(when("ec2:Vpc"), "Policy has an invalid condition key");
  refuses(when("s3:ExistingObjectTag/"), "Policy has an invalid condition key");
  const wrong = "Conditions do not apply to combination of actions and resources in statement";
  refuses(when("s3:prefix"), wrong);
  refuses({ Action: "s3:PutObject", ...when("s3:ExistingObjectTag/a") }, wrong);
  refuses({ Action: ["s3:GetObject", "s3:PutObject"], ...when("s3:x-amz-acl") }, wrong);
  refuses({ Action: ["s3:PutObjectAcl", "s3:PutObjectTagging"], ...when("s3:RequestObjectTag/a") }, wrong);
  takes({ Action: "s3:Put*", ...when("s3:x-amz-ACL") });
  takes({ Action: "s3:ListBucket", Resource: "arn:aws:s3:::bucket", ...when("s3:prefix") });
  takes(when("s3:ExistingObjectTag/a"));
  takes(when("aws:anything"));
  takes(when("s3:authType"));
});

const isOpen = (change: object): boolean => isPublic(parseBucketPolicy(document(change), "bucket"));
const when = (operator: string, key: string, value: unknown) => ({ Condition: { [operator]: { [key]: value } } });

test("a policy is public until it grants to fixed values only", () => {
  assert.ok(isOpen({}) && isOpen({ Principal: { AWS: ["111122223333", "*"] } }));
  assert.ok(isOpen({ Principal: { Federated: "graph.facebook.com" } }));
  assert.ok(!isOpen({ Effect: "Deny" }));
  assert.ok(!isOpen({ Principal: { AWS: "111122223333" } }));
  assert.ok(!isOpen({ Principal: { Service: "cloudtrail.amazonaws.com", CanonicalUser: "ab".repeat(32) } }));
  const mixed = { Statement: [{ ...open, Principal: { AWS: "111122223333" } }, open] };
  assert.ok(isPublic(parseBucketPolicy(JSON.stringify(mixed), "bucket")));
});

test("a condition on one of a few keys, with fixed values, makes it not public", () => {
  assert.ok(isOpen(when("StringLike", "aws:SourceVpc", "vpc-*")));
  assert.ok(!isOpen(when("StringEquals", "aws:SourceVpc", "vpc-91237329")));
  assert.ok(!isOpen(when("StringLike", "aws:SourceVpc", ["vpc-1", "vpc-2"])));
  assert.ok(isOpen(when("StringLike", "aws:SourceVpc", ["vpc-1", "vpc-*"])));
  assert.ok(isOpen(when("StringEqualsIfExists", "aws:SourceVpc", "vpc-1")));
  assert.ok(isOpen(when("StringNotEquals", "aws:SourceVpc", "vpc-1")));
  assert.ok(isOpen(when("ForAllValues:StringEquals", "aws:SourceVpc", "vpc-1")));
  assert.ok(isOpen(when("StringEquals", "aws:SourceAccount", "${aws:PrincipalAccount}")));
  assert.ok(isOpen(when("StringEquals", "aws:Referer", "https://example.com")));
  assert.ok(isOpen(when("Null", "aws:SourceVpc", "false")));
  assert.ok(
    isOpen(when("StringLike", "aws:userid", "AROLEID:*")) && !isOpen(when("StringLike", "aws:userid", "AIDA1")),
  );
  assert.ok(!isOpen(when("ArnLike", "s3:DataAccessPointArn", "arn:aws:s3:us-west-2:123456789012:accesspoint/*")));
  assert.ok(isOpen(when("ArnLike", "s3:DataAccessPointArn", "arn:aws:s3:us-west-2:*:accesspoint/*")));
});

test("very broad ranges of addresses are public", () => {
  const from = (...blocks: string[]): boolean => isOpen(when("IpAddress", "aws:SourceIp", blocks));
  assert.ok(!from("10.0.0.0/8", "192.0.2.1") && !from("2001:db8::/32"));
  assert.ok(from("0.0.0.0/1") && from("192.0.2.0/24", "0.0.0.0/7") && from("2001::/31"));
  assert.ok(isOpen(when("NotIpAddress", "aws:SourceIp", "192.0.2.1")));
});
