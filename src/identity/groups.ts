/** Groups of users. A group's row counts its members, in the commits that change a user's groups: users name their groups. */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { transact, type Transaction } from "../kv/transact.ts";
import { tags } from "../meta/keys.ts";
import { namedRows, noSuch, putNew, rowKey, type IdentityContext, type ListOptions } from "./context.ts";
import { checkGroupName, checkPath, groupArn, newUniqueId } from "./names.ts";
import { decodeGroup, decodeUser, encodeGroup, encodeUser, type GroupRecord } from "./records.ts";

export type Group = GroupRecord & { readonly arn: string };

export type NewGroup = { readonly account: string; readonly name: string; readonly path?: string | undefined };

/** Errors: `invalid_argument`, `entity_already_exists`, `no_such_entity` for the account. */
export async function createGroup(ctx: IdentityContext, given: NewGroup): Promise<Group> {
  const { account } = given;
  const group: GroupRecord = {
    name: checkGroupName(given.name),
    path: checkPath(given.path ?? "/"),
    id: newUniqueId("AGPA", ctx.random),
    createdMs: ctx.clock.nowMs(),
    members: 0,
    managed: [],
    inline: [],
  };
  const value = encodeGroup(group);
  await transact(ctx.kv, (tx) => putNew(tx, { tag: tags.group, account, name: group.name, value }));
  return withArn(account, group);
}

function withArn(account: string, group: GroupRecord): Group {
  return { ...group, arn: groupArn(account, group) };
}

/** Errors: `no_such_entity`. */
export async function readGroup({ kv }: IdentityContext, account: string, name: string): Promise<Group> {
  const [row] = await kv.get([rowKey(tags.group, account, checkGroupName(name))]);
  if (row === undefined) throw noSuch("group", name);
  return withArn(account, decodeGroup(row.value));
}

export async function listGroups(ctx: IdentityContext, options: ListOptions): Promise<Group[]> {
  const rows = await namedRows(ctx, tags.group, options);
  return rows.map(({ value }) => withArn(options.account, decodeGroup(value)));
}

/** Reads the group's row, and writes what `work` makes of it in the same commit. Errors: `no_such_entity`. */
export async function changeGroup(
  tx: Transaction,
  account: string,
  name: string,
  work: (group: GroupRecord) => GroupRecord | undefined | Promise<GroupRecord | undefined>,
): Promise<void> {
  const key = rowKey(tags.group, account, checkGroupName(name));
  const [row] = await tx.get([key]);
  if (row === undefined) throw noSuch("group", name);
  const changed = await work(decodeGroup(row.value));
  if (changed !== undefined) tx.put(key, encodeGroup(changed));
}

/**
 * Gives it another path or name, the latter in the rows of its members too, if they are few enough for one commit. Errors:
 * `no_such_entity`, `entity_in_use`, `entity_already_exists`, `invalid_argument`.
 */
export async function moveGroup(
  ctx: IdentityContext,
  account: string,
  name: string,
  to: { readonly name?: string | undefined; readonly path?: string | undefined },
): Promise<void> {
  const given = { ...(to.name !== undefined && { name: checkGroupName(to.name) }) };
  const path = { ...(to.path !== undefined && { path: checkPath(to.path) }) };
  await transact(ctx.kv, (tx) =>
    changeGroup(tx, account, name, async (group) => {
      const moved = { ...group, ...given, ...path };
      if (moved.name.toLowerCase() === group.name.toLowerCase()) return moved;
      await renameInMembers(ctx, tx, { account, group, to: moved.name });
      await putNew(tx, { tag: tags.group, account, name: moved.name, value: encodeGroup(moved) });
      tx.delete(rowKey(tags.group, account, group.name));
      return undefined;
    }),
  );
}

type Renaming = { readonly account: string; readonly group: GroupRecord; readonly to: string };

/**
 * The account's users are looked through for the members. Who comes in or goes out meanwhile changes the group's row, which the commit
 * depends on; a member that got another name itself is missing from the count, and the group keeps its name for now.
 */
async function renameInMembers(ctx: IdentityContext, tx: Transaction, { account, group, to }: Renaming): Promise<void> {
  if (group.members === 0) return;
  const refused = (why: string): HoldfastError =>
    new HoldfastError("entity_in_use", `The group ${group.name} keeps its name: ${why}.`);
  if (group.members > limits.renamedGroupMembersMax)
    throw refused(`it has more than ${limits.renamedGroupMembersMax} users`);
  const [before, now] = [group.name.toLowerCase(), to.toLowerCase()];
  const rows = await tx.get(await memberKeys(ctx, account, before));
  const members = rows.filter((row) => row !== undefined).map((row) => ({ ...row, user: decodeUser(row.value) }));
  const found = members.filter(({ user }) => user.groups.includes(before));
  if (found.length !== group.members) throw refused("its users are being changed; try again");
  if (found.reduce((sum, { value }) => sum + value.length, 0) > limits.renamedGroupBytesMax)
    throw refused("what its users have in inline policies and tags is too much to be written at once");
  for (const { key, user } of found)
    tx.put(key, encodeUser({ ...user, groups: user.groups.map((each) => (each === before ? now : each)) }));
}

async function memberKeys(ctx: IdentityContext, account: string, group: string): Promise<Buffer[]> {
  const found: Buffer[] = [];
  let after: string | undefined;
  const limit = limits.iamPageItemsMax;
  for (let seen = 0; seen < limits.iamCountedRowsMax;) {
    const rows = await namedRows(ctx, tags.user, { account, after, limit });
    const users = rows.map(({ value }) => decodeUser(value));
    for (const { name, groups } of users) if (groups.includes(group)) found.push(rowKey(tags.user, account, name));
    // Only a group's own count says how many there are; more than may be renamed were counted wrongly.
    if (rows.length < limit || found.length > limits.renamedGroupMembersMax) break;
    seen += rows.length;
    after = users.at(-1)!.name;
  }
  return found.slice(0, limits.renamedGroupMembersMax + 1);
}

/** Errors: `no_such_entity`; `entity_in_use` while it has members or policies. */
export async function deleteGroup({ kv }: IdentityContext, account: string, name: string): Promise<void> {
  await transact(kv, (tx) =>
    changeGroup(tx, account, name, (group) => {
      if (group.members + group.managed.length + group.inline.length > 0) {
        const message = `The group ${group.name} still has users or policies; take them away first.`;
        throw new HoldfastError("entity_in_use", message);
      }
      tx.delete(rowKey(tags.group, account, name));
      return undefined;
    }),
  );
}
