/** Where an object's bytes lie, and what parts it was made of. */
import { HoldfastError } from "../core/errors.ts";
import type { BlobId } from "../core/ids.ts";
import type { ChunkRef } from "../blob/blob.ts";
import { openBlob, partsFrom } from "./chunk_map.ts";
import type { OpenBlob } from "./chunk_map.ts";
import type { ObjectContext } from "./context.ts";
import type { Redundancy } from "../core/redundancy.ts";
import { checkObjectKeyOf } from "./encryption.ts";
import { checkObjectKey } from "./names.ts";
import type { ObjectInfo, Objects, PartInfo } from "./object.ts";
import { readVersion, type VersionAddress } from "./read_version.ts";
import { infoOf, noSuchKey, readRows } from "./target.ts";

export type LaidChunk = {
  readonly id: string;
  readonly offset: number;
  readonly sizeBytes: number;
  readonly storedBytes: number;
  readonly redundancy: Redundancy;
  readonly places: readonly { readonly drive: string; readonly shardIndex: number }[];
};

type Layout = Awaited<ReturnType<Objects["layout"]>>;

export async function objectLayout(ctx: ObjectContext, address: VersionAddress): Promise<Layout> {
  checkObjectKey(address.key);
  const { target, head } = await readVersion(ctx, readRows(ctx.kv), address, { body: false });
  const info = infoOf(target.bucket, address.key, head);
  return { info, inline: head.data.kind !== "blob", chunks: layChunks(ctx, address, head.stamp) };
}

/** The read begins when the first chunk is asked for, so that one that is never asked for holds nothing back. */
async function* layChunks(ctx: ObjectContext, address: VersionAddress, stamp: string): AsyncGenerator<LaidChunk> {
  const release = ctx.session.beginRead();
  try {
    const { head } = await readVersion(ctx, readRows(ctx.kv), address, { body: false });
    if (head.stamp !== stamp) throw noSuchKey();
    if (head.data.kind !== "blob") return;
    yield* layBlob(ctx, { blob: head.data.blob, sizeBytes: head.sizeBytes }, 0);
  } finally {
    release();
  }
}

type LaidBlob = { readonly blob: BlobId; readonly sizeBytes: number };

async function* layBlob(ctx: ObjectContext, { blob, sizeBytes }: LaidBlob, start: number): AsyncGenerator<LaidChunk> {
  const open = await openBlob(ctx.kv, blob, { sizeBytes });
  if (open.kind === "chunks") yield* chunksOf(open, start, sizeBytes);
  else for await (const { part, offset } of partsFrom(ctx.kv, open, 0)) yield* layBlob(ctx, part, start + offset);
}

/** Of a last part that has got longer meanwhile as much as is meant. */
async function* chunksOf(
  open: OpenBlob & { kind: "chunks" },
  offset: number,
  sizeBytes: number,
): AsyncGenerator<LaidChunk> {
  const { chunkBytes } = open.root;
  const count = Math.ceil(sizeBytes / chunkBytes);
  for (let index = 0; index < count;) {
    const chunks = await open.source.chunks(index, count - index);
    if (chunks.length === 0)
      throw new HoldfastError(
        "corrupt_record",
        `The chunk map of blob ${open.source.blob} has ${index} of ${count} chunks.`,
      );
    for (const chunk of chunks) {
      const restBytes = sizeBytes - index * chunkBytes;
      yield laidChunk(chunk, offset + index * chunkBytes, Math.min(chunk.rawBytes, restBytes));
      index += 1;
    }
  }
}

function laidChunk(chunk: ChunkRef, offset: number, sizeBytes: number): LaidChunk {
  const { id, storedBytes, redundancy, places } = chunk;
  return { id, offset, sizeBytes, storedBytes, redundancy, places };
}

type PartsOptions = Parameters<Objects["objectParts"]>[0];
type PartsResult = { readonly info: ObjectInfo; readonly parts: readonly PartInfo[]; readonly isTruncated: boolean };

export async function objectParts(ctx: ObjectContext, options: PartsOptions): Promise<PartsResult> {
  checkObjectKey(options.key);
  const release = ctx.session.beginRead();
  try {
    const { target, head } = await readVersion(ctx, readRows(ctx.kv), options, { body: false });
    checkObjectKeyOf(head, options.customerKey);
    const info = infoOf(target.bucket, options.key, head);
    const parts: PartInfo[] = [];
    if (info.partsCount === undefined || head.data.kind !== "blob") return { info, parts, isTruncated: false };
    const open = await openBlob(ctx.kv, head.data.blob, head);
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
