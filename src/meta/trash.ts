/**
 * `trash/<16 bytes, older first>`: one reference to a blob that a commit dropped, written by that same commit. A job takes
 * the row and the reference away once no read can still need the bytes (see sessions.ts), and the blob with its last
 * reference. So a blob's refcount counts the rows that point to it and the trash rows that bear its name.
 */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { BLOB_ID_BYTES } from "../core/ids.ts";
import type { BlobId } from "../core/ids.ts";
import type { Random } from "../core/random.ts";
import type { Write } from "../kv/kv.ts";
import { TRASH_ID_BYTES, trashKey } from "./keys.ts";

export type TrashRecord = { readonly blob: BlobId; readonly atMs: number };

const newestVersion = 1;

export function encodeTrash(trash: TrashRecord): Buffer {
  return new ByteWriter().u8(newestVersion).hex(trash.blob).varint(trash.atMs).finish();
}

export function decodeTrash(value: Uint8Array): TrashRecord {
  const reader = new ByteReader(value, "trash");
  reader.version(newestVersion);
  const trash = { blob: reader.hex(BLOB_ID_BYTES) as BlobId, atMs: reader.varint() };
  reader.end();
  return trash;
}

/** The write that a commit adds when it drops a reference to `blob`. */
export function trashWrite(trash: TrashRecord, random: Random): Write & { readonly kind: "put" } {
  const key = trashKey(trash.atMs, random.bytes(TRASH_ID_BYTES - 6));
  return { kind: "put", key, value: encodeTrash(trash) };
}
