/** Pieces that several records share: checksums, metadata, ETags. Their bytes are part of every record that holds them. */
import { assert } from "../core/assert.ts";
import type { ByteReader, ByteWriter } from "../core/codec.ts";
import type { DigestAlgorithm } from "../digest/digest.ts";

export type StoredAlgorithm = Exclude<DigestAlgorithm, "md5">;
export type StoredChecksumType = "FULL_OBJECT" | "COMPOSITE";

export type ChecksumRecord = {
  readonly algorithm: StoredAlgorithm;
  readonly type: StoredChecksumType;
  readonly value: Buffer;
};

/** Content headers and user metadata, by lower-case name. */
export type MetadataRecord = {
  readonly headers: Readonly<Record<string, string>>;
  readonly user: Readonly<Record<string, string>>;
};

export const MD5_BYTES = 16;

/** Codes are positions; new algorithms go to the end. */
const algorithms = ["sha1", "sha256", "crc32", "crc32c", "crc64nvme"] as const;
const valueBytes = { sha1: 20, sha256: 32, crc32: 4, crc32c: 4, crc64nvme: 8 } as const;

const compositeFlag = 0x80;

export function algorithmCode(algorithm: StoredAlgorithm): number {
  return algorithms.indexOf(algorithm);
}

export function algorithmOfCode(code: number): StoredAlgorithm | undefined {
  return algorithms[code];
}

/** How long a checksum of this algorithm is, in bytes. */
export function checksumBytes(algorithm: StoredAlgorithm): number {
  return valueBytes[algorithm];
}

/** One byte: algorithm and type. */
export function checksumKindCode(kind: Pick<ChecksumRecord, "algorithm" | "type">): number {
  return algorithmCode(kind.algorithm) | (kind.type === "COMPOSITE" ? compositeFlag : 0);
}

const kinds = new Map(
  algorithms.flatMap((algorithm) =>
    (["FULL_OBJECT", "COMPOSITE"] as const).map((type) => {
      const kind = { algorithm, type };
      return [checksumKindCode(kind), kind] as const;
    }),
  ),
);

export function checksumKindOfCode(code: number): Pick<ChecksumRecord, "algorithm" | "type"> | undefined {
  return kinds.get(code);
}

export function writeChecksum(writer: ByteWriter, checksum: ChecksumRecord): void {
  assert(checksum.value.length === valueBytes[checksum.algorithm], "a checksum has its algorithm's length");
  writer.u8(checksumKindCode(checksum)).raw(checksum.value);
}

/** The value is a view of the record. */
export function readChecksum(reader: ByteReader): ChecksumRecord {
  const kind = kinds.get(reader.u8());
  if (kind === undefined) throw reader.corrupt("its checksum algorithm is not known");
  return { algorithm: kind.algorithm, type: kind.type, value: reader.raw(valueBytes[kind.algorithm]) };
}

/** Well-known header names cost one byte. Codes are positions + 1; new names go to the end; 0: the name is spelled out. */
const headerNames = [
  "content-type",
  "content-encoding",
  "content-language",
  "content-disposition",
  "cache-control",
  "expires",
  "x-amz-website-redirect-location",
  "x-amz-storage-class",
];
const headerCodes = new Map(headerNames.map((name, index) => [name, index + 1]));

function countOf(record: Readonly<Record<string, string>>): number {
  let count = 0;
  for (const _name in record) count += 1;
  return count;
}

export function writeMetadata(writer: ByteWriter, metadata: MetadataRecord): void {
  const { headers, user } = metadata;
  writer.varint(countOf(headers));
  for (const name in headers) {
    const code = headerCodes.get(name) ?? 0;
    writer.u8(code);
    if (code === 0) writer.string(name);
    writer.string(headers[name]!);
  }
  writer.varint(countOf(user));
  for (const name in user) writer.string(name).string(user[name]!);
}

/** A client may name a field __proto__: it is a property of the record's own, so it is defined and never assigned. */
function define(record: Record<string, string>, name: string, value: string): void {
  Object.defineProperty(record, name, { value, enumerable: true, configurable: true, writable: true });
}

export function readMetadata(reader: ByteReader): MetadataRecord {
  const headers: Record<string, string> = {};
  for (let left = reader.varint(); left > 0; left--) {
    const code = reader.u8();
    const name = code === 0 ? reader.string() : headerNames[code - 1];
    if (name === undefined) throw reader.corrupt("a header's code is not known");
    define(headers, name, reader.string());
  }
  const user: Record<string, string> = {};
  for (let left = reader.varint(); left > 0; left--) {
    define(user, reader.string(), reader.string());
  }
  return { headers, user };
}

/** `<32 hex digits>` or `<32 hex digits>-<parts>`. */
export function formatEtag(md5Hex: string, partsCount: number): string {
  return partsCount === 0 ? md5Hex : `${md5Hex}-${partsCount}`;
}
