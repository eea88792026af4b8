/** The record of an access key: secret, when it was made, what it is for, and whose it is. */
import { ByteReader, ByteWriter } from "../core/codec.ts";

/** Version 1 had no owner; those of version 2 could not be switched off. */
const newestVersion = 3;

/**
 * Whose an access key is: a user's, who may do what policies say; an account's own (its root), which may do everything in the
 * account; nobody's, which may do everything in the store, as every key could before there were users.
 */
export type KeyOwner =
  | { readonly kind: "none" }
  | { readonly kind: "account"; readonly account: string }
  | { readonly kind: "user"; readonly account: string; readonly user: string };

export type KeyRecord = {
  readonly secretKey: string;
  readonly createdMs: number;
  readonly description: string;
  readonly owner: KeyOwner;
  /** Nobody comes in with it until it is switched on again. */
  readonly isOff?: true | undefined;
};

const kinds = ["none", "account", "user"] as const;

export function encodeKeyRecord({ secretKey, createdMs, description, owner, isOff }: KeyRecord): Buffer {
  const writer = new ByteWriter()
    .u8(newestVersion)
    .string(secretKey)
    .varint(createdMs)
    .string(description)
    .u8(kinds.indexOf(owner.kind));
  if (owner.kind !== "none") writer.string(owner.account);
  if (owner.kind === "user") writer.string(owner.user);
  return writer.u8(isOff === true ? 1 : 0).finish();
}

export function decodeKeyRecord(value: Uint8Array): KeyRecord {
  const reader = new ByteReader(value, "access key");
  const version = reader.version(newestVersion);
  const record = { secretKey: reader.string(), createdMs: reader.varint(), description: reader.string() };
  const owner: KeyOwner = version === 1 ? { kind: "none" } : readOwner(reader);
  const isOff = version >= 3 && reader.u8() === 1;
  reader.end();
  return { ...record, owner, ...(isOff && { isOff }) };
}

function readOwner(reader: ByteReader): KeyOwner {
  const kind = kinds[reader.u8()];
  if (kind === undefined) throw reader.corrupt("the kind of its owner is not known");
  if (kind === "none") return { kind };
  const account = reader.string();
  return kind === "account" ? { kind, account } : { kind, account, user: reader.string() };
}
