/** Where an object's bytes lie, and what parts it was made of. */
import type { BlobId } from "../core/ids.ts";
import type { ChunkRef } from "../blob/blob.ts";
import { openBlob, partsFrom } from "./chunk_map.ts";
import type { OpenBlob } from "./chunk_map.ts";
import type { ObjectContext } from "./context.ts";
import { existing } from "./get.ts";
import { checkObjectKey } from "./names.ts";
import type { LaidChunk, ObjectInfo, Objects, PartInfo } from "./object.ts";
import { infoOf, noSuchKey, readRows, readTarget } from "./target.ts";
import type { Address } from "./target.ts";

type Layout = Awaited<ReturnType<Objects["layout"]>>;

export async function objectLayout(ctx: ObjectContext, address: Address): Promise<Layout> {
  checkObjectKey(address.key);
  const head = existing(await readTarget(ctx, readRows(ctx.kv), address));
  const info = infoOf(address.key, head);
  return { info, inline: head.data.kind !== "blob", chunks: layChunks(ctx, address, head.stamp) };
}

/** The read begins when the first chunk is asked for, so that one that is never asked for holds nothing back. */
async function* layChunks(ctx: ObjectContext, address: Address, stamp: string): AsyncGenerator<LaidChunk> {
  const release = ctx.session.beginRead();
  try {
    const { head } = await readTarget(ctx, readRows(ctx.kv), address);
    if (head?.stamp !== stamp) throw noSuchKey();
    if (head.data.kind !== "blob") return;
    const open = await openBlob(ctx.kv, head.data.blob);
    if (open.kind === "chunks") yield* chunksOf(open, 0);
    else for await (const { part, offset } of partsFrom(ctx.kv, open, 0)) yield* layPart(ctx, part.blob, offset);
  } finally {
    release();
  }
}

async function* layPart(ctx: ObjectContext, blob: BlobId, offset: number): AsyncGenerator<LaidChunk> {
  const open = await openBlob(ctx.kv, blob);
  if (open.kind === "chunks") yield* chunksOf(open, offset);
}

async function* chunksOf(open: OpenBlob & { kind: "chunks" }, offset: number): AsyncGenerator<LaidChunk> {
  const { sizeBytes, chunkBytes } = open.root;
  const count = Math.ceil(sizeBytes / chunkBytes);
  for (let index = 0; index < count;) {
    for (const chunk of await open.source.chunks(index, count - index)) {
      yield laidChunk(chunk, offset + index * chunkBytes);
      index += 1;
    }
  }
}

function laidChunk(chunk: ChunkRef, offset: number): LaidChunk {
  const { id, rawBytes, storedBytes, redundancy, places } = chunk;
  return { id, offset, sizeBytes: rawBytes, storedBytes, redundancy, places };
}

type PartsOptions = Parameters<Objects["objectParts"]>[0];
type PartsResult = { readonly info: ObjectInfo; readonly parts: readonly PartInfo[]; readonly isTruncated: boolean };

export async function objectParts(ctx: ObjectContext, options: PartsOptions): Promise<PartsResult> {
  checkObjectKey(options.key);
  const release = ctx.session.beginRead();
  try {
    const head = existing(await readTarget(ctx, readRows(ctx.kv), options));
    const info = infoOf(options.key, head);
    const parts: PartInfo[] = [];
    if (info.partsCount === undefined || head.data.kind !== "blob") return { info, parts, isTruncated: false };
    const open = await openBlob(ctx.kv, head.data.blob);
    if (open.kind !== "parts") return { info, parts, isTruncated: false };
    for await (const { part } of partsFrom(ctx.kv, open, 0)) {
      if (part.partNumber <= options.after) continue;
      if (parts.length === options.limit) return { info, parts, isTruncated: options.limit > 0 };
      const { partNumber, sizeBytes, md5, modifiedMs, checksum } = part;
      parts.push({ partNumber, sizeBytes, etag: md5, modifiedMs, checksum });
    }
    return { info, parts, isTruncated: false };
  } finally {
    release();
  }
}
