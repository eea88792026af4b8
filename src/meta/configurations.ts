/**
 * `config/<bucket id><kind>`: one configuration document of a bucket, as S3 spells it. Which kinds a bucket has says its own
 * row (`configured`), and the commit that changes a document changes that row too: so who reads the row knows whether
 * there is anything to read here, and whether it is still what was read before (`revision`).
 */
import { ByteReader, ByteWriter } from "../core/codec.ts";

/**
 * The kinds, and the bit of each in `configured`; written in docs/formats/records.md. Some are reserved: a build that does not
 * know what to do with a document must not be able to lose it either. There is room for 31: `configured` is worked on in 32 bits.
 */
export const configurationKinds = {
  policy: 0,
  cors: 1,
  lifecycle: 2,
  encryption: 3,
  tagging: 4,
  website: 5,
  notification: 6,
  logging: 7,
  ownershipControls: 8,
  publicAccessBlock: 9,
  acl: 10,
  objectLock: 11,
  requestPayment: 12,
  accelerate: 13,
  replication: 14,
} as const;

export type ConfigurationKind = keyof typeof configurationKinds;

export type ConfigurationRecord = { readonly modifiedMs: number; readonly document: Buffer };

const newestVersion = 1;

export function encodeConfiguration({ modifiedMs, document }: ConfigurationRecord): Buffer {
  return new ByteWriter().u8(newestVersion).varint(modifiedMs).bytes(document).finish();
}

export function decodeConfiguration(value: Uint8Array): ConfigurationRecord {
  const reader = new ByteReader(value, "configuration");
  reader.version(newestVersion);
  const modifiedMs = reader.varint();
  const document = reader.bytes();
  reader.end();
  return { modifiedMs, document };
}

export function hasConfiguration(configured: number, kind: ConfigurationKind): boolean {
  return (configured & (1 << configurationKinds[kind])) !== 0;
}

/** `configured` with the bit of this kind set or cleared. */
export function withConfiguration(configured: number, kind: ConfigurationKind, isThere: boolean): number {
  const bit = 1 << configurationKinds[kind];
  return isThere ? configured | bit : configured & ~bit;
}

/** The numbers of the kinds that there are documents of, those that this build has no name for too. */
export function configuredKinds(configured: number): number[] {
  const kinds: number[] = [];
  for (let kind = 0; configured >>> kind !== 0 && kind < 31; kind++)
    if ((configured & (1 << kind)) !== 0) kinds.push(kind);
  return kinds;
}
