/**
 * Accounts: what users and buckets belong to. A store has one of its own, whose number is drawn when it is first asked for and
 * kept in a row, so that it moves with the metadata; further ones are for those who share a store and trust each other no more
 * than strangers do.
 */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { scanPages } from "../kv/scan_pages.ts";
import { transact } from "../kv/transact.ts";
import { accountKey, tagRange, tags } from "../meta/keys.ts";
import { noSuch, type IdentityContext } from "./context.ts";
import { checkAccountName, newAccountId } from "./names.ts";
import { decodeAccount, encodeAccount, type AccountRecord } from "./records.ts";

export const ownAccountName = "holdfast";

function newAccount({ clock, random }: IdentityContext, name: string): AccountRecord {
  const canonicalId = Buffer.from(random.bytes(32)).toString("hex");
  return { account: newAccountId(random), canonicalId, name, createdMs: clock.nowMs() };
}

/** The store's own account, made if there is none yet. It never changes. */
export async function ownAccount(ctx: IdentityContext): Promise<AccountRecord> {
  const [known] = await ctx.kv.get([accountKey("")]);
  if (known !== undefined) return decodeAccount(known.value);
  return transact(ctx.kv, async (tx) => {
    const made = newAccount(ctx, ownAccountName);
    const [own, numbered] = await tx.get([accountKey(""), accountKey(made.account)]);
    if (own !== undefined) return decodeAccount(own.value);
    if (numbered !== undefined) throw taken();
    tx.put(accountKey(""), encodeAccount(made));
    tx.put(accountKey(made.account), encodeAccount(made));
    return made;
  });
}

/** Errors: `invalid_argument`, `too_many_of_identity`. Names of accounts need not differ. */
export async function createAccount(ctx: IdentityContext, name: string): Promise<AccountRecord> {
  checkAccountName(name);
  if ((await listAccounts(ctx)).length >= limits.accountsMax)
    throw new HoldfastError("too_many_of_identity", `There are ${limits.accountsMax} accounts, the most there can be.`);
  return transact(ctx.kv, async (tx) => {
    const made = newAccount(ctx, name);
    const [row] = await tx.get([accountKey(made.account)]);
    if (row !== undefined) throw taken();
    tx.put(accountKey(made.account), encodeAccount(made));
    return made;
  });
}

/** A number that was drawn twice: one in 10^12, for each account that there is. */
function taken(): HoldfastError {
  return new HoldfastError("entity_already_exists", "The number of the new account is taken; try again.");
}

/** Errors: `no_such_entity`. */
export async function readAccount({ kv }: IdentityContext, account: string): Promise<AccountRecord> {
  const [row] = /^\d{12}$/.test(account) ? await kv.get([accountKey(account)]) : [];
  if (row === undefined) throw noSuch("account", account);
  return decodeAccount(row.value);
}

export async function listAccounts(ctx: IdentityContext): Promise<AccountRecord[]> {
  await ownAccount(ctx);
  const found: AccountRecord[] = [];
  for await (const rows of scanPages(ctx.kv, tagRange(tags.account))) {
    for (const { key, value } of rows) if (key.length > 1) found.push(decodeAccount(value));
  }
  return found;
}
