/** HTTP Basic authentication (RFC 7617) against the access keys, for the doors that are not S3. */
import { createHash, timingSafeEqual } from "node:crypto";
import { unauthorized } from "../core/door.ts";
import type { Identity } from "./identity.ts";

export type Caller = { readonly accessKey: string; readonly isRoot: boolean };

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

/** Throws the 401 that asks for credentials. An unknown key takes the same path, against a secret nobody has. */
export async function authenticateBasic(identity: Identity, header: string | undefined): Promise<Caller> {
  const given = parse(header);
  if (given === undefined) throw unauthorized();
  const secretKey = await identity.secretFor(given.accessKey);
  const isRight = sameSecret(given.secretKey, secretKey ?? "");
  if (!isRight || secretKey === undefined) throw unauthorized();
  return { accessKey: given.accessKey, isRoot: given.accessKey === identity.rootAccessKey };
}
