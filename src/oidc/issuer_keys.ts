/**
 * The keys of issuers, as they publish them: the configuration at its well-known place names where the keys are. They are kept for
 * oidcKeysKeptMs; requests that want the same issuer's at one time wait for one fetch.
 */
import { systemCode } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { fetchJson } from "./fetch_json.ts";
import type { TokenVerifierOptions } from "./oidc.ts";

export type Key = { readonly kty: string; readonly kid?: string; readonly use?: string };
export type KeySet = readonly Key[];

export type Known = { readonly outcome: "known"; readonly keys: KeySet; readonly atMs: number };
type Unknown = { readonly outcome: "unreachable" | "busy" };
export type Found = Known | Unknown;

type Kept = {
  /** The last that were had, which may be too old by now. */
  readonly keys: Known | undefined;
  /** When the issuer was asked last, whatever came of it. */
  readonly askedMs: number;
};

export class IssuerKeys {
  readonly #options: TokenVerifierOptions;
  /** By their addresses, those that were asked the longest time ago first. */
  readonly #kept = new Map<string, Kept>();
  readonly #under = new Map<string, Promise<Found>>();

  constructor(options: TokenVerifierOptions) {
    this.#options = options;
  }

  async of(issuer: string): Promise<Found> {
    const kept = this.#kept.get(issuer);
    if (kept?.keys !== undefined && this.#isWithin(kept.keys.atMs, limits.oidcKeysKeptMs)) return kept.keys;
    if (kept !== undefined && this.#isWithin(kept.askedMs, limits.oidcFailedMsMin)) return { outcome: "unreachable" };
    return this.#fetched(issuer);
  }

  /** Those that the issuer has by now, where `than` did not do. `same`: there are none, or it is too early to ask. */
  async newer(issuer: string, than: Known): Promise<Found | { readonly outcome: "same" }> {
    const kept = this.#kept.get(issuer);
    if (kept?.keys !== undefined && kept.keys !== than) return kept.keys;
    if (kept !== undefined && this.#isWithin(kept.askedMs, limits.oidcRefetchMsMin)) return { outcome: "same" };
    return this.#fetched(issuer);
  }

  #isWithin(sinceMs: number, ms: number): boolean {
    return this.#options.clock.monotonicMs() - sinceMs < ms;
  }

  #fetched(issuer: string): Promise<Found> {
    const under = this.#under.get(issuer);
    if (under !== undefined) return under;
    if (this.#under.size >= limits.oidcFetchesAtOnceMax) return Promise.resolve({ outcome: "busy" });
    const fetching = this.#fetch(issuer).finally(() => this.#under.delete(issuer));
    this.#under.set(issuer, fetching);
    return fetching;
  }

  async #fetch(issuer: string): Promise<Found> {
    const { clock, log } = this.#options;
    const keys = await this.#ask(issuer).catch((error: unknown): undefined => {
      const { message: why, cause } = error instanceof Error ? error : new Error(String(error));
      log.warn({ issuer, why, code: systemCode(cause) }, "an OpenID Connect issuer could not be asked");
    });
    const atMs = clock.monotonicMs();
    const found: Known | undefined = keys && { outcome: "known", keys, atMs };
    // Whoever makes it be asked in a bad moment does not take from the others what is known.
    this.#keep(issuer, { keys: found ?? this.#kept.get(issuer)?.keys, askedMs: atMs });
    return found ?? { outcome: "unreachable" };
  }

  #keep(issuer: string, kept: Kept): void {
    this.#kept.delete(issuer);
    this.#kept.set(issuer, kept);
    if (this.#kept.size > limits.oidcIssuersKept) this.#kept.delete(this.#kept.keys().next().value!);
  }

  async #ask(issuer: string): Promise<KeySet> {
    const { allowsPlainLoopback } = this.#options;
    const options = { allowsPlainLoopback, signal: AbortSignal.timeout(limits.oidcFetchMsMax) };
    const place = `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
    const configuration = await fetchJson(place, options);
    // Whoever speaks for another issuer is not this one.
    if (configuration["issuer"] !== issuer) throw new Error("its configuration names another issuer");
    const { jwks_uri: keysPlace } = configuration;
    if (typeof keysPlace !== "string") throw new Error("its configuration does not say where its keys are");
    const { keys } = await fetchJson(keysPlace, options);
    if (!Array.isArray(keys) || keys.length > limits.oidcKeysMax)
      throw new Error("it publishes no list of keys, or a long one");
    return keys.filter(isKey);
  }
}

/** A key that is of no kind known here is none for this purpose, and hinders no other. */
function isKey(value: unknown): value is Key {
  if (typeof value !== "object" || value === null) return false;
  const { kty, kid, use } = value as Record<string, unknown>;
  const areTexts = [kid, use].every((each) => each === undefined || typeof each === "string");
  return (kty === "RSA" || kty === "EC") && areTexts;
}
