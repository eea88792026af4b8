/**
 * Refuses what a request asks for and this gateway does not do: nothing that changes what is stored, or who may read
 * it, is ever silently ignored. Headers that ask for nothing we lack pass.
 */
import type { IncomingHttpHeaders } from "node:http";
import { isEncryptionHeader } from "./encryption.ts";
import { S3Error } from "./errors.ts";
import type { Operation } from "./operations.ts";

/** Header names (or beginnings of names) and what they stand for. */
const refused: readonly (readonly [prefix: string, what: string])[] = [
  ["x-amz-object-lock-", "Object lock"],
  ["x-amz-bucket-object-lock-enabled", "Object lock"],
  ["x-amz-grant-", "An access control list for this"],
  ["x-amz-acl", "An access control list for this"],
  ["x-amz-tagging", "Tagging"],
  ["x-amz-object-ownership", "Object ownership"],
  ["x-amz-mfa", "MFA delete"],
  ["x-amz-write-offset-bytes", "Appending"],
  ["x-amz-rename-source", "Renaming"],
  ["x-amz-bucket-namespace", "A namespace of one's own for buckets"],
  ["x-amz-if-match-initiated-time", "Aborting an upload by its time"],
];

/** In nearly every request. */
const harmless = new Set([
  "x-amz-date",
  "x-amz-content-sha256",
  "x-amz-user-agent",
  "x-amz-checksum-mode",
  "x-amz-bypass-governance-retention",
]);

const newVersions = ["PutObject", "CopyObject", "CreateMultipartUpload"] as const;

/** What some operations do though others refuse it. */
const takesAcl: readonly Operation[] = [
  "CreateBucket",
  "PutBucketAcl",
  "PutObjectAcl",
  "PutObject",
  "PostObject",
  "CopyObject",
  "CreateMultipartUpload",
];

const done: Readonly<Record<string, readonly Operation[]>> = {
  "x-amz-acl": takesAcl,
  "x-amz-grant-": takesAcl,
  "x-amz-tagging": newVersions,
  "x-amz-tagging-directive": ["CopyObject"],
  "x-amz-object-ownership": ["CreateBucket"],
  "x-amz-write-offset-bytes": ["PutObject"],
  "x-amz-rename-source": ["RenameObject"],
  "x-amz-rename-source-if-match": ["RenameObject"],
  "x-amz-rename-source-if-none-match": ["RenameObject"],
  "x-amz-rename-source-if-modified-since": ["RenameObject"],
  "x-amz-rename-source-if-unmodified-since": ["RenameObject"],
  "x-amz-bucket-object-lock-enabled": ["CreateBucket"],
  "x-amz-object-lock-mode": newVersions,
  "x-amz-object-lock-retain-until-date": newVersions,
  "x-amz-object-lock-legal-hold": newVersions,
};

type Screened = { readonly operation: Operation; readonly headers: IncomingHttpHeaders };

/** Judges the x-amz-* headers that no handler reads. Throws NotImplemented, InvalidArgument. */
export function screen({ operation, headers }: Screened): void {
  for (const name in headers) {
    if (!name.startsWith("x-amz-") || harmless.has(name) || name.startsWith("x-amz-meta-")) continue;
    const known = name.startsWith("x-amz-grant-") ? "x-amz-grant-" : name;
    if (done[known]?.includes(operation) === true) continue;
    if (isEncryptionHeader(name, String(headers[name]), operation)) continue;
    screenHeader(name, String(headers[name]));
  }
}

function screenHeader(name: string, value: string): void {
  if (name === "x-amz-tagging-directive" && value === "COPY") return;
  // What is not made by this request is private anyway, and some clients say so everywhere.
  if (name === "x-amz-acl" && value === "private") return;
  if (name === "x-amz-bucket-namespace" && value === "global") return;
  if (name === "x-amz-bucket-object-lock-enabled" && value.toLowerCase() === "false") return;
  for (const [prefix, what] of refused)
    if (name.startsWith(prefix)) throw new S3Error("NotImplemented", `${what} (${name}) is not implemented.`);
}
