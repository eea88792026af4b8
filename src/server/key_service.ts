/** The outside service of keys that the settings name, with the files that they name for it. */
import { readFileSync, statSync } from "node:fs";
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { KeyServiceCallFacts } from "../core/metrics.ts";
import type { Random } from "../core/random.ts";
import type { KeyDefaults } from "../crypto/crypto.ts";
import { VaultClient, type TokenSource, type VaultAddress } from "../keyring/vault_client.ts";
import { VaultKeys } from "../keyring/vault_keys.ts";
import { checkPrivate } from "./key_file.ts";
import type { Settings } from "./settings.ts";

export type KeyServiceOptions = {
  readonly address: VaultAddress;
  readonly token: TokenSource;
  readonly ca: string | undefined;
  readonly dataKeysKeptMs: number;
  readonly defaults: Partial<KeyDefaults>;
};

/** Undefined: none is named. Errors: `invalid_argument` with a sentence that names the file. */
export function keyServiceOf(settings: Settings, parts: TokenParts): KeyServiceOptions | undefined {
  const { kms: address, "kms-token-file": tokenFile, "kms-ca": caFile } = settings;
  if (address === undefined || tokenFile === undefined) return undefined;
  const { "kms-s3-key": s3, "kms-default-key": kms } = settings;
  return {
    address,
    token: new TokenFile(tokenFile, parts),
    ca: caFile === undefined ? undefined : readNamed(caFile, "The file of kms-ca").toString("utf8"),
    dataKeysKeptMs: 1_000 * settings["kms-cache"],
    defaults: { ...(s3 !== undefined && { s3 }), ...(kms !== undefined && { kms }) },
  };
}

export type VaultParts = {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly onCall: (facts: KeyServiceCallFacts) => void;
};

export function openVault(
  { address, token, ca, dataKeysKeptMs }: KeyServiceOptions,
  parts: VaultParts,
): { readonly keys: VaultKeys; close(): void } {
  const client = new VaultClient({ address, token, ca, ...parts });
  const dataKeys = { countMax: limits.dataKeysKept, keptMs: dataKeysKeptMs };
  return { keys: new VaultKeys({ client, clock: parts.clock, dataKeys }), close: () => client.close() };
}

export type TokenParts = { readonly clock: Clock; readonly log: Log };

/**
 * A token that something else may replace in its file (Vault's agent does). The file is looked at no more than once in keyServiceTokenLookMs
 * and read when it has changed; while it cannot be read the token that is known goes on being used.
 */
export class TokenFile implements TokenSource {
  readonly #file: string;
  readonly #parts: TokenParts;
  #token: string;
  #stamp: string;
  #lookedMs: number;

  /** Errors: `invalid_argument`. */
  constructor(file: string, parts: TokenParts) {
    this.#file = file;
    this.#parts = parts;
    this.#stamp = this.#stampNow();
    this.#token = this.#read();
    this.#lookedMs = parts.clock.monotonicMs();
  }

  current(): string {
    const nowMs = this.#parts.clock.monotonicMs();
    if (nowMs - this.#lookedMs >= limits.keyServiceTokenLookMs) this.renewed();
    return this.#token;
  }

  renewed(): string {
    this.#lookedMs = this.#parts.clock.monotonicMs();
    try {
      const stamp = this.#stampNow();
      if (stamp === this.#stamp) return this.#token;
      this.#token = this.#read();
      this.#stamp = stamp;
    } catch (error) {
      this.#parts.log.warn({ err: error }, "The token of the key service could not be read again.");
    }
    return this.#token;
  }

  /** Changes when the file does. */
  #stampNow(): string {
    try {
      const { ino, size, mtimeNs, ctimeNs } = statSync(this.#file, { bigint: true });
      return [ino, size, mtimeNs, ctimeNs].join(" ");
    } catch (error) {
      throw unreadable("The file of kms-token-file", this.#file, error);
    }
  }

  #read(): string {
    const what = "The file of kms-token-file";
    checkPrivate(this.#file, what);
    const bytes = readNamed(this.#file, what);
    const token = bytes.length > limits.keyServiceTokenBytesMax ? "" : bytes.toString("utf8").trim();
    // What a header can bear.
    if (/^[\x21-\x7e]+$/.test(token)) return token;
    throw new HoldfastError("invalid_argument", `${what}, ${this.#file}, must hold a token and nothing else.`);
  }
}

function readNamed(file: string, what: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw unreadable(what, file, error);
  }
}

function unreadable(what: string, file: string, error: unknown): HoldfastError {
  return new HoldfastError("invalid_argument", `${what}, ${file}, cannot be read: ${(error as Error).message}`);
}
