/** GetAccountSummary: how many of each there are in the account, and how many of each there may be. */
import { limits } from "../core/limits.ts";
import { xmlElement } from "../gateway/xml.ts";
import type { ListOptions } from "../identity/context.ts";
import type { Action, Call } from "./call.ts";
import { QueryError } from "./faults.ts";

/** What nothing bounds is said to be bounded by the largest number that SDKs read. */
const unbounded = 0x7fff_ffff;

const quotas: Readonly<Record<string, number>> = {
  UsersQuota: unbounded,
  GroupsQuota: unbounded,
  RolesQuota: unbounded,
  PoliciesQuota: unbounded,
  AccessKeysPerUserQuota: limits.accessKeysOfUserMax,
  GroupsPerUserQuota: limits.groupsOfUserMax,
  AttachedPoliciesPerUserQuota: limits.managedPoliciesMax,
  AttachedPoliciesPerGroupQuota: limits.managedPoliciesMax,
  AttachedPoliciesPerRoleQuota: limits.managedPoliciesMax,
  VersionsPerPolicyQuota: limits.policyVersionsMax,
  MFADevices: 0,
  MFADevicesInUse: 0,
  AccountMFAEnabled: 0,
};

async function count(
  account: string,
  rows: (options: ListOptions) => Promise<readonly { readonly name: string }[]>,
): Promise<number> {
  const limit = limits.iamPageItemsMax;
  let after: string | undefined;
  for (let seen = 0; seen < limits.iamCountedRowsMax;) {
    const read = await rows({ account, after, limit });
    seen += read.length;
    if (read.length < limit) return seen;
    after = read.at(-1)!.name;
  }
  throw new QueryError("LimitExceeded", `More than ${limits.iamCountedRowsMax} entities of a kind are not counted.`);
}

async function getAccountSummary({ actor, identity }: Call): Promise<string> {
  const { account } = actor.caller;
  const { directory } = identity;
  const counts = {
    Users: await count(account, (options) => directory.users(options)),
    Groups: await count(account, (options) => directory.groups(options)),
    Roles: await count(account, (options) => directory.roles(options)),
    Policies: await count(account, (options) => directory.policies(options)),
  };
  const entries = Object.entries({ ...counts, ...quotas });
  const inner = entries.map(([key, value]) => `<entry>${xmlElement("key", key)}${xmlElement("value", value)}</entry>`);
  return `<SummaryMap>${inner.join("")}</SummaryMap>`;
}

export const summaryActions: Readonly<Record<string, Action>> = {
  GetAccountSummary: {
    target: ({ actor }) => ({ arn: `arn:aws:iam::${actor.caller.account}:root` }),
    run: getAccountSummary,
  },
};
