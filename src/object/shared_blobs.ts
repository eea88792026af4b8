/** The references to blobs that one commit adds: each root is read once and written once, however many keys come to share it. */
import { HoldfastError } from "../core/errors.ts";
import type { BlobId } from "../core/ids.ts";
import type { Transaction } from "../kv/transact.ts";
import { decodeBlobRoot, encodeBlobRoot, type BlobRoot } from "../meta/blobs.ts";
import type { HeadRecord } from "../meta/heads.ts";
import { blobRootKey } from "../meta/keys.ts";

export class SharedBlobs {
  readonly #roots: ReadonlyMap<BlobId, BlobRoot>;
  readonly #added = new Map<BlobId, number>();

  private constructor(roots: ReadonlyMap<BlobId, BlobRoot>) {
    this.#roots = roots;
  }

  /** Of the objects that get another key. The commit checks the roots, so that none of their blobs has gone. */
  static async read(tx: Transaction, heads: readonly (HeadRecord | undefined)[]): Promise<SharedBlobs> {
    const blobs = heads.flatMap((head) => (head?.data.kind === "blob" ? [head.data.blob] : []));
    const distinct = [...new Set(blobs)];
    const rows = distinct.length === 0 ? [] : await tx.get(distinct.map((blob) => blobRootKey(blob)));
    const roots = distinct.map((blob, index): [BlobId, BlobRoot] => {
      const row = rows[index];
      if (row === undefined) throw new HoldfastError("corrupt_record", `The root of blob ${blob} is missing.`);
      return [blob, decodeBlobRoot(row.value)];
    });
    return new SharedBlobs(new Map(roots));
  }

  add(blob: BlobId): void {
    this.#added.set(blob, (this.#added.get(blob) ?? 0) + 1);
  }

  write(tx: Transaction): void {
    for (const [blob, added] of this.#added) {
      const root = this.#roots.get(blob)!;
      tx.put(blobRootKey(blob), encodeBlobRoot({ ...root, refcount: root.refcount + added }));
    }
  }
}
