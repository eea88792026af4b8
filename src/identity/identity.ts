/**
 * Who may come in: access keys with their secrets. A secret has to be kept as it is, for Signature V4 computes with it.
 *
 * Keys live in the metadata store and are read from it on every use, so that a key removed through one worker is refused
 * by all of them from then on. The root key is not a row: it comes from the environment or the first drive's folder
 * (root_key.ts) and cannot be removed. There are no well-known keys.
 */
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { systemRandom, type Random } from "../core/random.ts";
import type { Kv } from "../kv/kv.ts";
import { transact } from "../kv/transact.ts";
import { accessKeyKey, tagRange, tags } from "../meta/keys.ts";
import {
  accessKeyCharsMax,
  checkAccessKey,
  checkDescription,
  checkSecretKey,
  generateAccessKey,
  generateSecretKey,
} from "./credentials.ts";
import { decodeKeyRecord, encodeKeyRecord } from "./key_record.ts";

export type KeyInfo = { readonly accessKey: string; readonly createdMs: number; readonly description: string };

export type Credentials = { readonly accessKey: string; readonly secretKey: string };

export type NewKey = {
  /** Undefined: generated. */
  readonly accessKey?: string | undefined;
  readonly secretKey?: string | undefined;
  readonly description?: string | undefined;
};

export type Identity = {
  readonly rootAccessKey: string;
  /** The secret of an access key, the root's included; undefined where there is no such key. */
  secretFor(accessKey: string): Promise<string | undefined>;
  /** Errors: `invalid_argument`, `access_key_already_exists`. The only call that gives a secret back. */
  create(key: NewKey): Promise<KeyInfo & Credentials>;
  /** In the order of the access keys, without the root; fewer than `limit` means the end. */
  list(options: { readonly after?: string | undefined; readonly limit: number }): Promise<KeyInfo[]>;
  /** Errors: `no_such_access_key`; `invalid_argument` for the root key. */
  remove(accessKey: string): Promise<void>;
};

export type IdentityOptions = {
  readonly kv: Kv;
  readonly root: Credentials;
  readonly clock: Clock;
  readonly random?: Random;
};

export function createIdentity({ kv, root, clock, random = systemRandom }: IdentityOptions): Identity {
  checkAccessKey(root.accessKey);
  checkSecretKey(root.secretKey);

  const secretFor = async (accessKey: string): Promise<string | undefined> => {
    if (accessKey === root.accessKey) return root.secretKey;
    // What could not have been created needs no look-up, and must not reach the store's key bounds.
    if (!isAccessKey(accessKey)) return undefined;
    const [row] = await kv.get([accessKeyKey(accessKey)]);
    return row === undefined ? undefined : decodeKeyRecord(row.value).secretKey;
  };

  const create = async (key: NewKey): Promise<KeyInfo & Credentials> => {
    const made = {
      accessKey: checkAccessKey(key.accessKey ?? generateAccessKey(random)),
      secretKey: checkSecretKey(key.secretKey ?? generateSecretKey(random)),
      description: checkDescription(key.description ?? ""),
      createdMs: clock.nowMs(),
    };
    if (made.accessKey === root.accessKey) throw alreadyExists(made.accessKey);
    await transact(kv, async (tx) => {
      const [row] = await tx.get([accessKeyKey(made.accessKey)]);
      if (row !== undefined) throw alreadyExists(made.accessKey);
      tx.put(accessKeyKey(made.accessKey), encodeKeyRecord(made));
    });
    return made;
  };

  const list = async ({ after, limit }: { after?: string | undefined; limit: number }): Promise<KeyInfo[]> => {
    const range = tagRange(tags.accessKey);
    // A marker may be longer than any row's key: the same keys lie behind its beginning.
    const last = after === undefined ? undefined : accessKeyKey(after).subarray(0, 1 + accessKeyCharsMax);
    const start = last === undefined ? range.start : Buffer.concat([last, Buffer.of(0)]);
    const rows = await kv.scan({ start, end: range.end }, { limit: Math.min(limit, limits.listPageKeysMax) });
    return rows.map(({ key, value }) => {
      const { createdMs, description } = decodeKeyRecord(value);
      return { accessKey: key.toString("utf8", 1), createdMs, description };
    });
  };

  const remove = async (accessKey: string): Promise<void> => {
    if (accessKey === root.accessKey) {
      throw new HoldfastError("invalid_argument", "The root key cannot be removed; it is set where the server starts.");
    }
    await transact(kv, async (tx) => {
      const [row] = isAccessKey(accessKey) ? await tx.get([accessKeyKey(accessKey)]) : [];
      if (row === undefined) throw new HoldfastError("no_such_access_key", `There is no access key ${accessKey}.`);
      tx.delete(accessKeyKey(accessKey));
    });
  };

  return { rootAccessKey: root.accessKey, secretFor, create, list, remove };
}

function isAccessKey(accessKey: string): boolean {
  try {
    checkAccessKey(accessKey);
    return true;
  } catch {
    return false;
  }
}

function alreadyExists(accessKey: string): HoldfastError {
  return new HoldfastError("access_key_already_exists", `The access key ${accessKey} exists already.`);
}
