/**
 * The verdict over a request, from all policies that apply to it.
 *
 *  1. A Deny that applies, in whatever policy, is the end of it: `explicit_deny`.
 *  2. The root of an account may do everything in its account.
 *  3. Within an account one Allow is enough, of an identity policy or of the resource's. Boundary and session policies, where
 *     there are any, must allow too, unless the resource's policy names the user or the session itself (or, for a user,
 *     everybody). What it allows to the account as a whole only lets the account's own policies decide.
 *  4. From another account both must allow: an identity policy (with boundary and session), and the resource's.
 *  5. Who belongs to no account (anonymous, a service, somebody from elsewhere) has the resource's policy only.
 *
 * What is allowed in no way leaves `implicit_deny`. What an access control list grants counts as if the resource's policy
 * allowed it, to the account or to everybody: it can turn an implicit deny over, and never an explicit one.
 *
 * Source: "Policy evaluation logic" and "Cross-account policy evaluation logic" of the IAM User Guide. Where they leave it
 * open what `"Principal": "*"` means for a session whose policies are narrower, those bound it.
 */
import { readArn, type Arn } from "./arns.ts";
import type { ConditionKeys } from "./condition_values.ts";
import type { Policy } from "./policy.ts";
import { closenessOf, type Caller, type Closeness } from "./principals.ts";
import type { Statement } from "./statement.ts";

export type PolicyRequest = {
  readonly caller: Caller;
  /** `s3:GetObject` */
  readonly action: string;
  /** `arn:aws:s3:::bucket/key` */
  readonly resource: string;
  /** The account that the resource belongs to. */
  readonly resourceAccount: string;
  readonly keys: ConditionKeys;
};

export type Policies = {
  /** Of the user or role itself and, for a user, of its groups. */
  readonly identity: readonly Policy[];
  readonly boundary?: Policy | undefined;
  /** Undefined: the session was begun without any. */
  readonly session?: readonly Policy[] | undefined;
  /** The bucket's. */
  readonly resource?: Policy | undefined;
  /** What that allows does not count, only what it denies: the object in the bucket is somebody else's, say. */
  readonly resourceIsForeign?: boolean | undefined;
  /** An access control list grants it too: to the caller's account, which lets its policies decide, or to everybody. */
  readonly acl?: "account" | "everyone" | undefined;
};

export type PolicyKind = "identity" | "boundary" | "session" | "resource";

export type Verdict =
  /** `by` is undefined for the root, which needs no statement, and for what an access control list granted. */
  | { readonly outcome: "allow"; readonly by: Decision | undefined }
  | { readonly outcome: "explicit_deny"; readonly by: Decision }
  /** `missing`: the first kind of policy that would have had to allow it. */
  | { readonly outcome: "implicit_deny"; readonly missing: PolicyKind };

export type Decision = { readonly kind: PolicyKind; readonly policy: Policy; readonly statement: Statement };

/** What the root of a bucket's owner may do whatever the bucket's policy says, so that nobody is locked out for good. */
const neverLockedOut = new Set(["s3:getbucketpolicy", "s3:putbucketpolicy", "s3:deletebucketpolicy"]);

/** Parts of a request that all statements are compared with. */
type Asked = { readonly request: PolicyRequest; readonly action: string; readonly arn: Arn };

type Allowed = { readonly by: Decision | undefined; readonly closeness: Closeness };
type Findings = { readonly deny: Decision | undefined; readonly allowed: Allowed | undefined };

export function judge(request: PolicyRequest, policies: Policies): Verdict {
  const asked = { request, action: request.action.toLowerCase(), arn: readArn(request.resource) };
  const { caller } = request;
  const isOwner = "account" in caller && caller.account === request.resourceAccount;
  const isSafe = isOwner && caller.kind === "root" && neverLockedOut.has(asked.action);
  const resource = find("resource", policies.resource === undefined || isSafe ? [] : [policies.resource], asked);
  const identity = find("identity", policies.identity, asked);
  const boundary = policies.boundary && find("boundary", [policies.boundary], asked);
  const session = policies.session && find("session", policies.session, asked);
  const deny = resource.deny ?? identity.deny ?? boundary?.deny ?? session?.deny;
  if (deny !== undefined) return { outcome: "explicit_deny", by: deny };
  const found: Found = {
    resource: closest(policies.resourceIsForeign === true ? undefined : resource.allowed, policies.acl),
    identity: identity.allowed,
    missing: missingOf(boundary, session),
  };
  if (!("account" in caller)) return allowedBy(found.resource, "resource");
  if (caller.kind === "root")
    return isOwner ? { outcome: "allow", by: undefined } : allowedBy(found.resource, "resource");
  return isOwner ? withinAccount(caller.kind, found) : acrossAccounts(found);
}

function closest(allowed: Allowed | undefined, acl: Policies["acl"]): Allowed | undefined {
  if (acl === undefined || (allowed !== undefined && strength[allowed.closeness] >= strength[acl])) return allowed;
  return { by: undefined, closeness: acl };
}

type Found = {
  readonly resource: Allowed | undefined;
  readonly identity: Allowed | undefined;
  /** Which of boundary and session policies is there and does not allow it. */
  readonly missing: "boundary" | "session" | undefined;
};

function missingOf(boundary: Findings | undefined, session: Findings | undefined): Found["missing"] {
  if (boundary !== undefined && boundary.allowed === undefined) return "boundary";
  return session !== undefined && session.allowed === undefined ? "session" : undefined;
}

function withinAccount(kind: "user" | "session", { resource, identity, missing }: Found): Verdict {
  const closeness = resource?.closeness;
  if (closeness === "caller" || (closeness === "everyone" && kind === "user")) return allowedBy(resource, "resource");
  const isByResource = closeness === "role" || closeness === "everyone";
  const allowed = identity ?? (isByResource ? resource : undefined);
  if (allowed !== undefined && missing !== undefined) return { outcome: "implicit_deny", missing };
  return allowedBy(allowed, "identity");
}

function acrossAccounts({ resource, identity, missing }: Found): Verdict {
  if (identity === undefined) return { outcome: "implicit_deny", missing: "identity" };
  if (missing !== undefined) return { outcome: "implicit_deny", missing };
  return allowedBy(resource, "resource");
}

function allowedBy(allowed: Allowed | undefined, missing: PolicyKind): Verdict {
  return allowed === undefined ? { outcome: "implicit_deny", missing } : { outcome: "allow", by: allowed.by };
}

const strength: Readonly<Record<Closeness, number>> = { account: 1, role: 2, everyone: 3, caller: 4 };

/** The first Deny that applies, or else the Allow that names the caller most closely. */
function find(kind: PolicyKind, policies: readonly Policy[], asked: Asked): Findings {
  let allowed: Allowed | undefined;
  for (const policy of policies) {
    for (const statement of policy.index.candidates(asked.action, asked.request.resource)) {
      const closeness = applies(statement, asked);
      if (closeness === undefined) continue;
      const by = { kind, policy, statement };
      if (statement.effect === "Deny") return { deny: by, allowed: undefined };
      if (allowed === undefined || strength[closeness] > strength[allowed.closeness]) allowed = { by, closeness };
    }
  }
  return { deny: undefined, allowed };
}

/** Undefined when it does not. Its actions have been compared (statement_index.ts). */
function applies(statement: Statement, { request, arn }: Asked): Closeness | undefined {
  const { effect, resources, principals, conditions } = statement;
  const { caller, keys } = request;
  if (resources !== undefined) {
    // A variable without a value matches nothing, but nothing is allowed because of that.
    const whenUnresolved = resources.isNot && effect === "Allow";
    const isNamed = resources.patterns.some((pattern) => pattern.matches(arn, keys) ?? whenUnresolved);
    if (isNamed === resources.isNot) return undefined;
  }
  const closeness = principals === undefined ? "caller" : closenessOf(principals, caller);
  if (closeness === undefined || !conditions.every((clause) => clause.holds(keys))) return undefined;
  return closeness;
}
