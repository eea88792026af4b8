/** What an append reads of the object that is there, in its commit or before it. */
import type { WrittenBody } from "../blob/blob.ts";
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import type { BlobId } from "../core/ids.ts";
import type { Transaction } from "../kv/transact.ts";
import { decodeBlobRoot, decodePartPage, type BlobRoot, type PartRecord } from "../meta/blobs.ts";
import { MD5_BYTES } from "../meta/fields.ts";
import { decodeBody, type HeadRecord } from "../meta/heads.ts";
import { blobPageKey, blobRootKey, bodyKey, headKey } from "../meta/keys.ts";
import { openBlob, readBlob } from "./chunk_map.ts";
import type { ObjectContext } from "./context.ts";
import type { Target } from "./target.ts";

/** Read together with the head, so that a change of both is noticed. */
export async function bytesOf(tx: Transaction, { bucket, key }: Target, head: HeadRecord): Promise<Buffer> {
  const [, row] = await tx.get([headKey(bucket.id, key), bodyKey(bucket.id, key)]);
  return Buffer.from(decodeBody(head, row?.value));
}

export async function readRoot(tx: Transaction, blob: BlobId): Promise<BlobRoot> {
  const [row] = await tx.get([blobRootKey(blob)]);
  if (row === undefined) throw new HoldfastError("corrupt_record", `The root of blob ${blob} is missing.`);
  return decodeBlobRoot(row.value);
}

export async function lastPage(tx: Transaction, blob: BlobId, { pages }: BlobRoot): Promise<PartRecord[]> {
  const [row] = await tx.get([blobPageKey(blob, pages - 1)]);
  if (row === undefined) throw new HoldfastError("corrupt_record", `The last page of blob ${blob} is missing.`);
  return decodePartPage(row.value);
}

export async function bytesOfPart(
  { kv, blobs }: ObjectContext,
  { blob, sizeBytes }: PartRecord,
  signal: AbortSignal | undefined,
): Promise<Buffer> {
  const open = await openBlob(kv, blob, { sizeBytes });
  const pieces: Buffer[] = [];
  for await (const piece of readBlob({ kv, blobs }, open, { offset: 0, length: sizeBytes }, signal)) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** How many blobs of parts lie within one another, each the first part of the one before. */
export async function depthOf(tx: Transaction, blob: BlobId): Promise<number> {
  let next = blob;
  for (let depth = 1; ; depth++) {
    const [row] = await tx.get([blobPageKey(next, 0)]);
    const first = row && decodePartPage(row.value)[0];
    if (first === undefined) throw new HoldfastError("corrupt_record", `The parts of blob ${next} are missing.`);
    if ((await readRoot(tx, first.blob)).kind === "chunks") return depth;
    next = first.blob;
  }
}

/** All that was there. */
export function firstPart({ sizeBytes, modifiedMs, etag, checksum }: HeadRecord, blob: BlobId): PartRecord {
  const whole = checksum?.type === "FULL_OBJECT" ? checksum : undefined;
  const md5 = etag.slice(0, 2 * MD5_BYTES);
  return {
    partNumber: 1,
    blob,
    sizeBytes,
    modifiedMs,
    md5,
    checksum: whole && { algorithm: whole.algorithm, value: whole.value },
  };
}

export function md5Of({ digests: { md5 } }: WrittenBody): Buffer {
  assert(md5 !== undefined, "a digest that was asked for is there");
  return md5;
}
