/**
 * PUT: read bucket and head, store the body, publish it in one commit.
 *
 * Order of durability: `blobs.write` returns when every chunk is synced; only then does the commit make them visible, and
 * the answer leaves after the commit. A body that is not published is removed again, unless the outcome of the commit
 * is unknown: then its chunks stay, and the orphan sweep of the session decides what to do with them.
 */
import type { WrittenBody } from "../blob/blob.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { DigestAlgorithm } from "../digest/digest.ts";
import { newChunkedBlobWrites } from "../meta/blobs.ts";
import { blobData, decodeHead } from "../meta/heads.ts";
import type { HeadData } from "../meta/heads.ts";
import { headKey } from "../meta/keys.ts";
import { judgeWrite } from "./conditions.ts";
import type { ObjectContext } from "./context.ts";
import { wantedIn } from "./default_encryption.ts";
import { endingOf } from "./due.ts";
import { encryptionInfo, etagOf, newEncryption, sealInline, type Encryption } from "./encryption.ts";
import { judgeNewLock } from "./locks.ts";
import { assertTags, checkMetadata, checkObjectKey } from "./names.ts";
import type { PutOptions, PutResult, StoredChecksum } from "./object.ts";
import { newLock } from "./object_lock.ts";
import { refuseBeyondQuota } from "./quotas.ts";
import { asksForReduced, convertLate, redundancyIn } from "./storage_class.ts";
import { changeTarget, readRows, readTarget } from "./target.ts";
import type { Target } from "./target.ts";
import { replacedBy, replaceVersion } from "./versions.ts";

const onlyMd5: readonly DigestAlgorithm[] = ["md5"];

/** What to compute of a body: what the verifier asks for, and MD5 for the ETag. */
export function digestsWithMd5(algorithms: readonly DigestAlgorithm[]): readonly DigestAlgorithm[] {
  if (algorithms.length === 0) return onlyMd5;
  return algorithms.includes("md5") ? algorithms : [...algorithms, "md5"];
}

export async function putObject(ctx: ObjectContext, options: PutOptions): Promise<PutResult> {
  checkObjectKey(options.key);
  checkMetadata(options.metadata);
  assertTags(options.tags);
  const early = await readTarget(ctx, readRows(ctx.kv), options, { body: "kept" });
  // What is refused already is refused before its body is read. The commit judges again.
  judgeWrite(early.head, options.conditions);
  judgeNewLock(early.bucket, options.lock, ctx.clock.nowMs());
  await refuseBeforeBody(ctx, early, options);
  const encryption = await newEncryption(ctx, await wantedIn(ctx, early, options.encryption));
  const written = await ctx.blobs.write(options.body, {
    digests: digestsWithMd5(options.verifier.digests),
    inlineBytesMax: limits.inlineBytesMax,
    bytesMax: limits.putBytesMax,
    redundancy: redundancyIn(ctx, early.bucket, asksForReduced(options.metadata)),
    dataKey: encryption?.dataKey,
    signal: options.signal,
  });
  if (written.kind === "inline") await ctx.admitRows?.(written.sizeBytes);
  try {
    return await publish(ctx, options, { written, encryption }, early);
  } catch (error) {
    await discardUnpublished(ctx, written, error);
    throw error;
  }
}

/** A body that is to be stored in chunks is not read where a quota has no room for it. Others cost less than the look. */
async function refuseBeforeBody(
  ctx: ObjectContext,
  { name, bucket, key }: Target,
  { body }: PutOptions,
): Promise<void> {
  const { sizeBytes } = body;
  if (sizeBytes === undefined || sizeBytes <= limits.inlineBytesMax) return;
  await refuseBeyondQuota(ctx, {
    name,
    bucket,
    rows: [headKey(bucket.id, key)],
    growth: ([head]) => {
      if (bucket.versioning === "enabled") return { objects: 1, bytes: sizeBytes };
      // Which version goes is known in the commit only.
      if (bucket.versioning === "suspended") return undefined;
      const replaced = head === undefined ? 0 : decodeHead(head).sizeBytes;
      return { objects: head === undefined ? 1 : 0, bytes: sizeBytes - replaced };
    },
  });
}

async function publish(
  ctx: ObjectContext,
  options: PutOptions,
  { written, encryption }: { readonly written: WrittenBody; readonly encryption: Encryption | undefined },
  early: Target,
): Promise<PutResult> {
  const verified = options.verifier.verify(written.digests);
  const checksum: StoredChecksum | undefined = verified && { ...verified, type: "FULL_OBJECT" };
  const etag = etagOf(written.digests.md5!, encryption);
  const { sizeBytes } = written;
  const { metadata, tags, acl, conditions, signal, origin, event = "ObjectCreated:Put" } = options;
  const publishesChunks = written.kind === "chunked" && written.blob.chunks.length > 0;
  const blobWrites = publishesChunks ? newChunkedBlobWrites(written.blob, () => ctx.session.nextStamp()) : [];
  const reduced = asksForReduced(metadata);
  const data = dataOf(written, reduced);
  const stored =
    data.kind === "inline" && written.kind === "inline"
      ? sealInline(written.bytes, encryption)
      : { inline: undefined, encryption: encryption?.record };
  const info = encryptionInfo(stored.encryption);
  return changeTarget(ctx, options, { early, publishesChunks, signal }, async (tx, target) => {
    judgeWrite(target.head, conditions);
    const replaced = await replacedBy(tx, target);
    const modifiedMs = ctx.clock.nowMs();
    for (const write of blobWrites) tx.put(write.key, write.value);
    if (publishesChunks) await convertLate(ctx, tx, target.bucket, { storedFor: [early.bucket], reduced });
    const lock = await newLock(ctx, tx, target, options.lock);
    const next = { sizeBytes, modifiedMs, etag, checksum, metadata, tags, ...lock, acl, data, ...stored };
    const versionId = await replaceVersion(ctx, tx, target, { next, replaced, cause: { event, origin } });
    const ending = await endingOf(ctx, target, options.key, next);
    return { etag, sizeBytes, modifiedMs, checksum, encryption: info, versionId, ...(ending && { ending }) };
  });
}

function dataOf(written: WrittenBody, reduced: boolean): HeadData {
  if (written.sizeBytes === 0) return { kind: "empty" };
  return written.kind === "inline" ? { kind: "inline" } : blobData(written.blob.id, reduced);
}

/** Whether a failed commit surely did not happen: only the store's being away leaves that open. */
export function surelyNotCommitted(error: unknown): boolean {
  return error instanceof HoldfastError && error.reason !== "unavailable" && error.reason !== "internal";
}

/** Removes the chunks of a body that was not published because of `error`. Never throws: the error is the answer. */
export async function discardUnpublished(ctx: ObjectContext, written: WrittenBody, error: unknown): Promise<void> {
  if (written.kind !== "chunked" || !surelyNotCommitted(error)) return;
  try {
    await ctx.blobs.discard(written.blob);
  } catch (cause) {
    ctx.log.warn({ err: cause, blob: written.blob.id }, "chunks of a failed write stay until the orphan sweep");
  }
}
