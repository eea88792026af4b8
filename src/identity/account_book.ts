/**
 * Accounts as they are looked up with every request: by number and by canonical id. An account is made once and never changes or
 * goes, so what was read is kept. Who looks for one that there is not makes all of them be read, at most accountsMax rows.
 */
import { listAccounts, ownAccount, readAccount } from "./accounts.ts";
import type { IdentityContext } from "./context.ts";
import type { AccountRecord } from "./records.ts";

export type AccountBook = {
  /** The store's own. */
  own(): Promise<AccountRecord>;
  /** Undefined: the store's own. Errors: `no_such_entity`. */
  ofNumber(account: string | undefined): Promise<AccountRecord>;
  /** Undefined where there is none of that canonical id. */
  ofCanonicalId(id: string): Promise<AccountRecord | undefined>;
};

export function createAccountBook(ctx: IdentityContext): AccountBook {
  let own: AccountRecord | undefined;
  const byNumber = new Map<string, AccountRecord>();
  const byId = new Map<string, AccountRecord>();
  const keep = (record: AccountRecord): AccountRecord => {
    byNumber.set(record.account, record);
    byId.set(record.canonicalId, record);
    return record;
  };
  const ofOwn = async (): Promise<AccountRecord> => (own ??= keep(await ownAccount(ctx)));
  return {
    own: ofOwn,
    ofNumber: async (account) => {
      if (account === undefined) return ofOwn();
      return byNumber.get(account) ?? keep(await readAccount(ctx, account));
    },
    ofCanonicalId: async (id) => {
      if (!byId.has(id) && canonicalIdForm.test(id)) for (const record of await listAccounts(ctx)) keep(record);
      return byId.get(id);
    },
  };
}

const canonicalIdForm = /^[0-9a-f]{64}$/;
