/** `conversion/<bucket id>`: what the bucket has is to be stored with these redundancies, and how far that has come. */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { isRedundancy, reducedFrom, type Redundancies, type Redundancy } from "../core/redundancy.ts";

export type ConversionRecord = {
  /** A blob gets that of its class; undefined: it is left as it is. */
  readonly redundancies: { readonly [Class in keyof Redundancies]: Redundancy | undefined };
  /** The key of the object dealt with last; undefined: none yet. */
  readonly after: Buffer | undefined;
  /** In the middle of that key's past versions: the past row to go on with, without tag and bucket id. */
  readonly past?: Buffer | undefined;
  /** This walk had to leave something as it was. */
  readonly isWaiting: boolean;
};

/** Version 1 has the redundancy of STANDARD only, and that of the reduced class is the one that follows from it. */
const newestVersion = 2;

/** From the first object on; what `earlier`, the row that is there, still wants of a class that is not named stays. */
export function newConversion(wanted: Partial<Redundancies>, earlier: Uint8Array | undefined): Buffer {
  const before = earlier && decodeConversion(earlier).redundancies;
  const redundancies = { standard: before?.standard, reduced: before?.reduced, ...wanted };
  return encodeConversion({ redundancies, after: undefined, isWaiting: false });
}

export function encodeConversion({ redundancies, after, past, isWaiting }: ConversionRecord): Buffer {
  const { standard, reduced } = redundancies;
  const flags = (isWaiting ? 1 : 0) | (after === undefined ? 0 : 2) | (past === undefined ? 0 : 4);
  const follows = standard !== undefined && isSame(reduced, reducedFrom(standard, undefined));
  const writer = writeRedundancy(new ByteWriter().u8(follows ? 1 : newestVersion), standard);
  if (!follows) writeRedundancy(writer, reduced);
  writer.u8(flags);
  if (after !== undefined) writer.bytes(after);
  if (past !== undefined) writer.bytes(past);
  return writer.finish();
}

export function decodeConversion(value: Uint8Array): ConversionRecord {
  const reader = new ByteReader(value, "conversion");
  const version = reader.version(newestVersion);
  const standard = readRedundancy(reader);
  const reduced = version > 1 ? readRedundancy(reader) : standard && reducedFrom(standard, undefined);
  const flags = reader.u8();
  if (flags > 7) throw reader.corrupt("it has a flag that is not known");
  const after = flags & 2 ? Buffer.from(reader.bytes()) : undefined;
  const past = flags & 4 ? { past: Buffer.from(reader.bytes()) } : {};
  reader.end();
  return { redundancies: { standard, reduced }, after, ...past, isWaiting: (flags & 1) === 1 };
}

function writeRedundancy(writer: ByteWriter, redundancy: Redundancy | undefined): ByteWriter {
  return writer.u8(redundancy?.dataShards ?? 0).u8(redundancy?.parityShards ?? 0);
}

function readRedundancy(reader: ByteReader): Redundancy | undefined {
  const redundancy = { dataShards: reader.u8(), parityShards: reader.u8() };
  if (redundancy.dataShards === 0 && redundancy.parityShards === 0) return undefined;
  if (!isRedundancy(redundancy)) throw reader.corrupt("its redundancy is none there is");
  return redundancy;
}

function isSame(one: Redundancy | undefined, other: Redundancy): boolean {
  return one?.dataShards === other.dataShards && one.parityShards === other.parityShards;
}
