/** The policies of a user, group or role: managed ones that are attached to it, and inline ones that it has alone. */
import { limits } from "../core/limits.ts";
import { transact, type Transaction } from "../kv/transact.ts";
import { parsePolicy } from "../policy/policy.ts";
import { noSuch, tooMany, type IdentityContext } from "./context.ts";
import { changeGroup } from "./groups.ts";
import { countAttachment } from "./managed_policies.ts";
import { checkPolicyName } from "./names.ts";
import type { InlinePolicy } from "./records.ts";
import { changeRole } from "./roles.ts";
import { changeUser } from "./users.ts";

export type PolicyHolder = {
  readonly kind: "user" | "group" | "role";
  readonly account: string;
  readonly name: string;
};

const inlineBytesMax: Readonly<Record<PolicyHolder["kind"], number>> = {
  user: limits.userInlineBytesMax,
  group: limits.groupInlineBytesMax,
  role: limits.roleInlineBytesMax,
};

type Held = { readonly managed: readonly string[]; readonly inline: readonly InlinePolicy[] };

function changeHolder(
  tx: Transaction,
  { kind, account, name }: PolicyHolder,
  work: (held: Held) => Held | undefined | Promise<Held | undefined>,
): Promise<void> {
  const change = async <T extends Held>(holder: T): Promise<T | undefined> => {
    const held = await work(holder);
    return held && { ...holder, managed: held.managed, inline: held.inline };
  };
  const changing = { user: changeUser, group: changeGroup, role: changeRole } as const;
  return changing[kind](tx, account, name, change);
}

/** Nothing changes when it is attached already. Errors: `no_such_entity`, `too_many_of_identity`. */
export async function attachPolicy({ kv }: IdentityContext, holder: PolicyHolder, arn: string): Promise<void> {
  await transact(kv, (tx) =>
    changeHolder(tx, holder, async ({ managed, inline }) => {
      if (managed.includes(arn)) return undefined;
      if (managed.length >= limits.managedPoliciesMax)
        throw tooMany(`At most ${limits.managedPoliciesMax} managed policies are attached to one user, group or role.`);
      await countAttachment(tx, holder.account, arn, 1);
      return { managed: [...managed, arn], inline };
    }),
  );
}

/** Errors: `no_such_entity`, also when it is not attached. */
export async function detachPolicy({ kv }: IdentityContext, holder: PolicyHolder, arn: string): Promise<void> {
  await transact(kv, (tx) =>
    changeHolder(tx, holder, async ({ managed, inline }) => {
      if (!managed.includes(arn)) throw noSuch("attached policy", arn);
      await countAttachment(tx, holder.account, arn, -1);
      return { managed: managed.filter((each) => each !== arn), inline };
    }),
  );
}

/** In place of the one with that name. Errors: `malformed_policy`, `no_such_entity`, `too_many_of_identity`. */
export async function putInlinePolicy(
  { kv }: IdentityContext,
  holder: PolicyHolder,
  { name, document }: InlinePolicy,
): Promise<void> {
  checkPolicyName(name);
  const bytesMax = inlineBytesMax[holder.kind];
  parsePolicy(document, { use: "identity", bytesMax });
  await transact(kv, (tx) =>
    changeHolder(tx, holder, ({ managed, inline }) => {
      const others = inline.filter((each) => each.name !== name);
      const all = [...others, { name, document }];
      const bytes = sumOf(all, countedBytes);
      // White space is not counted, and bounded all the same.
      if (sumOf(all, (text) => Buffer.byteLength(text)) > limits.bucketPolicyBytesMax || bytes > bytesMax)
        throw tooMany(`The inline policies of a ${holder.kind} have at most ${bytesMax} bytes.`);
      return { managed, inline: all };
    }),
  );
}

function sumOf(policies: readonly InlinePolicy[], bytesOf: (document: string) => number): number {
  return policies.reduce((sum, { document }) => sum + bytesOf(document), 0);
}

function countedBytes(document: string): number {
  return Buffer.byteLength(document.replace(/\s/g, ""));
}

/** Errors: `no_such_entity`. */
export async function deleteInlinePolicy({ kv }: IdentityContext, holder: PolicyHolder, name: string): Promise<void> {
  await transact(kv, (tx) =>
    changeHolder(tx, holder, ({ managed, inline }) => {
      if (!inline.some((each) => each.name === name)) throw noSuch("inline policy", name);
      return { managed, inline: inline.filter((each) => each.name !== name) };
    }),
  );
}
