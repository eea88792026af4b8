/**
 * OpenID Connect: whether a token was issued by an issuer, for one of the clients that are meant, and holds now.
 *
 * Promises:
 *  - A token is accepted only when its signature was made with a key that the issuer publishes, with an asymmetric algorithm;
 *    when its issuer is exactly the one asked for; and when its audience and times are right (claims.ts).
 *  - An issuer is asked at its own address, over TLS (or plainly at this machine, where the operator says so), without following
 *    redirects, within oidcFetchMsMax and oidcDocumentBytesMax, and not by every token: its keys are kept for a while, and tokens
 *    that name keys which it does not have cannot make it be asked more often than oidcRefetchMsMin.
 *  - What is wrong with a token is a value. Tokens are never logged.
 *
 * Known gaps: certificates are checked against the authorities that Node.js trusts, not against thumbprints. A key that an issuer takes
 * back is believed for up to oidcKeysKeptMs more.
 *
 * Sources: OpenID Connect Core 1.0 (3.1.3.7, ID token validation), OpenID Connect Discovery 1.0 (4), RFC 7515, 7517 and 8725.
 */
import type { Clock } from "../core/clock.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import { judgeClaims, type Claims } from "./claims.ts";
import { IssuerKeys, type KeySet } from "./issuer_keys.ts";

export type { Claims } from "./claims.ts";

export type Client = {
  /** The issuer's address, as it stands in tokens. */
  readonly issuer: string;
  readonly clientIds: readonly string[];
};

export type Refusal = "malformed" | "issuer" | "audience" | "times" | "expired" | "signature" | "unreachable" | "busy";

export type TokenVerdict =
  { readonly outcome: "accepted"; readonly claims: Claims } | { readonly outcome: "refused"; readonly why: Refusal };

export type TokenVerifier = {
  /** Who the token says that it is from; undefined where it is no token. Nothing of it is checked. */
  issuerOf(token: string): Promise<string | undefined>;
  verify(token: string, client: Client): Promise<TokenVerdict>;
};

export type TokenVerifierOptions = {
  readonly clock: Clock;
  readonly log: Log;
  /** Issuers on this machine may be asked without TLS. */
  readonly allowsPlainLoopback: boolean;
};

/** Those that AWS takes. None of them is symmetric: the issuer's keys are public. */
const algorithms = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"];

const load = () => import("jose");
type Library = Awaited<ReturnType<typeof load>>;

export function createTokenVerifier(options: TokenVerifierOptions): TokenVerifier {
  const keys = new IssuerKeys(options);
  const { clock } = options;

  const verify = async (token: string, { issuer, clientIds }: Client): Promise<TokenVerdict> => {
    const jose = await load();
    const payload = payloadOf(jose, token);
    if (payload === undefined) return refused("malformed");
    // First what costs nothing: whoever has no token of this issuer that could hold does not make it be asked.
    const judged = judgeClaims(payload, { issuer, clientIds, nowMs: clock.nowMs() });
    if (judged.outcome === "refused") return judged;
    const known = await keys.of(issuer);
    if (known.outcome !== "known") return refused(known.outcome);
    if (await isSigned(jose, token, known.keys)) return judged;
    const newer = await keys.newer(issuer, known);
    if (newer.outcome === "same") return refused("signature");
    if (newer.outcome !== "known") return refused(newer.outcome);
    return (await isSigned(jose, token, newer.keys)) ? judged : refused("signature");
  };

  return { issuerOf: async (token) => issuerIn(payloadOf(await load(), token)), verify };
}

function refused(why: Refusal): TokenVerdict {
  return { outcome: "refused", why };
}

function issuerIn(payload: Readonly<Record<string, unknown>> | undefined): string | undefined {
  return typeof payload?.["iss"] === "string" ? payload["iss"] : undefined;
}

function payloadOf(jose: Library, token: string): Readonly<Record<string, unknown>> | undefined {
  if (token.length > limits.webIdentityTokenCharsMax || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return undefined;
  try {
    const { alg } = jose.decodeProtectedHeader(token);
    return alg !== undefined && algorithms.includes(alg) ? jose.decodeJwt(token) : undefined;
  } catch {
    return undefined;
  }
}

/** With any of the keys that it could mean: some issuers give several no id, or the same. */
async function isSigned(jose: Library, token: string, keys: KeySet): Promise<boolean> {
  const { kid, alg = "" } = jose.decodeProtectedHeader(token);
  const meant = keys.filter(
    (key) =>
      key.kty === (alg.startsWith("ES") ? "EC" : "RSA") &&
      (kid === undefined || key.kid === kid) &&
      (key.use === undefined || key.use === "sig"),
  );
  for (const key of meant.slice(0, limits.oidcKeysTriedMax)) {
    try {
      await jose.compactVerify(token, key, { algorithms });
      return true;
    } catch {
      // Another one may be meant; that none fits is the refusal.
    }
  }
  return false;
}
