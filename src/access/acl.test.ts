/** Access control lists: what is granted to whom, and which lists let in people whom nobody knows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Caller } from "../policy/principals.ts";
import { cannedAcl, cannedAcls, grantOf, isPrivate, isPublicAcl, permissions, privateAcl, type Acl } from "./acl.ts";

const owner = "aa".repeat(32);
const other = "bb".repeat(32);
const nobody: Caller = { kind: "anonymous" };
const root = (canonicalId: string): Caller => ({ kind: "root", account: "111122223333", canonicalId });
const granted = (acl: Acl, caller: Caller, action: string, of: "bucket" | "object", ignorePublic = false) =>
  grantOf({ acl, of, caller, action, ignorePublic });

void test("a private list grants its owner everything, and nobody else anything", () => {
  const acl = privateAcl(owner);
  assert.ok(isPrivate(acl) && !isPublicAcl(acl));
  for (const action of ["s3:ListBucket", "s3:PutObject", "s3:GetBucketAcl", "s3:PutBucketAcl"]) {
    assert.equal(granted(acl, root(owner), action, "bucket"), "account");
    assert.equal(granted(acl, root(other), action, "bucket"), undefined);
    assert.equal(granted(acl, nobody, action, "bucket"), undefined);
  }
});

void test("canned lists grant what AWS says of them", () => {
  const of = (name: (typeof cannedAcls)[number]): Acl => cannedAcl(name, owner, other);
  assert.equal(granted(of("public-read"), nobody, "s3:GetObject", "object"), "everyone");
  assert.equal(granted(of("public-read"), nobody, "s3:GetObjectVersion", "object"), "everyone");
  assert.equal(granted(of("public-read"), nobody, "s3:PutObject", "bucket"), undefined);
  assert.equal(granted(of("public-read"), nobody, "s3:GetObjectAcl", "object"), undefined);
  assert.equal(granted(of("public-read-write"), nobody, "s3:PutObject", "bucket"), "everyone");
  assert.equal(granted(of("public-read-write"), nobody, "s3:DeleteObject", "bucket"), "everyone");
  assert.equal(granted(of("public-read-write"), nobody, "s3:DeleteObjectVersion", "bucket"), undefined);
  assert.equal(granted(of("authenticated-read"), nobody, "s3:GetObject", "object"), undefined);
  assert.equal(granted(of("authenticated-read"), root("cc".repeat(32)), "s3:GetObject", "object"), "everyone");
  assert.equal(granted(of("bucket-owner-read"), root(other), "s3:GetObject", "object"), "account");
  assert.equal(granted(of("bucket-owner-read"), root(other), "s3:PutObjectAcl", "object"), undefined);
  assert.equal(granted(of("bucket-owner-full-control"), root(other), "s3:PutObjectAcl", "object"), "account");
  assert.equal(granted(of("log-delivery-write"), root(other), "s3:PutObject", "bucket"), undefined);
});

void test("exactly the lists that grant to everybody, or to everybody with an account, are public", () => {
  const publicOnes = cannedAcls.filter((name) => isPublicAcl(cannedAcl(name, owner, other)));
  assert.deepEqual(publicOnes, ["public-read", "public-read-write", "authenticated-read"]);
});

void test("what is granted to everybody does not count where that is to be ignored; what is granted to one does", () => {
  const acl: Acl = {
    owner,
    grants: [
      { grantee: { kind: "group", group: "AllUsers" }, permission: "FULL_CONTROL" },
      { grantee: { kind: "group", group: "AuthenticatedUsers" }, permission: "FULL_CONTROL" },
      { grantee: { kind: "account", id: other }, permission: "READ" },
    ],
  };
  assert.equal(granted(acl, nobody, "s3:ListBucket", "bucket"), "everyone");
  assert.equal(granted(acl, nobody, "s3:ListBucket", "bucket", true), undefined);
  assert.equal(granted(acl, root(other), "s3:ListBucket", "bucket", true), "account");
  assert.equal(granted(acl, root(other), "s3:PutObject", "bucket", true), undefined);
});

void test("no list grants what only the account may do: policies, settings, deletion of the bucket", () => {
  for (const permission of permissions) {
    const acl: Acl = { owner, grants: [{ grantee: { kind: "group", group: "AllUsers" }, permission }] };
    for (const action of ["PutBucketPolicy", "DeleteBucket", "PutBucketOwnershipControls", "PutBucketVersioning"])
      assert.equal(granted(acl, nobody, `s3:${action}`, "bucket"), undefined);
    for (const action of ["PutObjectTagging", "BypassGovernanceRetention", "DeleteObject", "PutObject"])
      assert.equal(granted(acl, nobody, `s3:${action}`, "object"), undefined);
  }
});
