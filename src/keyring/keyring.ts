/**
 * The store's own keys that seal data keys: rows of the metadata store, each key sealed by a master key that is given at start
 * and never stored. A key is never deleted, and its earlier versions open what they sealed.
 *
 * Several master keys may be given: the first one seals, the others only open; what they had sealed is sealed by the first one
 * at the next start. So a master key is replaced by starting with both, the new one first (on every node of a cluster, with the
 * old one first before that), and then with the new one alone.
 *
 * A process goes by what it read of a key for encryptionKeyKeptMs: after a rotation it may seal with the version before for so
 * long. Opening never depends on that: a version that is not known is looked for. Data keys that were opened are kept in memory
 * (data_key_cache.ts); since no key and no version ever goes, what opened once may be opened again.
 */
import { createSecretKey, type KeyObject } from "node:crypto";
import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import { contextBytes, defaultKeyId, KEY_BYTES, storeKeyId } from "../crypto/crypto.ts";
import type { EncryptionContext, KeyDescription, KeyManager, KeyService } from "../crypto/crypto.ts";
import { DataKey, derive } from "../crypto/data_key.ts";
import { openKey, SEALED_KEY_BYTES, sealKey } from "../crypto/sealed_key.ts";
import { keyAfter, scanPages } from "../kv/scan_pages.ts";
import type { Kv } from "../kv/kv.ts";
import { transact } from "../kv/transact.ts";
import { decodeKeyring, encodeKeyring, MASTER_ID_BYTES, type KeyringRecord } from "../meta/keyring.ts";
import { keyringIdOf, keyringKey, tagRange, tags } from "../meta/keys.ts";
import { DataKeyCache } from "./data_key_cache.ts";

export type KeyringParts = {
  readonly kv: Kv;
  /** 32 bytes each. The first one seals. */
  readonly masters: readonly Uint8Array[];
  readonly clock: Clock;
  readonly random: Random;
};

type Master = { readonly id: string; readonly key: KeyObject };

/** A key as it was read: the newest version is the last. */
type KnownKey = {
  readonly versions: readonly KeyObject[];
  readonly readMs: number;
};

const noSalt = Buffer.alloc(0);

function masterOf(bytes: Uint8Array): Master {
  assert(bytes.length === KEY_BYTES, "a master key has 32 bytes");
  const key = createSecretKey(bytes);
  return { key, id: derive(key, noSalt, Buffer.from("holdfast master id"), MASTER_ID_BYTES).toString("hex") };
}

/** What a version is bound to: it opens as no other. */
function versionName(id: string, version: number): Buffer {
  return Buffer.from(`${id}\0${version}`);
}

function boundTo(id: string, context: EncryptionContext): Buffer {
  return Buffer.concat([Buffer.from(`${id}\0`), contextBytes(context)]);
}

/** Errors: `invalid_argument`. */
export function checkKeyId(id: string): string {
  const isValid = /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(id) && id.length <= limits.encryptionKeyIdCharsMax;
  if (isValid) return id;
  const what = `1 to ${limits.encryptionKeyIdCharsMax} letters, digits, '.', '_' and '-', with a letter or digit first`;
  throw new HoldfastError("invalid_argument", `The id of an encryption key must be ${what}.`);
}

function noSuchKey(id: string): HoldfastError {
  return new HoldfastError("no_such_encryption_key", `There is no encryption key ${JSON.stringify(id)}.`);
}

export class Keyring implements KeyService, KeyManager {
  readonly defaults = { s3: storeKeyId, kms: defaultKeyId };
  readonly #parts: KeyringParts;
  readonly #masters: readonly Master[];
  readonly #known = new Map<string, KnownKey>();
  readonly #dataKeys: DataKeyCache;

  private constructor(parts: KeyringParts) {
    assert(parts.masters.length > 0, "a keyring has a master key");
    this.#parts = parts;
    this.#masters = parts.masters.map(masterOf);
    const bounds = { countMax: limits.dataKeysKept, keptMs: limits.dataKeysKeptMs };
    this.#dataKeys = new DataKeyCache(bounds, parts.clock);
  }

  /**
   * Makes the two keys that are always there, and seals with the first master key what another one had sealed. Errors:
   * `invalid_argument` when a key was sealed by a master key that is not given.
   */
  static async open(parts: KeyringParts): Promise<Keyring> {
    const keyring = new Keyring(parts);
    await keyring.#reseal();
    for (const id of [storeKeyId, defaultKeyId]) await keyring.#make(id);
    return keyring;
  }

  async seal(keyId: string, dataKey: DataKey, context: EncryptionContext): Promise<Buffer> {
    const { versions } = await this.#key(keyId);
    const sealed = sealKey(versions.at(-1)!, dataKey.export(), boundTo(keyId, context), this.#parts.random);
    return new ByteWriter().varint(versions.length).raw(sealed).finish();
  }

  open(keyId: string, sealed: Uint8Array, context: EncryptionContext): Promise<DataKey> {
    return this.#dataKeys.get({ keyId, sealed, context }, () => this.#open(keyId, sealed, context));
  }

  async #open(keyId: string, sealed: Uint8Array, context: EncryptionContext): Promise<DataKey> {
    const reader = new ByteReader(sealed, "sealed data key");
    const version = reader.varint();
    const bytes = reader.raw(SEALED_KEY_BYTES);
    reader.end();
    let key = await this.#key(keyId);
    if (version > key.versions.length) key = await this.#read(keyId);
    const by = key.versions[version - 1];
    const opened = by && openKey(by, bytes, boundTo(keyId, context));
    if (opened === undefined) throw reader.corrupt(`key ${keyId} did not seal it, or not in this context`);
    return DataKey.of(opened);
  }

  /** Errors: `invalid_argument` (also when there are too many), `encryption_key_already_exists`. */
  async create(id: string): Promise<KeyDescription> {
    checkKeyId(id);
    const count = (await this.list({ limit: limits.encryptionKeysMax })).length;
    if (count >= limits.encryptionKeysMax)
      throw new HoldfastError("invalid_argument", `There are ${count} encryption keys, and no more are possible.`);
    const { isNew, description } = await this.#make(id);
    if (isNew) return description;
    throw new HoldfastError("encryption_key_already_exists", `There is an encryption key ${id} already.`);
  }

  /** By id; fewer than `limit` means the end. */
  async list(options: { readonly after?: string | undefined; readonly limit: number }): Promise<KeyDescription[]> {
    const { start, end } = tagRange(tags.keyring);
    const after = options.after === undefined ? start : keyAfter(keyringKey(checkKeyId(options.after)));
    const rows = await this.#parts.kv.scan({ start: after, end }, { limit: options.limit });
    return rows.map(({ key, value }) => describe(keyringIdOf(key), decodeKeyring(value)));
  }

  /** A new version, which seals from now on. Errors: `no_such_encryption_key`, `invalid_argument` when it has too many. */
  async rotate(id: string): Promise<KeyDescription> {
    const { kv, clock, random } = this.#parts;
    const record = await transact(
      kv,
      async (tx) => {
        const [row] = isKeyId(id) ? await tx.get([keyringKey(id)]) : [];
        if (row === undefined) throw noSuchKey(id);
        const { versions } = decodeKeyring(row.value);
        if (versions.length >= limits.encryptionKeyVersionsMax)
          throw new HoldfastError(
            "invalid_argument",
            `The key ${id} has ${versions.length} versions, the most there may be.`,
          );
        // What is there is sealed by the same master key as what is new, so that a row has one.
        const keys = this.#openAll(id, decodeKeyring(row.value));
        const times = [...versions.map(({ createdMs }) => createdMs), clock.nowMs()];
        const next = this.#sealAll(id, [...keys, random.bytes(KEY_BYTES)], times);
        tx.put(keyringKey(id), encodeKeyring(next));
        return next;
      },
      { clock, random },
    );
    this.#known.delete(id);
    return describe(id, record);
  }

  /** The row of a key, made if it is not there. */
  async #make(id: string): Promise<{ readonly isNew: boolean; readonly description: KeyDescription }> {
    const { kv, clock, random } = this.#parts;
    return transact(
      kv,
      async (tx) => {
        const [row] = await tx.get([keyringKey(id)]);
        if (row !== undefined) return { isNew: false, description: describe(id, decodeKeyring(row.value)) };
        const record = this.#sealAll(id, [random.bytes(KEY_BYTES)], [clock.nowMs()]);
        tx.put(keyringKey(id), encodeKeyring(record));
        return { isNew: true, description: describe(id, record) };
      },
      { clock, random },
    );
  }

  async #reseal(): Promise<void> {
    const { kv, clock, random } = this.#parts;
    for await (const rows of scanPages(kv, tagRange(tags.keyring))) {
      for (const { key, value } of rows) {
        const id = keyringIdOf(key);
        if (this.#isCurrent(id, decodeKeyring(value))) continue;
        await transact(
          kv,
          async (tx) => {
            const [row] = await tx.get([key]);
            if (row === undefined) return;
            const record = decodeKeyring(row.value);
            const times = record.versions.map(({ createdMs }) => createdMs);
            tx.put(key, encodeKeyring(this.#sealAll(id, this.#openAll(id, record), times)));
          },
          { clock, random },
        );
      }
    }
  }

  /** Whether the first master key sealed all of it, so that it can be opened as it is. */
  #isCurrent(id: string, record: KeyringRecord): boolean {
    this.#openAll(id, record);
    return record.master === this.#masters[0]!.id;
  }

  async #key(id: string): Promise<KnownKey> {
    const known = this.#known.get(id);
    const isFresh = known && this.#parts.clock.monotonicMs() - known.readMs < limits.encryptionKeyKeptMs;
    return isFresh ? known : this.#read(id);
  }

  /** Errors: `no_such_encryption_key`; `unavailable` when it was sealed anew, by a master key this process was not given. */
  async #read(id: string): Promise<KnownKey> {
    const { kv, clock } = this.#parts;
    const readMs = clock.monotonicMs();
    const [row] = isKeyId(id) ? await kv.get([keyringKey(id)]) : [];
    if (row === undefined) throw noSuchKey(id);
    const record = decodeKeyring(row.value);
    const versions = this.#openAll(id, record).map((bytes) => createSecretKey(bytes));
    const known = { versions, readMs };
    this.#known.set(id, known);
    return known;
  }

  #openAll(id: string, { master, versions }: KeyringRecord): Buffer[] {
    const by = this.#masters.find((each) => each.id === master);
    if (by === undefined) {
      const message = `The encryption key ${id} of this store is sealed by another master key than those in the encryption key file.`;
      throw new HoldfastError("unavailable", message);
    }
    return versions.map(({ sealed }, index) => {
      const opened = openKey(by.key, sealed, versionName(id, index + 1));
      if (opened === undefined)
        throw new HoldfastError("corrupt_record", `Version ${index + 1} of the encryption key ${id} is damaged.`);
      return opened;
    });
  }

  #sealAll(id: string, keys: readonly Uint8Array[], timesMs: readonly number[]): KeyringRecord {
    const [first] = this.#masters;
    const versions = keys.map((key, index) => ({
      createdMs: timesMs[index]!,
      sealed: sealKey(first!.key, key, versionName(id, index + 1), this.#parts.random),
    }));
    return { master: first!.id, versions };
  }
}

/** What could not have been made needs no look-up, and must not reach the store's key bounds. */
function isKeyId(id: string): boolean {
  try {
    checkKeyId(id);
    return true;
  } catch {
    return false;
  }
}

function describe(id: string, { versions }: KeyringRecord): KeyDescription {
  const rotatedMs = versions.at(-1)!.createdMs;
  return { id, createdMs: versions[0]!.createdMs, version: versions.length, rotatedMs };
}
