/**
 * Server-side copy: no byte of a chunk is moved, unless encryption has it otherwise. The new version points to the source's blob, whose refcount the same commit
 * raises; a small body is written again beside its new head. The copy keeps the source's ETag, and with the blob its parts.
 *
 * The commit checks the source's head and the blob's root, so the source is what it was when its conditions were judged, and
 * its blob has not gone: a root is only deleted after the last head that points to it.
 *
 * A copy to the other one of the two classes that are stored in their own ways (storage_class.ts), or to a bucket where its class bears
 * more losses, has its bytes read and written too.
 *
 * A copy of what is encrypted seals the data key anew, as is wanted of the copy, and shares the blob, where both are encrypted in
 * the same way by keys of the store. Otherwise the bytes are read and written like any other body: where only one of the two is
 * encrypted, where the ETag is an MD5 of only one, and where a client's key is about, so that a client who takes another
 * key gets bytes which the old one opens no more, whatever was kept of the old object's head.
 */
import { hasReason, HoldfastError } from "../core/errors.ts";
import type { BlobId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { CustomerKey } from "../crypto/customer_key.ts";
import { transact } from "../kv/transact.ts";
import type { Transaction } from "../kv/transact.ts";
import { decodeBlobRoot, encodeBlobRoot } from "../meta/blobs.ts";
import type { EncryptionRecord } from "../meta/extras.ts";
import type { HeadRecord } from "../meta/heads.ts";
import { blobRootKey } from "../meta/keys.ts";
import { judgeCopySource, judgeWrite } from "./conditions.ts";
import type { ObjectContext } from "./context.ts";
import { wantedIn } from "./default_encryption.ts";
import { endingOf } from "./due.ts";
import { encryptionInfo, openObjectKey, sealedFor } from "./encryption.ts";
import { bodyOf, type Found } from "./found_body.ts";
import { getObject } from "./get.ts";
import { judgeNewLock } from "./locks.ts";
import { assertTags, checkMetadata, checkObjectKey } from "./names.ts";
import type {
  BodyVerifier,
  ChecksumAlgorithm,
  CopyOptions,
  CopyResult,
  ObjectMetadata,
  StoredChecksum,
  WantedEncryption,
} from "./object.ts";
import { newLock } from "./object_lock.ts";
import { putObject } from "./put.ts";
import { readVersion, type ReadVersion } from "./read_version.ts";
import { bearsMoreIn, mayShare } from "./storage_class.ts";
import { hasVersions, infoOf, keepBucketAlive, readRows, readTarget, type ReadRows } from "./target.ts";
import { replacedBy, replaceVersion } from "./versions.ts";

/** How often the bytes are read again because the source was replaced while they were read. */
const readAttemptsMax = 4;

type Computed = { readonly stamp: string; readonly checksum: StoredChecksum };

export async function copyObject(ctx: ObjectContext, options: CopyOptions): Promise<CopyResult> {
  const { source, metadata } = options;
  checkObjectKey(source.key);
  checkObjectKey(options.key);
  if (typeof metadata === "object") checkMetadata(metadata);
  assertTags(options.tags);
  for (let attempt = 0; attempt < readAttemptsMax; attempt++) {
    const computed = await computeChecksum(ctx, options);
    let result = await copyOnce(ctx, options, computed);
    if (result === "needs_bytes") result = await rewrite(ctx, options);
    if (result !== "source_changed") return result;
  }
  throw new HoldfastError("operation_aborted", "The source kept changing while it was read; try again.");
}

/** Errors: those of readVersion and of `admit`; `invalid_request` for a delete marker, as AWS answers. */
export function readSource(
  ctx: ObjectContext,
  read: ReadRows,
  source: CopyOptions["source"],
  options: { readonly body: boolean },
): Promise<ReadVersion> {
  return readVersion(ctx, read, source, options).catch(refuseMarker);
}

/** What AWS says of a source, of an object or of a part, that is a delete marker. Any other error is thrown as it is. */
export function refuseMarker(error: unknown): never {
  if (!hasReason(error, "is_delete_marker")) throw error;
  throw new HoldfastError(
    "invalid_request",
    "The source of a copy request may not specifically refer to a delete marker by version id.",
  );
}

/** Where there are versions, a copy of a key onto itself makes a new one; else it must change something. */
function refuseUnchanged({ source, bucket, key, metadata, encryption }: CopyOptions, isKept: boolean): void {
  if (
    metadata !== undefined ||
    encryption !== undefined ||
    isKept ||
    source.bucket !== bucket ||
    !source.key.equals(key)
  )
    return;
  throw new HoldfastError("invalid_argument", "This copy request is illegal: it would change nothing.");
}

/** Reads the source's bytes where another checksum is asked for than the stored one. */
async function computeChecksum(ctx: ObjectContext, options: CopyOptions): Promise<Computed | undefined> {
  const algorithm = options.checksumAlgorithm;
  if (algorithm === undefined) return undefined;
  const { source, signal } = options;
  const { head: seen } = await readSource(ctx, readRows(ctx.kv), source, { body: false });
  refuseTooLarge(seen);
  judgeCopySource(seen, source.conditions);
  if (hasChecksum(seen, algorithm)) return undefined;
  const found = await readSeen(ctx, seen, { source, signal });
  if (found === undefined) return undefined;
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

/** The source's bytes, if it still is what was seen. */
async function readSeen(
  ctx: ObjectContext,
  seen: HeadRecord,
  { source, signal }: Pick<CopyOptions, "source"> & { readonly signal: AbortSignal | undefined },
): Promise<Found | undefined> {
  const { conditions: _, ...address } = source;
  const found = await getObject(ctx, {
    ...address,
    conditions: { ifMatch: [seen.etag] },
    ...(signal === undefined ? {} : { signal }),
  }).catch(onlyIfReplaced);
  return found?.outcome === "found" ? found : undefined;
}

/** The copy as a PUT of the source's bytes. Its checksum is of the source's kind, of the whole object. */
async function rewrite(ctx: ObjectContext, options: CopyOptions): Promise<CopyResult | "source_changed"> {
  const { source, bucket, key, lock, acl, origin, conditions, encryption, signal } = options;
  const { head } = await readSource(ctx, readRows(ctx.kv), source, { body: false });
  refuseTooLarge(head);
  judgeCopySource(head, source.conditions);
  const found = await readSeen(ctx, head, { source, signal });
  if (found === undefined) return "source_changed";
  try {
    const { info } = found;
    const { tags = info.tags } = options;
    const put = await putObject(ctx, {
      bucket,
      key,
      body: bodyOf(found, info.sizeBytes),
      metadata: metadataOfCopy(options.metadata, info),
      verifier: computing(options.checksumAlgorithm ?? info.checksum?.algorithm),
      encryption,
      ...(tags === undefined ? {} : { tags }),
      event: "ObjectCreated:Copy",
      ...(lock === undefined ? {} : { lock }),
      ...(acl === undefined ? {} : { acl }),
      ...(origin === undefined ? {} : { origin }),
      ...(conditions === undefined ? {} : { conditions }),
      ...(signal === undefined ? {} : { signal }),
    });
    return { ...put, sourceVersionId: info.versionId };
  } finally {
    found.release();
  }
}

/** Compares nothing: there is no client that knows what the bytes should be. */
function computing(algorithm: ChecksumAlgorithm | undefined): BodyVerifier {
  if (algorithm === undefined) return { digests: [], verify: () => undefined };
  return { digests: [algorithm], verify: (digests) => ({ algorithm, value: digests[algorithm]! }) };
}

/** Replaced or deleted since it was seen: the commit finds out, and judges the source that is there then. */
function onlyIfReplaced(error: unknown): undefined {
  if (!hasReason(error, "precondition_failed", "no_such_key", "no_such_version", "is_delete_marker")) throw error;
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
): Promise<CopyResult | "source_changed" | "needs_bytes"> {
  const { clock, random } = ctx;
  const work = async (tx: Transaction): Promise<CopyResult | "source_changed" | "needs_bytes"> => {
    const from = await readSource(ctx, (keys) => tx.get(keys), options.source, { body: true });
    const { head } = from;
    refuseTooLarge(head);
    judgeCopySource(head, options.source.conditions);
    const checksum = checksumOfCopy(head, options.checksumAlgorithm, computed);
    if (checksum === "unknown") return "source_changed";
    const target = await readTarget(ctx, (keys) => tx.get(keys), options, { body: "kept" });
    const wanted = await wantedIn(ctx, target, options.encryption);
    const encryption = await encryptionOfCopy(ctx, head, options.source.customerKey, wanted);
    const metadata = metadataOfCopy(options.metadata, head);
    const bearsMore = bearsMoreIn(ctx, target.bucket, { head, bucket: from.target.bucket });
    if (encryption === "needs_bytes" || !mayShare(head, metadata) || bearsMore) return "needs_bytes";
    refuseUnchanged(options, hasVersions(target.bucket));
    judgeWrite(target.head, options.conditions);
    judgeNewLock(target.bucket, options.lock, clock.nowMs());
    const lock = await newLock(ctx, tx, target, options.lock);
    const replaced = await replacedBy(tx, target);
    await ctx.admitRows?.(head.data.kind === "inline" ? head.sizeBytes : 0);
    if (head.data.kind === "blob" && !hasBlob(replaced?.head, head.data.blob)) await shareBlob(tx, head.data.blob);
    const { sizeBytes, etag, data } = head;
    const modifiedMs = clock.nowMs();
    const inline = data.kind === "inline" ? from.bytes() : undefined;
    const { tags = head.tags, acl } = options;
    const next = { sizeBytes, modifiedMs, etag, checksum, metadata, tags, ...lock, acl, encryption, data, inline };
    const cause = { event: "ObjectCreated:Copy", origin: options.origin } as const;
    const versionId = await replaceVersion(ctx, tx, target, { next, replaced, cause });
    await keepBucketAlive(ctx, tx, target.name, target.bucket);
    const sourceVersionId = infoOf(from.target.bucket, options.source.key, head).versionId;
    const ending = await endingOf(ctx, target, options.key, next);
    const result = { etag, sizeBytes, modifiedMs, checksum, encryption: encryptionInfo(encryption) };
    return { ...result, versionId, sourceVersionId, ...(ending && { ending }) };
  };
  const { signal } = options;
  return transact(ctx.kv, work, signal === undefined ? { clock, random } : { clock, random, signal });
}

/** What the head of a copy that shares its source's bytes says of their key. */
export async function encryptionOfCopy(
  ctx: ObjectContext,
  { encryption: record }: HeadRecord,
  customerKey: CustomerKey | undefined,
  wanted: WantedEncryption | undefined,
): Promise<EncryptionRecord | undefined | "needs_bytes"> {
  const dataKey = await openObjectKey(ctx, { encryption: record }, customerKey);
  if (dataKey === undefined || record === undefined) return wanted === undefined ? undefined : "needs_bytes";
  if (wanted?.mode !== record.mode || wanted.mode === "customer") return "needs_bytes";
  const sealed = await sealedFor(ctx, wanted, dataKey);
  return { ...sealed.record, inlineTag: record.inlineTag };
}

function metadataOfCopy(wanted: CopyOptions["metadata"], head: { readonly metadata: ObjectMetadata }): ObjectMetadata {
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

/** In place of itself, or of an earlier copy: the reference that is there is kept (replaceVersion drops none then). */
export function hasBlob(head: HeadRecord | undefined, blob: BlobId): boolean {
  return head?.data.kind === "blob" && head.data.blob === blob;
}

async function shareBlob(tx: Transaction, blob: BlobId): Promise<void> {
  const key = blobRootKey(blob);
  const [row] = await tx.get([key]);
  if (row === undefined) throw new HoldfastError("corrupt_record", `The root of blob ${blob} is missing.`);
  const root = decodeBlobRoot(row.value);
  tx.put(key, encodeBlobRoot({ ...root, refcount: root.refcount + 1 }));
}
