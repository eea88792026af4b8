/**
 * The operator's door to accounts, users, groups, roles and policies. All of it is ManageIdentities; `?account=` where it is not the
 * store's own; lists take `?after=`. A policy is named by its ARN or its name.
 *
 *   GET, POST    /_/admin/accounts                   {"name"}
 *   GET, POST    /_/admin/users                      {"name", "path"?}
 *   GET, DELETE  /_/admin/users/NAME
 *   PUT          /_/admin/users/NAME                 {"boundary": a policy or null}
 *   PUT, DELETE  /_/admin/users/NAME/groups/GROUP
 *   GET, POST    /_/admin/groups                     {"name", "path"?}
 *   GET, DELETE  /_/admin/groups/NAME
 *   GET, POST    /_/admin/roles                      {"name", "trust": text, "path"?, "description"?, "sessionSecondsMax"?: number}
 *   GET, DELETE  /_/admin/roles/NAME
 *   PUT          /_/admin/roles/NAME                 {"trust": text}, {"sessionSecondsMax": number} or {"boundary": a policy or null}
 *   PUT, DELETE  /_/admin/users|groups|roles/NAME/policies/POLICY    attaches, detaches
 *   PUT, DELETE  /_/admin/users|groups|roles/NAME/inline/NAME        {"document": text}
 *   GET, POST    /_/admin/policies                   {"name", "document": text, "description"?, "path"?}
 *   GET, DELETE  /_/admin/policies/POLICY
 *   PUT          /_/admin/policies/POLICY            {"document": text}: a new version, or {"version": "v1"}: the one that counts
 */
import { type DoorReply, type DoorRequest, jsonReply, methodNotAllowed, noSuchAddress } from "../core/door.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { PolicyHolder } from "../identity/attached.ts";
import type { Directory } from "../identity/directory.ts";
import type { Group } from "../identity/groups.ts";
import type { ManagedPolicy } from "../identity/managed_policies.ts";
import { versionIdOf, versionNumberOf } from "../identity/policy_versions.ts";
import type { AccountRecord } from "../identity/records.ts";
import type { Role } from "../identity/roles.ts";
import type { User } from "../identity/users.ts";
import { readJsonObject, textField } from "./json_body.ts";

type Call = {
  readonly directory: Directory;
  readonly request: DoorRequest;
  readonly account: string;
  /** The third part of the address, and the fifth. */
  readonly name: string;
  readonly member: string;
};

type Run = (call: Call) => Promise<DoorReply>;

const done: DoorReply = { status: 204, headers: [] };
const families = new Set(["accounts", "users", "groups", "roles", "policies"]);

export function isIdentities({ segments }: DoorRequest): boolean {
  return segments[0] === "admin" && families.has(segments[1] ?? "") && segments.length <= 5;
}

/** The caller has been found to be one who may do it. */
export async function runIdentities(directory: Directory, request: DoorRequest): Promise<DoorReply> {
  const { segments, query, method } = request;
  // `users/*/groups/*`
  const place = segments
    .slice(1)
    .map((segment, index) => (index % 2 === 0 ? segment : "*"))
    .join("/");
  const methods = calls[place];
  if (methods === undefined) throw noSuchAddress();
  const run = methods[method === "HEAD" ? "GET" : method];
  if (run === undefined) throw methodNotAllowed(Object.keys(methods).join(", "));
  const account = query.get("account") ?? (await directory.ownAccount()).account;
  return run({ directory, request, account, name: segments[2] ?? "", member: segments[4] ?? "" });
}

const calls: Readonly<Record<string, Readonly<Record<string, Run>>>> = {
  accounts: {
    GET: async ({ directory }) => jsonReply(200, { accounts: (await directory.accounts()).map(accountJson) }),
    POST: async (call) => {
      const name = needed(await body(call, "name"), "name");
      return jsonReply(201, accountJson(await call.directory.createAccount(name)));
    },
  },
  users: {
    GET: (call) => page(call, "users", (options) => call.directory.users(options), userJson),
    POST: async (call) => jsonReply(201, userJson(await call.directory.createUser(await named(call)))),
  },
  "users/*": {
    GET: async ({ directory, account, name }) => jsonReply(200, userJson(await directory.user(account, name))),
    PUT: setBoundary,
    DELETE: ({ directory, account, name }) => finish(directory.deleteUser(account, name)),
  },
  "users/*/groups/*": { PUT: (call) => join(call, true), DELETE: (call) => join(call, false) },
  groups: {
    GET: (call) => page(call, "groups", (options) => call.directory.groups(options), groupJson),
    POST: async (call) => jsonReply(201, groupJson(await call.directory.createGroup(await named(call)))),
  },
  "groups/*": {
    GET: async ({ directory, account, name }) => jsonReply(200, groupJson(await directory.group(account, name))),
    DELETE: ({ directory, account, name }) => finish(directory.deleteGroup(account, name)),
  },
  roles: {
    GET: (call) => page(call, "roles", (options) => call.directory.roles(options), roleJson),
    POST: createRole,
  },
  "roles/*": {
    GET: async ({ directory, account, name }) => jsonReply(200, roleJson(await directory.role(account, name))),
    PUT: changeRole,
    DELETE: ({ directory, account, name }) => finish(directory.deleteRole(account, name)),
  },
  ...ofHolder("users", "user"),
  ...ofHolder("groups", "group"),
  ...ofHolder("roles", "role"),
  policies: {
    GET: (call) => page(call, "policies", (options) => call.directory.policies(options), policyJson),
    POST: createPolicy,
  },
  "policies/*": {
    GET: showPolicy,
    PUT: changePolicy,
    DELETE: removePolicy,
  },
};

function ofHolder(place: string, kind: PolicyHolder["kind"]): typeof calls {
  const holder = ({ account, name }: Call): PolicyHolder => ({ kind, account, name });
  return {
    [`${place}/*/policies/*`]: {
      PUT: async (call) => finish(call.directory.attachPolicy(holder(call), await arnOf(call, call.member))),
      DELETE: async (call) => finish(call.directory.detachPolicy(holder(call), await arnOf(call, call.member))),
    },
    [`${place}/*/inline/*`]: {
      PUT: async (call) => {
        const document = needed(await body(call, "document"), "document");
        return finish(call.directory.putInlinePolicy(holder(call), { name: call.member, document }));
      },
      DELETE: (call) => finish(call.directory.deleteInlinePolicy(holder(call), call.member)),
    },
  };
}

async function finish(work: Promise<void>): Promise<DoorReply> {
  await work;
  return done;
}

function arnOf({ directory, account }: Call, policy: string): Promise<string> {
  return directory.findPolicyArn(account, policy);
}

function body({ request }: Call, ...known: string[]): Promise<Record<string, unknown>> {
  return readJsonObject(request.body(), known);
}

function needed(fields: Record<string, unknown>, name: string): string {
  const value = textField(fields, name);
  if (value === undefined) throw new HoldfastError("invalid_argument", `"${name}" is missing.`);
  return value;
}

async function named(call: Call) {
  const fields = await body(call, "name", "path");
  return { account: call.account, name: needed(fields, "name"), path: textField(fields, "path") };
}

async function setBoundary(call: Call): Promise<DoorReply> {
  const arn = await boundaryIn(call, await body(call, "boundary"));
  return finish(call.directory.setBoundary(call.account, call.name, arn));
}

async function boundaryIn(call: Call, fields: Record<string, unknown>): Promise<string | undefined> {
  return fields["boundary"] === null ? undefined : arnOf(call, needed(fields, "boundary"));
}

async function createRole(call: Call): Promise<DoorReply> {
  const fields = await body(call, "name", "path", "trust", "description", "sessionSecondsMax");
  const made = await call.directory.createRole({
    account: call.account,
    name: needed(fields, "name"),
    trust: needed(fields, "trust"),
    path: textField(fields, "path"),
    description: textField(fields, "description"),
    sessionSecondsMax: secondsIn(fields),
  });
  return jsonReply(201, roleJson(made));
}

async function changeRole(call: Call): Promise<DoorReply> {
  const { directory, account, name } = call;
  const fields = await body(call, "trust", "sessionSecondsMax", "boundary");
  if (Object.keys(fields).length !== 1)
    throw new HoldfastError("invalid_argument", `Give one of "trust", "sessionSecondsMax" and "boundary".`);
  if ("boundary" in fields) return finish(directory.setRoleBoundary(account, name, await boundaryIn(call, fields)));
  const sessionSecondsMax = secondsIn(fields);
  const change = sessionSecondsMax === undefined ? { trust: needed(fields, "trust") } : { sessionSecondsMax };
  return finish(directory.setRole(account, name, change));
}

function secondsIn(fields: Record<string, unknown>): number | undefined {
  const value = fields["sessionSecondsMax"];
  if (value === undefined || typeof value === "number") return value;
  throw new HoldfastError("invalid_argument", `"sessionSecondsMax" must be a number.`);
}

function join({ directory, account, name, member }: Call, isMember: boolean): Promise<DoorReply> {
  return finish(directory.setMembership(account, { user: name, group: member, isMember }));
}

async function createPolicy(call: Call): Promise<DoorReply> {
  const fields = await body(call, "name", "path", "document", "description");
  const made = await call.directory.createPolicy({
    account: call.account,
    name: needed(fields, "name"),
    document: needed(fields, "document"),
    path: textField(fields, "path"),
    description: textField(fields, "description"),
  });
  return jsonReply(201, policyJson(made));
}

async function showPolicy(call: Call): Promise<DoorReply> {
  const arn = await arnOf(call, call.name);
  const policy = await call.directory.managedPolicy(call.account, arn);
  const versions = policy.versions.map(({ number, createdMs }) => ({
    version: versionIdOf(number),
    createdAt: new Date(createdMs).toISOString(),
  }));
  const { name, document } = policy;
  return jsonReply(200, { arn, name, document, version: versionIdOf(policy.defaultVersion), versions });
}

async function changePolicy(call: Call): Promise<DoorReply> {
  const { directory, account, name } = call;
  const fields = await body(call, "document", "version");
  if (Object.keys(fields).length !== 1)
    throw new HoldfastError("invalid_argument", `Give one of "document" and "version".`);
  const arn = await arnOf(call, name);
  const changed =
    "version" in fields
      ? directory.setDefaultPolicyVersion(account, arn, versionNumberOf(needed(fields, "version")))
      : directory.setPolicyDocument(account, arn, needed(fields, "document"));
  return jsonReply(200, policyJson(await changed));
}

/** The operator's commands keep no versions apart, so they go with it. */
async function removePolicy(call: Call): Promise<DoorReply> {
  const arn = await arnOf(call, call.name);
  return finish(call.directory.deletePolicy(call.account, arn, { withVersions: true }));
}

async function page<T extends { readonly name: string }>(
  { request, account }: Call,
  what: string,
  list: (options: { account: string; after: string | undefined; limit: number }) => Promise<T[]>,
  json: (value: T) => object,
): Promise<DoorReply> {
  const limit = limits.listPageKeysMax;
  const found = await list({ account, after: request.query.get("after"), limit });
  return jsonReply(200, { [what]: found.map(json), next: found.length === limit ? found.at(-1)!.name : null });
}

function accountJson({ createdMs, ...account }: AccountRecord): object {
  return { ...account, createdAt: new Date(createdMs).toISOString() };
}

function userJson({ createdMs, boundary, managed: policies, ...user }: User): object {
  return { ...user, policies, boundary: boundary ?? null, createdAt: new Date(createdMs).toISOString() };
}

function roleJson({ createdMs, boundary, managed: policies, ...role }: Role): object {
  return { ...role, policies, boundary: boundary ?? null, createdAt: new Date(createdMs).toISOString() };
}

function groupJson({ createdMs, managed: policies, ...group }: Group): object {
  return { ...group, policies, createdAt: new Date(createdMs).toISOString() };
}

function policyJson(policy: ManagedPolicy): object {
  const { createdMs, updatedMs, versions: _, defaultVersion, lastVersion: __, ...shown } = policy;
  const [createdAt, updatedAt] = [createdMs, updatedMs].map((ms) => new Date(ms).toISOString());
  return { ...shown, version: versionIdOf(defaultVersion), createdAt, updatedAt };
}
