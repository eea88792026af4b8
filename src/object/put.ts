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
import type { HeadData } from "../meta/heads.ts";
import { judgeWrite } from "./conditions.ts";
import type { ObjectContext } from "./context.ts";
import { checkMetadata, checkObjectKey } from "./names.ts";
import type { PutOptions, PutResult, StoredChecksum } from "./object.ts";
import { changeTarget, readRows, readTarget, replaceVersion } from "./target.ts";
import type { Target } from "./target.ts";

const onlyMd5: readonly DigestAlgorithm[] = ["md5"];

/** What to compute of a body: what the verifier asks for, and MD5 for the ETag. */
export function digestsWithMd5(algorithms: readonly DigestAlgorithm[]): readonly DigestAlgorithm[] {
  if (algorithms.length === 0) return onlyMd5;
  return algorithms.includes("md5") ? algorithms : [...algorithms, "md5"];
}

export async function putObject(ctx: ObjectContext, options: PutOptions): Promise<PutResult> {
  checkObjectKey(options.key);
  checkMetadata(options.metadata);
  const early = await readTarget(ctx, readRows(ctx.kv), options);
  // What is refused already is refused before its body is read. The commit judges again.
  judgeWrite(early.head, options.conditions);
  const written = await ctx.blobs.write(options.body, {
    digests: digestsWithMd5(options.verifier.digests),
    inlineBytesMax: limits.inlineBytesMax,
    bytesMax: limits.putBytesMax,
    redundancy: early.bucket.redundancy,
    signal: options.signal,
  });
  if (written.kind === "inline") await ctx.admitRows?.(written.sizeBytes);
  try {
    return await publish(ctx, options, written, early);
  } catch (error) {
    await discardUnpublished(ctx, written, error);
    throw error;
  }
}

async function publish(
  ctx: ObjectContext,
  options: PutOptions,
  written: WrittenBody,
  early: Target,
): Promise<PutResult> {
  const verified = options.verifier.verify(written.digests);
  const checksum: StoredChecksum | undefined = verified && { ...verified, type: "FULL_OBJECT" };
  const etag = written.digests.md5!.toString("hex");
  const { sizeBytes } = written;
  const { metadata, conditions, signal } = options;
  const publishesChunks = written.kind === "chunked" && written.blob.chunks.length > 0;
  const blobWrites = publishesChunks ? newChunkedBlobWrites(written.blob) : [];
  const data = dataOf(written);
  const inline = data.kind === "inline" && written.kind === "inline" ? written.bytes : undefined;
  return changeTarget(ctx, options, { early, publishesChunks, signal }, (tx, target) => {
    judgeWrite(target.head, conditions);
    const modifiedMs = ctx.clock.nowMs();
    for (const write of blobWrites) tx.put(write.key, write.value);
    replaceVersion(ctx, tx, target, { sizeBytes, modifiedMs, etag, checksum, metadata, data, inline });
    return { etag, sizeBytes, modifiedMs, checksum };
  });
}

function dataOf(written: WrittenBody): HeadData {
  if (written.sizeBytes === 0) return { kind: "empty" };
  return written.kind === "inline" ? { kind: "inline" } : { kind: "blob", blob: written.blob.id };
}

/** Whether a failed commit surely did not happen: only the store's being away leaves that open. */
export function surelyNotCommitted(error: unknown): boolean {
  return error instanceof HoldfastError && error.reason !== "unavailable" && error.reason !== "internal";
}

/** Removes the chunks of a body that was not published because of `error`. Never throws: the error is the answer. */
export async function discardUnpublished(ctx: ObjectContext, written: WrittenBody, error: unknown): Promise<void> {
  if (written.kind !== "chunked" || !surelyNotCommitted(error)) return;
  try {
    await ctx.blobs.remove(written.blob.chunks);
  } catch (cause) {
    ctx.log.warn({ err: cause, blob: written.blob.id }, "chunks of a failed write stay until the orphan sweep");
  }
}
