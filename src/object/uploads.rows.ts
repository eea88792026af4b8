/** What the multipart calls share: which rows they read in a transaction, and what they answer when one is not there. */
import { HoldfastError } from "../core/errors.ts";
import { sessionOf, UPLOAD_ID_BYTES } from "../core/ids.ts";
import type { UploadId } from "../core/ids.ts";
import type { Entry } from "../kv/kv.ts";
import type { Transaction } from "../kv/transact.ts";
import type { PartRecord } from "../meta/blobs.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import { abandonedKey, leftoverKey, sessionKey, uploadKey } from "../meta/keys.ts";
import { fencedError, type Session } from "../meta/sessions.ts";
import { decodeUpload, encodeAbandoned, encodeLeftover, encodeUpload, type UploadRecord } from "../meta/uploads.ts";
import type { ObjectContext } from "./context.ts";
import { checkObjectKey } from "./names.ts";
import type { PartInfo, UploadRef } from "./object.ts";
import { readBucket } from "./target.ts";

const uploadIdPattern = new RegExp(`^[0-9a-f]{${UPLOAD_ID_BYTES * 2}}$`);

export function noSuchUpload(uploadId: string): HoldfastError {
  return new HoldfastError(
    "no_such_upload",
    "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
    { details: { uploadId } },
  );
}

/** Upload ids come from clients: whatever is not one names no upload. */
export function parseUploadId(text: string): UploadId {
  if (!uploadIdPattern.test(text)) throw noSuchUpload(text);
  return text as UploadId;
}

export type FoundUpload = {
  readonly bucket: BucketRecord;
  readonly id: UploadId;
  /** The upload's row key. */
  readonly rowKey: Buffer;
  readonly upload: UploadRecord | undefined;
  /** The other rows asked for, in that order. */
  readonly rows: readonly (Entry | undefined)[];
};

/** Reads bucket and upload, and with the latter the rows that `also` names. `no_such_bucket`, and what is wrong with the key. */
export async function readUpload(
  ctx: ObjectContext,
  tx: Pick<Transaction, "get">,
  ref: UploadRef,
  also: (bucket: BucketRecord, id: UploadId) => readonly Buffer[] = () => [],
): Promise<FoundUpload> {
  checkObjectKey(ref.key);
  const id = parseUploadId(ref.uploadId);
  const { bucket } = await readBucket(ctx, (keys) => tx.get(keys), ref.bucket);
  const rowKey = uploadKey(bucket.id, ref.key, id);
  const [row, ...rows] = await tx.get([rowKey, ...also(bucket, id)]);
  return { bucket, id, rowKey, upload: row && decodeUpload(row.value), rows };
}

/** Throws `session_fenced` unless the row is the session's own. Read in the transaction, so that the commit checks it. */
export function assertSession(session: Session, row: Entry | undefined): void {
  if (row?.version !== session.check.version) throw fencedError(session.id);
}

/** The upload, if parts may be added now. An attempt to complete whose process is gone stands in nobody's way. */
export async function openUpload(tx: Transaction, found: FoundUpload): Promise<UploadRecord> {
  const { upload, id, rowKey } = found;
  if (upload === undefined) throw noSuchUpload(id);
  if (upload.state.kind === "open") return upload;
  const [attempting] = await tx.get([sessionKey(sessionOf(upload.state.partsMap))]);
  if (attempting !== undefined)
    throw new HoldfastError("operation_aborted", "The upload is being completed; its parts cannot change now.", {
      details: { uploadId: id },
    });
  abandonAttempt(tx, upload);
  const reopened: UploadRecord = { ...upload, state: { kind: "open" } };
  tx.put(rowKey, encodeUpload(reopened));
  return reopened;
}

/** What stands in the way of nobody is still to be taken away: the pages that an attempt may have written. */
export function abandonAttempt(tx: Transaction, upload: UploadRecord): void {
  if (upload.state.kind === "completing") tx.put(abandonedKey(upload.state.partsMap), encodeAbandoned());
}

/** Takes an upload away that is not to become an object; a job takes its parts. */
export function endUpload(
  tx: Transaction,
  upload: { readonly key: Buffer; readonly id: UploadId; readonly record: UploadRecord },
  nowMs: number,
): void {
  abandonAttempt(tx, upload.record);
  tx.delete(upload.key);
  tx.put(leftoverKey(upload.id), encodeLeftover({ listed: Buffer.alloc(0), atMs: nowMs }));
}

export function partInfo(part: PartRecord): PartInfo {
  const { partNumber, sizeBytes, md5, modifiedMs, checksum } = part;
  return { partNumber, sizeBytes, etag: md5, modifiedMs, checksum };
}
