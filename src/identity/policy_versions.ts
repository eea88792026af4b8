/**
 * Versions of managed policies: at most policyVersionsMax documents of each, one of which counts, wherever the policy is attached. All of
 * them lie in the policy's row, so that a change of which one counts is one commit, seen by every request that begins after it.
 */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { transact } from "../kv/transact.ts";
import { tags } from "../meta/keys.ts";
import { noSuch, rowKey, tooMany, type IdentityContext } from "./context.ts";
import { checkManaged, policyRow, withArn, type ManagedPolicy } from "./managed_policies.ts";
import { encodePolicy, type PolicyRecord, type PolicyVersion } from "./records.ts";

export type NewPolicyVersion = { readonly document: string; readonly isDefault: boolean };

/** What IAM calls it. */
export function versionIdOf(number: number): string {
  return `v${number}`;
}

/** Errors: `invalid_argument` for what cannot be one. */
export function versionNumberOf(id: string): number {
  const found = /^v([1-9]\d{0,8})$/.exec(id);
  if (found !== null) return Number(found[1]);
  throw new HoldfastError("invalid_argument", "A version of a policy is named like v1.");
}

/** Errors: `no_such_entity`. */
export function versionIn(policy: ManagedPolicy, number: number): PolicyVersion {
  const found = policy.versions.find((each) => each.number === number);
  if (found === undefined) throw noSuch(`version ${versionIdOf(number)} of the policy`, policy.arn);
  return found;
}

function change(
  { kv }: IdentityContext,
  account: string,
  arn: string,
  work: (policy: ManagedPolicy) => Partial<PolicyRecord>,
): Promise<ManagedPolicy> {
  return transact(kv, async (tx) => {
    const policy = withArn(account, await policyRow(tx, account, arn));
    const changed = { ...policy, ...work(policy) };
    tx.put(rowKey(tags.policy, account, policy.name), encodePolicy(changed));
    return withArn(account, changed);
  });
}

function withNew(policy: PolicyRecord, { document, isDefault }: NewPolicyVersion, createdMs: number): PolicyRecord {
  const number = policy.lastVersion + 1;
  const versions = [...policy.versions, { number, createdMs, document }];
  const defaultVersion = isDefault ? number : policy.defaultVersion;
  return { ...policy, versions, defaultVersion, lastVersion: number, updatedMs: createdMs };
}

/** The new one is the last. Errors: `no_such_entity`, `malformed_policy`, `too_many_of_identity`. */
export async function createPolicyVersion(
  ctx: IdentityContext,
  account: string,
  arn: string,
  given: NewPolicyVersion,
): Promise<ManagedPolicy> {
  checkManaged(given.document);
  return change(ctx, account, arn, (policy) => {
    if (policy.versions.length >= limits.policyVersionsMax)
      throw tooMany(
        `A managed policy can have up to ${limits.policyVersionsMax} versions. Before you create a new version, you must delete an existing version.`,
      );
    return withNew(policy, given, ctx.clock.nowMs());
  });
}

/**
 * A new version that counts at once; where there are as many as there may be, the oldest of the others goes. Errors: `no_such_entity`,
 * `malformed_policy`.
 */
export async function setPolicyDocument(
  ctx: IdentityContext,
  account: string,
  arn: string,
  document: string,
): Promise<ManagedPolicy> {
  checkManaged(document);
  return change(ctx, account, arn, (policy) => {
    const changed = withNew(policy, { document, isDefault: true }, ctx.clock.nowMs());
    const oldest = policy.versions.find(({ number }) => number !== policy.defaultVersion);
    const isFull = policy.versions.length >= limits.policyVersionsMax;
    return isFull ? { ...changed, versions: changed.versions.filter((each) => each !== oldest) } : changed;
  });
}

/** Errors: `no_such_entity`. */
export async function setDefaultPolicyVersion(
  ctx: IdentityContext,
  account: string,
  arn: string,
  number: number,
): Promise<ManagedPolicy> {
  return change(ctx, account, arn, (policy) => ({ defaultVersion: versionIn(policy, number).number }));
}

/** Errors: `no_such_entity`; `entity_in_use` for the one that counts. */
export async function deletePolicyVersion(
  ctx: IdentityContext,
  account: string,
  arn: string,
  number: number,
): Promise<void> {
  await change(ctx, account, arn, (policy) => {
    const gone = versionIn(policy, number);
    if (gone.number === policy.defaultVersion)
      throw new HoldfastError("entity_in_use", "Cannot delete the default version of a policy.");
    return { versions: policy.versions.filter((each) => each !== gone) };
  });
}
