/** What tests of the blob store share: stores on any node, bodies of all textures, reading back, nodes with changed calls. */
import assert from "node:assert/strict";
import { systemClock, type Clock } from "../core/clock.ts";
import { IdSource, newDriveId, type DriveId, type SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { seededRandom, systemRandom } from "../core/random.ts";
import type { DigestPool } from "../digest/digest.ts";
import type { ChunkNode } from "../node/node.ts";
import type { BlobStore, BodySource, ChunkedBlob, ChunkSource, WriteBodyOptions, WrittenBody } from "./blob.ts";
import { ChunkBuffers } from "./chunk_buffers.ts";
import { createNodePlacement } from "./node_placement.ts";
import { createBlobStore, type BlobStoreParts } from "./store.ts";

export const KiB = 1024;
/** Three compression blocks, so that a chunk has a first, a middle and a last one. */
export const chunkBytes = 3 * limits.compressionBlockBytes;

/**
 * Time stands still: however long this process is kept from running, no drive is slow, so that every shard is where it belongs, nothing
 * is read twice, and what is discarded is gone.
 */
export const stillClock: Clock = {
  ...systemClock,
  monotonicMs: () => 0,
  sleep: (_ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted === true) resolve();
      else signal?.addEventListener("abort", () => resolve(), { once: true });
    }),
};

let sessions = 0;

/** Each call's store has a session of its own. No time passes for it, unless it is given a placement with another clock. */
export async function makeStore(
  node: ChunkNode,
  digests: DigestPool,
  options: Partial<BlobStoreParts> = {},
): Promise<BlobStore> {
  sessions += 1;
  const ids = new IdSource(sessions.toString(16).padStart(16, "0") as SessionId);
  const placement = await createNodePlacement({ node, clock: stillClock, log: silentLog });
  const buffers = new ChunkBuffers({ chunkBytes });
  return createBlobStore({ node, ids, digests, placement, log: silentLog, chunkBytes, buffers, ...options });
}

export function bodyOf(bytes: Buffer, pieceBytes: number, isSizeKnown: boolean): BodySource {
  return {
    sizeBytes: isSizeKnown ? bytes.length : undefined,
    collect: async () => bytes,
    async *stream() {
      // What is read belongs to the reader.
      for (let start = 0; start < bytes.length; start += pieceBytes)
        yield Buffer.from(bytes.subarray(start, start + pieceBytes));
    },
  };
}

export type Texture = "zeros" | "words" | "random" | "mixed";

/** Bytes that compress well, fairly, not at all, or differently from block to block. */
export function bytesOf(sizeBytes: number, texture: Texture, seed: number): Buffer {
  const random = seededRandom(seed);
  const out = Buffer.alloc(sizeBytes);
  const fillers = { zeros: 0, words: 1, random: 2 } as const;
  for (let start = 0; start < sizeBytes; start += 64 * KiB) {
    const filler = texture === "mixed" ? random.below(3) : fillers[texture];
    const part = out.subarray(start, start + 64 * KiB);
    if (filler === 1) part.fill(`holdfast ${seed} ${start} `);
    if (filler === 2) part.set(random.bytes(part.length));
  }
  return out;
}

export const writeOptions: WriteBodyOptions = {
  digests: ["md5", "crc64nvme"],
  inlineBytesMax: 16 * KiB,
  bytesMax: 2 ** 30,
};

export function chunked(written: WrittenBody): ChunkedBlob {
  assert.equal(written.kind, "chunked");
  return (written as WrittenBody & { kind: "chunked" }).blob;
}

/** Pages of two references, to cross page ends often. */
export function sourceOf(blob: ChunkedBlob): ChunkSource {
  const { chunkBytes, sizeBytes } = blob;
  return {
    blob: blob.id,
    chunkBytes,
    sizeBytes,
    chunks: async (first, count) => blob.chunks.slice(first, first + Math.min(count, 2)),
  };
}

export async function readAll(
  store: BlobStore,
  blob: ChunkedBlob,
  offset = 0,
  length = blob.sizeBytes,
): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of store.read(sourceOf(blob), offset, length)) pieces.push(piece);
  return Buffer.concat(pieces);
}

export async function shardsOn(node: ChunkNode): Promise<number> {
  const lists = await Promise.all(node.drives.map((drive) => node.list(drive, { limit: 1_000 })));
  return lists.flat().length;
}

export function drives(count: number): { readonly drives: DriveId[] } {
  return { drives: Array.from({ length: count }, () => newDriveId(systemRandom)) };
}

/** The node with some calls replaced. */
export function altered(node: ChunkNode, changes: Partial<ChunkNode>): ChunkNode {
  const { drives } = node;
  return {
    drives,
    append: (...args) => node.append(...args),
    read: (...args) => node.read(...args),
    remove: (...args) => node.remove(...args),
    list: (...args) => node.list(...args),
    verify: (...args) => node.verify(...args),
    discard: (...args) => node.discard(...args),
    compact: (...args) => node.compact(...args),
    status: (...args) => node.status(...args),
    close: () => node.close(),
    ...changes,
  };
}
