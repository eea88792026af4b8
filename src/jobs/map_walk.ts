/** Walks all pages of all chunk maps, in the order of blob ids, some at a time. */
import type { BlobId } from "../core/ids.ts";
import type { Key, Kv } from "../kv/kv.ts";
import { decodeBlobRoot } from "../meta/blobs.ts";
import { decodeChunkPage, type ChunkRecord } from "../meta/chunk_pages.ts";
import { parseBlobKey, tagRange, tags } from "../meta/keys.ts";

export type WalkedPage = { readonly blob: BlobId; readonly page: number; readonly chunks: readonly ChunkRecord[] };

/** Rows of one step: pages are large. */
const rowsAtOnce = 64;

export class MapWalk {
  readonly #kv: Kv;
  #from: Key = tagRange(tags.blob).start;
  /** The blob whose root was met last, if it is one of chunks. */
  #chunked: BlobId | undefined;

  constructor(kv: Kv) {
    this.#kv = kv;
  }

  restart(): void {
    this.#from = tagRange(tags.blob).start;
    this.#chunked = undefined;
  }

  /** The pages of the next step, perhaps none; undefined at the end. A blob's root comes before its pages. */
  async next(): Promise<WalkedPage[] | undefined> {
    const { end } = tagRange(tags.blob);
    const rows = await this.#kv.scan({ start: this.#from, end }, { limit: rowsAtOnce });
    const last = rows.at(-1);
    if (last === undefined) return undefined;
    this.#from = Buffer.concat([last.key, Buffer.from([0])]);
    const pages: WalkedPage[] = [];
    for (const row of rows) {
      const { blob, page } = parseBlobKey(row.key);
      if (page === undefined) this.#chunked = decodeBlobRoot(row.value).kind === "chunks" ? blob : undefined;
      else if (blob === this.#chunked) pages.push({ blob, page, chunks: decodeChunkPage(row.value) });
    }
    return pages;
  }
}
