/**
 * Whether the caller may do what a commit over several keys asks for: each entry is judged as the single request would be, first
 * by itself, then by the objects that are there, with the very rows that the commit goes on with. An error says which entry.
 */
import { HoldfastError } from "../core/errors.ts";
import type { CommitEntry } from "../object/commit_types.ts";
import type { ObjectAcl, ObjectInfo } from "../object/object.ts";
import { requireCopiedTags, shownMissing, type Authority } from "./authorize.ts";
import { S3Error } from "./errors.ts";
import { arnOf, needsOfEntry, type Asked } from "./needs.ts";

type Judged = Asked & { readonly authority: Authority };
type Place = {
  readonly entry: CommitEntry;
  readonly index: number;
  /** Of what the entry makes. */
  readonly acl: { readonly acl?: ObjectAcl };
};

/** The entry, with what judges the object that it finds. Throws AccessDenied. */
export function judgedEntry(request: Judged, { entry, index, acl }: Place): CommitEntry {
  const { authority } = request;
  const { first, onTarget, onSource, tagsOfSource } = needsOfEntry(request, entry);
  const tags = "tags" in entry ? entry.tags : undefined;
  ofEntry(index, () => first.forEach((needed) => authority.require(needed, tags && { tags })));
  const admit = (info: ObjectInfo | undefined): void =>
    ofEntry(index, () => {
      for (const needed of [...onTarget, ...onSource]) authority.require(needed, info && { info });
      requireCopiedTags(authority, tagsOfSource, info);
      if (info === undefined) requireListing(request, entry.key);
    });
  switch (entry.kind) {
    case "put":
      return { ...entry, ...acl };
    case "copy":
      return { ...entry, ...acl, source: { ...entry.source, admit } };
    case "rename":
      return { ...entry, source: { ...entry.source, admit } };
    case "check":
      return { ...entry, admit };
    case "delete":
      return entry;
  }
}

/** That a key is not there is told to whoever may list it. */
function requireListing({ authority, bucket }: Judged, key: Buffer): void {
  authority.require({ action: "s3:ListBucket", resource: arnOf(bucket), bucket, prefix: key.toString() });
}

/** The error of a commit as this caller may see it. */
export function shownOfEntry(request: Judged, entries: readonly CommitEntry[], error: unknown): unknown {
  const index = error instanceof HoldfastError ? error.details["entry"] : undefined;
  const entry = typeof index === "number" ? entries[index] : undefined;
  if (entry === undefined) return error;
  const keys = "source" in entry ? [entry.source.key, entry.key] : [entry.key];
  const shown = shownMissing(request.authority, error, {
    needs: needsOfEntry(request, entry),
    bucket: request.bucket,
    keys,
  });
  return shown instanceof S3Error ? withPlace(shown, Number(index)) : shown;
}

function ofEntry(index: number, judge: () => void): void {
  try {
    judge();
  } catch (error) {
    throw error instanceof S3Error ? withPlace(error, index) : error;
  }
}

function withPlace(error: S3Error, index: number): S3Error {
  return new S3Error(error.code, error.message, { details: { ...error.details, Entry: index }, cause: error });
}
