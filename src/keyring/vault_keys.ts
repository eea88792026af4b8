/**
 * Keys in the transit engine of HashiCorp Vault or OpenBao: `vault:NAME` is the key NAME of the mount that the server was started with.
 * The engine seals and opens data keys, and its own keys never leave it. A key that was rotated there seals with its newest version and
 * opens what earlier ones sealed, as each ciphertext bears its version: nothing of the store is rewritten.
 *
 * What is sealed is the data key and a digest of what it is bound to (key id, encryption context), and so needs no feature of the
 * engine besides authenticated encryption, and `rewrap` works on it. Keys of other kinds, and derived ones, are refused.
 *
 * Vault makes a key that is not there when something is encrypted with it by a token that may. So a key is looked at before it seals
 * (and then taken for there for keyServiceKeyKeptMs): a name that was mistyped makes no key.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { contextBytes, KEY_BYTES } from "../crypto/crypto.ts";
import type { EncryptionContext, KeyDescription, KeyManager } from "../crypto/crypto.ts";
import { DataKey } from "../crypto/data_key.ts";
import { DataKeyCache, type DataKeyBounds } from "./data_key_cache.ts";
import { asRecord, type VaultAnswer, type VaultClient } from "./vault_client.ts";

export type VaultKeysParts = {
  readonly client: VaultClient;
  readonly clock: Clock;
  readonly dataKeys: DataKeyBounds;
};

export const vaultPrefix = "vault:";

const format = 1;
const DIGEST_BYTES = 32;
/** Authenticated encryption that takes no context of the engine's own. */
const sealingTypes = /^(?:aes(?:128|256)-gcm96|x?chacha20-poly1305)$/;
/** What the engine takes for a key's name. */
const namePattern = /^\w(?:[\w.-]*\w)?$/;

function isKeyName(name: string): boolean {
  return namePattern.test(name) && vaultPrefix.length + name.length <= limits.encryptionKeyIdCharsMax;
}

function noSuchKey(id: string): HoldfastError {
  return new HoldfastError("no_such_encryption_key", `There is no encryption key ${JSON.stringify(id)}.`);
}

function senseless(): HoldfastError {
  return new HoldfastError("unavailable", "The key service's answer makes no sense.");
}

/** Errors: `no_such_encryption_key` for what cannot be the name of one. */
function nameOf(id: string): string {
  const name = id.slice(vaultPrefix.length);
  if (!id.startsWith(vaultPrefix) || !isKeyName(name)) throw noSuchKey(id);
  return name;
}

/** Errors: `invalid_argument`. */
export function checkVaultKeyId(id: string): string {
  if (id.startsWith(vaultPrefix) && isKeyName(id.slice(vaultPrefix.length))) return id;
  const message = `The id of a key in Vault must be ${vaultPrefix}NAME, where NAME has letters, digits, '_', '.' and '-'.`;
  throw new HoldfastError("invalid_argument", message);
}

function boundTo(id: string, context: EncryptionContext): Buffer {
  return createHash("sha256").update(`${id}\0`).update(contextBytes(context)).digest();
}

/** A refusal (4xx) in our words. What Vault says is for the log alone: it is the cause. */
function refusal(id: string, { status, errors }: VaultAnswer): HoldfastError {
  const said = errors.join("; ");
  const cause = new Error(`Vault answers ${status}: ${said}`);
  const name = JSON.stringify(id);
  if (status === 404 || /key not found|no such key|does not exist/i.test(said)) return noSuchKey(id);
  if (status === 403)
    return new HoldfastError("access_denied", `This server may not do that with the encryption key ${name}.`, {
      cause,
    });
  // A version that Vault no longer opens with may be allowed again, a version that is too new is one of a Vault that was put back.
  if (/disallowed by policy|too new|larger than the latest|soft.?deleted|disabled/i.test(said)) {
    const message = `The encryption key ${name} is disabled, or the version of it that sealed this is.`;
    return new HoldfastError("encryption_key_disabled", message, { cause });
  }
  if (/invalid ciphertext|message authentication failed/i.test(said))
    return new HoldfastError("corrupt_record", `The encryption key ${name} did not seal this data key.`, { cause });
  const message = `The encryption key ${name} cannot be used for this.`;
  return new HoldfastError("encryption_key_unusable", message, { cause });
}

export class VaultKeys implements KeyManager {
  readonly #client: VaultClient;
  readonly #clock: Clock;
  readonly #dataKeys: DataKeyCache;
  /** Keys that were there and seal, and until when that is believed. */
  readonly #seen = new Map<string, number>();

  constructor({ client, clock, dataKeys }: VaultKeysParts) {
    this.#client = client;
    this.#clock = clock;
    this.#dataKeys = new DataKeyCache(dataKeys, clock);
  }

  async seal(keyId: string, dataKey: DataKey, context: EncryptionContext): Promise<Buffer> {
    const name = nameOf(keyId);
    await this.#checkSeals(keyId, name);
    const bytes = dataKey.export();
    const plaintext = Buffer.concat([bytes, boundTo(keyId, context)]).toString("base64");
    bytes.fill(0);
    const { ciphertext } = await this.#do(keyId, `encrypt/${name}`, { name: "encrypt", body: { plaintext } });
    if (typeof ciphertext !== "string" || ciphertext.length > limits.keyServiceSealedBytesMax) throw senseless();
    const sealed = new ByteWriter().u8(format).string(ciphertext).finish();
    this.#dataKeys.keep({ keyId, sealed, context }, dataKey);
    return sealed;
  }

  open(keyId: string, sealed: Uint8Array, context: EncryptionContext): Promise<DataKey> {
    return this.#dataKeys.get({ keyId, sealed, context }, () => this.#decrypt(keyId, sealed, context));
  }

  async #decrypt(keyId: string, sealed: Uint8Array, context: EncryptionContext): Promise<DataKey> {
    const reader = new ByteReader(sealed, "sealed data key");
    reader.version(format);
    const ciphertext = reader.string();
    reader.end();
    const answer = await this.#do(keyId, `decrypt/${nameOf(keyId)}`, { name: "decrypt", body: { ciphertext } });
    if (typeof answer["plaintext"] !== "string") throw senseless();
    const plaintext = Buffer.from(answer["plaintext"], "base64");
    const isBound =
      plaintext.length === KEY_BYTES + DIGEST_BYTES &&
      timingSafeEqual(plaintext.subarray(KEY_BYTES), boundTo(keyId, context));
    if (!isBound) throw reader.corrupt(`key ${keyId} did not seal it, or not in this context`);
    const dataKey = DataKey.of(plaintext.subarray(0, KEY_BYTES));
    plaintext.fill(0);
    return dataKey;
  }

  async create(id: string): Promise<KeyDescription> {
    const name = nameOf(checkVaultKeyId(id));
    const found = await this.#client.ask(this.#look(name));
    if (found.status === 200)
      throw new HoldfastError("encryption_key_already_exists", `There is an encryption key ${id} already.`);
    if (found.status !== 404) throw refusal(id, found);
    await this.#do(id, `keys/${name}`, { name: "create", body: { type: "aes256-gcm96" } });
    return this.#describe(id, name);
  }

  async rotate(id: string): Promise<KeyDescription> {
    const name = nameOf(id);
    // Vault has another word for a key that is not there when it is to be rotated.
    await this.#describe(id, name);
    await this.#do(id, `keys/${name}/rotate`, { name: "rotate", body: {} });
    return this.#describe(id, name);
  }

  /** Keys that the token may not look at, and those that seal no data keys, are left out. */
  async list(options: { readonly after?: string | undefined; readonly limit: number }): Promise<KeyDescription[]> {
    const { after = vaultPrefix, limit } = options;
    const path = `${this.#client.mount}/keys?list=true`;
    const answer = await this.#client.ask({ name: "list", method: "GET", path });
    // An engine without keys says 404 and nothing else; where there is no engine Vault says so.
    const isEmpty = answer.status === 404 && answer.errors.length === 0;
    if (answer.status !== 200 && !isEmpty) throw refusal(vaultPrefix, answer);
    const names = Array.isArray(answer.data["keys"]) ? answer.data["keys"] : [];
    const ids = names
      .filter((name): name is string => typeof name === "string" && isKeyName(name))
      .map((name) => vaultPrefix + name)
      .filter((id) => id > after)
      .toSorted((a, b) => (a < b ? -1 : 1));
    const found: KeyDescription[] = [];
    for (let at = 0; at < ids.length && found.length < limit; at += limits.keyServiceDescribedAtOnce) {
      const some = ids.slice(at, at + limits.keyServiceDescribedAtOnce);
      const described = await Promise.all(some.map((id) => this.#describeIfSealing(id)));
      found.push(...described.filter((each) => each !== undefined));
    }
    return found.slice(0, limit);
  }

  async #describeIfSealing(id: string): Promise<KeyDescription | undefined> {
    const { status, data } = await this.#client.ask(this.#look(nameOf(id)));
    return status === 200 && doesSeal(data) ? describe(id, data) : undefined;
  }

  async #describe(id: string, name: string): Promise<KeyDescription> {
    const answer = await this.#client.ask(this.#look(name));
    if (answer.status !== 200) throw refusal(id, answer);
    return describe(id, answer.data);
  }

  #look(name: string) {
    return { name: "look", method: "GET", path: `${this.#client.mount}/keys/${name}` } as const;
  }

  /** Errors: `no_such_encryption_key`, `encryption_key_unusable`, `access_denied`, `unavailable`. */
  async #checkSeals(id: string, name: string): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < (this.#seen.get(name) ?? 0)) return;
    this.#seen.delete(name);
    const answer = await this.#client.ask(this.#look(name));
    if (answer.status !== 200) throw refusal(id, answer);
    if (!doesSeal(answer.data)) {
      const what = "must be of a type with authenticated encryption (like aes256-gcm96), and not derived";
      throw new HoldfastError("encryption_key_unusable", `The encryption key ${JSON.stringify(id)} ${what}.`);
    }
    this.#seen.set(name, nowMs + limits.keyServiceKeyKeptMs);
    if (this.#seen.size > limits.keyServiceKeysKept) this.#seen.delete(this.#seen.keys().next().value!);
  }

  async #do(
    id: string,
    path: string,
    { name, body }: { readonly name: string; readonly body: Readonly<Record<string, unknown>> },
  ): Promise<VaultAnswer["data"]> {
    const answer = await this.#client.ask({ name, method: "POST", path: `${this.#client.mount}/${path}`, body });
    if (answer.status < 300) return answer.data;
    // It may be gone, or another one by now.
    this.#seen.delete(id.slice(vaultPrefix.length));
    throw refusal(id, answer);
  }
}

function doesSeal(data: VaultAnswer["data"]): boolean {
  return sealingTypes.test(String(data["type"])) && data["derived"] !== true;
}

/** Vault gives the versions that are left as `{"1": <Unix seconds>, …}`. */
function describe(id: string, data: VaultAnswer["data"]): KeyDescription {
  const versions = asRecord(data["keys"]);
  const numbers = Object.keys(versions)
    .map(Number)
    .filter((number) => Number.isSafeInteger(number) && number > 0)
    .toSorted((a, b) => a - b);
  const timeOf = (number: number | undefined): number => {
    const seconds = number === undefined ? undefined : versions[String(number)];
    return typeof seconds === "number" && Number.isSafeInteger(seconds) ? seconds * 1_000 : 0;
  };
  const newest = numbers.at(-1);
  return { id, createdMs: timeOf(numbers[0]), version: newest ?? 1, rotatedMs: timeOf(newest) };
}
