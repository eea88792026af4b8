/**
 * `blob/<blob id>`: what a blob is and how many references it has (the root), and `blob/<blob id>/<page>`: where its bytes
 * are, in pages, so that no object makes a row or a commit large. A blob of kind `chunks` lists chunks; one of kind `parts`
 * lists the blobs of the parts of a multipart upload, or of an object that was appended to: each has a reference of its own, and is of
 * kind `chunks`, but the first one, which may be of kind `parts` again.
 *
 * The bytes a page stands for never change; where their shards lie may (chunk_pages.ts). A blob of parts may get more of them at its end
 * (extendedPartsWrites), and a longer last one that begins with the same bytes (rejoinedPartsWrites). Else the root changes only in its refcount, which counts the rows that point to the blob
 * (heads, parts, blobs of kind `parts`) and the trash rows that bear its name. The commit that brings it to 0 deletes the
 * root and the pages.
 */
import { assert } from "../core/assert.ts";
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { BLOB_ID_BYTES } from "../core/ids.ts";
import type { BlobId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Write } from "../kv/kv.ts";
import { encodeChunkPage, isIncomplete, type ChunkRecord } from "./chunk_pages.ts";
import { algorithmCode, algorithmOfCode, checksumBytes, MD5_BYTES } from "./fields.ts";
import type { StoredAlgorithm } from "./fields.ts";
import { blobPageKey, blobRootKey } from "./keys.ts";
import { repairWrite, strayWrites, type RelocatedShard } from "./repairs.ts";

type RootFacts = {
  readonly refcount: number;
  readonly sizeBytes: number;
  readonly pages: number;
  /** Entries in every page but the last. */
  readonly pageEntries: number;
};

export type BlobRoot = RootFacts &
  (
    | { readonly kind: "chunks"; readonly chunkBytes: number }
    | {
        readonly kind: "parts";
        readonly parts: number;
        /** Byte offset in the object at which each page's first part begins: finds a page without reading the others. */
        readonly pageStarts: readonly number[];
      }
  );

export type PartRecord = {
  readonly partNumber: number;
  readonly blob: BlobId;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  /** 32 hex digits. */
  readonly md5: string;
  readonly checksum: { readonly algorithm: StoredAlgorithm; readonly value: Buffer } | undefined;
};

/** What a writer of a new blob knows. */
export type NewChunkedBlob = {
  readonly id: BlobId;
  readonly sizeBytes: number;
  readonly chunkBytes: number;
  readonly chunks: readonly ChunkRecord[];
  /** Shards that lie, or may come to lie, on drives where no chunk names them. */
  readonly strays?: readonly (RelocatedShard & { readonly chunkIndex: number })[];
};

const newestVersion = 1;
const kinds = { chunks: 1, parts: 2 } as const;
const noChecksum = 0xff;

// --- the root ---

export function encodeBlobRoot(root: BlobRoot): Buffer {
  const writer = new ByteWriter()
    .u8(newestVersion)
    .u8(kinds[root.kind])
    .varint(root.refcount)
    .varint(root.sizeBytes)
    .varint(root.pages)
    .varint(root.pageEntries);
  if (root.kind === "chunks") return writer.varint(root.chunkBytes).finish();
  assert(root.pageStarts.length === root.pages, "every page of parts has a start");
  writer.varint(root.parts);
  let previous = 0;
  for (const start of root.pageStarts) {
    writer.varint(start - previous);
    previous = start;
  }
  return writer.finish();
}

export function decodeBlobRoot(value: Uint8Array): BlobRoot {
  const reader = new ByteReader(value, "blob");
  reader.version(newestVersion);
  const kind = reader.u8();
  const facts = {
    refcount: reader.varint(),
    sizeBytes: reader.varint(),
    pages: reader.varint(),
    pageEntries: reader.varint(),
  };
  const root =
    kind === kinds.chunks
      ? { kind: "chunks" as const, ...facts, chunkBytes: reader.varint() }
      : kind === kinds.parts
        ? { kind: "parts" as const, ...facts, parts: reader.varint(), pageStarts: readStarts(reader, facts.pages) }
        : undefined;
  if (root === undefined) throw reader.corrupt("its kind is not known");
  reader.end();
  return root;
}

function readStarts(reader: ByteReader, pages: number): number[] {
  const starts: number[] = [];
  let start = 0;
  for (let page = 0; page < pages; page++) starts.push((start += reader.varint()));
  return starts;
}

// --- pages of parts ---

/** One part as it stands in a page of parts (and behind a version byte, in the rows of an upload under way). */
export function writePart(writer: ByteWriter, part: PartRecord): void {
  writer.varint(part.partNumber).hex(part.blob).varint(part.sizeBytes).varint(part.modifiedMs).hex(part.md5);
  if (part.checksum === undefined) writer.u8(noChecksum);
  else writer.u8(algorithmCode(part.checksum.algorithm)).raw(part.checksum.value);
}

/** The checksum's value is a view of the record. */
export function readPart(reader: ByteReader): PartRecord {
  const partNumber = reader.varint();
  const blob = reader.hex(BLOB_ID_BYTES) as BlobId;
  const sizeBytes = reader.varint();
  const modifiedMs = reader.varint();
  const md5 = reader.hex(MD5_BYTES);
  const code = reader.u8();
  if (code === noChecksum) return { partNumber, blob, sizeBytes, modifiedMs, md5, checksum: undefined };
  const algorithm = algorithmOfCode(code);
  if (algorithm === undefined) throw reader.corrupt("a part's checksum algorithm is not known");
  const checksum = { algorithm, value: reader.raw(checksumBytes(algorithm)) };
  return { partNumber, blob, sizeBytes, modifiedMs, md5, checksum };
}

export function encodePartPage(parts: readonly PartRecord[]): Buffer {
  const writer = new ByteWriter().u8(newestVersion).varint(parts.length);
  for (const part of parts) writePart(writer, part);
  return writer.finish();
}

export function decodePartPage(value: Uint8Array): PartRecord[] {
  const reader = new ByteReader(value, "part page");
  reader.version(newestVersion);
  const parts: PartRecord[] = [];
  for (let left = reader.varint(); left > 0; left--) parts.push(readPart(reader));
  reader.end();
  return parts;
}

// --- new blobs ---

function pagesOf<T>(entries: readonly T[], perPage: number): T[][] {
  const pages: T[][] = [];
  for (let at = 0; at < entries.length; at += perPage) pages.push(entries.slice(at, at + perPage));
  return pages;
}

type Put = Write & { readonly kind: "put" };

/**
 * The rows of a new blob of chunks with one reference; pages with chunks that lack a shard are noted for repair, strays for
 * removal: the first straysPerBlobMax of them, the others are found by the sweep when the session has ended. A blob of many
 * chunks makes many rows, within one commit's bounds. `nextStamp`: Session.nextStamp, or as unique.
 */
export function newChunkedBlobWrites(blob: NewChunkedBlob, nextStamp: () => string): Put[] {
  const pageEntries = limits.chunkMapPageEntries;
  const pages = pagesOf(blob.chunks, pageEntries);
  const { sizeBytes, chunkBytes } = blob;
  const root = encodeBlobRoot({ kind: "chunks", refcount: 1, sizeBytes, pages: pages.length, pageEntries, chunkBytes });
  return [
    { kind: "put", key: blobRootKey(blob.id), value: root },
    ...pages.map((page, index): Put => ({
      kind: "put",
      key: blobPageKey(blob.id, index),
      value: encodeChunkPage(page),
    })),
    ...pages.flatMap((page, index) => repairWrites(blob.id, page, index)),
    ...newStrayWrites(blob, nextStamp),
  ];
}

function newStrayWrites({ id, strays = [] }: NewChunkedBlob, nextStamp: () => string): Put[] {
  const noted = strays.slice(0, limits.straysPerBlobMax);
  const pages = Map.groupBy(noted, ({ chunkIndex }) => newBlobPage(chunkIndex));
  return [...pages].flatMap(([page, shards]) => strayWrites(id, page, shards, nextStamp));
}

/** The page that a chunk of a new blob stands in. */
export function newBlobPage(chunkIndex: number): number {
  return Math.floor(chunkIndex / limits.chunkMapPageEntries);
}

function repairWrites(blob: BlobId, page: readonly ChunkRecord[], index: number): Put[] {
  const positions = page.flatMap((chunk, position) => (isIncomplete(chunk) ? [position] : []));
  return positions.length === 0 ? [] : [repairWrite(blob, index, { damaged: [], incomplete: positions })];
}

/**
 * The rows of a blob of parts that gets one more part at its end, where only a head that changes with it refers to it. What readers know
 * of it, its first bytes, stays as it is. `lastPage`: the parts in its last page.
 */
export function extendedPartsWrites(
  id: BlobId,
  root: BlobRoot & { readonly kind: "parts" },
  lastPage: readonly PartRecord[],
  part: PartRecord,
): Put[] {
  assert(lastPage.length > 0 && lastPage.length <= root.pageEntries, "a page of parts has entries");
  const isFull = lastPage.length === root.pageEntries;
  const pages = root.pages + (isFull ? 1 : 0);
  const pageStarts = isFull ? [...root.pageStarts, root.sizeBytes] : root.pageStarts;
  const sizeBytes = root.sizeBytes + part.sizeBytes;
  const extended = { ...root, sizeBytes, pages, pageStarts, parts: root.parts + 1 };
  const page = encodePartPage(isFull ? [part] : [...lastPage, part]);
  return [
    { kind: "put", key: blobRootKey(id), value: encodeBlobRoot(extended) },
    { kind: "put", key: blobPageKey(id, pages - 1), value: page },
  ];
}

/**
 * The rows of a blob of parts whose last part gets longer, under the same conditions. `part` begins with the bytes of the one that it
 * replaces, whose reference the caller drops.
 */
export function rejoinedPartsWrites(
  id: BlobId,
  root: BlobRoot & { readonly kind: "parts" },
  lastPage: readonly PartRecord[],
  part: PartRecord,
): Put[] {
  const addedBytes = part.sizeBytes - lastPage.at(-1)!.sizeBytes;
  assert(addedBytes > 0 && part.partNumber === lastPage.at(-1)!.partNumber, "a part that is replaced gets longer");
  const extended = { ...root, sizeBytes: root.sizeBytes + addedBytes };
  return [
    { kind: "put", key: blobRootKey(id), value: encodeBlobRoot(extended) },
    { kind: "put", key: blobPageKey(id, root.pages - 1), value: encodePartPage([...lastPage.slice(0, -1), part]) },
  ];
}

/** The rows of a new blob of parts with one reference; the parts' own blobs keep the reference they have. */
export function newPartsBlobWrites(id: BlobId, parts: readonly PartRecord[]): Put[] {
  const pageEntries = limits.partMapPageEntries;
  const pages = pagesOf(parts, pageEntries);
  const pageStarts: number[] = [];
  let sizeBytes = 0;
  for (const page of pages) {
    pageStarts.push(sizeBytes);
    for (const part of page) sizeBytes += part.sizeBytes;
  }
  const facts = { refcount: 1, sizeBytes, pages: pages.length, pageEntries, parts: parts.length, pageStarts };
  return [
    { kind: "put", key: blobRootKey(id), value: encodeBlobRoot({ kind: "parts", ...facts }) },
    ...pages.map((page, index): Put => ({ kind: "put", key: blobPageKey(id, index), value: encodePartPage(page) })),
  ];
}
