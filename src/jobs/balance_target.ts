/** The drives among which everything is being laid out, as the `balance` row says: the same list while nothing changes. */
import type { PlacementDrive } from "../blob/placement.ts";
import { absent, type Kv, type Version } from "../kv/kv.ts";
import { transact } from "../kv/transact.ts";
import { balanceKey, decodeBalance, encodeBalance, type BalanceRecord } from "../meta/balance.ts";
import { balancedFor, isSameSet, targetOf } from "./balance_plan.ts";

export type Balance = {
  readonly record: BalanceRecord | undefined;
  readonly version: Version;
  /** Undefined where the record is for other drives than these. */
  readonly target: readonly PlacementDrive[] | undefined;
};

export class BalanceTarget {
  readonly #kv: Kv;
  #last: { readonly drives: readonly PlacementDrive[]; readonly balance: Balance } | undefined;

  constructor(kv: Kv) {
    this.#kv = kv;
  }

  async look(drives: readonly PlacementDrive[]): Promise<Balance> {
    const [row] = await this.#kv.get([balanceKey()]);
    const version = row?.version ?? absent;
    const last = this.#last;
    if (last !== undefined && last.balance.version === version && isSameList(last.drives, drives)) return last.balance;
    const record = row && decodeBalance(row.value);
    const balance = { record, version, target: record && targetOf(record, drives) };
    this.#last = { drives, balance };
    return balance;
  }
}

/** To be called before much is put where placement would not have it, so that it is moved back when all is well. */
export async function unsettle(kv: Kv): Promise<void> {
  await transact(kv, async (tx) => {
    const [row] = await tx.get([balanceKey()]);
    const record = row && decodeBalance(row.value);
    if (record?.isSettled === true) tx.put(balanceKey(), encodeBalance({ ...record, isSettled: false }));
  });
}

/** A drive that is full for a while makes no other list. */
function isSameList(a: readonly PlacementDrive[], b: readonly PlacementDrive[]): boolean {
  if (a.length === b.length && a.every((drive, at) => drive === b[at])) return true;
  return isSameSet(balancedFor(a), balancedFor(b));
}
