/**
 * IAM's actions on access keys: of a user, or, where an account's root asks and names nobody, of that root.
 */
import { xmlElement } from "../gateway/xml.ts";
import { isAccessKey, type KeyInfo } from "../identity/access_keys.ts";
import { dateElement, itemsPage, rowsPage } from "./answer.ts";
import type { Action, Call } from "./call.ts";
import { QueryError } from "./faults.ts";
import { isOfRoot, userName, userOrRootTarget } from "./users.ts";

/** The element of a user's name: a root has none. */
const named = (user: string | undefined): string => (user === undefined ? "" : xmlElement("UserName", user));

async function createKey(call: Call): Promise<string> {
  const { account } = call.actor.caller;
  const { identity } = call;
  const name = isOfRoot(call) ? undefined : (await identity.directory.user(account, userName(call))).name;
  const owner =
    name === undefined ? ({ kind: "account", account } as const) : ({ kind: "user", account, user: name } as const);
  const made = await identity.create({ owner });
  const inner = named(name) + xmlElement("AccessKeyId", made.accessKey);
  const secret = xmlElement("SecretAccessKey", made.secretKey);
  return `<AccessKey>${inner}<Status>Active</Status>${secret}${dateElement("CreateDate", made.createdMs)}</AccessKey>`;
}

function keyXml({ accessKey, isOff, createdMs }: KeyInfo, user: string | undefined): string {
  const status = xmlElement("Status", isOff === true ? "Inactive" : "Active");
  return named(user) + xmlElement("AccessKeyId", accessKey) + status + dateElement("CreateDate", createdMs);
}

const isRootsKey = ({ owner }: KeyInfo, account: string): boolean =>
  owner.kind === "account" && owner.account === account;

async function listKeys(call: Call): Promise<string> {
  const { identity, actor } = call;
  const { account } = actor.caller;
  if (isOfRoot(call))
    return rowsPage(call, {
      element: "AccessKeyMetadata",
      rows: async (options) => {
        const keys = await identity.directory.accountKeys(options);
        return keys.map((key) => ({ ...key, name: key.accessKey, path: "/" }));
      },
      isWanted: () => true,
      xml: (key) => keyXml(key, undefined),
    });
  const user = await identity.directory.user(account, userName(call));
  const keys = await identity.directory.keys(user.accessKeys);
  const items = keys.map((key) => ({ name: key.accessKey, xml: keyXml(key, user.name) }));
  return itemsPage(call, "AccessKeyMetadata", items);
}

/** The key that is named, of the user or root that was judged. */
async function ownKey(call: Call): Promise<string> {
  const accessKey = call.form.required("AccessKeyId");
  const { account } = call.actor.caller;
  const { directory } = call.identity;
  if (isOfRoot(call)) {
    const [key] = isAccessKey(accessKey) ? await directory.keys([accessKey]) : [];
    if (key !== undefined && isRootsKey(key, account)) return accessKey;
  } else if ((await directory.user(account, userName(call))).accessKeys.includes(accessKey)) return accessKey;
  throw new QueryError("NoSuchEntity", `The Access Key with id ${accessKey} cannot be found.`);
}

async function updateKey(call: Call): Promise<string> {
  const status = call.form.required("Status");
  if (status !== "Active" && status !== "Inactive")
    throw new QueryError("ValidationError", "Status must be Active or Inactive.");
  await call.identity.switchKey(await ownKey(call), status === "Active");
  return "";
}

async function deleteKey(call: Call): Promise<string> {
  await call.identity.remove(await ownKey(call));
  return "";
}

const target = userOrRootTarget;

export const keyActions: Readonly<Record<string, Action>> = {
  CreateAccessKey: { target, run: createKey },
  ListAccessKeys: { target, run: listKeys },
  UpdateAccessKey: { target, run: updateKey },
  DeleteAccessKey: { target, run: deleteKey },
};
