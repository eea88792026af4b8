/** IAM's actions on users. */
import { hasReason } from "../core/errors.ts";
import { xmlElement } from "../gateway/xml.ts";
import type { Tag } from "../identity/records.ts";
import type { User } from "../identity/users.ts";
import { boundaryElement, dateElement, rowsPage, tagList } from "./answer.ts";
import type { KeyValue } from "../policy/condition_values.ts";
import { need, type Action, type Call, type Target } from "./call.ts";
import { QueryError } from "./faults.ts";

/** What is not there is judged under the name it would have. */
export async function whereThere<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (hasReason(error, "no_such_entity")) return undefined;
    throw error;
  }
}

/** The user that is named, or that asks. */
export function userName({ form, actor }: Call): string {
  const given = form.text("UserName");
  if (given !== undefined) return given;
  if (actor.caller.kind === "user") return actor.caller.name;
  throw new QueryError("ValidationError", "Must specify userName when calling with non-User credentials");
}

export async function userTarget(call: Call): Promise<Target> {
  const { account } = call.actor.caller;
  const name = userName(call);
  const user = await whereThere(call.identity.directory.user(account, name));
  return {
    arn: user?.arn ?? `arn:aws:iam::${account}:user/${name}`,
    ...asked(call, user),
  };
}

/** An account's root asks, and names nobody: it is about the root itself. */
export function isOfRoot({ actor, form }: Call): boolean {
  return actor.caller.kind === "root" && form.text("UserName") === undefined;
}

export function userOrRootTarget(call: Call): Target | Promise<Target> {
  return isOfRoot(call) ? { arn: `arn:aws:iam::${call.actor.caller.account}:root` } : userTarget(call);
}

/**
 * What conditions see of an entity that is there, and of the request. A parameter counts only for the actions that do something with
 * it: nobody makes another condition hold by sending it along.
 */
export function asked(
  { action, form }: Call,
  there: { readonly tags: readonly Tag[]; readonly boundary: string | undefined } | undefined,
): Pick<Target, "tags" | "requestTags" | "own"> {
  const own = new Map<string, KeyValue>();
  const setsBoundary = /^Put\w+PermissionsBoundary$/.test(action);
  own.set("iam:permissionsboundary", setsBoundary ? form.text("PermissionsBoundary") : there?.boundary);
  if (action.startsWith("Untag")) own.set("aws:tagkeys", form.members("TagKeys"));
  return { tags: there?.tags, requestTags: action.startsWith("Tag") ? form.tags() : undefined, own };
}

/** The same of one that is to be. */
export function askedOfNew({ form }: Call): Pick<Target, "requestTags" | "own"> {
  const own = new Map<string, KeyValue>([["iam:permissionsboundary", form.text("PermissionsBoundary")]]);
  return { requestTags: form.tags(), own };
}

function newUserTarget(call: Call): Target {
  const { form, actor } = call;
  const arn = `arn:aws:iam::${actor.caller.account}:user${form.text("Path") ?? "/"}${form.required("UserName")}`;
  return { arn, ...askedOfNew(call) };
}

export function userXml({ path, name, id, arn, createdMs }: User): string {
  const texts = { Path: path, UserName: name, UserId: id, Arn: arn };
  const elements = Object.entries(texts).map(([element, text]) => xmlElement(element, text));
  return elements.join("") + dateElement("CreateDate", createdMs);
}

function wholeUserXml(user: User): string {
  return `<User>${userXml(user)}${boundaryElement(user.boundary)}${tagList(user.tags)}</User>`;
}

async function createUser({ form, identity, actor }: Call): Promise<string> {
  const user = await identity.directory.createUser({
    account: actor.caller.account,
    name: form.required("UserName"),
    path: form.text("Path"),
    tags: form.tags(),
    boundary: form.text("PermissionsBoundary"),
  });
  return wholeUserXml(user);
}

async function getUser(call: Call): Promise<string> {
  const { identity, actor } = call;
  const { account } = actor.caller;
  if (isOfRoot(call)) {
    const { createdMs } = await identity.directory.account(account);
    const inner = xmlElement("UserId", account) + xmlElement("Arn", `arn:aws:iam::${account}:root`);
    return `<User>${inner}${dateElement("CreateDate", createdMs)}</User>`;
  }
  return wholeUserXml(await identity.directory.user(account, userName(call)));
}

async function deleteUser(call: Call): Promise<string> {
  await call.identity.directory.deleteUser(call.actor.caller.account, call.form.required("UserName"));
  return "";
}

/** Needs the permission on what the user will be, too. */
async function updateUser(call: Call): Promise<string> {
  const { form, identity, actor } = call;
  const { account } = actor.caller;
  const change = { name: form.text("NewUserName"), path: form.text("NewPath") };
  const user = await identity.directory.user(account, form.required("UserName"));
  const { path = user.path, name = user.name } = change;
  need(call, "iam:UpdateUser", { arn: `arn:aws:iam::${account}:user${path}${name}`, ...asked(call, user) });
  await identity.directory.moveUser(account, user.name, change);
  return "";
}

async function setTags(call: Call, change: (tags: readonly Tag[]) => readonly Tag[]): Promise<string> {
  const { directory } = call.identity;
  await directory.changeUserTags(call.actor.caller.account, call.form.required("UserName"), change);
  return "";
}

/** Keys that differ by case only are one. */
export function withTags(before: readonly Tag[], given: readonly Tag[]): readonly Tag[] {
  return [
    ...withoutTags(
      before,
      given.map(({ key }) => key),
    ),
    ...given,
  ];
}

export function withoutTags(before: readonly Tag[], keys: readonly string[]): readonly Tag[] {
  const gone = new Set(keys.map((key) => key.toLowerCase()));
  return before.filter(({ key }) => !gone.has(key.toLowerCase()));
}

async function setBoundary(call: Call, arn: string | undefined): Promise<string> {
  await call.identity.directory.setBoundary(call.actor.caller.account, call.form.required("UserName"), arn);
  return "";
}

const target = userTarget;

export const userActions: Readonly<Record<string, Action>> = {
  CreateUser: { target: newUserTarget, run: createUser },
  GetUser: { target: userOrRootTarget, run: getUser },
  ListUsers: {
    target: ({ actor }) => ({ arn: `arn:aws:iam::${actor.caller.account}:user/` }),
    run: (call) =>
      rowsPage(call, {
        element: "Users",
        rows: (options) => call.identity.directory.users(options),
        isWanted: () => true,
        xml: userXml,
      }),
  },
  DeleteUser: { target, run: deleteUser },
  UpdateUser: { target, run: updateUser },
  TagUser: { target, run: (call) => setTags(call, (tags) => withTags(tags, call.form.tags() ?? [])) },
  UntagUser: { target, run: (call) => setTags(call, (tags) => withoutTags(tags, call.form.members("TagKeys"))) },
  ListUserTags: {
    target,
    run: async (call) => {
      const { tags } = await call.identity.directory.user(call.actor.caller.account, call.form.required("UserName"));
      return `${tagList(tags)}<IsTruncated>false</IsTruncated>`;
    },
  },
  PutUserPermissionsBoundary: { target, run: (call) => setBoundary(call, call.form.required("PermissionsBoundary")) },
  DeleteUserPermissionsBoundary: { target, run: (call) => setBoundary(call, undefined) },
};
