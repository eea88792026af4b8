/**
 * Parts in a bucket that is counted: their bytes count from their own commit until their upload ends, so that uploads under way are
 * no way around a quota. Completing gives them back in the commit that counts the object.
 *
 * A row says how many bytes the parts of an upload have. An upload that was begun before its bucket was counted has none until
 * quota_settings.ts has summed up its parts; a part that comes before that writes the upload's row anew, which has the sum taken again.
 */
import type { UploadId } from "../core/ids.ts";
import { readCounters } from "../kv/kv.ts";
import type { Transaction } from "../kv/transact.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import { partKey } from "../meta/keys.ts";
import { heldKey } from "../meta/quota_keys.ts";
import { decodePart, encodeUpload, type UploadRecord } from "../meta/uploads.ts";
import type { ObjectContext } from "./context.ts";
import type { UploadRef } from "./object.ts";
import { countParts, refuseBeyondQuota } from "./quotas.ts";
import { parseUploadId, type FoundUpload } from "./uploads.rows.ts";

/** In the commit of a part. `bytes`: by how many the upload's parts are more, or fewer. */
export async function countPart(
  tx: Transaction,
  { bucket, id, rowKey, upload }: FoundUpload & { readonly upload: UploadRecord },
  bytes: number,
): Promise<void> {
  if (bucket.quota === undefined) return;
  const key = heldKey(id);
  // Only a hint, or parts would stand in each other's way: where the row comes or goes, the upload's row changes too.
  const [held] = await tx.peek([key]);
  if (held === undefined) return tx.put(rowKey, encodeUpload(upload));
  if (bytes === 0) return;
  tx.add(key, [bytes]);
  await countParts(tx, bucket, { bytes, mayRefuse: true });
}

/** In the commit that ends the upload. */
export async function giveBackParts(
  tx: Transaction,
  { bucket, id }: { readonly bucket: BucketRecord; readonly id: UploadId },
): Promise<void> {
  if (bucket.quota === undefined) return;
  const [held] = await tx.get([heldKey(id)]);
  if (held === undefined) return;
  const [bytes = 0] = readCounters(held.value);
  tx.delete(held.key);
  await countParts(tx, bucket, { bytes: -bytes, mayRefuse: false });
}

/** Before a part's body is read. Errors: `quota_exceeded`. */
export async function refusePart(
  ctx: ObjectContext,
  bucket: BucketRecord,
  options: UploadRef & { readonly partNumber: number; readonly body: { readonly sizeBytes: number | undefined } },
): Promise<void> {
  const { sizeBytes } = options.body;
  if (sizeBytes === undefined) return;
  const id = parseUploadId(options.uploadId);
  await refuseBeyondQuota(ctx, {
    name: options.bucket,
    bucket,
    rows: [heldKey(id), partKey(id, options.partNumber)],
    growth: ([held, part]) => {
      if (held === undefined) return undefined;
      return { objects: 0, bytes: sizeBytes - (part === undefined ? 0 : decodePart(part).sizeBytes) };
    },
  });
}
