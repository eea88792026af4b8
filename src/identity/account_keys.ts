/**
 * The access keys of an account itself (its root's), by the account: index rows beside the keys' own, in the same commits, so that they are
 * found without looking through all keys of the store. (A user's keys stand in the user's row.)
 *
 * Keys that were made before there was this index get their rows when it is first asked for; a row without account and key says that
 * all have. What is listed is read from the keys' own rows: the index only says where to look.
 *
 * Known gap: a key that a process of an earlier version makes after that, while a cluster is brought to this one, is listed by no account.
 */
import { limits } from "../core/limits.ts";
import type { Kv } from "../kv/kv.ts";
import { keyAfter, scanPages } from "../kv/scan_pages.ts";
import { transact, type Transaction } from "../kv/transact.ts";
import { accessKeyKey, accountKeyKey, accountKeysDoneKey, prefixRange, tagRange, tags } from "../meta/keys.ts";
import type { IdentityContext, ListOptions } from "./context.ts";
import { decodeKeyRecord, type KeyOwner, type KeyRecord } from "./key_record.ts";

const nothing = Buffer.alloc(0);
const accountChars = 12;

/** In the commit that writes the key's own row. */
export function indexKey(tx: Transaction, owner: KeyOwner, accessKey: string): void {
  if (owner.kind === "account") tx.put(accountKeyKey(owner.account, accessKey), nothing);
}

export function unindexKey(tx: Transaction, owner: KeyOwner, accessKey: string): void {
  if (owner.kind === "account") tx.delete(accountKeyKey(owner.account, accessKey));
}

export type AccountKey = { readonly accessKey: string; readonly record: KeyRecord };

/** In the order of the access keys; fewer than `limit` means the end. `after` is an access key, or anything. */
export async function readAccountKeys(
  { kv, ...ctx }: IdentityContext,
  { account, after, limit }: ListOptions,
): Promise<AccountKey[]> {
  await indexOlderKeys({ kv, ...ctx });
  const { start, end } = prefixRange(accountKeyKey(account, ""));
  const first = after === undefined ? start : keyAfter(accountKeyKey(account, after));
  const found: AccountKey[] = [];
  for await (const rows of scanPages(kv, { start: first, end }, limit)) {
    found.push(
      ...(await ownKeys(
        kv,
        account,
        rows.map(({ key }) => key.toString("utf8", 1 + accountChars)),
      )),
    );
    if (found.length >= limit) break;
  }
  return found.slice(0, limit);
}

/** A process of an earlier version removes a key without its row here. */
async function ownKeys(kv: Kv, account: string, accessKeys: readonly string[]): Promise<AccountKey[]> {
  const rows = await kv.get(accessKeys.map(accessKeyKey));
  return rows.flatMap((row, at) => {
    const record = row && decodeKeyRecord(row.value);
    const isOwn = record?.owner.kind === "account" && record.owner.account === account;
    return isOwn ? [{ accessKey: accessKeys[at]!, record }] : [];
  });
}

async function indexOlderKeys({ kv, clock, random }: IdentityContext): Promise<void> {
  const [done] = await kv.get([accountKeysDoneKey()]);
  if (done !== undefined) return;
  for await (const page of scanPages(kv, tagRange(tags.accessKey), limits.iamPageItemsDefault))
    await transact(
      kv,
      async (tx) => {
        // Read again, in the commit: a key may have been removed since.
        const rows = await tx.get(page.map(({ key }) => key));
        for (const row of rows)
          if (row !== undefined) indexKey(tx, decodeKeyRecord(row.value).owner, row.key.toString("utf8", 1));
      },
      { clock, random },
    );
  await kv.commit({ checks: [], writes: [{ kind: "put", key: accountKeysDoneKey(), value: nothing }] });
}
