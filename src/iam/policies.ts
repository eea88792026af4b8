/** IAM's actions on managed policies and their versions, and on the policies of users, groups and roles. */
import { xmlElement } from "../gateway/xml.ts";
import type { PolicyHolder } from "../identity/attached.ts";
import type { ManagedPolicy } from "../identity/managed_policies.ts";
import { versionIdOf, versionIn, versionNumberOf } from "../identity/policy_versions.ts";
import type { InlinePolicy, PolicyVersion } from "../identity/records.ts";
import { dateElement, documentElement, itemsPage, optional, rowsPage } from "./answer.ts";
import type { Action, Call, Target } from "./call.ts";
import { QueryError } from "./faults.ts";
import { groupTarget } from "./groups.ts";
import { roleTarget } from "./roles.ts";
import { userTarget } from "./users.ts";

function policyTarget({ form }: Call): Target {
  return { arn: form.required("PolicyArn") };
}

function newPolicyTarget({ form, actor }: Call): Target {
  const path = form.text("Path") ?? "/";
  return { arn: `arn:aws:iam::${actor.caller.account}:policy${path}${form.required("PolicyName")}` };
}

function policyXml(policy: ManagedPolicy): string {
  const texts = { PolicyName: policy.name, PolicyId: policy.id, Arn: policy.arn, Path: policy.path };
  const elements = Object.entries(texts).map(([element, text]) => xmlElement(element, text));
  return [
    ...elements,
    xmlElement("DefaultVersionId", versionIdOf(policy.defaultVersion)),
    xmlElement("AttachmentCount", policy.attachments),
    xmlElement("IsAttachable", true),
    optional("Description", policy.description),
    dateElement("CreateDate", policy.createdMs),
    dateElement("UpdateDate", policy.updatedMs),
  ].join("");
}

function versionXml({ defaultVersion }: ManagedPolicy, { number, createdMs }: PolicyVersion): string {
  const inner =
    xmlElement("VersionId", versionIdOf(number)) + xmlElement("IsDefaultVersion", number === defaultVersion);
  return inner + dateElement("CreateDate", createdMs);
}

function managed({ form, identity, actor }: Call): Promise<ManagedPolicy> {
  return identity.directory.managedPolicy(actor.caller.account, form.required("PolicyArn"));
}

async function createPolicy({ form, identity, actor }: Call): Promise<string> {
  if (form.has("Tags")) throw new QueryError("ValidationError", "Policies have no tags.");
  const policy = await identity.directory.createPolicy({
    account: actor.caller.account,
    name: form.required("PolicyName"),
    document: form.required("PolicyDocument"),
    path: form.text("Path"),
    description: form.text("Description"),
  });
  return `<Policy>${policyXml(policy)}</Policy>`;
}

async function createVersion({ form, identity, actor }: Call): Promise<string> {
  const policy = await identity.directory.createPolicyVersion(actor.caller.account, form.required("PolicyArn"), {
    document: form.required("PolicyDocument"),
    isDefault: form.flag("SetAsDefault") === true,
  });
  return `<PolicyVersion>${versionXml(policy, policy.versions.at(-1)!)}</PolicyVersion>`;
}

async function getVersion(call: Call): Promise<string> {
  const policy = await managed(call);
  const version = versionIn(policy, wantedVersion(call));
  return `<PolicyVersion>${documentElement("Document", version.document)}${versionXml(policy, version)}</PolicyVersion>`;
}

/** The newest first. */
async function listVersions(call: Call): Promise<string> {
  const policy = await managed(call);
  const items = policy.versions.map((version) => ({
    name: String(Number.MAX_SAFE_INTEGER - version.number),
    xml: versionXml(policy, version),
  }));
  return itemsPage(call, "Versions", items);
}

function wantedVersion({ form }: Call): number {
  return versionNumberOf(form.required("VersionId"));
}

async function useVersion(call: Call): Promise<string> {
  const { form, identity, actor } = call;
  const arn = form.required("PolicyArn");
  await identity.directory.setDefaultPolicyVersion(actor.caller.account, arn, wantedVersion(call));
  return "";
}

async function deleteVersion(call: Call): Promise<string> {
  const { form, identity, actor } = call;
  const arn = form.required("PolicyArn");
  await identity.directory.deletePolicyVersion(actor.caller.account, arn, wantedVersion(call));
  return "";
}

async function deletePolicy({ form, identity, actor }: Call): Promise<string> {
  await identity.directory.deletePolicy(actor.caller.account, form.required("PolicyArn"));
  return "";
}

/** Of the account; the built-in ones with the scopes All and AWS are not listed. */
function listPolicies(call: Call): Promise<string> {
  const scope = call.form.text("Scope") ?? "All";
  if (!["All", "Local", "AWS"].includes(scope)) throw new QueryError("ValidationError", "Scope is All, AWS or Local.");
  const isAttachedOnly = call.form.flag("OnlyAttached") === true;
  return rowsPage(call, {
    element: "Policies",
    rows: (options) => (scope === "AWS" ? Promise.resolve([]) : call.identity.directory.policies(options)),
    isWanted: ({ attachments }) => !isAttachedOnly || attachments > 0,
    xml: policyXml,
  });
}

const policyActions: Readonly<Record<string, Action>> = {
  CreatePolicy: { target: newPolicyTarget, run: createPolicy },
  GetPolicy: { target: policyTarget, run: async (call) => `<Policy>${policyXml(await managed(call))}</Policy>` },
  CreatePolicyVersion: { target: policyTarget, run: createVersion },
  GetPolicyVersion: { target: policyTarget, run: getVersion },
  ListPolicyVersions: { target: policyTarget, run: listVersions },
  SetDefaultPolicyVersion: { target: policyTarget, run: useVersion },
  DeletePolicyVersion: { target: policyTarget, run: deleteVersion },
  ListPolicies: { target: ({ actor }) => ({ arn: `arn:aws:iam::${actor.caller.account}:policy/` }), run: listPolicies },
  DeletePolicy: { target: policyTarget, run: deletePolicy },
};

type HolderKind = { readonly kind: PolicyHolder["kind"]; readonly word: string; target(call: Call): Promise<Target> };
type Held = { readonly name: string; readonly managed: readonly string[]; readonly inline: readonly InlinePolicy[] };

function holderOf({ form, actor }: Call, { kind, word }: HolderKind): PolicyHolder {
  return { kind, account: actor.caller.account, name: form.required(`${word}Name`) };
}

function held({ identity: { directory } }: Call, { kind, account, name }: PolicyHolder): Promise<Held> {
  if (kind === "user") return directory.user(account, name);
  return kind === "group" ? directory.group(account, name) : directory.role(account, name);
}

async function getInline(call: Call, kind: HolderKind): Promise<string> {
  const holder = await held(call, holderOf(call, kind));
  const name = call.form.required("PolicyName");
  const policy = holder.inline.find((each) => each.name === name);
  if (policy === undefined) throw new QueryError("NoSuchEntity", `There is no inline policy ${name}.`);
  const names = xmlElement(`${kind.word}Name`, holder.name) + xmlElement("PolicyName", name);
  return names + documentElement("PolicyDocument", policy.document);
}

async function putInline(call: Call, kind: HolderKind): Promise<string> {
  const policy = { name: call.form.required("PolicyName"), document: call.form.required("PolicyDocument") };
  await call.identity.directory.putInlinePolicy(holderOf(call, kind), policy);
  return "";
}

async function listInline(call: Call, kind: HolderKind): Promise<string> {
  const { inline } = await held(call, holderOf(call, kind));
  const items = inline.map(({ name }) => ({ name, xml: name }));
  return itemsPage(call, "PolicyNames", items);
}

async function listAttached(call: Call, kind: HolderKind): Promise<string> {
  const holder = await held(call, holderOf(call, kind));
  const prefix = `:policy${call.form.text("PathPrefix") ?? "/"}`;
  const items = holder.managed
    .filter((arn) => arn.includes(prefix))
    .map((arn) => {
      const name = arn.slice(arn.lastIndexOf("/") + 1);
      return { name: arn, xml: xmlElement("PolicyName", name) + xmlElement("PolicyArn", arn) };
    });
  return itemsPage(call, "AttachedPolicies", items);
}

/** The five actions on the policies of one kind of holder: `PutUserPolicy`, `ListAttachedGroupPolicies`, … */
function actionsOn(kind: HolderKind): Readonly<Record<string, Action>> {
  const { word, target } = kind;
  const withPolicy = async (call: Call): Promise<Target> => {
    const found = await target(call);
    const own = new Map([...(found.own ?? []), ["iam:policyarn", call.form.required("PolicyArn")]] as const);
    return { ...found, own };
  };
  const finish = async (work: Promise<void>): Promise<string> => {
    await work;
    return "";
  };
  return {
    [`Put${word}Policy`]: { target, run: (call) => putInline(call, kind) },
    [`Get${word}Policy`]: { target, run: (call) => getInline(call, kind) },
    [`List${word}Policies`]: { target, run: (call) => listInline(call, kind) },
    [`Delete${word}Policy`]: {
      target,
      run: (call) =>
        finish(call.identity.directory.deleteInlinePolicy(holderOf(call, kind), call.form.required("PolicyName"))),
    },
    [`Attach${word}Policy`]: {
      target: withPolicy,
      run: (call) =>
        finish(call.identity.directory.attachPolicy(holderOf(call, kind), call.form.required("PolicyArn"))),
    },
    [`Detach${word}Policy`]: {
      target: withPolicy,
      run: (call) =>
        finish(call.identity.directory.detachPolicy(holderOf(call, kind), call.form.required("PolicyArn"))),
    },
    [`ListAttached${word}Policies`]: { target, run: (call) => listAttached(call, kind) },
  };
}

export const allPolicyActions: Readonly<Record<string, Action>> = {
  ...policyActions,
  ...actionsOn({ kind: "user", word: "User", target: userTarget }),
  ...actionsOn({ kind: "group", word: "Group", target: groupTarget }),
  ...actionsOn({ kind: "role", word: "Role", target: roleTarget }),
};
