/**
 * Managed policies: documents with a name of their own, attached to users and groups. A policy's row counts who refers to it,
 * in the commits that attach and detach it, so that one in use is never deleted. (Inline policies lie in the row of their
 * user or group.)
 */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { transact, type Transaction } from "../kv/transact.ts";
import { tags } from "../meta/keys.ts";
import { parsePolicy } from "../policy/policy.ts";
import { builtinPolicies } from "./builtin_policies.ts";
import { namedRows, noSuch, putNew, rowKey, type IdentityContext, type ListOptions } from "./context.ts";
import { checkPath, checkPolicyName, newUniqueId, policyArn, policyNameOf } from "./names.ts";
import { decodePolicy, encodePolicy, policyDocument, type PolicyRecord } from "./records.ts";

/** `document` is the one that counts. */
export type ManagedPolicy = PolicyRecord & { readonly arn: string; readonly document: string };

export type NewPolicy = {
  readonly account: string;
  readonly name: string;
  readonly path?: string | undefined;
  readonly description?: string | undefined;
  readonly document: string;
};

const descriptionCharsMax = 1_000;

/** Of a policy or role. Errors: `invalid_argument`. */
export function checkDescriptionChars(description: string): string {
  if (description.length <= descriptionCharsMax) return description;
  throw new HoldfastError("invalid_argument", `A description has at most ${descriptionCharsMax} characters.`);
}

/** Errors: `malformed_policy`. */
export function checkManaged(document: string): string {
  parsePolicy(document, { use: "identity", bytesMax: limits.managedPolicyBytesMax });
  return document;
}

/** Errors: `malformed_policy`, `invalid_argument`, `entity_already_exists`, `no_such_entity` for the account. */
export async function createPolicy(ctx: IdentityContext, given: NewPolicy): Promise<ManagedPolicy> {
  const { account } = given;
  const description = checkDescriptionChars(given.description ?? "");
  const createdMs = ctx.clock.nowMs();
  const policy: PolicyRecord = {
    name: checkPolicyName(given.name),
    path: checkPath(given.path ?? "/"),
    id: newUniqueId("ANPA", ctx.random),
    createdMs,
    updatedMs: createdMs,
    attachments: 0,
    description,
    versions: [{ number: 1, createdMs, document: checkManaged(given.document) }],
    defaultVersion: 1,
    lastVersion: 1,
  };
  const value = encodePolicy(policy);
  await transact(ctx.kv, (tx) => putNew(tx, { tag: tags.policy, account, name: policy.name, value }));
  return withArn(account, policy);
}

export function withArn(account: string, policy: PolicyRecord): ManagedPolicy {
  return { ...policy, arn: policyArn(account, policy), document: policyDocument(policy) };
}

/** The ARN of a policy that is named by it, or by its name alone, a built-in one's included. Errors: `no_such_entity`. */
export async function findPolicyArn(ctx: IdentityContext, account: string, named: string): Promise<string> {
  if (named.startsWith("arn:")) return named;
  const key = rowKey(tags.policy, account, checkPolicyName(named));
  const [row] = await ctx.kv.get([key]);
  if (row !== undefined) return policyArn(account, decodePolicy(row.value));
  const builtin = [...builtinPolicies.values()].find(({ name }) => name.toLowerCase() === named.toLowerCase());
  if (builtin === undefined) throw noSuch("policy", named);
  return builtin.arn;
}

/** A built-in one has no times, and nobody counts where it is attached. Errors: `no_such_entity`. */
export async function readManagedPolicy({ kv }: IdentityContext, account: string, arn: string): Promise<ManagedPolicy> {
  const builtin = builtinPolicies.get(arn);
  if (builtin === undefined) return withArn(account, await transact(kv, (tx) => policyRow(tx, account, arn)));
  const { name, document } = builtin;
  const times = { createdMs: 0, updatedMs: 0 };
  const versions = { versions: [{ number: 1, createdMs: 0, document }], defaultVersion: 1, lastVersion: 1 };
  const id = `ANPA${name.toUpperCase()}`;
  return { arn, name, document, id, path: "/", ...times, attachments: 0, description: "", ...versions };
}

/** Without the built-in ones. */
export async function listPolicies(ctx: IdentityContext, options: ListOptions): Promise<ManagedPolicy[]> {
  const rows = await namedRows(ctx, tags.policy, options);
  return rows.map(({ value }) => withArn(options.account, decodePolicy(value)));
}

/**
 * Errors: `no_such_entity`; `entity_in_use` while it is attached, or has other versions than the one that counts, unless they go with it.
 */
export async function deletePolicy(
  ctx: IdentityContext,
  account: string,
  arn: string,
  options: { readonly withVersions?: boolean } = {},
): Promise<void> {
  await transact(ctx.kv, async (tx) => {
    const { name, attachments, versions } = await policyRow(tx, account, arn);
    if (attachments > 0)
      throw new HoldfastError("entity_in_use", `The policy ${name} is attached to ${attachments} users and groups.`);
    if (versions.length > 1 && options.withVersions !== true)
      throw new HoldfastError(
        "entity_in_use",
        "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.",
      );
    tx.delete(rowKey(tags.policy, account, name));
  });
}

/** The row of a policy of the account, under just this ARN. Errors: `no_such_entity`. */
export async function policyRow(tx: Transaction, account: string, arn: string): Promise<PolicyRecord> {
  const name = policyNameOf(account, arn);
  const [row] = name === undefined || !isPolicyName(name) ? [] : await tx.get([rowKey(tags.policy, account, name)]);
  const policy = row && decodePolicy(row.value);
  if (policy === undefined || policyArn(account, policy) !== arn) throw noSuch("policy", arn);
  return policy;
}

function isPolicyName(name: string): boolean {
  return name.length <= limits.groupNameCharsMax;
}

/** Counts one more or one less who refers to the policy; a built-in one is never deleted. Errors: `no_such_entity`. */
export async function countAttachment(tx: Transaction, account: string, arn: string, change: 1 | -1): Promise<void> {
  if (builtinPolicies.has(arn)) return;
  const policy = await policyRow(tx, account, arn);
  tx.put(
    rowKey(tags.policy, account, policy.name),
    encodePolicy({ ...policy, attachments: policy.attachments + change }),
  );
}
