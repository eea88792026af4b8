/** The bucket's row: `bucket/<name>`. Every write to the bucket checks it, so a change here is ordered against all. */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { BUCKET_ID_BYTES } from "../core/ids.ts";
import type { BucketId } from "../core/ids.ts";

export type BucketRecord = {
  readonly id: BucketId;
  readonly createdMs: number;
  readonly region: string;
  readonly state: "active" | "deleting";
  /** Raised by a snapshot (later work): a write over a version of an older epoch keeps the old one. */
  readonly epoch: number;
};

const newestVersion = 1;
const states = ["active", "deleting"] as const;

export function encodeBucket(bucket: BucketRecord): Buffer {
  return new ByteWriter()
    .u8(newestVersion)
    .hex(bucket.id)
    .u8(states.indexOf(bucket.state))
    .varint(bucket.epoch)
    .varint(bucket.createdMs)
    .string(bucket.region)
    .finish();
}

export function decodeBucket(value: Uint8Array): BucketRecord {
  const reader = new ByteReader(value, "bucket");
  reader.version(newestVersion);
  const id = reader.hex(BUCKET_ID_BYTES) as BucketId;
  const state = states[reader.u8()];
  if (state === undefined) throw reader.corrupt("its state is not known");
  const bucket = { id, state, epoch: reader.varint(), createdMs: reader.varint(), region: reader.string() };
  reader.end();
  return bucket;
}
