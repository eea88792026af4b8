/**
 * All keys that seal data keys in this process, by their ids: those of the store's own keyring, and `vault:NAME` in an outside service.
 * The id of a row says who opens it, so that both may be used in one store, and the one or the other be added later.
 */
import { HoldfastError } from "../core/errors.ts";
import { defaultKeyId, storeKeyId } from "../crypto/crypto.ts";
import type { EncryptionContext, KeyDefaults, KeyDescription, KeyManager, KeyService } from "../crypto/crypto.ts";
import type { DataKey } from "../crypto/data_key.ts";
import type { Keyring } from "./keyring.ts";
import { vaultPrefix, type VaultKeys } from "./vault_keys.ts";

export type KeyServicesParts = {
  readonly keyring: Keyring | undefined;
  readonly vault: VaultKeys | undefined;
  /** Keys of requests that name none, in place of the keyring's. */
  readonly defaults?: Partial<KeyDefaults>;
};

type Service = Omit<KeyService, "defaults"> & KeyManager;

export class KeyServices implements KeyService, KeyManager {
  readonly defaults: KeyDefaults;
  readonly #keyring: Keyring | undefined;
  readonly #vault: VaultKeys | undefined;

  constructor({ keyring, vault, defaults = {} }: KeyServicesParts) {
    this.#keyring = keyring;
    this.#vault = vault;
    this.defaults = { s3: defaults.s3 ?? storeKeyId, kms: defaults.kms ?? defaultKeyId };
  }

  async seal(keyId: string, dataKey: DataKey, context: EncryptionContext): Promise<Buffer> {
    return this.#of(keyId).seal(keyId, dataKey, context);
  }

  async open(keyId: string, sealed: Uint8Array, context: EncryptionContext): Promise<DataKey> {
    return this.#of(keyId).open(keyId, sealed, context);
  }

  async create(id: string): Promise<KeyDescription> {
    return this.#of(id).create(id);
  }

  async rotate(id: string): Promise<KeyDescription> {
    return this.#of(id).rotate(id);
  }

  /** Those of the keyring, then those of the service. */
  async list(options: { readonly after?: string | undefined; readonly limit: number }): Promise<KeyDescription[]> {
    const { after, limit } = options;
    const isInVault = after?.startsWith(vaultPrefix) === true;
    const own = isInVault ? [] : ((await this.#keyring?.list(options)) ?? []);
    if (own.length >= limit || this.#vault === undefined) return own;
    const others = await this.#vault.list({ after: isInVault ? after : undefined, limit: limit - own.length });
    return [...own, ...others];
  }

  /** Errors: `encryption_not_set_up`. */
  #of(id: string): Service {
    const isInVault = id.startsWith(vaultPrefix);
    const service = isInVault ? this.#vault : this.#keyring;
    if (service !== undefined) return service;
    const without = isInVault ? "--kms" : "--encryption-key-file";
    const message = `The encryption key ${JSON.stringify(id)} cannot be used: this server was started without ${without}.`;
    throw new HoldfastError("encryption_not_set_up", message);
  }
}
