/** `conversion/<bucket id>`: what the bucket has is to be stored with this redundancy, and how far that has come. */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { isRedundancy, type Redundancy } from "../core/redundancy.ts";

export type ConversionRecord = {
  readonly redundancy: Redundancy;
  /** The key of the object dealt with last; undefined: none yet. */
  readonly after: Buffer | undefined;
  /** This walk had to leave something as it was. */
  readonly isWaiting: boolean;
};

const newestVersion = 1;

export function encodeConversion({ redundancy, after, isWaiting }: ConversionRecord): Buffer {
  const flags = (isWaiting ? 1 : 0) | (after === undefined ? 0 : 2);
  const writer = new ByteWriter().u8(newestVersion).u8(redundancy.dataShards).u8(redundancy.parityShards).u8(flags);
  return (after === undefined ? writer : writer.bytes(after)).finish();
}

export function decodeConversion(value: Uint8Array): ConversionRecord {
  const reader = new ByteReader(value, "conversion");
  reader.version(newestVersion);
  const redundancy = { dataShards: reader.u8(), parityShards: reader.u8() };
  if (!isRedundancy(redundancy)) throw reader.corrupt("its redundancy is none there is");
  const flags = reader.u8();
  if (flags > 3) throw reader.corrupt("it has a flag that is not known");
  const after = flags & 2 ? Buffer.from(reader.bytes()) : undefined;
  reader.end();
  return { redundancy, after, isWaiting: (flags & 1) === 1 };
}
