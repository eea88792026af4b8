/** The blob store over one chunk node. */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import type { DriveId, IdSource } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { BlobCounts } from "../core/metrics.ts";
import { oneCopy, type Redundancy } from "../core/redundancy.ts";
import type { DigestPool } from "../digest/digest.ts";
import type { ChunkNode } from "../node/node.ts";
import type {
  BlobStore,
  BodySource,
  ChunkedBlob,
  ChunkRef,
  ChunkSource,
  WriteBodyOptions,
  WrittenBody,
} from "./blob.ts";
import { ChunkBuffers, type BufferClaim } from "./chunk_buffers.ts";
import { Recoveries } from "./chunk_reader.ts";
import type { Placement } from "./node_placement.ts";
import { readBlob, type ReaderParts } from "./reader.ts";
import { removeShards } from "./remover.ts";
import type { ShardWriterParts } from "./shard_writer.ts";
import { BlobWriter } from "./writer.ts";

export type BlobStoreParts = {
  readonly node: ChunkNode;
  readonly ids: IdSource;
  readonly digests: DigestPool;
  readonly placement: Placement;
  readonly log: Log;
  /**
   * Bytes of a chunk: chunkBytesMax unless said otherwise. Recorded with every blob, so it may change at any time, and
   * is less for bodies that arrive among very many others (chunk_buffers.ts).
   */
  readonly chunkBytes?: number;
  /** For bodies that are written without saying another; one copy if left out. */
  readonly redundancy?: () => Redundancy;
  /** Told of chunks of which a shard could not be read. Called often; must not throw. */
  readonly onDamage?: ReaderParts["onDamage"];
  /**
   * Told of shards that nothing will name, of a write that did not wait for their drive or failed, and that the drive is too slow
   * to be asked to remove. Must not throw. Left out, they are found when the session has ended.
   */
  readonly onLanded?: ShardWriterParts["onLanded"];
  readonly counts?: BlobCounts;
  /** Shared by the stores of a process; one of its own by default. */
  readonly buffers?: ChunkBuffers;
};

/** What could be read of a body before it had to be decided whether it is stored inline. */
type Beginning = { readonly pieces: Uint8Array[]; readonly sizeBytes: number; readonly ended: boolean };

async function readBeginning(stream: AsyncIterator<Uint8Array>, inlineBytesMax: number): Promise<Beginning> {
  const pieces: Uint8Array[] = [];
  let sizeBytes = 0;
  while (sizeBytes <= inlineBytesMax) {
    const next = await stream.next();
    if (next.done === true) return { pieces, sizeBytes, ended: true };
    pieces.push(next.value);
    sizeBytes += next.value.length;
  }
  return { pieces, sizeBytes, ended: false };
}

function tooLarge(bytesMax: number): HoldfastError {
  return new HoldfastError("entity_too_large", `The body is longer than the ${bytesMax} bytes allowed.`);
}

/** A stream for which there is no place is told so. */
function claimOrEnd(claim: () => BufferClaim, stream: AsyncIterator<Uint8Array>): BufferClaim {
  try {
    return claim();
  } catch (error) {
    stream.return?.().catch(() => undefined);
    throw error;
  }
}

class NodeBlobStore implements BlobStore {
  readonly #parts: BlobStoreParts;
  readonly #buffers: ChunkBuffers;
  readonly #reading: ReaderParts;

  constructor(parts: BlobStoreParts) {
    const { chunkBytes = limits.chunkBytesMax } = parts;
    assert(chunkBytes >= 1 && chunkBytes <= limits.chunkBytesMax, "a chunk has 1 to chunkBytesMax bytes");
    this.#parts = parts;
    this.#buffers = parts.buffers ?? new ChunkBuffers({ chunkBytes });
    const { node, log, counts, onDamage = () => undefined } = parts;
    const { times } = parts.placement;
    this.#reading = { node, log, onDamage, times, counts, recoveries: new Recoveries() };
  }

  async write(body: BodySource, options: WriteBodyOptions): Promise<WrittenBody> {
    const { inlineBytesMax, bytesMax, signal } = options;
    const { sizeBytes } = body;
    if (signal?.aborted) throw new HoldfastError("cancelled", "The request was cancelled.", { cause: signal.reason });
    if (sizeBytes !== undefined && sizeBytes > bytesMax) throw tooLarge(bytesMax);
    if (sizeBytes !== undefined && sizeBytes <= inlineBytesMax && inlineBytesMax > 0)
      return this.#inline(await body.collect(Math.min(inlineBytesMax, bytesMax)), options);
    const stream = body.stream()[Symbol.asyncIterator]();
    if (sizeBytes !== undefined || inlineBytesMax === 0) return this.#chunked([], stream, sizeBytes, options);
    const { pieces, sizeBytes: begun, ended } = await readBeginning(stream, inlineBytesMax);
    if (begun > bytesMax) {
      stream.return?.().catch(() => undefined);
      throw tooLarge(bytesMax);
    }
    if (ended && begun <= inlineBytesMax) return this.#inline(Buffer.concat(pieces), options);
    return this.#chunked(pieces, stream, ended ? begun : undefined, options);
  }

  #inline(bytes: Buffer, { digests }: WriteBodyOptions): WrittenBody {
    return { kind: "inline", bytes, sizeBytes: bytes.length, digests: this.#parts.digests.whole(digests, bytes) };
  }

  async #chunked(
    before: readonly Uint8Array[],
    stream: AsyncIterator<Uint8Array>,
    expectedBytes: number | undefined,
    options: WriteBodyOptions,
  ): Promise<WrittenBody> {
    const { bytesMax, signal, dataKey, redundancy = this.#parts.redundancy?.() ?? oneCopy } = options;
    const claim = (): BufferClaim => this.#buffers.claim(expectedBytes, redundancy, dataKey !== undefined);
    const buffers = claimOrEnd(claim, stream);
    try {
      const digest = this.#parts.digests.stream(options.digests);
      const given = { redundancy, dataKey, bytesMax, expectedBytes, signal };
      const writer = new BlobWriter(this.#parts, { digest, buffers, ...given });
      const { blob, digests } = await writer.run(before, stream);
      return { kind: "chunked", blob, sizeBytes: blob.sizeBytes, digests };
    } finally {
      buffers.end();
    }
  }

  read(source: ChunkSource, offset: number, length: number, signal?: AbortSignal): AsyncIterable<Buffer> {
    return readBlob(this.#reading, source, { offset, length }, signal);
  }

  async discard({ id: blob, chunks, strays }: ChunkedBlob): Promise<void> {
    const { node, placement, onLanded } = this.#parts;
    const places = chunks.flatMap((chunk, chunkIndex) =>
      chunk.places.map((place) => ({ chunk: chunk.id, chunkIndex, ...place })),
    );
    const shards = [...places, ...strays].map(({ chunk, chunkIndex, drive, shardIndex }) => ({
      drive,
      ref: { chunk, shardIndex },
      owner: { blob, chunkIndex },
    }));
    const isSlow = ({ drive }: { readonly drive: DriveId }): boolean => placement.times.isSlow(drive);
    for (const shard of shards.filter(isSlow)) onLanded?.(shard);
    await removeShards(
      node,
      shards.filter((shard) => !isSlow(shard)),
    );
  }

  async remove(chunks: readonly ChunkRef[]): Promise<readonly DriveId[]> {
    const shards = chunks.flatMap(({ id, places }) =>
      places.map(({ drive, shardIndex }) => ({ drive, ref: { chunk: id, shardIndex } })),
    );
    return removeShards(this.#parts.node, shards);
  }
}

export function createBlobStore(parts: BlobStoreParts): BlobStore {
  return new NodeBlobStore(parts);
}
