/** IAM's actions on groups and who is in them. */
import { xmlElement } from "../gateway/xml.ts";
import type { Group } from "../identity/groups.ts";
import { dateElement, itemsPage, rowsPage } from "./answer.ts";
import { need, type Action, type Call, type Target } from "./call.ts";
import { userTarget, userXml, whereThere } from "./users.ts";

export async function groupTarget({ form, actor, identity }: Call): Promise<Target> {
  const { account } = actor.caller;
  const name = form.required("GroupName");
  const group = await whereThere(identity.directory.group(account, name));
  return { arn: group?.arn ?? `arn:aws:iam::${account}:group/${name}` };
}

function newGroupTarget({ form, actor }: Call): Target {
  return { arn: `arn:aws:iam::${actor.caller.account}:group${form.text("Path") ?? "/"}${form.required("GroupName")}` };
}

function groupXml({ path, name, id, arn, createdMs }: Group): string {
  const texts = { Path: path, GroupName: name, GroupId: id, Arn: arn };
  const elements = Object.entries(texts).map(([element, text]) => xmlElement(element, text));
  return elements.join("") + dateElement("CreateDate", createdMs);
}

async function createGroup({ form, identity, actor }: Call): Promise<string> {
  const options = { account: actor.caller.account, name: form.required("GroupName"), path: form.text("Path") };
  return `<Group>${groupXml(await identity.directory.createGroup(options))}</Group>`;
}

/** With its members, for which the account's users are looked through. */
async function getGroup(call: Call): Promise<string> {
  const { directory } = call.identity;
  const group = await directory.group(call.actor.caller.account, call.form.required("GroupName"));
  const key = group.name.toLowerCase();
  const users = await rowsPage(call, {
    element: "Users",
    rows: (options) => directory.users(options),
    isWanted: ({ groups }) => groups.includes(key),
    xml: userXml,
  });
  return `<Group>${groupXml(group)}</Group>${users}`;
}

/** Needs the permission on what the group will be, too. */
async function updateGroup(call: Call): Promise<string> {
  const { form, identity, actor } = call;
  const { account } = actor.caller;
  const change = { name: form.text("NewGroupName"), path: form.text("NewPath") };
  const group = await identity.directory.group(account, form.required("GroupName"));
  const { path = group.path, name = group.name } = change;
  need(call, "iam:UpdateGroup", { arn: `arn:aws:iam::${account}:group${path}${name}` });
  await identity.directory.moveGroup(account, group.name, change);
  return "";
}

async function deleteGroup({ form, identity, actor }: Call): Promise<string> {
  await identity.directory.deleteGroup(actor.caller.account, form.required("GroupName"));
  return "";
}

async function setMember({ form, identity, actor }: Call, isMember: boolean): Promise<string> {
  const membership = { user: form.required("UserName"), group: form.required("GroupName"), isMember };
  await identity.directory.setMembership(actor.caller.account, membership);
  return "";
}

async function groupsOfUser(call: Call): Promise<string> {
  const { directory } = call.identity;
  const { account } = call.actor.caller;
  const user = await directory.user(account, call.form.required("UserName"));
  const found: { name: string; xml: string }[] = [];
  for (const name of user.groups) {
    const group = await whereThere(directory.group(account, name));
    if (group !== undefined) found.push({ name, xml: groupXml(group) });
  }
  return itemsPage(call, "Groups", found);
}

const target = groupTarget;

export const groupActions: Readonly<Record<string, Action>> = {
  CreateGroup: { target: newGroupTarget, run: createGroup },
  GetGroup: { target, run: getGroup },
  ListGroups: {
    target: ({ actor }) => ({ arn: `arn:aws:iam::${actor.caller.account}:group/` }),
    run: (call) =>
      rowsPage(call, {
        element: "Groups",
        rows: (options) => call.identity.directory.groups(options),
        isWanted: () => true,
        xml: groupXml,
      }),
  },
  UpdateGroup: { target, run: updateGroup },
  DeleteGroup: { target, run: deleteGroup },
  AddUserToGroup: { target, run: (call) => setMember(call, true) },
  RemoveUserFromGroup: { target, run: (call) => setMember(call, false) },
  ListGroupsForUser: { target: userTarget, run: groupsOfUser },
};
