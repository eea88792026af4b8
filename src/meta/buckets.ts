/**
 * The bucket's row: `bucket/<name>`. Every write to the bucket checks it, so a change here is ordered against all.
 * `gone/<bucket id>`: written by the commit that deletes a bucket with uploads under way; a job ends them.
 */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { BUCKET_ID_BYTES } from "../core/ids.ts";
import type { BucketId } from "../core/ids.ts";
import { isRedundancy, type AskedRedundancies, type Redundancy } from "../core/redundancy.ts";
import { readBucketQuota, writeBucketQuota, type BucketQuota } from "./quotas.ts";

export type BucketRecord = {
  readonly id: BucketId;
  readonly createdMs: number;
  readonly region: string;
  readonly state: "active" | "deleting";
  /** Raised by a snapshot (later work): a write over a version of an older epoch keeps the old one. */
  readonly epoch: number;
  readonly versioning: Versioning;
  /** Object lock was switched on; it never goes off again. */
  readonly objectLock: boolean;
  /** Bit n: there is a configuration document of kind n (meta/configurations.ts), to be read from its own row. */
  readonly configured: number;
  /** Raised by every change of a setting or a document: what was made of them may be kept under (bucket id, revision). */
  readonly revision: number;
  /** 12 digits: the account that the bucket belongs to; undefined: the store's own. */
  readonly account: string | undefined;
  /** Undefined: sessions count in rows of their own, and nothing bounds them. */
  readonly quota: BucketQuota | undefined;
} & AskedRedundancies;

export type Versioning = "unversioned" | "enabled" | "suspended";

/** What a bucket begins with. */
export const newBucketSettings = {
  state: "active",
  epoch: 0,
  redundancy: undefined,
  reducedRedundancy: undefined,
  versioning: "unversioned",
  objectLock: false,
  configured: 0,
  revision: 0,
  account: undefined,
  quota: undefined,
} as const satisfies Partial<BucketRecord>;

/**
 * Version 1 had no redundancy, version 2 nothing behind it. Version 4 ends with a quota, and is only written where there is one;
 * version 5 with the redundancy of the reduced class, and then the quota if there is one, and is only written where that class has one.
 */
const newestVersion = 5;
const quotaVersion = 4;
const plainVersion = 3;
const states = ["active", "deleting"] as const;
const versionings = ["unversioned", "enabled", "suspended"] as const;

export function encodeBucket(bucket: BucketRecord): Buffer {
  const writer = new ByteWriter()
    .u8(versionOf(bucket))
    .hex(bucket.id)
    .u8(states.indexOf(bucket.state))
    .varint(bucket.epoch)
    .varint(bucket.createdMs)
    .string(bucket.region)
    .u8(bucket.redundancy?.dataShards ?? 0)
    .u8(bucket.redundancy?.parityShards ?? 0)
    .u8(versionings.indexOf(bucket.versioning))
    .u8(bucket.objectLock ? 1 : 0)
    .varint(bucket.configured)
    .varint(bucket.revision)
    .string(bucket.account ?? "");
  const { reducedRedundancy: reduced, quota } = bucket;
  if (reduced !== undefined)
    writer
      .u8(reduced.dataShards)
      .u8(reduced.parityShards)
      .u8(quota === undefined ? 0 : 1);
  if (quota !== undefined) writeBucketQuota(writer, quota);
  return writer.finish();
}

function versionOf({ reducedRedundancy, quota }: BucketRecord): number {
  if (reducedRedundancy !== undefined) return newestVersion;
  return quota === undefined ? plainVersion : quotaVersion;
}

export function decodeBucket(value: Uint8Array): BucketRecord {
  const reader = new ByteReader(value, "bucket");
  const version = reader.version(newestVersion);
  const id = reader.hex(BUCKET_ID_BYTES) as BucketId;
  const state = states[reader.u8()];
  if (state === undefined) throw reader.corrupt("its state is not known");
  const bucket = { id, state, epoch: reader.varint(), createdMs: reader.varint(), region: reader.string() };
  const redundancy = version === 1 ? undefined : readRedundancy(reader);
  const settings = version < 3 ? oldSettings : readSettings(reader);
  const rest = version < quotaVersion ? noRest : version === quotaVersion ? readQuota(reader) : readRest(reader);
  reader.end();
  return { ...bucket, redundancy, ...settings, ...rest };
}

type Rest = Pick<BucketRecord, "reducedRedundancy" | "quota">;
const noRest: Rest = { reducedRedundancy: undefined, quota: undefined };

function readQuota(reader: ByteReader): Rest {
  return { ...noRest, quota: readBucketQuota(reader) };
}

function readRest(reader: ByteReader): Rest {
  const reducedRedundancy = readRedundancy(reader);
  const hasQuota = reader.u8();
  if (hasQuota > 1) throw reader.corrupt("whether it has a quota is not known");
  return { reducedRedundancy, quota: hasQuota === 0 ? undefined : readBucketQuota(reader) };
}

const { versioning, objectLock, configured, revision, account } = newBucketSettings;
const oldSettings = { versioning, objectLock, configured, revision, account };

function readSettings(reader: ByteReader): Pick<BucketRecord, keyof typeof oldSettings> {
  const found = versionings[reader.u8()];
  if (found === undefined) throw reader.corrupt("its versioning is not known");
  const lock = reader.u8();
  if (lock > 1) throw reader.corrupt("its object lock is not known");
  const settings = { configured: reader.varint(), revision: reader.varint() };
  const owner = reader.string();
  return { versioning: found, objectLock: lock === 1, ...settings, account: owner === "" ? undefined : owner };
}

/** A gone row says everything in its key; its value is a format version. */
export function encodeGone(): Buffer {
  return new ByteWriter().u8(1).finish();
}

export function decodeGone(value: Uint8Array): void {
  const reader = new ByteReader(value, "gone");
  reader.version(1);
  reader.end();
}

function readRedundancy(reader: ByteReader): Redundancy | undefined {
  const redundancy = { dataShards: reader.u8(), parityShards: reader.u8() };
  if (redundancy.dataShards === 0 && redundancy.parityShards === 0) return undefined;
  if (!isRedundancy(redundancy)) throw reader.corrupt("its redundancy is none there is");
  return redundancy;
}
