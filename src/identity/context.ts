/** What the operations on identities work with. */
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import type { Entry, Kv } from "../kv/kv.ts";
import { accountKey, namedKey, prefixRange, type Tag } from "../meta/keys.ts";
import type { Transaction } from "../kv/transact.ts";

export type IdentityContext = { readonly kv: Kv; readonly clock: Clock; readonly random: Random };

export type ListOptions = {
  readonly account: string;
  /** A name: the list begins behind it. */
  readonly after?: string | undefined;
  readonly limit: number;
};

/** Puts a row that is new, in an account that there is. Errors: `no_such_entity`, `entity_already_exists`. */
export async function putNew(
  tx: Transaction,
  {
    tag,
    account,
    name,
    value,
  }: { readonly tag: Tag; readonly account: string; readonly name: string; readonly value: Buffer },
): Promise<void> {
  const key = rowKey(tag, account, name);
  const [row, owner] = await tx.get([key, accountKey(account)]);
  if (owner === undefined) throw noSuch("account", account);
  if (row !== undefined) throw new HoldfastError("entity_already_exists", `The name ${name} is taken already.`);
  tx.put(key, value);
}

/** Errors: `no_such_entity` where the account cannot be one. */
export function rowKey(tag: Tag, account: string, name: string): Buffer {
  if (!/^\d{12}$/.test(account)) throw noSuch("account", account);
  return namedKey(tag, account, name);
}

/** A page of the rows of one account, in the order of their names in lower case. */
export function namedRows({ kv }: IdentityContext, tag: Tag, options: ListOptions): Promise<Entry[]> {
  const { account, after, limit } = options;
  const range = prefixRange(rowKey(tag, account, ""));
  const start = after === undefined ? range.start : Buffer.concat([clipped(rowKey(tag, account, after)), Buffer.of(0)]);
  return kv.scan({ start, end: range.end }, { limit: Math.min(limit, limits.listPageKeysMax) });
}

/** A marker may be longer than any row's key: the same names lie behind its beginning. */
function clipped(key: Buffer): Buffer {
  return key.subarray(0, 1 + 12 + limits.groupNameCharsMax);
}

export function noSuch(what: string, name: string): HoldfastError {
  return new HoldfastError("no_such_entity", `There is no ${what} ${name}.`);
}

export function tooMany(message: string): HoldfastError {
  return new HoldfastError("too_many_of_identity", message);
}
