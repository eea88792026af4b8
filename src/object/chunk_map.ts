/**
 * A stored blob as something to read: its root, its pages one at a time (the last one is kept), and its bytes through the
 * blob room. A blob of parts is read part after part. Whoever reads holds `session.beginRead()` from before the head was
 * read, which keeps every row and chunk that the head led to; a row that is missing is therefore corruption.
 */
import type { BlobStore, ChunkRef, ChunkSource } from "../blob/blob.ts";
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import type { BlobId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { DataKey } from "../crypto/data_key.ts";
import type { Kv } from "../kv/kv.ts";
import { decodeBlobRoot, decodePartPage } from "../meta/blobs.ts";
import type { BlobRoot, PartRecord } from "../meta/blobs.ts";
import { decodeChunkPage } from "../meta/chunk_pages.ts";
import { blobPageKey, blobRootKey } from "../meta/keys.ts";

type ChunksRoot = BlobRoot & { readonly kind: "chunks" };
type PartsRoot = BlobRoot & { readonly kind: "parts" };

function missing(blob: BlobId, what: string): HoldfastError {
  return new HoldfastError("corrupt_record", `${what} of blob ${blob} is missing.`);
}

class ChunkPages implements ChunkSource {
  readonly chunkBytes: number;
  readonly sizeBytes: number;
  readonly blob: BlobId;
  readonly dataKey: DataKey | undefined;
  readonly #kv: Kv;
  readonly #root: ChunksRoot;
  #page: { readonly index: number; readonly chunks: readonly ChunkRef[] } | undefined;

  constructor(
    kv: Kv,
    blob: BlobId,
    rows: { readonly root: ChunksRoot; readonly firstPage: Uint8Array | undefined },
    dataKey: DataKey | undefined,
  ) {
    const { root, firstPage } = rows;
    this.#kv = kv;
    this.blob = blob;
    this.dataKey = dataKey;
    this.#root = root;
    this.chunkBytes = root.chunkBytes;
    this.sizeBytes = root.sizeBytes;
    if (firstPage !== undefined) this.#page = { index: 0, chunks: decodeChunkPage(firstPage) };
  }

  async chunks(first: number, count: number): Promise<readonly ChunkRef[]> {
    const index = Math.floor(first / this.#root.pageEntries);
    if (this.#page?.index !== index) {
      const [row] = await this.#kv.get([blobPageKey(this.blob, index)]);
      if (row === undefined) throw missing(this.blob, `Page ${index}`);
      this.#page = { index, chunks: decodeChunkPage(row.value) };
    }
    const start = first - index * this.#root.pageEntries;
    return this.#page.chunks.slice(start, start + count);
  }
}

export type OpenBlob =
  | { readonly kind: "chunks"; readonly root: ChunksRoot; readonly source: ChunkSource }
  | { readonly kind: "parts"; readonly id: BlobId; readonly root: PartsRoot; readonly dataKey: DataKey | undefined };

/** What whoever refers to a blob knows of it. */
export type BlobReference = {
  /** Its first bytes, which are all of it unless it was appended to after the reference was read. */
  readonly sizeBytes: number;
  /** What its bytes, those of its parts, were encrypted with; only reading those needs it. */
  readonly dataKey?: DataKey | undefined;
};

/** Reads the root, and the first page with it. Errors: `corrupt_record` when it is not there, or shorter. */
export async function openBlob(kv: Kv, blob: BlobId, { sizeBytes, dataKey }: BlobReference): Promise<OpenBlob> {
  const [rootRow, pageRow] = await kv.get([blobRootKey(blob), blobPageKey(blob, 0)]);
  if (rootRow === undefined) throw missing(blob, "The root");
  const root = decodeBlobRoot(rootRow.value);
  if (root.sizeBytes < sizeBytes)
    throw new HoldfastError("corrupt_record", `Blob ${blob} has ${root.sizeBytes} bytes instead of ${sizeBytes}.`);
  if (root.kind === "parts") return { kind: "parts", id: blob, root: { ...root, sizeBytes }, dataKey };
  return { kind: "chunks", root, source: new ChunkPages(kv, blob, { root, firstPage: pageRow?.value }, dataKey) };
}

async function readPartPage(kv: Kv, blob: BlobId, page: number): Promise<PartRecord[]> {
  const [row] = await kv.get([blobPageKey(blob, page)]);
  if (row === undefined) throw missing(blob, `Page ${page}`);
  return decodePartPage(row.value);
}

/** A part and where it begins in the object. */
export type PlacedPart = { readonly part: PartRecord; readonly offset: number; readonly index: number };

/** Parts in order, from the page that holds byte `offset` on, as far as the blob was opened. */
export async function* partsFrom(
  kv: Kv,
  open: OpenBlob & { kind: "parts" },
  offset: number,
): AsyncGenerator<PlacedPart> {
  const { pageStarts, pageEntries, pages, sizeBytes } = open.root;
  let page = 0;
  while (page + 1 < pages && pageStarts[page + 1]! <= offset) page += 1;
  for (; page < pages; page++) {
    let at = pageStarts[page]!;
    let index = page * pageEntries;
    for (const stored of await readPartPage(kv, open.id, page)) {
      // Appended meanwhile, for what is appended is never empty.
      if (at >= sizeBytes) return;
      const part = partWithin(stored, sizeBytes - at);
      yield { part, offset: at, index };
      at += part.sizeBytes;
      index += 1;
    }
  }
}

/** The last part may have got longer since the reference was read; its digests are of all of it. */
function partWithin(part: PartRecord, sizeBytes: number): PartRecord {
  return part.sizeBytes <= sizeBytes ? part : { ...part, sizeBytes, checksum: undefined };
}

/** The part of that number. Errors: `invalid_part_number`. */
export async function findPart(kv: Kv, open: OpenBlob & { kind: "parts" }, partNumber: number): Promise<PlacedPart> {
  const { pageStarts, pageEntries, pages, sizeBytes } = open.root;
  // Part numbers rise but may have gaps: the part of number n is the n-th at the latest.
  let page = Math.min(pages - 1, Math.floor((partNumber - 1) / pageEntries));
  for (; page >= 0; page--) {
    const parts = await readPartPage(kv, open.id, page);
    if (page > 0 && parts[0]!.partNumber > partNumber) continue;
    let offset = pageStarts[page]!;
    for (const [position, stored] of parts.entries()) {
      if (offset >= sizeBytes) break;
      const part = partWithin(stored, sizeBytes - offset);
      if (part.partNumber === partNumber) return { part, offset, index: page * pageEntries + position };
      offset += part.sizeBytes;
    }
    break;
  }
  throw new HoldfastError("invalid_part_number", "The requested partnumber is not satisfiable.", {
    details: { partNumber, partsCount: open.root.parts },
  });
}

export type ByteSpan = { readonly offset: number; readonly length: number };

/** Verified bytes of a blob, in order. */
export function readBlob(
  parts: { readonly kv: Kv; readonly blobs: BlobStore },
  open: OpenBlob,
  span: ByteSpan,
  signal: AbortSignal | undefined,
): AsyncIterable<Buffer> {
  assert(span.offset + span.length <= open.root.sizeBytes, "a read lies within its blob");
  if (open.kind === "chunks") return parts.blobs.read(open.source, span.offset, span.length, signal);
  return readParts(parts, open, span, signal);
}

/**
 * Part after part. Small ones, as appends make them, are read some ahead, for each costs reads of its own however few bytes it has; a
 * large one reads ahead within itself.
 */
async function* readParts(
  stores: { readonly kv: Kv; readonly blobs: BlobStore },
  open: OpenBlob & { kind: "parts" },
  span: ByteSpan,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  const end = span.offset + span.length;
  const ahead: Promise<readonly Buffer[]>[] = [];
  try {
    for await (const { part, offset } of partsFrom(stores.kv, open, span.offset)) {
      if (offset >= end) break;
      const from = Math.max(span.offset, offset);
      const length = Math.min(end, offset + part.sizeBytes) - from;
      if (length <= 0) continue;
      const pieces = readPart(stores, { part, dataKey: open.dataKey }, { offset: from - offset, length }, signal);
      const isSmall = length <= limits.smallPartBytesMax;
      while (ahead.length >= (isSmall ? limits.smallPartsAtOnce : 1)) yield* await ahead.shift()!;
      if (isSmall) ahead.push(readSoon(pieces));
      else yield* pieces;
    }
    while (ahead.length > 0) yield* await ahead.shift()!;
  } finally {
    // What nobody will take ends before the read does, which keeps its chunks.
    await Promise.allSettled(ahead);
  }
}

/** A failure is told when its turn comes. */
function readSoon(pieces: AsyncIterable<Buffer>): Promise<readonly Buffer[]> {
  const whole = allOf(pieces);
  whole.catch(() => undefined);
  return whole;
}

async function allOf(pieces: AsyncIterable<Buffer>): Promise<readonly Buffer[]> {
  const all: Buffer[] = [];
  for await (const piece of pieces) all.push(piece);
  return all;
}

async function* readPart(
  stores: { readonly kv: Kv; readonly blobs: BlobStore },
  { part, dataKey }: { readonly part: PartRecord; readonly dataKey: DataKey | undefined },
  span: ByteSpan,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  const child = await openBlob(stores.kv, part.blob, { sizeBytes: part.sizeBytes, dataKey });
  yield* readBlob(stores, child, span, signal);
}
