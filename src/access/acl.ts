/**
 * Access control lists: who owns a bucket or an object, and what is granted to whom. An account is named by its canonical id, as
 * everywhere in ACLs; what is granted to an account lets its own policies decide for its users.
 *
 * A bucket or object without a list has the one that it begins with: full control for its owner, nothing for anybody else.
 *
 * Known gaps: grants to addresses of mail; WRITE lets its grantee delete objects too, and end uploads, as S3 did before it drew
 * finer lines. Source: "Access control list (ACL) overview" of the S3 User Guide.
 */
import type { Caller } from "../policy/principals.ts";

export type Group = "AllUsers" | "AuthenticatedUsers" | "LogDelivery";
export type Permission = "READ" | "WRITE" | "READ_ACP" | "WRITE_ACP" | "FULL_CONTROL";
export type Grantee =
  { readonly kind: "account"; readonly id: string } | { readonly kind: "group"; readonly group: Group };
export type Grant = { readonly grantee: Grantee; readonly permission: Permission };
export type Acl = { readonly owner: string; readonly grants: readonly Grant[] };

export const permissions: readonly Permission[] = ["READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL"];
export const groups: readonly Group[] = ["AllUsers", "AuthenticatedUsers", "LogDelivery"];

/** AWS's name of whoever signs nothing: it owns what such a request stores. */
export const anonymousId = "65a011a29cdf8ec533ec3d1ccaae921c";

/** `bucket-owner-…` are of objects only. */
export const cannedAcls = [
  "private",
  "public-read",
  "public-read-write",
  "authenticated-read",
  "aws-exec-read",
  "log-delivery-write",
  "bucket-owner-read",
  "bucket-owner-full-control",
] as const;
export type CannedAcl = (typeof cannedAcls)[number];

const ofGroup = (group: Group, permission: Permission): Grant => ({ grantee: { kind: "group", group }, permission });
const ofAccount = (id: string, permission: Permission): Grant => ({ grantee: { kind: "account", id }, permission });

export function privateAcl(owner: string): Acl {
  return { owner, grants: [ofAccount(owner, "FULL_CONTROL")] };
}

/** `bucketOwner` is undefined where the list is a bucket's own. */
export function cannedAcl(name: CannedAcl, owner: string, bucketOwner: string | undefined): Acl {
  const other = bucketOwner === undefined || bucketOwner === owner ? undefined : bucketOwner;
  const further: Readonly<Record<CannedAcl, readonly Grant[]>> = {
    private: [],
    "public-read": [ofGroup("AllUsers", "READ")],
    "public-read-write": [ofGroup("AllUsers", "READ"), ofGroup("AllUsers", "WRITE")],
    "authenticated-read": [ofGroup("AuthenticatedUsers", "READ")],
    // The service that it is about does not exist here.
    "aws-exec-read": [],
    "log-delivery-write": [ofGroup("LogDelivery", "WRITE"), ofGroup("LogDelivery", "READ_ACP")],
    "bucket-owner-read": other === undefined ? [] : [ofAccount(other, "READ")],
    "bucket-owner-full-control": other === undefined ? [] : [ofAccount(other, "FULL_CONTROL")],
  };
  return { owner, grants: [...privateAcl(owner).grants, ...further[name]] };
}

export function isPrivate({ owner, grants }: Acl): boolean {
  const [first] = grants;
  return (
    grants.length === 1 &&
    first?.permission === "FULL_CONTROL" &&
    first.grantee.kind === "account" &&
    first.grantee.id === owner
  );
}

/** Whether it grants anything to people nobody knows: to everybody, or to everybody who has an account somewhere. */
export function isPublicAcl({ grants }: Acl): boolean {
  return grants.some(({ grantee }) => isPublicGrantee(grantee));
}

function isPublicGrantee(grantee: Grantee): boolean {
  return grantee.kind === "group" && grantee.group !== "LogDelivery";
}

/** By the permission that grants them. FULL_CONTROL is all of a list. */
const ofBucket: ReadonlyMap<string, Permission> = new Map([
  ["s3:ListBucket", "READ"],
  ["s3:ListBucketVersions", "READ"],
  ["s3:ListBucketMultipartUploads", "READ"],
  ["s3:PutObject", "WRITE"],
  // Of the object that it stores, which will be its own.
  ["s3:PutObjectAcl", "WRITE"],
  ["s3:DeleteObject", "WRITE"],
  ["s3:AbortMultipartUpload", "WRITE"],
  ["s3:ListMultipartUploadParts", "WRITE"],
  ["s3:GetBucketAcl", "READ_ACP"],
  ["s3:PutBucketAcl", "WRITE_ACP"],
]);

const ofObject: ReadonlyMap<string, Permission> = new Map([
  ["s3:GetObject", "READ"],
  ["s3:GetObjectVersion", "READ"],
  ["s3:GetObjectTorrent", "READ"],
  ["s3:GetObjectAcl", "READ_ACP"],
  ["s3:GetObjectVersionAcl", "READ_ACP"],
  ["s3:PutObjectAcl", "WRITE_ACP"],
  ["s3:PutObjectVersionAcl", "WRITE_ACP"],
]);

export type Granting = {
  readonly acl: Acl;
  readonly of: "bucket" | "object";
  readonly caller: Caller;
  /** `s3:GetObject`, spelled so. */
  readonly action: string;
  /** Grants to everybody do not count: IgnorePublicAcls. */
  readonly ignorePublic: boolean;
};

/** How closely the list grants the action to this caller: to its account, or to everybody. */
export function grantOf({ acl, of, caller, action, ignorePublic }: Granting): "account" | "everyone" | undefined {
  const permission = (of === "bucket" ? ofBucket : ofObject).get(action);
  if (permission === undefined) return undefined;
  let found: "account" | undefined;
  for (const grant of acl.grants) {
    if (grant.permission !== permission && grant.permission !== "FULL_CONTROL") continue;
    const { grantee } = grant;
    if (ignorePublic && isPublicGrantee(grantee)) continue;
    if (grantee.kind === "account") {
      if ("canonicalId" in caller && caller.canonicalId === grantee.id) found = "account";
    } else if (isIn(grantee.group, caller)) return "everyone";
  }
  return found;
}

/** What delivers access logs, as policies name it; in ACLs it is a group. */
export const logDeliveryService = "logging.s3.amazonaws.com";

function isIn(group: Group, caller: Caller): boolean {
  if (group === "LogDelivery") return caller.kind === "service" && caller.name === logDeliveryService;
  return group === "AllUsers" || "account" in caller;
}
