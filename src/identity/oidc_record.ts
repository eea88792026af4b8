/** The record of an OpenID Connect provider, format version 1 (docs/formats/records.md). */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { readList, readTags, writeList, writeTags, type Tag } from "./records.ts";

export type OidcProviderRecord = {
  /** As its tokens name it. */
  readonly url: string;
  readonly createdMs: number;
  readonly clientIds: readonly string[];
  /** Kept as they were given, and used for nothing. */
  readonly thumbprints: readonly string[];
  readonly tags: readonly Tag[];
};

const version = 1;

export function encodeOidcProvider({ url, createdMs, clientIds, thumbprints, tags }: OidcProviderRecord): Buffer {
  const writer = new ByteWriter().u8(version).string(url).varint(createdMs);
  writeList(writer, clientIds, (each) => writer.string(each));
  writeList(writer, thumbprints, (each) => writer.string(each));
  writeTags(writer, tags);
  return writer.finish();
}

export function decodeOidcProvider(value: Uint8Array): OidcProviderRecord {
  const reader = new ByteReader(value, "OpenID Connect provider");
  reader.version(version);
  const record = {
    url: reader.string(),
    createdMs: reader.varint(),
    clientIds: readList(reader, () => reader.string()),
    thumbprints: readList(reader, () => reader.string()),
    tags: readTags(reader),
  };
  reader.end();
  return record;
}
