/** The keys of quotas' rows (records in quotas.ts). */
import { SESSION_ID_BYTES } from "../core/ids.ts";
import type { BucketId, SessionId, UploadId } from "../core/ids.ts";
import { bucketNameOf, tags, textKey, usageKey } from "./keys.ts";

/** Stands in the usage row of a bucket that is counted in one place, for all sessions. No session has it: its first bytes are a time. */
export const countedSession = "f".repeat(SESSION_ID_BYTES * 2) as SessionId;

export function countedKey(bucket: BucketId): Buffer {
  return usageKey(bucket, countedSession);
}

/** Bytes of the parts of an upload that is counted. */
export function heldKey(upload: UploadId): Buffer {
  return Buffer.from(tags.held.toString(16) + upload, "hex");
}

export function heldUploadOf(row: Buffer): UploadId {
  return row.toString("hex", 1) as UploadId;
}

/** Empty: the store's own account. */
export function accountQuotaKey(account: string): Buffer {
  return textKey(tags.quota, account);
}

export function accountUsageKey(account: string): Buffer {
  return textKey(tags.holding, account);
}

/** Of either row. */
export function quotaAccountOf(row: Uint8Array): string {
  return bucketNameOf(row);
}
