/**
 * Access control lists as requests ask for them: a canned one, or x-amz-grant-* headers. And what a new object is given: an owner,
 * and a list where it is not the one that every object has (access/acl.ts).
 */
import type { IncomingHttpHeaders } from "node:http";
import { aclsCount, ownerOfNew, type BucketRules } from "../access/access.ts";
import { cannedAcl, cannedAcls, isPrivate, isPublicAcl, privateAcl } from "../access/acl.ts";
import type { Acl, CannedAcl, Grant, Permission } from "../access/acl.ts";
import { limits } from "../core/limits.ts";
import type { ObjectAcl } from "../object/object.ts";
import type { Authority } from "./authorize.ts";
import { groupOfUri, unknownMail } from "./documents/acl.ts";
import { S3Error } from "./errors.ts";
import type { Accounts } from "./owners.ts";
import { invalidArgument } from "./params.ts";
import { readRules, type RulesSource } from "./rules.ts";

export type WantedAcl =
  | { readonly kind: "canned"; readonly name: CannedAcl }
  | { readonly kind: "grants"; readonly grants: readonly Grant[] };

const grantHeaders: readonly (readonly [string, Permission])[] = [
  ["x-amz-grant-read", "READ"],
  ["x-amz-grant-write", "WRITE"],
  ["x-amz-grant-read-acp", "READ_ACP"],
  ["x-amz-grant-write-acp", "WRITE_ACP"],
  ["x-amz-grant-full-control", "FULL_CONTROL"],
];

/** Undefined: the request says nothing of it. Errors: InvalidArgument, InvalidRequest. */
export function wantedAcl(headers: IncomingHttpHeaders): WantedAcl | undefined {
  const canned = headers["x-amz-acl"];
  const given = grantHeaders.filter(([name]) => headers[name] !== undefined);
  if (canned !== undefined && given.length > 0)
    throw new S3Error("InvalidRequest", "Specifying both Canned ACLs and Header Grants is not allowed");
  if (canned !== undefined) {
    const name = cannedAcls.find((each) => each === canned);
    if (name === undefined) throw invalidArgument("x-amz-acl", String(canned), "");
    return { kind: "canned", name };
  }
  if (given.length === 0) return undefined;
  const grants = given.flatMap(([name, permission]) => grantsIn(name, String(headers[name]), permission));
  if (grants.length > limits.aclGrantsMax)
    throw new S3Error("InvalidArgument", `An access control list has at most ${limits.aclGrantsMax} grants.`);
  return { kind: "grants", grants };
}

const granteeForm = /^\s*(id|uri|emailAddress)\s*=\s*"?([^"]*)"?\s*$/i;

/** `id="…", uri="…"` */
function grantsIn(name: string, header: string, permission: Permission): Grant[] {
  return header.split(",").map((part): Grant => {
    const [, kind = "", value = ""] = granteeForm.exec(part) ?? [];
    switch (kind.toLowerCase()) {
      case "id":
        return { grantee: { kind: "account", id: value }, permission };
      case "uri":
        return { grantee: { kind: "group", group: groupOfUri(value) }, permission };
      case "emailaddress":
        throw unknownMail(value);
      default:
        throw invalidArgument(name, header, "Argument format not recognized");
    }
  });
}

/** The list that was asked for. `bucketOwner`: undefined for a bucket's own. Errors: InvalidArgument. */
export async function madeAcl(
  wanted: WantedAcl,
  owner: string,
  { accounts, bucketOwner }: { readonly accounts: Accounts; readonly bucketOwner: string | undefined },
): Promise<Acl> {
  if (wanted.kind === "canned") return cannedAcl(wanted.name, owner, bucketOwner);
  const acl = { owner, grants: wanted.grants };
  await checkGrantees(acl, accounts);
  return acl;
}

/** Every account that is granted something is there. Errors: InvalidArgument. */
export async function checkGrantees({ owner, grants }: Acl, accounts: Accounts): Promise<void> {
  for (const { grantee } of grants) {
    if (grantee.kind === "group" || grantee.id === owner) continue;
    if ((await accounts.ofCanonicalId(grantee.id)) === undefined)
      throw invalidArgument("CanonicalUser/ID", grantee.id, "Invalid id");
  }
}

/** Errors: AccessDenied where the bucket takes no list that lets in whom nobody knows. */
export function refusePublic({ block }: BucketRules, acl: Acl): void {
  if (block?.BlockPublicAcls !== true || !isPublicAcl(acl)) return;
  throw new S3Error("AccessDenied", "Public access control lists are blocked by the BlockPublicAcls setting.");
}

/** By the bucket's list, where lists count and those that are public are not ignored. */
export function isOpenToPublic(rules: BucketRules): boolean {
  const { acl, block } = rules;
  return acl !== undefined && aclsCount(rules) && block?.IgnorePublicAcls !== true && isPublicAcl(acl);
}

export function aclNotSupported(): S3Error {
  return new S3Error("AccessControlListNotSupported", "The bucket does not allow ACLs");
}

/** Where ACLs count for nothing only the one may be asked for that says the same. */
function saysOwnerHasAll(wanted: WantedAcl, owner: string): boolean {
  if (wanted.kind === "canned") return wanted.name === "bucket-owner-full-control";
  return isPrivate({ owner, grants: wanted.grants });
}

export type NewObject = {
  readonly bucket: string;
  readonly headers: IncomingHttpHeaders;
  readonly authority: Authority;
};

/**
 * For the options of a call that makes an object. Nothing is read for a caller who may do everything and asks for no list: what that
 * one stores is the bucket's owner's. Errors: AccessControlListNotSupported, AccessDenied, InvalidArgument.
 */
export async function newObjectAcl(
  { bucket, headers, authority }: NewObject,
  source: RulesSource,
): Promise<{ readonly acl?: ObjectAcl }> {
  const wanted = wantedAcl(headers);
  if (wanted === undefined && authority.caller === undefined) return {};
  const rules = authority.rules(bucket) ?? (await readRules(source, bucket));
  if (!aclsCount(rules)) {
    if (wanted !== undefined && !saysOwnerHasAll(wanted, rules.owner)) throw aclNotSupported();
    return {};
  }
  const owner = ownerOfNew(rules, authority.caller, wanted?.kind === "canned" ? wanted.name : undefined);
  const { accounts } = source;
  const acl =
    wanted === undefined ? privateAcl(owner) : await madeAcl(wanted, owner, { accounts, bucketOwner: rules.owner });
  refusePublic(rules, acl);
  return owner === rules.owner && isPrivate(acl) ? {} : { acl };
}

/**
 * The list of an object that a multipart upload becomes now. It was judged when the upload was begun, perhaps long ago; what the bucket
 * says since then holds for whatever is stored from then on, as for a PUT. Where lists count for nothing there is none to come into
 * force later. (What AWS does is not documented; its block of public lists leaves those that are there as they are.) Errors: AccessDenied.
 */
export async function completedAcl(
  acl: ObjectAcl,
  { bucket, authority }: Omit<NewObject, "headers">,
  source: RulesSource,
): Promise<ObjectAcl | undefined> {
  const rules = authority.rules(bucket) ?? (await readRules(source, bucket));
  if (!aclsCount(rules)) return undefined;
  refusePublic(rules, acl);
  return acl;
}
