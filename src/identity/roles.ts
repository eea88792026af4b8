/** Roles: what somebody may be for a while who is trusted with it. A role has no keys; its sessions have (sessions.ts). */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { transact, type Transaction } from "../kv/transact.ts";
import { tags } from "../meta/keys.ts";
import { parsePolicy } from "../policy/policy.ts";
import { namedRows, noSuch, putNew, rowKey, type IdentityContext, type ListOptions } from "./context.ts";
import { checkDescriptionChars, countAttachment } from "./managed_policies.ts";
import { checkPath, checkRoleName, checkTags, newUniqueId, roleArn } from "./names.ts";
import { decodeRole, encodeRole, type RoleRecord, type Tag } from "./records.ts";

export type Role = RoleRecord & { readonly arn: string };

export type NewRole = {
  readonly account: string;
  readonly name: string;
  readonly trust: string;
  readonly path?: string | undefined;
  readonly description?: string | undefined;
  readonly sessionSecondsMax?: number | undefined;
  /** ARN of a managed policy. */
  readonly boundary?: string | undefined;
  readonly tags?: readonly Tag[] | undefined;
};

export type RoleChange = Partial<Pick<RoleRecord, "trust" | "description" | "sessionSecondsMax" | "tags">>;

/** Whoever is trusted may do nothing as it yet. Errors: `invalid_argument`, `malformed_policy`, `entity_already_exists`. */
export async function createRole(ctx: IdentityContext, given: NewRole): Promise<Role> {
  const { account, boundary } = given;
  const role: RoleRecord = {
    name: checkRoleName(given.name),
    path: checkPath(given.path ?? "/"),
    id: newUniqueId("AROA", ctx.random),
    createdMs: ctx.clock.nowMs(),
    trust: given.trust,
    description: given.description ?? "",
    sessionSecondsMax: given.sessionSecondsMax ?? limits.sessionSecondsDefault,
    managed: [],
    inline: [],
    boundary,
    tags: given.tags ?? [],
  };
  checkRole(role);
  await transact(ctx.kv, async (tx) => {
    if (boundary !== undefined) await countAttachment(tx, account, boundary, 1);
    await putNew(tx, { tag: tags.role, account, name: role.name, value: encodeRole(role) });
  });
  return withArn(account, role);
}

function checkRole({ trust, description, sessionSecondsMax, tags: given }: RoleRecord): void {
  parsePolicy(trust, { use: "trust", bytesMax: limits.trustPolicyBytesMax });
  checkDescriptionChars(description);
  checkTags(given);
  const isLong = sessionSecondsMax >= limits.sessionSecondsDefault && sessionSecondsMax <= limits.roleSessionSecondsMax;
  if (isLong && Number.isInteger(sessionSecondsMax)) return;
  const range = `${limits.sessionSecondsDefault} to ${limits.roleSessionSecondsMax} seconds`;
  throw new HoldfastError("invalid_argument", `The longest session of a role has ${range}.`);
}

function withArn(account: string, role: RoleRecord): Role {
  return { ...role, arn: roleArn(account, role) };
}

/** Errors: `no_such_entity`. */
export async function readRole({ kv }: IdentityContext, account: string, name: string): Promise<Role> {
  const [row] = await kv.get([rowKey(tags.role, account, checkRoleName(name))]);
  if (row === undefined) throw noSuch("role", name);
  return withArn(account, decodeRole(row.value));
}

export async function listRoles(ctx: IdentityContext, options: ListOptions): Promise<Role[]> {
  const rows = await namedRows(ctx, tags.role, options);
  return rows.map(({ value }) => withArn(options.account, decodeRole(value)));
}

/** Reads the role's row, and writes what `work` makes of it in the same commit. Errors: `no_such_entity`. */
export async function changeRole(
  tx: Transaction,
  account: string,
  name: string,
  work: (role: RoleRecord) => RoleRecord | undefined | Promise<RoleRecord | undefined>,
): Promise<void> {
  const key = rowKey(tags.role, account, checkRoleName(name));
  const [row] = await tx.get([key]);
  if (row === undefined) throw noSuch("role", name);
  const changed = await work(decodeRole(row.value));
  if (changed !== undefined) tx.put(key, encodeRole(changed));
}

/** Holds for sessions that are under way too. Errors: `no_such_entity`, `invalid_argument`, `malformed_policy`. */
export async function setRole(
  { kv }: IdentityContext,
  account: string,
  name: string,
  change: RoleChange | ((role: RoleRecord) => RoleChange),
): Promise<void> {
  await transact(kv, (tx) =>
    changeRole(tx, account, name, (role) => {
      const changed = { ...role, ...(typeof change === "function" ? change(role) : change) };
      checkRole(changed);
      return changed;
    }),
  );
}

/** Its sessions end with it. Errors: `no_such_entity`; `entity_in_use` while it has policies. */
export async function deleteRole({ kv }: IdentityContext, account: string, name: string): Promise<void> {
  await transact(kv, (tx) =>
    changeRole(tx, account, name, async (role) => {
      if (role.managed.length + role.inline.length > 0)
        throw new HoldfastError("entity_in_use", `The role ${role.name} still has policies; take them away first.`);
      if (role.boundary !== undefined) await countAttachment(tx, account, role.boundary, -1);
      tx.delete(rowKey(tags.role, account, name));
      return undefined;
    }),
  );
}

/** Undefined takes it away. Errors: `no_such_entity` for the role or the policy. */
export async function setRoleBoundary(
  { kv }: IdentityContext,
  account: string,
  name: string,
  arn: string | undefined,
): Promise<void> {
  await transact(kv, (tx) =>
    changeRole(tx, account, name, async (role) => {
      if (role.boundary === arn) return undefined;
      if (role.boundary !== undefined) await countAttachment(tx, account, role.boundary, -1);
      if (arn !== undefined) await countAttachment(tx, account, arn, 1);
      return { ...role, boundary: arn };
    }),
  );
}
