/** The version that a read asks for: the current one, or the one of an id. What is no object is an error that says why. */
import { HoldfastError } from "../core/errors.ts";
import { decodeBody } from "../meta/heads.ts";
import type { HeadRecord } from "../meta/heads.ts";
import type { ObjectContext } from "./context.ts";
import type { Admit } from "./object.ts";
import { infoOf, noSuchKey, readTarget } from "./target.ts";
import type { Address, ReadRows, Target, TargetOptions } from "./target.ts";
import { optionalVersionId, versionIdOf, type VersionRef } from "./version_ids.ts";
import { findVersion, type StoredVersion } from "./versions.ts";

/** How often a version is looked for while other requests change the key. */
const attemptsMax = 16;

export type VersionAddress = Address & { readonly versionId?: string; readonly admit?: Admit };

export type ReadVersion = {
  readonly target: Target;
  readonly head: HeadRecord;
  /** Its bytes, if it has no blob; read with `body` only. */
  readonly bytes: () => Buffer;
};

/**
 * Errors: `no_such_bucket`, `no_such_key`, `no_such_version`, `is_delete_marker`, `invalid_argument` for no version's id, and
 * those of `admit`.
 */
export async function readVersion(
  ctx: ObjectContext,
  read: ReadRows,
  address: VersionAddress,
  options: { readonly body: boolean },
): Promise<ReadVersion> {
  const found = await findNamed(ctx, read, address, options);
  address.admit?.(infoOf(found.target.bucket, address.key, found.head));
  return found;
}

async function findNamed(
  ctx: ObjectContext,
  read: ReadRows,
  address: VersionAddress,
  options: { readonly body: boolean },
): Promise<ReadVersion> {
  const ref = optionalVersionId(address.versionId);
  if (ref === undefined) return currentVersion(await readTarget(ctx, read, address, targetOptions(options)));
  const { target, version } = await lookUp(ctx, read, { ...address, ref }, options);
  return namedVersion(target, ref, version);
}

function targetOptions({ body }: { readonly body: boolean }): TargetOptions {
  return body ? { body: "always" } : {};
}

/** The version that is named, be it an object or a delete marker; undefined where there is none. */
export async function lookUp(
  ctx: ObjectContext,
  read: ReadRows,
  address: Address & { readonly ref: VersionRef },
  options: { readonly body: boolean },
): Promise<{ readonly target: Target; readonly version: StoredVersion | undefined }> {
  for (let attempt = 1; ; attempt++) {
    const target = await readTarget(ctx, read, address, targetOptions(options));
    const version = await findVersion(target, address.ref, read);
    if (version !== "changed") return { target, version };
    if (attempt >= attemptsMax)
      throw new HoldfastError("operation_aborted", "Other requests kept changing the key; try again.");
  }
}

/** Errors: `no_such_key`. */
export function currentVersion(target: Target): ReadVersion {
  const { head, marker } = target;
  if (head === undefined) throw noSuchKey(marker);
  return { target, head, bytes: () => bytesOf(target, { place: "head", head, inline: undefined }) };
}

/** What lookUp found. Errors: `no_such_key`, `no_such_version`, `is_delete_marker`. */
export function namedVersion(target: Target, ref: VersionRef, version: StoredVersion | undefined): ReadVersion {
  if (version === undefined) {
    // In a bucket without versions there is one of the key or none, and S3 says of the latter what it says of every key.
    if (ref.kind === "null" && target.bucket.versioning === "unversioned") throw noSuchKey();
    throw new HoldfastError("no_such_version", "The specified version does not exist.");
  }
  const { head } = version;
  if (head.data.kind === "marker")
    throw new HoldfastError("is_delete_marker", "The specified method is not allowed against this resource.", {
      details: { markerId: versionIdOf(head), modifiedMs: head.modifiedMs },
    });
  return { target, head, bytes: () => bytesOf(target, version) };
}

function bytesOf({ bodyEntry }: Target, { place, head, inline }: StoredVersion): Buffer {
  if (head.data.kind === "empty") return Buffer.alloc(0);
  return place === "past" && inline !== undefined ? inline : decodeBody(head, bodyEntry?.value);
}
