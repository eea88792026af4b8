/**
 * What a token says, held to what is asked of it. Pure.
 *
 * A token for several audiences says with `azp` which of them it was issued to; where there is an `azp` it must be one of the clients
 * too, so that a token which was issued to somebody else is not taken because it may be shown here as well.
 *
 * Sources: OpenID Connect Core 1.0 (2 and 3.1.3.7), RFC 7519 (4.1).
 */
import { limits } from "../core/limits.ts";
import type { Refusal } from "./oidc.ts";

export type Claims = {
  readonly issuer: string;
  readonly subject: string;
  readonly audiences: readonly string[];
  /** `azp` */
  readonly authorizedParty: string | undefined;
  /** `amr`: how its holder proved who it is. */
  readonly methods: readonly string[];
  readonly email: string | undefined;
  /** All of them, as they stand in the token. */
  readonly all: Readonly<Record<string, unknown>>;
};

export type Expected = { readonly issuer: string; readonly clientIds: readonly string[]; readonly nowMs: number };

export type Judged =
  { readonly outcome: "accepted"; readonly claims: Claims } | { readonly outcome: "refused"; readonly why: Refusal };

/** The signature is not looked at. */
export function judgeClaims(payload: Readonly<Record<string, unknown>>, expected: Expected): Judged {
  const { iss, sub, aud, azp, amr, email } = payload;
  const audiences = typeof aud === "string" ? [aud] : aud;
  if (typeof iss !== "string" || !isSubject(sub) || !areTexts(audiences)) return refused("malformed");
  if (audiences.length === 0 || (azp !== undefined && typeof azp !== "string")) return refused("malformed");
  if (iss !== expected.issuer) return refused("issuer");
  const times = timesOf(payload, expected.nowMs);
  if (times !== undefined) return refused(times);
  if (!isMeant(audiences, azp, expected.clientIds)) return refused("audience");
  const claims = {
    issuer: iss,
    subject: sub,
    audiences,
    authorizedParty: azp,
    methods: areTexts(amr) ? amr : [],
    email: typeof email === "string" ? email : undefined,
    all: payload,
  };
  return { outcome: "accepted", claims };
}

function refused(why: Refusal): Judged {
  return { outcome: "refused", why };
}

/** OpenID Connect says ASCII, of up to 255 characters; some issuers have names of people in it. */
function isSubject(value: unknown): value is string {
  if (typeof value !== "string" || value === "" || value.length > limits.oidcUrlCharsMax) return false;
  return value.isWellFormed() && !/\p{Cc}/u.test(value);
}

function areTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((each) => typeof each === "string");
}

function timesOf({ exp, iat, nbf }: Readonly<Record<string, unknown>>, nowMs: number): Refusal | undefined {
  if (typeof exp !== "number" || typeof iat !== "number") return "malformed";
  if (nbf !== undefined && typeof nbf !== "number") return "malformed";
  // So that what compares with nothing is expired, too.
  if (!(nowMs < exp * 1_000)) return "expired";
  const latestMs = nowMs + limits.oidcClockAheadMsMax;
  return iat * 1_000 > latestMs || (nbf ?? 0) * 1_000 > latestMs ? "times" : undefined;
}

function isMeant(audiences: readonly string[], azp: string | undefined, clientIds: readonly string[]): boolean {
  if (!audiences.some((each) => clientIds.includes(each))) return false;
  return azp === undefined ? audiences.length === 1 : clientIds.includes(azp);
}
