/**
 * Encryption of what is stored, without input or output: data keys, the cipher of blocks, and how one key is sealed by
 * another. AES-256-GCM and HKDF-SHA-256 of node:crypto, and nothing of our own.
 *
 * Each object version (and each upload) has a data key of its own, made at random, which is stored sealed by another key: one of
 * the keyring's or of an outside service (`KeyService`), or the client's own (SSE-C). The keys that bytes are encrypted with are
 * derived from the data key, one for each blob; a blob is immutable, so that no nonce is used twice (cipher.ts).
 *
 * Not promised: that whoever may write to the store cannot take an object away, bring an old one back or put one in another's
 * place. What is encrypted cannot be read or altered unnoticed without its key; sizes, names and times are not hidden.
 */
import type { DataKey } from "./data_key.ts";

/** What a client binds a key's use to: it opens only with the same. */
export type EncryptionContext = ReadonlyMap<string, string>;

export type KeyDescription = {
  readonly id: string;
  readonly createdMs: number;
  /** 1, 2, 3 …: what is sealed now is sealed with this one; what earlier ones sealed opens still. */
  readonly version: number;
  readonly rotatedMs: number;
};

/** Which keys seal for requests that name none. */
export type KeyDefaults = { readonly s3: string; readonly kms: string };

/**
 * Where the keys are that seal data keys. The keyring of the store is one, an outside key manager another. Besides the errors that are
 * named below, each call may end with `encryption_not_set_up` where the keys of such an id are not to be had in this process, and
 * with what an outside service says of a key: `encryption_key_disabled`, `encryption_key_unusable`, `access_denied`, `slow_down`.
 */
export type KeyService = {
  readonly defaults: KeyDefaults;
  /** The data key, sealed by this key's newest version. Errors: `no_such_encryption_key`, `unavailable`. */
  seal(keyId: string, dataKey: DataKey, context: EncryptionContext): Promise<Buffer>;
  /** Errors: `no_such_encryption_key`, `unavailable`, `corrupt_record` when this key did not seal that, or not in this context. */
  open(keyId: string, sealed: Uint8Array, context: EncryptionContext): Promise<DataKey>;
};

/** What the operator does with the keys of a service. */
export type KeyManager = {
  /** Errors: `invalid_argument`, `encryption_key_already_exists`. */
  create(id: string): Promise<KeyDescription>;
  /** By id; fewer than `limit` means the end. */
  list(options: { readonly after?: string | undefined; readonly limit: number }): Promise<KeyDescription[]>;
  /** Errors: `no_such_encryption_key`. */
  rotate(id: string): Promise<KeyDescription>;
};

/** Bytes of every key here. */
export const KEY_BYTES = 32;

/** The key of objects whose request asks for SSE-S3, and of those that ask for SSE-KMS without naming one. Always there. */
export const storeKeyId = "sse-s3";
export const defaultKeyId = "default";

/** The context as bytes that are the same for the same context. */
export function contextBytes(context: EncryptionContext): Buffer {
  return Buffer.from(JSON.stringify([...context].toSorted(([a], [b]) => (a < b ? -1 : 1))));
}
