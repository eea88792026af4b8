/**
 * Quotas: how much a bucket, or all buckets of an account, may hold (docs/quotas.md, docs/decisions/0021-quotas.md).
 *
 *   a bucket's row                    the bucket's own quota, and how far it is counted in one place
 *   usage/<bucket id><ff…>            what a counted bucket holds: one row for all sessions, which a quota bounds
 *   held/<upload id>                  bytes of the parts of an upload that is counted
 *   quota/<account>                   the quota of an account (empty: the store's own)
 *   holding/<account>                 what all counted buckets of the account hold, together
 *
 * A bucket that is counted stays so: a quota that is taken away leaves the counting as it is.
 */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { limits } from "../core/limits.ts";
import { readCounters } from "../kv/kv.ts";

/** Undefined: as much as one likes. */
export type Quota = {
  /** Of all versions, and of the parts of uploads under way. */
  readonly bytesMax: number | undefined;
  /** Versions, noncurrent ones and delete markers too. */
  readonly objectsMax: number | undefined;
};

export type BucketQuota = Quota & {
  /** The counters are whole, so the quota holds. Until then changes are only counted. */
  readonly isCounted: boolean;
  /** `joining`: changes count for the account too, and what was there before is still to be added. */
  readonly account: "none" | "joining" | "joined";
};

/** `isCounted`: all its buckets have joined, so the quota holds. */
export type AccountQuotaRecord = Quota & { readonly isCounted: boolean };

export const noQuota: Quota = { bytesMax: undefined, objectsMax: undefined };

const accountStates = ["none", "joining", "joined"] as const;

export function isBounded({ bytesMax, objectsMax }: Quota): boolean {
  return bytesMax !== undefined || objectsMax !== undefined;
}

export function writeBucketQuota(writer: ByteWriter, quota: BucketQuota): ByteWriter {
  return writeQuota(writer, quota).u8(accountStates.indexOf(quota.account));
}

export function readBucketQuota(reader: ByteReader): BucketQuota {
  const quota = readQuota(reader);
  const account = accountStates[reader.u8()];
  if (account === undefined) throw reader.corrupt("how far it counts for its account is not known");
  return { ...quota, account };
}

export function encodeAccountQuota(quota: AccountQuotaRecord): Buffer {
  return writeQuota(new ByteWriter().u8(1), quota).finish();
}

export function decodeAccountQuota(value: Uint8Array): AccountQuotaRecord {
  const reader = new ByteReader(value, "account quota");
  reader.version(1);
  const quota = readQuota(reader);
  reader.end();
  return quota;
}

function writeQuota(writer: ByteWriter, { bytesMax, objectsMax, isCounted }: AccountQuotaRecord): ByteWriter {
  return writer
    .varint(bytesMax === undefined ? 0 : bytesMax + 1)
    .varint(objectsMax === undefined ? 0 : objectsMax + 1)
    .u8(isCounted ? 1 : 0);
}

function readQuota(reader: ByteReader): AccountQuotaRecord {
  const [bytes, objects, counted] = [reader.varint(), reader.varint(), reader.u8()];
  if (bytes > limits.quotaMax + 1 || objects > limits.quotaMax + 1) throw reader.corrupt("it is beyond every quota");
  if (counted > 1) throw reader.corrupt("how far it is counted is not known");
  return {
    bytesMax: bytes === 0 ? undefined : bytes - 1,
    objectsMax: objects === 0 ? undefined : objects - 1,
    isCounted: counted === 1,
  };
}

/** What a quota bounds. `objects`: versions of every kind; `bytes`: of them and of parts. */
export type Held = { readonly objects: number; readonly bytes: number };

/** The counters that a counted bucket's row has beside those of every usage row (objects, bytes, versions), and in their order. */
export const countedPlaces = { objects: 3, bytes: 4, sinceObjects: 5, sinceBytes: 6 } as const;

/** Of a counted bucket's row: in all, and since the bucket began to count for its account until it had joined. */
export function readCounted(value: Uint8Array | undefined): { readonly held: Held; readonly since: Held } {
  const counters = value === undefined ? [] : readCounters(value);
  const at = (place: number): number => counters[place] ?? 0;
  return {
    held: { objects: at(countedPlaces.objects), bytes: at(countedPlaces.bytes) },
    since: { objects: at(countedPlaces.sinceObjects), bytes: at(countedPlaces.sinceBytes) },
  };
}

/** Of an account's usage row. */
export function readHeld(value: Uint8Array | undefined): Held {
  const [objects = 0, bytes = 0] = value === undefined ? [] : readCounters(value);
  return { objects, bytes };
}

/** A row of one counter, as `add` would make it. */
export function encodeCounter(count: number): Buffer {
  const value = Buffer.alloc(8);
  value.writeBigInt64BE(BigInt(count));
  return value;
}
