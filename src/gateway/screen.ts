/**
 * Refuses what a request asks for and this gateway does not do: nothing that changes what is stored, or who may read
 * it, is ever silently ignored. Headers that ask for nothing we lack pass.
 */
import type { IncomingHttpHeaders } from "node:http";
import { S3Error } from "./errors.ts";
import type { Owner } from "./exchange.ts";

/** Header names (or beginnings of names) and what they stand for. */
const refused: readonly (readonly [prefix: string, what: string])[] = [
  ["x-amz-server-side-encryption", "Server-side encryption"],
  ["x-amz-copy-source-server-side-encryption", "Server-side encryption"],
  ["x-amz-object-lock-", "Object lock"],
  ["x-amz-bucket-object-lock-enabled", "Object lock"],
  ["x-amz-bypass-governance-retention", "Object lock"],
  ["x-amz-grant-", "Access control lists"],
  ["x-amz-tagging", "Tagging"],
  ["x-amz-mfa", "MFA delete"],
  ["x-amz-write-offset-bytes", "Appending"],
  ["x-amz-rename-source", "Renaming"],
];

/** In nearly every request. */
const harmless = new Set(["x-amz-date", "x-amz-content-sha256", "x-amz-user-agent", "x-amz-checksum-mode"]);

/** Judges the x-amz-* headers that no handler reads. Throws NotImplemented, AccessDenied. */
export function screen(headers: IncomingHttpHeaders, owner: Owner): void {
  for (const name in headers) {
    if (!name.startsWith("x-amz-") || harmless.has(name) || name.startsWith("x-amz-meta-")) continue;
    screenHeader(name, String(headers[name]), owner);
  }
}

function screenHeader(name: string, value: string, owner: Owner): void {
  if (name === "x-amz-tagging-directive" && value === "COPY") return;
  if (name === "x-amz-bucket-object-lock-enabled" && value.toLowerCase() === "false") return;
  for (const [prefix, what] of refused)
    if (name.startsWith(prefix)) throw new S3Error("NotImplemented", `${what} (${name}) is not implemented.`);
  if (name === "x-amz-acl" && value !== "private")
    throw new S3Error("NotImplemented", `The canned ACL "${value}" is not implemented; only "private" is.`);
  if (name === "x-amz-object-ownership" && value !== "BucketOwnerEnforced")
    throw new S3Error("NotImplemented", `The object ownership "${value}" is not implemented.`);
  if ((name === "x-amz-expected-bucket-owner" || name === "x-amz-source-expected-bucket-owner") && value !== owner.id)
    throw new S3Error("AccessDenied", "The bucket is not owned by the expected account.");
}
