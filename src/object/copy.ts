/**
 * Server-side copy: no byte of a chunk is moved. The new version points to the source's blob, whose refcount the same commit
 * raises; a small body is written again beside its new head. The copy keeps the source's ETag, and with the blob its parts.
 *
 * The commit checks the source's head and the blob's root, so the source is what it was when its conditions were judged, and
 * its blob has not gone: a root is only deleted after the last head that points to it.
 */
import { hasReason, HoldfastError } from "../core/errors.ts";
import type { BlobId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { transact } from "../kv/transact.ts";
import type { Transaction } from "../kv/transact.ts";
import { decodeBlobRoot, encodeBlobRoot } from "../meta/blobs.ts";
import type { HeadRecord } from "../meta/heads.ts";
import { blobRootKey } from "../meta/keys.ts";
import { judgeCopySource, judgeWrite } from "./conditions.ts";
import type { ObjectContext } from "./context.ts";
import { existing, getObject, inlineBytes } from "./get.ts";
import { checkMetadata, checkObjectKey, checkVersionId } from "./names.ts";
import type { ChecksumAlgorithm, CopyOptions, ObjectMetadata, PutResult, StoredChecksum } from "./object.ts";
import { keepBucketAlive, readRows, readTarget, replaceVersion } from "./target.ts";

/** How often the bytes are read again because the source was replaced while a checksum was computed. */
const checksumAttemptsMax = 4;

type Computed = { readonly stamp: string; readonly checksum: StoredChecksum };

export async function copyObject(ctx: ObjectContext, options: CopyOptions): Promise<PutResult> {
  const { source, metadata } = options;
  checkObjectKey(source.key);
  checkVersionId(source.versionId);
  checkObjectKey(options.key);
  if (typeof metadata === "object") checkMetadata(metadata);
  if (metadata === undefined && source.bucket === options.bucket && source.key.equals(options.key)) {
    throw new HoldfastError("invalid_argument", "This copy request is illegal: it would change nothing.");
  }
  for (let attempt = 0; attempt < checksumAttemptsMax; attempt++) {
    const computed = await computeChecksum(ctx, options);
    const result = await copyOnce(ctx, options, computed);
    if (result !== "source_changed") return result;
  }
  throw new HoldfastError("operation_aborted", "The source kept changing while it was read; try again.");
}

/** Reads the source's bytes where another checksum is asked for than the stored one. */
async function computeChecksum(ctx: ObjectContext, options: CopyOptions): Promise<Computed | undefined> {
  const algorithm = options.checksumAlgorithm;
  if (algorithm === undefined) return undefined;
  const { source, signal } = options;
  const seen = existing(await readTarget(ctx, readRows(ctx.kv), source));
  refuseTooLarge(seen);
  judgeCopySource(seen, source.conditions);
  if (hasChecksum(seen, algorithm)) return undefined;
  const found = await getObject(ctx, {
    bucket: source.bucket,
    key: source.key,
    conditions: { ifMatch: [seen.etag] },
    ...(signal === undefined ? {} : { signal }),
  }).catch(onlyIfReplaced);
  if (found?.outcome !== "found") return undefined;
  const digest = ctx.digests.stream([algorithm]);
  try {
    for await (const piece of found.body()) await digest.update(piece);
    const value = (await digest.finish())[algorithm]!;
    return { stamp: seen.stamp, checksum: { algorithm, type: "FULL_OBJECT", value } };
  } finally {
    digest.cancel();
    found.release();
  }
}

/** Replaced or deleted since it was seen: the commit finds out, and judges the source that is there then. */
function onlyIfReplaced(error: unknown): undefined {
  if (!hasReason(error, "precondition_failed", "no_such_key")) throw error;
}

function hasChecksum(head: HeadRecord, algorithm: ChecksumAlgorithm): boolean {
  return head.checksum?.algorithm === algorithm && head.checksum.type === "FULL_OBJECT";
}

function refuseTooLarge(head: HeadRecord): void {
  if (head.sizeBytes <= limits.copyBytesMax) return;
  throw new HoldfastError("entity_too_large", "The source of a copy is larger than the maximum allowed.", {
    details: { sizeBytes: head.sizeBytes, maxSizeBytes: limits.copyBytesMax },
  });
}

async function copyOnce(
  ctx: ObjectContext,
  options: CopyOptions,
  computed: Computed | undefined,
): Promise<PutResult | "source_changed"> {
  const { clock, random } = ctx;
  const work = async (tx: Transaction): Promise<PutResult | "source_changed"> => {
    const from = await readTarget(ctx, (keys) => tx.get(keys), options.source, { body: true });
    const head = existing(from);
    refuseTooLarge(head);
    judgeCopySource(head, options.source.conditions);
    const checksum = checksumOfCopy(head, options.checksumAlgorithm, computed);
    if (checksum === "unknown") return "source_changed";
    const target = await readTarget(ctx, (keys) => tx.get(keys), options);
    judgeWrite(target.head, options.conditions);
    await ctx.admitRows?.(head.data.kind === "inline" ? head.sizeBytes : 0);
    if (head.data.kind === "blob" && !hasBlob(target.head, head.data.blob)) await shareBlob(tx, head.data.blob);
    const { sizeBytes, etag, data } = head;
    const modifiedMs = clock.nowMs();
    const metadata = metadataOfCopy(options.metadata, head);
    const inline = data.kind === "inline" ? inlineBytes(from, head) : undefined;
    replaceVersion(ctx, tx, target, { sizeBytes, modifiedMs, etag, checksum, metadata, data, inline });
    await keepBucketAlive(ctx, tx, target.name, target.bucket);
    return { etag, sizeBytes, modifiedMs, checksum };
  };
  const { signal } = options;
  return transact(ctx.kv, work, signal === undefined ? { clock, random } : { clock, random, signal });
}

function metadataOfCopy(wanted: CopyOptions["metadata"], head: HeadRecord): ObjectMetadata {
  if (typeof wanted !== "function") return wanted ?? head.metadata;
  const metadata = wanted(head.metadata);
  checkMetadata(metadata);
  return metadata;
}

function checksumOfCopy(
  head: HeadRecord,
  algorithm: ChecksumAlgorithm | undefined,
  computed: Computed | undefined,
): StoredChecksum | undefined | "unknown" {
  if (algorithm === undefined || hasChecksum(head, algorithm)) return head.checksum;
  return computed?.stamp === head.stamp ? computed.checksum : "unknown";
}

/** Onto itself, or onto an earlier copy: the target keeps the reference it has (replaceVersion drops none then). */
function hasBlob(head: HeadRecord | undefined, blob: BlobId): boolean {
  return head?.data.kind === "blob" && head.data.blob === blob;
}

async function shareBlob(tx: Transaction, blob: BlobId): Promise<void> {
  const key = blobRootKey(blob);
  const [row] = await tx.get([key]);
  if (row === undefined) throw new HoldfastError("corrupt_record", `The root of blob ${blob} is missing.`);
  const root = decodeBlobRoot(row.value);
  tx.put(key, encodeBlobRoot({ ...root, refcount: root.refcount + 1 }));
}
