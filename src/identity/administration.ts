/**
 * Who may run the store: the root key, and users and sessions of the store's own account whose policies allow it, by actions of
 * Holdfast's own on the resource `arn:aws:holdfast:::store`. A user's own session changes no identities, as it asks nothing of IAM. Keys of nobody may look, as ever, and not change anything. An account's own key is not
 * the store's: it may do nothing here, and neither may users of other accounts.
 */
import type { DoorRequest } from "../core/door.ts";
import { HoldfastError } from "../core/errors.ts";
import type { ConditionKeys } from "../policy/condition_values.ts";
import { judge } from "../policy/evaluate.ts";
import type { Caller as PolicyCaller } from "../policy/principals.ts";
import { requestKeys } from "../policy/request_keys.ts";
import type { Caller } from "./basic.ts";

/** Written in docs/access.md. `holdfast:ManageIdentities` is as good as everything: who has it can give anybody any policy. */
export type AdminAction =
  | "holdfast:ReadStatus"
  | "holdfast:ChangeBuckets"
  | "holdfast:ChangeDrives"
  | "holdfast:ChangeEventTargets"
  | "holdfast:ManageEncryptionKeys"
  | "holdfast:ManageIdentities";

const resource = "arn:aws:holdfast:::store";

export type Administered = {
  readonly action: AdminAction;
  readonly what: string;
  readonly request: Pick<DoorRequest, "headers" | "remoteAddress" | "connection">;
  readonly nowMs: number;
};

/** Errors: `access_denied`. */
export function permitAdministration({ isRoot, access, isUserSession = false }: Caller, asked: Administered): void {
  const { action, what } = asked;
  if (access === "full") {
    if (isRoot || action === "holdfast:ReadStatus") return;
    throw new HoldfastError("access_denied", `Only the root key may ${what}.`);
  }
  const { caller, policies, ownAccount: resourceAccount } = access;
  const isBound = caller.kind === "user" || caller.kind === "session";
  const isKept = isUserSession && action === "holdfast:ManageIdentities";
  if (isBound && caller.account === resourceAccount && !isKept) {
    const keys = keysOf(asked, caller, resourceAccount);
    if (judge({ caller, action, resource, resourceAccount, keys }, policies).outcome === "allow") return;
  }
  throw new HoldfastError("access_denied", `No policy of this key allows it to ${what} (${action}).`);
}

function keysOf(
  { action, request, nowMs }: Administered,
  caller: PolicyCaller,
  resourceAccount: string,
): ConditionKeys {
  const { headers, remoteAddress: sourceIp, connection } = request;
  return requestKeys({
    caller,
    action,
    resourceAccount,
    nowMs,
    sourceIp,
    isSecure: "encrypted" in connection,
    tlsVersion: undefined,
    region: "",
    headers: { get: (name) => headers[name]?.toString() },
    query: new Map(),
    signature: undefined,
  });
}
