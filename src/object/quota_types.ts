/** What the doors can ask about quotas: a part of `Objects`. */
import type { Held, Quota } from "../meta/quotas.ts";

export type { Held, Quota } from "../meta/quotas.ts";

/** `held` undefined: it is not counted in one place, for it never had a quota. */
export type QuotaView = { readonly quota: Quota; readonly held: Held | undefined };

/** `name`: of a bucket, or an account's number (empty: the store's own). */
export type NamedQuota = {
  readonly of: "bucket" | "account";
  readonly name: string;
  readonly quota: Quota;
  readonly held: Held;
};

export type QuotaCalls = {
  /** `no_such_bucket`. */
  quota(bucket: string): Promise<QuotaView>;
  /**
   * In the place of any before. What is there already stays, also where it is more: then nothing can be added. It holds when
   * this resolves. `no_such_bucket`, `slow_down` where the bucket's uploads change too fast to be counted.
   */
  setQuota(bucket: string, quota: Quota): Promise<QuotaView>;
  /** Of all the buckets of an account together; undefined: the store's own. Whether there is such an account is not looked at. */
  accountQuota(account: string | undefined): Promise<QuotaView>;
  setAccountQuota(account: string | undefined, quota: Quota): Promise<QuotaView>;
  /** All quotas that there are, or many of them: see store_usage.ts. */
  quotas(): Promise<readonly NamedQuota[]>;
};
