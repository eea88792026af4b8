/** IAM's actions on roles. */
import { xmlElement } from "../gateway/xml.ts";
import type { RoleRecord } from "../identity/records.ts";
import type { Role, RoleChange } from "../identity/roles.ts";
import { boundaryElement, dateElement, documentElement, optional, rowsPage, tagList } from "./answer.ts";
import type { Action, Call, Target } from "./call.ts";
import { asked, askedOfNew, whereThere, withoutTags, withTags } from "./users.ts";

export async function roleTarget(call: Call): Promise<Target> {
  const { form, actor, identity } = call;
  const { account } = actor.caller;
  const name = form.required("RoleName");
  const role = await whereThere(identity.directory.role(account, name));
  return {
    arn: role?.arn ?? `arn:aws:iam::${account}:role/${name}`,
    ...asked(call, role),
  };
}

function newRoleTarget(call: Call): Target {
  const { form, actor } = call;
  const arn = `arn:aws:iam::${actor.caller.account}:role${form.text("Path") ?? "/"}${form.required("RoleName")}`;
  return { arn, ...askedOfNew(call) };
}

function roleXml(role: Role): string {
  const texts = { Path: role.path, RoleName: role.name, RoleId: role.id, Arn: role.arn };
  const elements = Object.entries(texts).map(([element, text]) => xmlElement(element, text));
  return [
    ...elements,
    dateElement("CreateDate", role.createdMs),
    documentElement("AssumeRolePolicyDocument", role.trust),
    optional("Description", role.description),
    xmlElement("MaxSessionDuration", role.sessionSecondsMax),
  ].join("");
}

function wholeRoleXml(role: Role): string {
  return `<Role>${roleXml(role)}${boundaryElement(role.boundary)}${tagList(role.tags)}</Role>`;
}

async function createRole({ form, identity, actor }: Call): Promise<string> {
  const role = await identity.directory.createRole({
    account: actor.caller.account,
    name: form.required("RoleName"),
    trust: form.required("AssumeRolePolicyDocument"),
    path: form.text("Path"),
    description: form.text("Description"),
    sessionSecondsMax: form.whole("MaxSessionDuration"),
    boundary: form.text("PermissionsBoundary"),
    tags: form.tags(),
  });
  return wholeRoleXml(role);
}

async function getRole({ form, identity, actor }: Call): Promise<string> {
  return wholeRoleXml(await identity.directory.role(actor.caller.account, form.required("RoleName")));
}

async function set(call: Call, change: RoleChange | ((role: RoleRecord) => RoleChange)): Promise<string> {
  await call.identity.directory.setRole(call.actor.caller.account, call.form.required("RoleName"), change);
  return "";
}

/** The answer has a result, which is empty. */
async function updateRole(call: Call): Promise<string> {
  const description = call.form.text("Description");
  const sessionSecondsMax = call.form.whole("MaxSessionDuration");
  await set(call, {
    ...(description !== undefined && { description }),
    ...(sessionSecondsMax !== undefined && { sessionSecondsMax }),
  });
  return " ";
}

async function setBoundary(call: Call, arn: string | undefined): Promise<string> {
  await call.identity.directory.setRoleBoundary(call.actor.caller.account, call.form.required("RoleName"), arn);
  return "";
}

const target = roleTarget;

export const roleActions: Readonly<Record<string, Action>> = {
  CreateRole: { target: newRoleTarget, run: createRole },
  GetRole: { target, run: getRole },
  ListRoles: {
    target: ({ actor }) => ({ arn: `arn:aws:iam::${actor.caller.account}:role/` }),
    run: (call) =>
      rowsPage(call, {
        element: "Roles",
        rows: (options) => call.identity.directory.roles(options),
        isWanted: () => true,
        xml: roleXml,
      }),
  },
  UpdateRole: { target, run: updateRole },
  UpdateAssumeRolePolicy: { target, run: (call) => set(call, { trust: call.form.required("PolicyDocument") }) },
  DeleteRole: {
    target,
    run: async ({ form, identity, actor }) => {
      await identity.directory.deleteRole(actor.caller.account, form.required("RoleName"));
      return "";
    },
  },
  TagRole: { target, run: (call) => set(call, ({ tags }) => ({ tags: withTags(tags, call.form.tags() ?? []) })) },
  UntagRole: {
    target,
    run: (call) => set(call, ({ tags }) => ({ tags: withoutTags(tags, call.form.members("TagKeys")) })),
  },
  ListRoleTags: {
    target,
    run: async ({ form, identity, actor }) => {
      const { tags } = await identity.directory.role(actor.caller.account, form.required("RoleName"));
      return `${tagList(tags)}<IsTruncated>false</IsTruncated>`;
    },
  },
  PutRolePermissionsBoundary: { target, run: (call) => setBoundary(call, call.form.required("PermissionsBoundary")) },
  DeleteRolePermissionsBoundary: { target, run: (call) => setBoundary(call, undefined) },
  /** There are no machines to which a role could be given; clients ask before they delete a role. */
  ListInstanceProfilesForRole: {
    target,
    run: async ({ form, identity, actor }) => {
      await identity.directory.role(actor.caller.account, form.required("RoleName"));
      return "<InstanceProfiles/><IsTruncated>false</IsTruncated>";
    },
  },
};
