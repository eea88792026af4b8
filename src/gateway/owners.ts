/** Whose things are, as S3's answers say it: the canonical id of an account, and its name. */
import { anonymousId } from "../access/acl.ts";
import { escapeXml } from "./xml.ts";

export type Account = { readonly account: string; readonly canonicalId: string; readonly name: string };

/** The accounts that there are (identity/account_book.ts). */
export type Accounts = {
  own(): Promise<Account>;
  /** Undefined: the store's own. Errors: `no_such_entity`. */
  ofNumber(account: string | undefined): Promise<Account>;
  ofCanonicalId(id: string): Promise<Account | undefined>;
};

export type Owner = { readonly id: string; readonly displayName: string | undefined };

/** Of a bucket's account; undefined: the store's own. */
export async function ownerOfAccount(accounts: Accounts, account: string | undefined): Promise<Owner> {
  const { canonicalId, name } = await accounts.ofNumber(account);
  return { id: canonicalId, displayName: name };
}

/** Of a canonical id. Nobody knows the name of whoever signs nothing, or of an account that came from elsewhere. */
export async function ownerOfId(accounts: Accounts, id: string): Promise<Owner> {
  const found = id === anonymousId ? undefined : await accounts.ofCanonicalId(id);
  return { id, displayName: found?.name };
}

/** Of everything in a listing: its own owner where it has one, or the bucket's account. */
export async function ownersOf(
  accounts: Accounts,
  account: string | undefined,
  ids: Iterable<string | undefined>,
): Promise<(id: string | undefined) => Owner> {
  const bucketOwner = await ownerOfAccount(accounts, account);
  const others = new Map<string, Owner>();
  for (const id of ids) if (id !== undefined && !others.has(id)) others.set(id, await ownerOfId(accounts, id));
  return (id) => (id === undefined ? undefined : others.get(id)) ?? bucketOwner;
}

export function ownerXml({ id, displayName }: Owner, element = "Owner"): string {
  return `<${element}>${ownerParts({ id, displayName })}</${element}>`;
}

/** What stands inside Owner, Initiator and Grantee. */
export function ownerParts({ id, displayName }: Owner): string {
  const name = displayName === undefined ? "" : `<DisplayName>${escapeXml(displayName)}</DisplayName>`;
  return `<ID>${escapeXml(id)}</ID>${name}`;
}
