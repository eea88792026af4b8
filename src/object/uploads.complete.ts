/**
 * CompleteMultipartUpload, without copying a byte:
 *
 *  1. One commit marks the upload as completing under a new attempt. From now on no part can change, for the commit of a
 *     part needs an open upload. An attempt that was under way (its process may have died) loses the upload to this one.
 *  2. The part rows are read and the request is judged against them.
 *  3. The parts map is written as the pages of a blob that has no root yet, in commits of bounded size; each needs the
 *     upload to be in this attempt's hands. Nothing points to the pages except the upload row, which names the attempt by
 *     the map's blob id; whoever takes the upload away from the attempt writes an `abandoned` row for them.
 *  4. One commit publishes: root, head (conditions are judged on the head it replaces), the answer in a `finished` row, the
 *     upload row deleted, and a `leftover` row for the part rows. The listed parts' references are the parts map's now.
 *
 * When 2 to 4 fail, or nobody can tell whether 1 did, the upload is opened again. The same request sent again, within finishedUploadKeptMs, gets the same
 * answer.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { BLOB_ID_BYTES, type BlobId, type UploadId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Entry, Write } from "../kv/kv.ts";
import { transact, type Transaction } from "../kv/transact.ts";
import { newPartsBlobWrites, type PartRecord } from "../meta/blobs.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import { finishedKey, leftoverKey, partRange, sessionKey, uploadKey } from "../meta/keys.ts";
import {
  decodeFinished,
  decodePart,
  decodeUpload,
  encodeFinished,
  encodeLeftover,
  encodeUpload,
  listedBits,
  type UploadRecord,
} from "../meta/uploads.ts";
import { judgeWrite } from "./conditions.ts";
import type { ObjectContext } from "./context.ts";
import { endingOf } from "./due.ts";
import { checkStated, encryptionInfo, openUploadKey } from "./encryption.ts";
import type { CompleteOptions, PutResult, UploadRef } from "./object.ts";
import { newLock } from "./object_lock.ts";
import { surelyNotCommitted } from "./put.ts";
import { keepBucketAlive, readTarget } from "./target.ts";
import { giveBackParts } from "./uploads.counts.ts";
import { abandonAttempt, assertSession, noSuchUpload, parseUploadId, readUpload } from "./uploads.rows.ts";
import { checkPartList, judgeCompletion, requestFingerprint, type Completion } from "./uploads.rules.ts";
import { replacedBy, replaceVersion } from "./versions.ts";

/** An attempt that holds the upload. */
type Attempt = {
  readonly options: CompleteOptions;
  readonly id: UploadId;
  readonly fingerprint: Buffer;
  readonly partsMap: BlobId;
  readonly upload: UploadRecord;
};

/** Pages of the parts map that go with the publishing commit; a larger map is written before. */
const pagesInLastCommitMax = 4;
const pagesPerCommit = 8;
const scanParts = 500;
/** Bit 63 of a blob's counter: apart from those that the blob store hands out. */
const partsMapMark = "8000";

export async function completeUpload(ctx: ObjectContext, options: CompleteOptions): Promise<PutResult> {
  checkPartList(options.parts);
  const id = parseUploadId(options.uploadId);
  const fingerprint = requestFingerprint(options.parts, ctx.digests);
  const partsMap = newPartsMapId(ctx);
  const asked = { options, id, fingerprint, partsMap };
  const begun = await begin(ctx, asked).catch(async (error: unknown) => {
    if (!surelyNotCommitted(error)) await reopen(ctx, asked);
    throw error;
  });
  if (begun.outcome === "finished") return begun.result;
  let { attempt } = begun;
  try {
    await checkKey(ctx, attempt);
    attempt = await withJudgedAcl(attempt);
    const present = await readParts(ctx, id);
    const completion = judgeCompletion(options, { choice: attempt.upload.checksum, present, digests: ctx.digests });
    const [root, ...pages] = newPartsBlobWrites(partsMap, completion.parts);
    assert(root !== undefined, "a blob has a root");
    const early = pages.length > pagesInLastCommitMax ? pages : [];
    for (let first = 0; first < early.length; first += pagesPerCommit)
      await writePages(ctx, attempt, early.slice(first, first + pagesPerCommit));
    return await publish(ctx, attempt, completion, [root, ...(early.length > 0 ? [] : pages)]);
  } catch (error) {
    await reopen(ctx, attempt);
    throw error;
  }
}

/** A client's key need not come with this call, but where there is a checksum, as AWS has it; one that comes must be right. */
async function checkKey(ctx: ObjectContext, { upload, options }: Attempt): Promise<void> {
  checkStated(upload, options.statedEncryption);
  const isNeeded = upload.encryption?.mode === "customer" && upload.checksum !== undefined;
  if (isNeeded || options.customerKey !== undefined) await openUploadKey(ctx, upload, options.customerKey);
}

async function withJudgedAcl(attempt: Attempt): Promise<Attempt> {
  const { upload, options } = attempt;
  if (upload.acl === undefined || options.judgeAcl === undefined) return attempt;
  return { ...attempt, upload: { ...upload, acl: await options.judgeAcl(upload.acl) } };
}

export function newPartsMapId({ session }: ObjectContext): BlobId {
  const stamp = session.nextStamp();
  const id = session.id + partsMapMark + stamp.slice(session.id.length);
  assert(id.length === BLOB_ID_BYTES * 2, "a blob id has 16 bytes");
  return id as BlobId;
}

type Begun =
  | { readonly outcome: "finished"; readonly result: PutResult }
  | { readonly outcome: "begun"; readonly attempt: Attempt };

function begin(ctx: ObjectContext, asked: Omit<Attempt, "upload">): Promise<Begun> {
  const { kv, clock, random, session } = ctx;
  const { options, partsMap } = asked;
  return transact<Begun>(
    kv,
    async (tx) => {
      const found = await readUpload(ctx, tx, options, (_bucket, id) => [finishedKey(id), sessionKey(session.id)]);
      const { upload, bucket, rowKey } = found;
      if (upload === undefined) return { outcome: "finished", result: finishedResult(found.rows[0], bucket, asked) };
      assertSession(session, found.rows[1]);
      abandonAttempt(tx, upload);
      const taken: UploadRecord = { ...upload, state: { kind: "completing", partsMap } };
      tx.put(rowKey, encodeUpload(taken));
      return { outcome: "begun", attempt: { ...asked, upload: taken } };
    },
    { clock, random },
  );
}

/** The answer that this request got before; `no_such_upload` if there was none, or none to this very request. */
function finishedResult(row: Entry | undefined, bucket: BucketRecord, asked: Omit<Attempt, "upload">): PutResult {
  const finished = row && decodeFinished(row.value);
  const same =
    finished !== undefined &&
    finished.bucket === bucket.id &&
    finished.key.equals(asked.options.key) &&
    finished.fingerprint.equals(asked.fingerprint);
  if (!same) throw noSuchUpload(asked.id);
  const { etag, sizeBytes, modifiedMs, checksum, versionId } = finished;
  // What is kept of the answer does not say how the object is encrypted.
  return { etag, sizeBytes, modifiedMs, checksum, encryption: undefined, versionId };
}

async function readParts({ kv }: ObjectContext, id: UploadId): Promise<Map<number, PartRecord>> {
  const present = new Map<number, PartRecord>();
  const range = partRange(id);
  let start: Uint8Array | undefined = range.start;
  while (start !== undefined) {
    const entries: Entry[] = await kv.scan({ start, end: range.end }, { limit: scanParts });
    for (const entry of entries) {
      const part = decodePart(entry.value);
      present.set(part.partNumber, part);
    }
    const last: Entry | undefined = entries.length === scanParts ? entries.at(-1) : undefined;
    start = last && Buffer.concat([last.key, Buffer.from([0])]);
  }
  return present;
}

function holds(upload: UploadRecord | undefined, { partsMap }: Pick<Attempt, "partsMap">): upload is UploadRecord {
  return upload?.state.kind === "completing" && upload.state.partsMap === partsMap;
}

function lost(id: UploadId): HoldfastError {
  return new HoldfastError("operation_aborted", "Another request completed, aborted or is completing this upload.", {
    details: { uploadId: id },
  });
}

function writePages(ctx: ObjectContext, attempt: Attempt, pages: readonly Write[]): Promise<void> {
  const { kv, clock, random } = ctx;
  return transact(
    kv,
    async (tx) => {
      const { upload } = await readUpload(ctx, tx, attempt.options);
      if (!holds(upload, attempt)) throw lost(attempt.id);
      putAll(tx, pages);
    },
    { clock, random },
  );
}

function putAll(tx: Transaction, writes: readonly Write[]): void {
  for (const write of writes) {
    assert(write.kind === "put", "the rows of a new blob are put");
    tx.put(write.key, write.value);
  }
}

function publish(
  ctx: ObjectContext,
  attempt: Attempt,
  completion: Completion,
  blobWrites: readonly Write[],
): Promise<PutResult> {
  const { clock, random, session } = ctx;
  const { options, fingerprint, id, partsMap, upload } = attempt;
  return transact(
    ctx.kv,
    async (tx) => {
      const target = await readTarget(ctx, (keys) => tx.get(keys), options, { body: "kept" });
      const { bucket } = target;
      const rowKey = uploadKey(bucket.id, options.key, id);
      const [uploadRow, finishedRow, sessionRow] = await tx.get([rowKey, finishedKey(id), sessionKey(session.id)]);
      if (!holds(uploadRow && decodeUpload(uploadRow.value), attempt)) {
        if (finishedRow !== undefined) return finishedResult(finishedRow, bucket, attempt);
        throw lost(id);
      }
      assertSession(session, sessionRow);
      judgeWrite(target.head, options.conditions);
      const replaced = await replacedBy(tx, target);
      const { etag, sizeBytes, checksum } = completion;
      const made = { etag, sizeBytes, checksum, modifiedMs: clock.nowMs() };
      putAll(tx, blobWrites);
      const data = { kind: "blob", blob: partsMap } as const;
      const { metadata, tags, encryption, acl } = upload;
      // What was asked for at the start was judged then.
      const lock = await newLock(ctx, tx, target, upload);
      const next = { ...made, metadata, tags, ...lock, encryption, acl, data, inline: undefined };
      const cause = { event: "ObjectCreated:CompleteMultipartUpload", origin: options.origin } as const;
      const versionId = await replaceVersion(ctx, tx, target, { next, replaced, cause });
      await giveBackParts(tx, { bucket, id });
      const result = { ...made, encryption: encryptionInfo(encryption), versionId };
      tx.delete(rowKey);
      const finished = { bucket: bucket.id, key: options.key, ...result, fingerprint, atMs: result.modifiedMs };
      tx.put(finishedKey(id), encodeFinished(finished));
      tx.put(leftoverKey(id), encodeLeftover({ listed: listedBits(completion.parts), atMs: result.modifiedMs }));
      await keepBucketAlive(ctx, tx, target.name, bucket);
      const ending = await endingOf(ctx, target, options.key, next);
      return { ...result, ...(ending && { ending }) };
    },
    { clock, random },
  );
}

/**
 * Gives the upload back, if it is still this attempt's. When that fails too, the upload stays in the attempt's hands: the
 * next attempt, or an abort, takes it from there.
 */
async function reopen(ctx: ObjectContext, attempt: Pick<Attempt, "options" | "id" | "partsMap">): Promise<void> {
  const { kv, clock, random, log } = ctx;
  const ref: UploadRef = attempt.options;
  const work = async (tx: Transaction): Promise<void> => {
    const { upload, rowKey } = await readUpload(ctx, tx, ref);
    if (!holds(upload, attempt)) return;
    abandonAttempt(tx, upload);
    tx.put(rowKey, encodeUpload({ ...upload, state: { kind: "open" } }));
  };
  try {
    await transact(kv, work, { clock, random });
  } catch (error) {
    log.warn({ uploadId: attempt.id, err: error }, "An upload whose completion failed could not be opened again.");
  }
}

assert(
  limits.partMapPageEntries * pagesInLastCommitMax * 128 < limits.commitBytesMax / 2,
  "the pages of a small parts map fit the publishing commit",
);
assert(limits.partMapPageEntries * pagesPerCommit * 128 < limits.commitBytesMax, "pages of a parts map fit a commit");
