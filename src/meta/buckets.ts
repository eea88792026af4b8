/** The bucket's row: `bucket/<name>`. Every write to the bucket checks it, so a change here is ordered against all. */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { BUCKET_ID_BYTES } from "../core/ids.ts";
import type { BucketId } from "../core/ids.ts";
import { isRedundancy, type Redundancy } from "../core/redundancy.ts";

export type BucketRecord = {
  readonly id: BucketId;
  readonly createdMs: number;
  readonly region: string;
  readonly state: "active" | "deleting";
  /** Raised by a snapshot (later work): a write over a version of an older epoch keeps the old one. */
  readonly epoch: number;
  /** What new chunks are stored with; undefined: the store's default. */
  readonly redundancy: Redundancy | undefined;
};

/** Version 1 had no redundancy. */
const newestVersion = 2;
const states = ["active", "deleting"] as const;

export function encodeBucket(bucket: BucketRecord): Buffer {
  return new ByteWriter()
    .u8(newestVersion)
    .hex(bucket.id)
    .u8(states.indexOf(bucket.state))
    .varint(bucket.epoch)
    .varint(bucket.createdMs)
    .string(bucket.region)
    .u8(bucket.redundancy?.dataShards ?? 0)
    .u8(bucket.redundancy?.parityShards ?? 0)
    .finish();
}

export function decodeBucket(value: Uint8Array): BucketRecord {
  const reader = new ByteReader(value, "bucket");
  const version = reader.version(newestVersion);
  const id = reader.hex(BUCKET_ID_BYTES) as BucketId;
  const state = states[reader.u8()];
  if (state === undefined) throw reader.corrupt("its state is not known");
  const bucket = { id, state, epoch: reader.varint(), createdMs: reader.varint(), region: reader.string() };
  const redundancy = version === 1 ? undefined : readRedundancy(reader);
  reader.end();
  return { ...bucket, redundancy };
}

function readRedundancy(reader: ByteReader): Redundancy | undefined {
  const redundancy = { dataShards: reader.u8(), parityShards: reader.u8() };
  if (redundancy.dataShards === 0 && redundancy.parityShards === 0) return undefined;
  if (!isRedundancy(redundancy)) throw reader.corrupt("its redundancy is none there is");
  return redundancy;
}
