/** `conversion/<bucket id>`: what the bucket has is to be stored with this redundancy, and how far that has come. */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { isRedundancy, type Redundancy } from "../core/redundancy.ts";

export type ConversionRecord = {
  readonly redundancy: Redundancy;
  /** The key of the object dealt with last; undefined: none yet. */
  readonly after: Buffer | undefined;
  /** In the middle of that key's past versions: the past row to go on with, without tag and bucket id. */
  readonly past?: Buffer | undefined;
  /** This walk had to leave something as it was. */
  readonly isWaiting: boolean;
};

const newestVersion = 1;

export function encodeConversion({ redundancy, after, past, isWaiting }: ConversionRecord): Buffer {
  const flags = (isWaiting ? 1 : 0) | (after === undefined ? 0 : 2) | (past === undefined ? 0 : 4);
  const writer = new ByteWriter().u8(newestVersion).u8(redundancy.dataShards).u8(redundancy.parityShards).u8(flags);
  if (after !== undefined) writer.bytes(after);
  if (past !== undefined) writer.bytes(past);
  return writer.finish();
}

export function decodeConversion(value: Uint8Array): ConversionRecord {
  const reader = new ByteReader(value, "conversion");
  reader.version(newestVersion);
  const redundancy = { dataShards: reader.u8(), parityShards: reader.u8() };
  if (!isRedundancy(redundancy)) throw reader.corrupt("its redundancy is none there is");
  const flags = reader.u8();
  if (flags > 7) throw reader.corrupt("it has a flag that is not known");
  const after = flags & 2 ? Buffer.from(reader.bytes()) : undefined;
  const past = flags & 4 ? { past: Buffer.from(reader.bytes()) } : {};
  reader.end();
  return { redundancy, after, ...past, isWaiting: (flags & 1) === 1 };
}
