/** Query parameters and small header values, read strictly: what is malformed is refused and never guessed. */
import { S3Error } from "./errors.ts";
import type { Query } from "./route.ts";

export function invalidArgument(name: string, value: string, why: string): S3Error {
  return new S3Error("InvalidArgument", why, { details: { ArgumentName: name, ArgumentValue: value } });
}

/** A whole number from 0 on, as digits; undefined when it is not there. */
export function countParam(name: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (!/^\d{1,15}$/.test(value)) throw invalidArgument(name, value, `Provided ${name} not an integer or not in range.`);
  return Number(value);
}

/** How many entries a page may have: what was asked for, but never more than `max`. */
export function pageLimit(query: Query, name: string, max: number): number {
  return Math.min(countParam(name, query.get(name)) ?? max, max);
}

export function requiredParam(query: Query, name: string): string {
  const value = query.get(name);
  if (value === undefined || value === "") throw invalidArgument(name, "", `The parameter ${name} is missing.`);
  return value;
}

/** Only `url` exists. */
export function urlEncoded(query: Query): boolean {
  const value = query.get("encoding-type");
  if (value === undefined || value === "") return false;
  if (value !== "url") throw invalidArgument("encoding-type", value, "Invalid Encoding Method specified in Request");
  return true;
}

/** The bytes of a parameter; undefined when it is absent or empty. */
export function bytesParam(query: Query, name: string): Buffer | undefined {
  const value = query.get(name);
  return value === undefined || value === "" ? undefined : Buffer.from(value);
}

/** Which version of the object is meant, for the object layer to judge; absent: the current one. */
export function versionParam(query: Query): { readonly versionId?: string } {
  const versionId = query.get("versionId");
  if (versionId === "") throw invalidArgument("versionId", "", "Version id cannot be the empty string");
  return versionId === undefined ? {} : { versionId };
}

const tokenVersion = "1";

/** Where a listing goes on, as clients carry it: opaque to them, the last key or common prefix to us. */
export function encodeToken(key: Buffer): string {
  return tokenVersion + key.toString("base64url");
}

export function decodeToken(token: string): Buffer {
  const key = Buffer.from(token.slice(1), "base64url");
  if (encodeToken(key) !== token || key.length === 0)
    throw invalidArgument("continuation-token", token, "The continuation token provided is incorrect");
  return key;
}

const mustEncode = /[!'()*]/g;

/** `encoding-type=url`: percent-encoded UTF-8, with the unreserved characters and `/` left as they are. */
export function encodeUrl(text: string): string {
  return encodeURIComponent(text)
    .replaceAll("%2F", "/")
    .replace(mustEncode, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}
