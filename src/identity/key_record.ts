/** The record of an access key, format version 1: secret key, Unix milliseconds of creation, description. */
import { ByteReader, ByteWriter } from "../core/codec.ts";

const formatVersion = 1;

export type KeyRecord = { readonly secretKey: string; readonly createdMs: number; readonly description: string };

export function encodeKeyRecord(record: KeyRecord): Buffer {
  return new ByteWriter()
    .u8(formatVersion)
    .string(record.secretKey)
    .varint(record.createdMs)
    .string(record.description)
    .finish();
}

export function decodeKeyRecord(value: Uint8Array): KeyRecord {
  const reader = new ByteReader(value, "access key");
  reader.version(formatVersion);
  const record = { secretKey: reader.string(), createdMs: reader.varint(), description: reader.string() };
  reader.end();
  return record;
}
