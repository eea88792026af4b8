/** HTTP Basic authentication (RFC 7617) against the access keys, for the doors that are not S3. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { unauthorized } from "../core/door.ts";
import type { FoundKey } from "./callers.ts";
import type { Identity } from "./identity.ts";

export type Caller = {
  readonly accessKey: string;
  readonly isRoot: boolean;
  /** What applies to the key: for the door to judge. */
  readonly access: FoundKey["access"];
  /** With temporary credentials that a user has for itself. */
  readonly isUserSession?: boolean;
};

const credentialsCharsMax = 1_024;

/** Digests of equal length are compared, so that neither the secret nor its length shows in the time taken. */
function sameSecret(left: string, right: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(left), digest(right));
}

function parse(header: string | undefined): { accessKey: string; secretKey: string } | undefined {
  const [, token] = /^basic +([A-Za-z0-9+/=_-]+) *$/i.exec(header ?? "") ?? [];
  if (token === undefined || token.length > credentialsCharsMax) return undefined;
  const text = Buffer.from(token, "base64").toString("utf8");
  const colon = text.indexOf(":");
  return colon === -1 ? undefined : { accessKey: text.slice(0, colon), secretKey: text.slice(colon + 1) };
}

/**
 * Throws the 401 that asks for credentials. An unknown key takes the same path, against a secret nobody has. The token of temporary
 * credentials comes in the header that S3 has for it. What the caller may do is not known by that: each door asks the policies
 * (administration.ts, files/permit.ts). Errors: those of `Identity.find`.
 */
export async function authenticateBasic(identity: Identity, headers: IncomingHttpHeaders): Promise<Caller> {
  const given = parse(headers.authorization);
  if (given === undefined) throw unauthorized();
  const found = await identity.find(given.accessKey, tokenIn(headers));
  const isRight = sameSecret(given.secretKey, found?.secretKey ?? "");
  if (!isRight || found === undefined) throw unauthorized();
  const { access, session } = found;
  const isUserSession = session?.principal.kind === "user";
  const isRoot = given.accessKey === identity.rootAccessKey;
  return { accessKey: given.accessKey, isRoot, access, ...(isUserSession && { isUserSession }) };
}

/** An empty one is none, as at the S3 door. */
function tokenIn(headers: IncomingHttpHeaders): string | undefined {
  const token = headers["x-amz-security-token"]?.toString();
  return token === "" ? undefined : token;
}
