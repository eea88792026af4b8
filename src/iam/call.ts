/** One signed request to IAM or STS: who asks, for what, and whether their policies let them. */
import { builtinPolicies } from "../identity/builtin_policies.ts";
import type { Tag } from "../identity/records.ts";
import type { FoundKey } from "../identity/callers.ts";
import type { Identity } from "../identity/identity.ts";
import type { Session } from "../identity/session_token.ts";
import type { ConditionKeys, KeyValue } from "../policy/condition_values.ts";
import { judge, type Policies, type Verdict } from "../policy/evaluate.ts";
import type { Policy } from "../policy/policy.ts";
import type { Caller } from "../policy/principals.ts";
import { requestKeys, type RequestFacts } from "../policy/request_keys.ts";
import type { Form } from "./form.ts";
import { QueryError } from "./faults.ts";

/** Callers that belong to an account: all that have keys do. */
export type Asker = Extract<Caller, { kind: "root" | "user" | "session" }>;

export type Actor = {
  readonly caller: Asker;
  readonly policies: Policies;
  /** The key is nobody's or the store's root: everything is allowed, in the store's own account. */
  readonly isFull: boolean;
  /** A key without a user that is not the root key. */
  readonly isNobodys: boolean;
  readonly session: Session | undefined;
};

/** What an action is about, and what conditions may ask of it and of the request. */
export type Target = {
  readonly arn: string;
  /** The account that it belongs to, if not the caller's. */
  readonly account?: string | undefined;
  readonly tags?: readonly Tag[] | undefined;
  readonly requestTags?: readonly Tag[] | undefined;
  /** Condition keys that only IAM or STS know of, by their names in lower case. */
  readonly own?: ReadonlyMap<string, KeyValue> | undefined;
  /** A role's trust policy. */
  readonly trust?: Policy | undefined;
};

export type Call = {
  readonly action: string;
  readonly form: Form;
  readonly identity: Identity;
  readonly actor: Actor;
  readonly facts: Omit<RequestFacts, "action" | "resourceAccount" | "caller">;
  /** Identity providers on this machine may be without TLS. */
  readonly allowsPlainLoopback: boolean;
};

/** An action of IAM: what is judged before it is run, and what it answers, as XML. */
export type Action = {
  target(call: Call): Target | Promise<Target>;
  run(call: Call): Promise<string>;
};

export async function actorOf(found: FoundKey, accessKey: string, identity: Identity): Promise<Actor> {
  const { directory, rootAccessKey } = identity;
  const { access, session } = found;
  if (access === "full") {
    const { account, canonicalId } = await directory.ownAccount();
    const caller = { kind: "root", account, canonicalId } as const;
    return { caller, policies: { identity: [] }, isFull: true, isNobodys: accessKey !== rootAccessKey, session };
  }
  const { caller, policies } = access;
  if (!("account" in caller)) throw new QueryError("AccessDenied", "This key belongs to no account.");
  return { caller, policies, isFull: false, isNobodys: false, session };
}

/** Whether the caller's policies (and a role's trust policy) allow it. Throws AccessDenied. */
export function need(call: Call, action: string, target: Target): void {
  const { caller, policies, isNobodys } = call.actor;
  // Such keys may store, but not run the store: whoever makes users can make one who does.
  if (isNobodys)
    throw new QueryError("AccessDenied", "This key is nobody's: users are managed with the root key, or by users.");
  const resourceAccount = target.account ?? caller.account;
  const keys = keysOf({ caller, facts: call.facts }, { ...target, account: resourceAccount }, action);
  const all = target.trust === undefined ? policies : { ...policies, resource: target.trust };
  const verdict = judge({ caller, action, resource: target.arn, resourceAccount, keys }, all);
  if (verdict.outcome !== "allow") throw denied({ caller, action, resource: target.arn, verdict });
  if (target.trust === undefined) return;
  // Unlike other resources a role must trust its caller whatever the caller's own policies say: as if those allowed everything,
  // and the role were a stranger's.
  const trusted = { identity: [everything], resource: target.trust };
  const trust = judge({ caller, action, resource: target.arn, resourceAccount: "", keys }, trusted);
  if (trust.outcome !== "allow") throw denied({ caller, action, resource: target.arn, verdict: trust });
}

const everything = builtinPolicies.get("arn:aws:iam::aws:policy/AdministratorAccess")!.policy;

type Asking = { readonly caller: Caller; readonly facts: Call["facts"] };

export function keysOf(
  { caller, facts }: Asking,
  target: Target & { readonly account: string },
  action: string,
): ConditionKeys {
  const { tags, requestTags, own, account: resourceAccount } = target;
  const known = requestKeys({
    ...facts,
    caller,
    action,
    resourceAccount,
    requestTags: requestTags && mapOf(requestTags),
    bucketTags: tags && mapOf(tags),
  });
  return {
    get: (name) => {
      if (name.startsWith("iam:resourcetag/"))
        return known.get(`aws:resourcetag/${name.slice("iam:resourcetag/".length)}`);
      if (own?.has(name)) return own.get(name);
      return /^(?:s3|iam|sts):/.test(name) ? undefined : known.get(name);
    },
  };
}

function mapOf(tags: readonly Tag[]): Map<string, string> {
  return new Map(tags.map(({ key, value }) => [key, value]));
}

export function callerArn(caller: Asker): string {
  return caller.kind === "root" ? `arn:aws:iam::${caller.account}:root` : caller.arn;
}

type Denial = {
  readonly caller: Asker;
  readonly action: string;
  readonly resource: string;
  readonly verdict: Exclude<Verdict, { outcome: "allow" }>;
};

function denied({ caller, action, resource, verdict }: Denial): QueryError {
  const kinds = {
    identity: "identity-based policy",
    boundary: "permissions boundary",
    session: "session policy",
    resource: "resource-based policy",
  } as const;
  const why =
    verdict.outcome === "explicit_deny"
      ? `with an explicit deny in ${verdict.by.kind === "identity" ? "an" : "a"} ${kinds[verdict.by.kind]}`
      : `because no ${kinds[verdict.missing]} allows the ${action} action`;
  const message = `User: ${callerArn(caller)} is not authorized to perform: ${action} on resource: ${resource} ${why}`;
  return new QueryError("AccessDenied", message);
}
