/** The operations on accounts, users, groups, roles and policies as one object; each is described where it is written. */
import * as keys from "./access_keys.ts";
import * as accounts from "./accounts.ts";
import * as attached from "./attached.ts";
import type { IdentityContext } from "./context.ts";
import * as groups from "./groups.ts";
import * as oidc from "./oidc_providers.ts";
import * as policies from "./managed_policies.ts";
import * as versions from "./policy_versions.ts";
import * as roles from "./roles.ts";
import * as users from "./users.ts";

const operations = {
  ownAccount: accounts.ownAccount,
  createAccount: accounts.createAccount,
  account: accounts.readAccount,
  accounts: accounts.listAccounts,
  createUser: users.createUser,
  user: users.readUser,
  users: users.listUsers,
  deleteUser: users.deleteUser,
  setUserTags: users.setUserTags,
  setBoundary: users.setBoundary,
  moveUser: users.moveUser,
  changeUserTags: users.changeUserTags,
  setMembership: users.setMembership,
  createRole: roles.createRole,
  role: roles.readRole,
  roles: roles.listRoles,
  setRole: roles.setRole,
  setRoleBoundary: roles.setRoleBoundary,
  deleteRole: roles.deleteRole,
  createOidcProvider: oidc.createOidcProvider,
  oidcProvider: oidc.readOidcProvider,
  oidcProviders: oidc.listOidcProviders,
  setOidcProvider: oidc.setOidcProvider,
  deleteOidcProvider: oidc.deleteOidcProvider,
  keys: keys.readKeys,
  accountKeys: keys.listAccountKeys,
  createGroup: groups.createGroup,
  group: groups.readGroup,
  groups: groups.listGroups,
  moveGroup: groups.moveGroup,
  deleteGroup: groups.deleteGroup,
  createPolicy: policies.createPolicy,
  policies: policies.listPolicies,
  managedPolicy: policies.readManagedPolicy,
  findPolicyArn: policies.findPolicyArn,
  createPolicyVersion: versions.createPolicyVersion,
  setPolicyDocument: versions.setPolicyDocument,
  setDefaultPolicyVersion: versions.setDefaultPolicyVersion,
  deletePolicyVersion: versions.deletePolicyVersion,
  deletePolicy: policies.deletePolicy,
  attachPolicy: attached.attachPolicy,
  detachPolicy: attached.detachPolicy,
  putInlinePolicy: attached.putInlinePolicy,
  deleteInlinePolicy: attached.deleteInlinePolicy,
} as const;

type Operations = typeof operations;
type Bound<T> = T extends (ctx: IdentityContext, ...args: infer Args) => infer Result
  ? (...args: Args) => Result
  : never;

/** As the operations are, without the context that they work in. */
export type Directory = { readonly [Name in keyof Operations]: Bound<Operations[Name]> };

export function createDirectory(ctx: IdentityContext): Directory {
  type Operation = (ctx: IdentityContext, ...args: unknown[]) => unknown;
  const bound = Object.entries(operations).map(([name, run]) => [name, (run as Operation).bind(undefined, ctx)]);
  return Object.fromEntries(bound) as Directory;
}
