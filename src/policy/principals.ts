/**
 * Who makes a request, and the Principal element that names who a statement is about.
 *
 * How closely an element names a caller matters inside one account: what is allowed to the account has to be allowed by an
 * identity policy too, what is allowed to a role is still bounded by its boundary and the session's policies, what is
 * allowed to the user or the session itself is allowed (evaluate.ts).
 *
 * NotPrincipal stands with Deny only, and spares only callers whose user (or role and session) *and* account are named, as AWS
 * advises to write it.
 *
 * Source: "AWS JSON policy elements: Principal" and "NotPrincipal" of the IAM User Guide.
 */
import type { KeyValue } from "./condition_values.ts";
import { malformed } from "./faults.ts";
import { entriesOf, stringsOf } from "./fields.ts";
import type { Json } from "./json.ts";

export type Tags = ReadonlyMap<string, string>;

type OfAccount = {
  /** 12 digits. */
  readonly account: string;
  /** The account's canonical user id, 64 hex digits. */
  readonly canonicalId: string;
};

export type Caller =
  | { readonly kind: "anonymous" }
  | ({ readonly kind: "root" } & OfAccount)
  | ({ readonly kind: "user"; readonly arn: string; readonly name: string; readonly id: string } & OfAccount & Tagged)
  | ({
      readonly kind: "session";
      /** `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION` */
      readonly arn: string;
      readonly roleArn: string;
      /** The role's id, a colon, the session's name. */
      readonly id: string;
      readonly issuedMs: number;
      readonly usedMfa: boolean;
      /** Who is behind it, as whoever began the first session said. */
      readonly sourceIdentity?: string | undefined;
      /** Condition keys that all its requests have, by their names in lower case. */
      readonly keys?: ReadonlyMap<string, KeyValue> | undefined;
    } & OfAccount &
      Tagged)
  | { readonly kind: "federated"; readonly provider: string }
  | { readonly kind: "service"; readonly name: string };

type Tagged = { readonly tags: Tags };

export type Principals = {
  /** NotPrincipal, of a Deny. */
  readonly isNot: boolean;
  readonly everyone: boolean;
  readonly accounts: ReadonlySet<string>;
  readonly canonicalIds: ReadonlySet<string>;
  readonly arns: ReadonlySet<string>;
  readonly providers: ReadonlySet<string>;
  readonly services: ReadonlySet<string>;
};

export type Closeness = "account" | "role" | "everyone" | "caller";

const accountForm = /^\d{12}$/;
const arnForm =
  /^arn:aws(?:-cn|-us-gov)?:(?:iam::\d{12}:(?:user|role)\/|sts::\d{12}:(?:assumed-role\/[^/*?${}\s]+|federated-user)\/)[^*?${}\s]+$/;
const rootForm = /^arn:aws(?:-cn|-us-gov)?:iam::(\d{12}):root$/;
const providerForm = /^[A-Za-z0-9:/_.-]+$/;
const serviceForm = /^[a-z0-9-]+(?:\.[a-z0-9-]+)*\.amazonaws\.com(?:\.cn)?$/;

/** Errors: `malformed_policy`. Whether the users and accounts exist is not known here. */
export function parsePrincipals(element: Json, isNot: boolean): Principals {
  const found = {
    isNot,
    everyone: false,
    accounts: new Set<string>(),
    canonicalIds: new Set<string>(),
    arns: new Set<string>(),
    providers: new Set<string>(),
    services: new Set<string>(),
  };
  if (typeof element === "string") {
    if (element !== "*") throw malformed("principal");
    return { ...found, everyone: true };
  }
  const entries = entriesOf(element, "Principal");
  if (entries.length === 0) throw malformed("principal");
  for (const [kind, value] of entries) {
    for (const text of stringsOf(value, "Principal")) {
      if (kind === "AWS" && text === "*") found.everyone = true;
      else if (kind === "AWS") addAws(found, text);
      else if (kind === "CanonicalUser" && /^[0-9a-f]{64}$/.test(text)) found.canonicalIds.add(text);
      else if (kind === "Federated" && providerForm.test(text)) found.providers.add(text);
      else if (kind === "Service" && serviceForm.test(text)) found.services.add(text);
      else throw malformed("principal");
    }
  }
  return found;
}

function addAws({ accounts, arns }: { accounts: Set<string>; arns: Set<string> }, text: string): void {
  const account = accountForm.test(text) ? text : rootForm.exec(text)?.[1];
  if (account !== undefined) accounts.add(account);
  else if (arnForm.test(text)) arns.add(text);
  else throw malformed("principal");
}

/** How closely the statement is about this caller; undefined when it is not about it. */
export function closenessOf(principals: Principals, caller: Caller): Closeness | undefined {
  if (!principals.isNot) return named(principals, caller);
  return isWhollyNamed(principals, caller) ? undefined : "everyone";
}

function named(principals: Principals, caller: Caller): Closeness | undefined {
  const { everyone, arns, providers, services } = principals;
  const byKind = ((): Closeness | undefined => {
    switch (caller.kind) {
      case "anonymous":
        return undefined;
      case "root":
        return hasAccount(principals, caller) ? "caller" : undefined;
      case "user":
        return arns.has(caller.arn) ? "caller" : undefined;
      case "session":
        return arns.has(caller.arn) ? "caller" : arns.has(caller.roleArn) ? "role" : undefined;
      case "federated":
        return providers.has(caller.provider) ? "caller" : undefined;
      case "service":
        return services.has(caller.name) ? "caller" : undefined;
    }
  })();
  if (byKind !== undefined) return byKind;
  if (everyone) return "everyone";
  return "account" in caller && hasAccount(principals, caller) ? "account" : undefined;
}

function hasAccount({ accounts, canonicalIds }: Principals, { account, canonicalId }: OfAccount): boolean {
  return accounts.has(account) || canonicalIds.has(canonicalId);
}

/** The caller and all that stands above it. */
function isWhollyNamed(principals: Principals, caller: Caller): boolean {
  const { everyone, arns } = principals;
  if (everyone) return true;
  if (caller.kind === "user") return arns.has(caller.arn) && hasAccount(principals, caller);
  if (caller.kind === "session")
    return arns.has(caller.arn) && arns.has(caller.roleArn) && hasAccount(principals, caller);
  return named(principals, caller) !== undefined;
}
