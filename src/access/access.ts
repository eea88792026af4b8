/**
 * Who may do what: the one decision over a request, pure. Policies of the caller, policy and ACL of the bucket, ACL of the object,
 * public access block and object ownership in; a verdict out.
 *
 * Promises:
 *  - An explicit deny of any policy wins, the bucket's own and for objects of others too.
 *  - Nothing is allowed to anybody because of what is not there: a bucket without policy and ACL is its account's alone.
 *  - An object that another account than the bucket's owns is that account's: what the bucket's policy allows, and what the
 *    bucket's account may do, does not reach its bytes, tags, ACL and lock. (It can be deleted and replaced all the same.)
 *  - Where the bucket's owner owns everything (BucketOwnerEnforced) ACLs count for nothing.
 *
 * How a request is spelled as questions, and where the rules are read, is the gateway's (gateway/authorize.ts, rules.ts).
 *
 * Known gaps: see policy.ts and acl.ts.
 * Sources: "How Amazon S3 authorizes a request", "Controlling ownership of objects", "Blocking public access" of the S3 User
 * Guide.
 */
import type { ConditionKeys } from "../policy/condition_values.ts";
import { judge, type Policies, type Verdict } from "../policy/evaluate.ts";
import type { Policy } from "../policy/policy.ts";
import type { Caller } from "../policy/principals.ts";
import { anonymousId, grantOf, privateAcl, type Acl } from "./acl.ts";

export type ObjectOwnership = "BucketOwnerEnforced" | "BucketOwnerPreferred" | "ObjectWriter";

export type PublicAccessBlock = {
  readonly BlockPublicAcls: boolean;
  readonly IgnorePublicAcls: boolean;
  readonly BlockPublicPolicy: boolean;
  readonly RestrictPublicBuckets: boolean;
};

/** What a bucket says about who may use it. */
export type BucketRules = {
  /** The account it belongs to, and its canonical id. */
  readonly account: string;
  readonly owner: string;
  /** `isPublic`: it lets in whom nobody knows. */
  readonly policy: { readonly policy: Policy; readonly isPublic: boolean } | undefined;
  /** Undefined: private. */
  readonly acl: Acl | undefined;
  /** Undefined: nobody ever chose; as ObjectWriter. */
  readonly ownership: ObjectOwnership | undefined;
  readonly block: PublicAccessBlock | undefined;
};

export type Question = {
  readonly caller: Caller;
  /** Of the caller: identity policies, boundary, session. */
  readonly policies: Omit<Policies, "resource" | "acl" | "resourceIsForeign">;
  readonly action: string;
  readonly resource: string;
  readonly keys: ConditionKeys;
  readonly bucket: BucketRules;
  /**
   * For what is done to an object that is there (its bytes, its tags, its ACL, its lock): its list, or `default` where it has none. Undefined
   * for what is done to a bucket, to a key whatever stands there, or to an object that is not there.
   */
  readonly object?: Acl | "default" | undefined;
};

export function decide({ caller, policies, action, resource, keys, bucket, object }: Question): Verdict {
  const owner = ownerOf(bucket, object);
  const resourceIsForeign = owner !== bucket.owner || isRestricted(bucket, caller);
  const resourceAccount = owner === bucket.owner ? bucket.account : accountOf(caller, owner);
  const acl = aclsCount(bucket)
    ? grantOf({
        acl: aclOf(bucket, object),
        of: object === undefined ? "bucket" : "object",
        caller,
        action,
        ignorePublic: bucket.block?.IgnorePublicAcls === true,
      })
    : undefined;
  const all = { ...policies, resource: bucket.policy?.policy, resourceIsForeign, acl };
  return judge({ caller, action, resource, resourceAccount, keys }, all);
}

export function aclsCount({ ownership }: Pick<BucketRules, "ownership">): boolean {
  return ownership !== "BucketOwnerEnforced";
}

/** Who owns the object, or the bucket where it is not about one. */
function ownerOf(bucket: BucketRules, object: Question["object"]): string {
  if (object === undefined || object === "default" || !aclsCount(bucket)) return bucket.owner;
  return object.owner;
}

function aclOf(bucket: BucketRules, object: Question["object"]): Acl {
  if (object === undefined) return bucket.acl ?? privateAcl(bucket.owner);
  return object === "default" ? privateAcl(bucket.owner) : object;
}

/** RestrictPublicBuckets: what a public policy allows is allowed within the bucket's own account only. */
function isRestricted({ account, policy, block }: BucketRules, caller: Caller): boolean {
  if (policy?.isPublic !== true || block?.RestrictPublicBuckets !== true || caller.kind === "service") return false;
  return !("account" in caller) || caller.account !== account;
}

/** Of an account that is not the bucket's only the canonical id is known here: it is the caller's, or a stranger's. */
function accountOf(caller: Caller, owner: string): string {
  return "canonicalId" in caller && caller.canonicalId === owner ? caller.account : "";
}

/** Who will own what this caller (undefined: one who may do everything) stores in the bucket with this list. */
export function ownerOfNew(bucket: BucketRules, caller: Caller | undefined, canned: string | undefined): string {
  if (caller === undefined || !aclsCount(bucket)) return bucket.owner;
  if (bucket.ownership === "BucketOwnerPreferred" && canned === "bucket-owner-full-control") return bucket.owner;
  return "canonicalId" in caller ? caller.canonicalId : anonymousId;
}
