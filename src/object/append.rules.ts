/** What may be appended to what, and what becomes of an object's description and checksum. */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { CrcAlgorithm } from "../digest/combine.ts";
import type { HeadRecord } from "../meta/heads.ts";
import { headKey } from "../meta/keys.ts";
import { judgeWrite } from "./conditions.ts";
import type { ObjectContext } from "./context.ts";
import { wantedIn } from "./default_encryption.ts";
import type { AppendOptions } from "./append_types.ts";
import type { ObjectMetadata } from "./object.ts";
import { refuseBeyondQuota } from "./quotas.ts";
import { hasVersions, type Target } from "./target.ts";
import { isCrc } from "./uploads.rules.ts";

/** `addedBytes`: as far as it is known. Errors: `invalid_write_offset`, `invalid_request`, `entity_too_large`, and those of conditions. */
export async function judgeAppend(
  ctx: ObjectContext,
  target: Target,
  {
    addedBytes = 1,
    ...options
  }: Omit<AppendOptions, "body" | "verifier"> & { readonly addedBytes: number | undefined },
): Promise<void> {
  const { head, bucket } = target;
  if (hasVersions(bucket)) throw refused("Appending to objects of a bucket that has versions is not implemented.");
  if (addedBytes === 0) throw refused("Request body cannot be empty when 'write offset' is specified.");
  judgeWrite(head, options.conditions);
  const sizeBytes = head?.sizeBytes ?? 0;
  if (options.offset !== sizeBytes)
    throw new HoldfastError(
      "invalid_write_offset",
      "The write offset value that you specified does not match the current object size.",
      { details: { sizeBytes } },
    );
  if (head !== undefined) judgeDescription(head, options);
  // What is added would not be what the object, or the bucket, is said to be.
  if (head?.encryption !== undefined || (await wantedIn(ctx, target, undefined)) !== undefined)
    throw refused("Appending to encrypted objects, or where objects are to be encrypted, is not implemented.");
  if (sizeBytes + addedBytes > limits.objectBytesMax)
    throw new HoldfastError("entity_too_large", "Your proposed upload exceeds the maximum allowed size", {
      details: { maxSizeBytes: limits.objectBytesMax },
    });
}

/** As of a PUT: a body that is to be stored in chunks is not read where a quota has no room for it. Errors: `quota_exceeded`. */
export async function refuseBeforeBody(
  ctx: ObjectContext,
  { name, bucket, key }: Target,
  { sizeBytes }: AppendOptions["body"],
): Promise<void> {
  if (sizeBytes === undefined || sizeBytes <= limits.inlineBytesMax) return;
  await refuseBeyondQuota(ctx, {
    name,
    bucket,
    rows: [headKey(bucket.id, key)],
    growth: ([head]) => ({ objects: head === undefined ? 1 : 0, bytes: sizeBytes }),
  });
}

/** An object that is there stays what it was said to be. */
function judgeDescription(
  { metadata }: HeadRecord,
  { metadata: given, tags }: Pick<AppendOptions, "metadata" | "tags">,
): void {
  if (Object.keys(given.user).length > 0)
    throw refused("Cannot specify both a write offset value and user-defined object metadata for existing objects.");
  if (tags !== undefined) throw refused("Cannot specify both a write offset value and tags for existing objects.");
  const other = otherHeader(metadata, given);
  if (other !== undefined) throw refused(`Appending to an existing object cannot change its ${other}.`);
}

/** SDKs name a type of content even where nobody asked them to. */
function otherHeader({ headers }: ObjectMetadata, { headers: given }: ObjectMetadata): string | undefined {
  const kept: Readonly<Record<string, string | undefined>> = headers;
  return Object.entries(given).find(([name, value]) => name !== "content-type" && kept[name] !== value)?.[0];
}

function refused(message: string): HoldfastError {
  return new HoldfastError("invalid_request", message);
}

export function tooManyParts(): HoldfastError {
  const most = limits.partsMax;
  return new HoldfastError(
    "too_many_parts",
    `You have attempted to add more parts than the maximum of ${most} that are allowed for this object.`,
  );
}

/** Copies share their bytes, and each that is appended to again lies one deeper. */
export function tooDeep(): HoldfastError {
  return new HoldfastError(
    "too_many_parts",
    `The object was copied and appended to ${limits.partsMapDepthMax} times; write its bytes anew to go on.`,
  );
}

/** The CRC of the full object, which goes on with it. */
export function carriedAlgorithm({ checksum }: HeadRecord): CrcAlgorithm | undefined {
  return checksum?.type === "FULL_OBJECT" && isCrc(checksum.algorithm) ? checksum.algorithm : undefined;
}
