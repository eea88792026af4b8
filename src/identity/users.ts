/** Users: who they are, which groups they are in, what bounds them. What they may do is in attached.ts and their groups. */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { transact, type Transaction } from "../kv/transact.ts";
import { accessKeyKey, tags } from "../meta/keys.ts";
import { namedRows, noSuch, putNew, rowKey, tooMany, type IdentityContext, type ListOptions } from "./context.ts";
import { changeGroup } from "./groups.ts";
import { decodeKeyRecord, encodeKeyRecord } from "./key_record.ts";
import { countAttachment } from "./managed_policies.ts";
import { checkPath, checkTags, checkUserName, newUniqueId, userArn } from "./names.ts";
import { decodeUser, encodeUser, type Tag, type UserRecord } from "./records.ts";

export type User = UserRecord & { readonly arn: string };

export type NewUser = {
  readonly account: string;
  readonly name: string;
  readonly path?: string | undefined;
  readonly tags?: readonly Tag[] | undefined;
  /** ARN of a managed policy. */
  readonly boundary?: string | undefined;
};

/** What changes with it stays: keys, groups, policies. Undefined: as it is. */
export type Move = { readonly name?: string | undefined; readonly path?: string | undefined };

/** A new user may do nothing. Errors: `invalid_argument`, `entity_already_exists`, `no_such_entity` for the account. */
export async function createUser(ctx: IdentityContext, given: NewUser): Promise<User> {
  const { account, boundary } = given;
  const user: UserRecord = {
    name: checkUserName(given.name),
    path: checkPath(given.path ?? "/"),
    id: newUniqueId("AIDA", ctx.random),
    createdMs: ctx.clock.nowMs(),
    groups: [],
    managed: [],
    inline: [],
    boundary,
    accessKeys: [],
    tags: checkTags(given.tags ?? []),
  };
  const value = encodeUser(user);
  await transact(ctx.kv, async (tx) => {
    if (boundary !== undefined) await countAttachment(tx, account, boundary, 1);
    await putNew(tx, { tag: tags.user, account, name: user.name, value });
  });
  return withArn(account, user);
}

function withArn(account: string, user: UserRecord): User {
  return { ...user, arn: userArn(account, user) };
}

/** Errors: `no_such_entity`. */
export async function readUser({ kv }: IdentityContext, account: string, name: string): Promise<User> {
  const [row] = await kv.get([rowKey(tags.user, account, checkUserName(name))]);
  if (row === undefined) throw noSuch("user", name);
  return withArn(account, decodeUser(row.value));
}

export async function listUsers(ctx: IdentityContext, options: ListOptions): Promise<User[]> {
  const rows = await namedRows(ctx, tags.user, options);
  return rows.map(({ value }) => withArn(options.account, decodeUser(value)));
}

/** Reads the user's row, and writes what `work` makes of it in the same commit. Errors: `no_such_entity`. */
export async function changeUser(
  tx: Transaction,
  account: string,
  name: string,
  work: (user: UserRecord) => UserRecord | undefined | Promise<UserRecord | undefined>,
): Promise<void> {
  const key = rowKey(tags.user, account, checkUserName(name));
  const [row] = await tx.get([key]);
  if (row === undefined) throw noSuch("user", name);
  const changed = await work(decodeUser(row.value));
  if (changed !== undefined) tx.put(key, encodeUser(changed));
}

/** Errors: `no_such_entity`; `entity_in_use` while the user has keys, policies or groups. */
export async function deleteUser({ kv }: IdentityContext, account: string, name: string): Promise<void> {
  await transact(kv, async (tx) => {
    await changeUser(tx, account, name, async (user) => {
      const { accessKeys, managed, inline, groups, boundary } = user;
      if (accessKeys.length + managed.length + inline.length + groups.length > 0) {
        const message = `The user ${user.name} still has access keys, policies or groups; take them away first.`;
        throw new HoldfastError("entity_in_use", message);
      }
      if (boundary !== undefined) await countAttachment(tx, account, boundary, -1);
      tx.delete(rowKey(tags.user, account, name));
      return undefined;
    });
  });
}

/** Gives it another name or path, and its keys with it. Errors: `no_such_entity`, `entity_already_exists`, `invalid_argument`. */
export async function moveUser({ kv }: IdentityContext, account: string, name: string, to: Move): Promise<void> {
  const given = { ...(to.name !== undefined && { name: checkUserName(to.name) }) };
  const path = { ...(to.path !== undefined && { path: checkPath(to.path) }) };
  await transact(kv, (tx) =>
    changeUser(tx, account, name, async (user) => {
      const moved = { ...user, ...given, ...path };
      if (moved.name.toLowerCase() === user.name.toLowerCase()) return moved;
      await putNew(tx, { tag: tags.user, account, name: moved.name, value: encodeUser(moved) });
      tx.delete(rowKey(tags.user, account, user.name));
      const keys = user.accessKeys.map(accessKeyKey);
      for (const [index, row] of (await tx.get(keys)).entries()) {
        if (row === undefined) continue;
        const owner = { kind: "user", account, user: moved.name } as const;
        tx.put(keys[index]!, encodeKeyRecord({ ...decodeKeyRecord(row.value), owner }));
      }
      return undefined;
    }),
  );
}

/** Errors: `no_such_entity`, `invalid_argument`, `too_many_of_identity`. */
export async function changeUserTags(
  { kv }: IdentityContext,
  account: string,
  name: string,
  change: (tags: readonly Tag[]) => readonly Tag[],
): Promise<void> {
  await transact(kv, (tx) =>
    changeUser(tx, account, name, (user) => ({ ...user, tags: checkTags(change(user.tags)) })),
  );
}

/** In place of those there were. Errors: `no_such_entity`, `invalid_argument`, `too_many_of_identity`. */
export async function setUserTags(
  { kv }: IdentityContext,
  account: string,
  name: string,
  given: readonly Tag[],
): Promise<void> {
  checkTags(given);
  await transact(kv, (tx) => changeUser(tx, account, name, (user) => ({ ...user, tags: given })));
}

/** Undefined takes it away. Errors: `no_such_entity` for the user or the policy. */
export async function setBoundary(
  { kv }: IdentityContext,
  account: string,
  name: string,
  arn: string | undefined,
): Promise<void> {
  await transact(kv, (tx) =>
    changeUser(tx, account, name, async (user) => {
      if (user.boundary === arn) return undefined;
      if (user.boundary !== undefined) await countAttachment(tx, account, user.boundary, -1);
      if (arn !== undefined) await countAttachment(tx, account, arn, 1);
      return { ...user, boundary: arn };
    }),
  );
}

/** Nothing changes where it is so already. Errors: `no_such_entity`, `too_many_of_identity`. */
export async function setMembership(
  { kv }: IdentityContext,
  account: string,
  { user: name, group, isMember }: { readonly user: string; readonly group: string; readonly isMember: boolean },
): Promise<void> {
  const groupKey = group.toLowerCase();
  await transact(kv, (tx) =>
    changeUser(tx, account, name, async (user) => {
      const was = user.groups.includes(groupKey);
      await changeGroup(tx, account, group, (found) =>
        was === isMember ? undefined : { ...found, members: found.members + (isMember ? 1 : -1) },
      );
      if (was === isMember) return undefined;
      if (!isMember) return { ...user, groups: user.groups.filter((each) => each !== groupKey) };
      if (user.groups.length >= limits.groupsOfUserMax)
        throw tooMany(`A user is in at most ${limits.groupsOfUserMax} groups.`);
      return { ...user, groups: [...user.groups, groupKey] };
    }),
  );
}
