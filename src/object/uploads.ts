/**
 * Multipart uploads: what S3 means by them, over parts that are blobs with a row each (meta/uploads.ts).
 *
 * Promises: a part is durable before its row is written, and replaces an earlier one of its number in the same commit;
 * completing is all or nothing and copies no byte (uploads.complete.ts); an upload that ended takes no more parts, for
 * every commit that adds one checks the upload's row. Parts of an ended upload are taken away by a job.
 */
import { assert } from "../core/assert.ts";
import type { WrittenBody } from "../blob/blob.ts";
import { HoldfastError } from "../core/errors.ts";
import { newUploadId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { transact } from "../kv/transact.ts";
import { newChunkedBlobWrites, type PartRecord } from "../meta/blobs.ts";
import { partKey, partRange, sessionKey, uploadKey } from "../meta/keys.ts";
import { heldKey } from "../meta/quota_keys.ts";
import { encodeCounter } from "../meta/quotas.ts";
import { trashWrite } from "../meta/trash.ts";
import { decodePart, encodePart, encodeUpload } from "../meta/uploads.ts";
import type { ObjectContext } from "./context.ts";
import { refuseMarker } from "./copy.ts";
import { wantedIn } from "./default_encryption.ts";
import { abortingOf, noteUploadDue } from "./due.ts";
import { checkStated, encryptionInfo, etagOf, newEncryption, openUploadKey } from "./encryption.ts";
import { bodyOf, type Found } from "./found_body.ts";
import { judgeNewLock } from "./locks.ts";
import { assertTags, checkMetadata, checkObjectKey } from "./names.ts";
import type { BodyVerifier, GetOptions, GetOutcome, PutResult } from "./object.ts";
import { digestsWithMd5, discardUnpublished } from "./put.ts";
import { asksForReduced, redundancyIn } from "./storage_class.ts";
import { keepBucketAlive, readBucket } from "./target.ts";
import { countPart, giveBackParts, refusePart } from "./uploads.counts.ts";
import { completeUpload } from "./uploads.complete.ts";
import { listUploads } from "./uploads.list.ts";
import { assertSession, endUpload, noSuchUpload, openUpload, partInfo, readUpload } from "./uploads.rows.ts";
import { checkChecksumChoice, checkPartNumber, type ChecksumChoice } from "./uploads.rules.ts";
import type {
  CompleteOptions,
  CopiedPart,
  CreateUploadOptions,
  ListPartsOptions,
  ListPartsResult,
  ListUploadsOptions,
  ListUploadsResult,
  PartInfo,
  StartedUpload,
  StoredPart,
  UploadPartCopyOptions,
  UploadPartOptions,
  UploadRef,
} from "./upload_types.ts";

export class Uploads {
  readonly #ctx: ObjectContext;
  readonly #get: (options: GetOptions) => Promise<GetOutcome>;

  /** `get` reads the sources of UploadPartCopy. */
  constructor(ctx: ObjectContext, get: (options: GetOptions) => Promise<GetOutcome>) {
    this.#ctx = ctx;
    this.#get = get;
  }

  /** `no_such_bucket`, `invalid_request` for a checksum S3 does not know, and what is wrong with key or metadata. */
  async createUpload(options: CreateUploadOptions): Promise<StartedUpload> {
    const { key, metadata, tags, lock, acl, checksum } = options;
    checkObjectKey(key);
    checkMetadata(metadata);
    assertTags(tags);
    if (checksum !== undefined) checkChecksumChoice(checksum);
    const { kv, clock, random } = this.#ctx;
    const id = newUploadId(clock, random);
    const upload = { startedMs: clock.nowMs(), metadata, checksum, acl };
    const { encryption, ending } = await transact(
      kv,
      async (tx) => {
        const { entry, bucket } = await readBucket(this.#ctx, (keys) => tx.get(keys), options.bucket);
        judgeNewLock(bucket, lock, clock.nowMs());
        const wanted = await wantedIn(this.#ctx, { name: options.bucket, bucket }, options.encryption);
        const made = (await newEncryption(this.#ctx, wanted))?.record;
        await this.#ctx.admitRows?.(0);
        tx.put(
          uploadKey(bucket.id, key, id),
          encodeUpload({ ...upload, tags, ...lock, encryption: made, state: { kind: "open" } }),
        );
        const state = { name: options.bucket, bucket, bucketVersion: entry.version };
        await noteUploadDue(this.#ctx, tx, state, { key, id, startedMs: upload.startedMs });
        if (bucket.quota !== undefined) tx.put(heldKey(id), encodeCounter(0));
        await keepBucketAlive(this.#ctx, tx, options.bucket, bucket);
        return { encryption: made, ending: await abortingOf(this.#ctx, state, key, upload.startedMs) };
      },
      { clock, random },
    );
    return { id, key, ...upload, encryption: encryptionInfo(encryption), ...(ending && { ending }) };
  }

  /** `no_such_upload`, `operation_aborted` while it is being completed, `invalid_part_number`, and those of a PUT. */
  async uploadPart(options: UploadPartOptions): Promise<StoredPart> {
    checkPartNumber(options.partNumber);
    const { kv, blobs } = this.#ctx;
    // A first look, so that a part for an upload that is gone is refused before its body is read. The commit looks again.
    const { upload, bucket } = await readUpload(this.#ctx, kv, options);
    if (upload === undefined) throw noSuchUpload(options.uploadId);
    await refusePart(this.#ctx, bucket, options);
    const { verifier, body, signal } = options;
    const chosen = upload.checksum?.algorithm;
    const digests = digestsWithMd5(
      chosen === undefined ? verifier.digests : [...new Set([...verifier.digests, chosen])],
    );
    const redundancy = redundancyIn(this.#ctx, bucket, asksForReduced(upload.metadata));
    checkStated(upload, options.statedEncryption);
    const dataKey = await openUploadKey(this.#ctx, upload, options.customerKey);
    const encryption = dataKey && upload.encryption && { dataKey, record: upload.encryption };
    const bounds = { inlineBytesMax: 0, bytesMax: limits.partBytesMax };
    const written = await blobs.write(body, { digests, ...bounds, redundancy, dataKey, signal });
    try {
      const checksum = partChecksum(written, verifier, upload.checksum);
      const md5 = etagOf(md5Of(written), encryption);
      const part = await this.#publishPart(options, written, { md5, checksum });
      return { ...part, encryption: encryptionInfo(upload.encryption) };
    } catch (error) {
      await discardUnpublished(this.#ctx, written, error);
      throw error;
    }
  }

  #publishPart(
    ref: UploadPartOptions,
    written: WrittenBody,
    digests: Pick<PartRecord, "md5" | "checksum">,
  ): Promise<PartInfo> {
    assert(written.kind === "chunked", "a part is never inline");
    const { kv, clock, random, session } = this.#ctx;
    const { partNumber, signal } = ref;
    const rows = newChunkedBlobWrites(written.blob, () => session.nextStamp());
    return transact(
      kv,
      async (tx) => {
        const found = await readUpload(this.#ctx, tx, ref, (_bucket, id) => [
          sessionKey(session.id),
          partKey(id, partNumber),
        ]);
        assertSession(session, found.rows[0]);
        const opened = await openUpload(tx, found);
        const modifiedMs = clock.nowMs();
        const part = { partNumber, blob: written.blob.id, sizeBytes: written.sizeBytes, modifiedMs, ...digests };
        for (const row of rows) tx.put(row.key, row.value);
        tx.put(partKey(found.id, partNumber), encodePart(part));
        const replaced = found.rows[1] && decodePart(found.rows[1].value);
        if (replaced !== undefined) {
          const trash = trashWrite({ blob: replaced.blob, atMs: modifiedMs }, random);
          tx.put(trash.key, trash.value);
        }
        const bytes = written.sizeBytes - (replaced?.sizeBytes ?? 0);
        await countPart(tx, { ...found, upload: opened }, bytes);
        return partInfo(part);
      },
      signal === undefined ? { clock, random } : { clock, random, signal },
    );
  }

  /** The source is read and written like any other part. Errors: those of a GET and of uploadPart. */
  async uploadPartCopy(options: UploadPartCopyOptions): Promise<CopiedPart> {
    checkPartNumber(options.partNumber);
    const { source, range, signal } = options;
    const outcome = await this.#get({
      ...source,
      ...(range && { range: { kind: "from", first: range.first, last: range.last } }),
      ...(signal && { signal }),
    }).catch(refuseMarker);
    if (outcome.outcome === "not_modified")
      throw new HoldfastError(
        "precondition_failed",
        "At least one of the conditions on the copy's source did not hold.",
      );
    try {
      const sizeBytes = copiedBytes(outcome, range);
      const body = bodyOf(outcome, sizeBytes);
      const verifier: BodyVerifier = { digests: [], verify: () => undefined };
      const part = await this.uploadPart({ ...options, body, verifier });
      return { ...part, sourceVersionId: outcome.info.versionId };
    } finally {
      outcome.release();
    }
  }

  /** See uploads.complete.ts. */
  completeUpload(options: CompleteOptions): Promise<PutResult> {
    return completeUpload(this.#ctx, options);
  }

  /** `no_such_upload`. */
  async abortUpload(ref: UploadRef): Promise<void> {
    const { kv, clock, random } = this.#ctx;
    await transact(
      kv,
      async (tx) => {
        const found = await readUpload(this.#ctx, tx, ref);
        const { upload, id, rowKey } = found;
        if (upload === undefined) throw noSuchUpload(id);
        await giveBackParts(tx, found);
        endUpload(tx, { key: rowKey, id, record: upload }, clock.nowMs());
      },
      { clock, random },
    );
  }

  /** Parts behind number `after`, at most `limit` (0..listPageKeysMax). `no_such_upload`. */
  async listParts(options: ListPartsOptions): Promise<ListPartsResult> {
    const { after, limit } = options;
    assert(limit >= 0 && limit <= limits.listPageKeysMax, "a page has 0 to listPageKeysMax entries");
    const { kv } = this.#ctx;
    const { bucket, upload, id, rowKey } = await readUpload(this.#ctx, kv, options);
    if (upload === undefined) throw noSuchUpload(id);
    const start = partKey(id, Math.min(Math.max(0, after) + 1, limits.partsMax + 1));
    const entries = limit === 0 ? [] : await kv.scan({ start, end: partRange(id).end }, { limit: limit + 1 });
    // The upload may have ended between the two reads, and its parts with it.
    if ((await kv.get([rowKey]))[0] === undefined) throw noSuchUpload(id);
    const { startedMs, metadata, checksum, acl } = upload;
    const ending = await abortingOf(this.#ctx, { name: options.bucket, bucket }, options.key, startedMs);
    const encryption = encryptionInfo(upload.encryption);
    return {
      account: bucket.account,
      upload: { id, key: options.key, startedMs, metadata, checksum, acl, encryption, ...(ending && { ending }) },
      parts: entries.slice(0, limit).map((entry) => partInfo(decodePart(entry.value))),
      isTruncated: entries.length > limit,
    };
  }

  /** `no_such_bucket`. */
  async listUploads(options: ListUploadsOptions): Promise<ListUploadsResult> {
    const { kv } = this.#ctx;
    const { bucket } = await readBucket(this.#ctx, (keys) => kv.get(keys), options.bucket);
    return listUploads(kv, bucket, options);
  }
}

function md5Of({ digests: { md5 } }: WrittenBody): Buffer {
  assert(md5 !== undefined, "a digest that was asked for is there");
  return md5;
}

/** The client's checksum is judged first; what is stored has the algorithm that the upload was started with. */
function partChecksum(
  { digests }: WrittenBody,
  verifier: BodyVerifier,
  choice: ChecksumChoice | undefined,
): PartRecord["checksum"] {
  const verified = verifier.verify(digests);
  if (choice === undefined) return verified;
  if (verified !== undefined && verified.algorithm !== choice.algorithm)
    throw new HoldfastError(
      "invalid_request",
      `Checksum type mismatch: the upload was created with ${choice.algorithm}, the part was sent with ${verified.algorithm}.`,
    );
  const value = digests[choice.algorithm];
  assert(value !== undefined, "a digest that was asked for is there");
  return { algorithm: choice.algorithm, value };
}

/** S3 takes only ranges that lie in the source whole. */
function copiedBytes(found: Found, range: UploadPartCopyOptions["range"]): number {
  const sizeBytes = found.range?.length ?? found.info.sizeBytes;
  if (range !== undefined && sizeBytes !== range.last - range.first + 1)
    throw new HoldfastError("invalid_range", "The range to copy does not lie within the source.", {
      details: { sizeBytes: found.info.sizeBytes },
    });
  if (sizeBytes <= limits.partBytesMax) return sizeBytes;
  throw new HoldfastError("invalid_request", "The source of a part's copy is larger than the largest part.", {
    details: { sizeBytes, maxSizeBytes: limits.partBytesMax },
  });
}
