/**
 * One body on its way to the drives: fills chunk buffers, and stores each full one while the next is being filled.
 *
 * Invariants: at most writeChunksInFlightMax chunks of the stream are under way, the one being filled included; a buffer
 * goes back only when both its digest and its append have ended; after a failure nothing is started any more, and what
 * was appended is removed before the first error leaves.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { giveBack } from "../core/give_back.ts";
import type { BlobId, DriveId, IdSource } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import { shardsOf, type Redundancy } from "../core/redundancy.ts";
import type { StreamDigest, Digests } from "../digest/digest.ts";
import type { ChunkNode, ShardRef } from "../node/node.ts";
import type { ChunkRef, ChunkedBlob } from "./blob.ts";
import type { BufferClaim, ChunkBuffer } from "./chunk_buffers.ts";
import { packChunk, type PackedChunk } from "./compression.ts";
import type { Placement } from "./node_placement.ts";
import { removeShards } from "./remover.ts";
import { storeShards } from "./shard_writer.ts";
import { makeShards, redundancyFor } from "./shards.ts";

export type WriterParts = {
  readonly node: ChunkNode;
  readonly ids: IdSource;
  readonly placement: Placement;
  readonly log: Log;
};

export type WriterOptions = {
  readonly digest: StreamDigest;
  readonly redundancy: Redundancy;
  /** Claimed for this redundancy; ended by whoever made it, after `run`. */
  readonly buffers: BufferClaim;
  readonly bytesMax: number;
  /** What the body said it would have. */
  readonly expectedBytes: number | undefined;
  readonly signal: AbortSignal | undefined;
};

export type WrittenChunks = { readonly blob: ChunkedBlob; readonly digests: Digests };

function cancelled(signal: AbortSignal): HoldfastError {
  return new HoldfastError("cancelled", "The request was cancelled.", { cause: signal.reason });
}

export class BlobWriter {
  readonly #parts: WriterParts;
  readonly #options: WriterOptions;
  readonly #blob: BlobId;
  /** Ends the stores under way after a failure. */
  readonly #abort = new AbortController();
  readonly #chunks: ChunkRef[] = [];
  readonly #underWay = new Set<Promise<void>>();
  /** Every append that was begun, whatever became of it. */
  readonly #begun: { readonly drive: DriveId; readonly ref: ShardRef }[] = [];
  #digestTail: Promise<void> = Promise.resolve();
  #filling: ChunkBuffer | undefined;
  #filledBytes = 0;
  #takenBytes = 0;
  #chunksBegun = 0;
  #failure: { readonly error: unknown } | undefined;
  #onFailure: (error: unknown) => void = () => undefined;

  constructor(parts: WriterParts, options: WriterOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#blob = parts.ids.blob();
  }

  /** Stores the pieces `before`, then all of `stream`. The first error of any part leaves, after everything is undone. */
  async run(before: readonly Uint8Array[], stream: AsyncIterator<Uint8Array>): Promise<WrittenChunks> {
    const { signal } = this.#options;
    const onAbort = (): void => this.#fail(cancelled(signal!));
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      if (signal?.aborted) throw cancelled(signal);
      for (const piece of before) await this.#take(piece);
      for (;;) {
        const next = await this.#next(stream);
        if (next.done === true) break;
        await this.#take(next.value);
      }
      return await this.#end();
    } catch (error) {
      this.#fail(error);
      await this.#undo();
      // The source may be stuck in its own read: it is told, not waited for.
      stream.return?.().catch(() => undefined);
      throw this.#failure!.error;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = { error };
    this.#abort.abort(error);
    this.#onFailure(error);
  }

  #failIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** The next piece, or at once the error of a chunk that is being stored meanwhile. */
  #next(stream: AsyncIterator<Uint8Array>): Promise<IteratorResult<Uint8Array>> {
    this.#failIfFailed();
    return new Promise((resolve, reject) => {
      this.#onFailure = reject;
      stream.next().then(resolve, reject);
    });
  }

  async #take(piece: Uint8Array): Promise<void> {
    this.#takenBytes += piece.length;
    const { bytesMax, expectedBytes } = this.#options;
    if (this.#takenBytes > bytesMax)
      throw new HoldfastError("entity_too_large", `The body is longer than the ${bytesMax} bytes allowed.`);
    if (expectedBytes !== undefined && this.#takenBytes > expectedBytes)
      throw new HoldfastError("incomplete_body", "The body is longer than it was announced.");
    let offset = 0;
    while (offset < piece.length) {
      const buffer = (this.#filling ??= await this.#acquire(this.#takenBytes - (piece.length - offset)));
      const part = piece.subarray(offset, offset + buffer.bytes.length - this.#filledBytes);
      buffer.bytes.set(part, this.#filledBytes);
      this.#filledBytes += part.length;
      offset += part.length;
      if (this.#filledBytes === buffer.bytes.length) this.#store();
    }
    giveBack(piece);
  }

  /** A buffer for the chunk that begins at byte `offset` of the blob. */
  async #acquire(offset: number): Promise<ChunkBuffer> {
    this.#failIfFailed();
    while (this.#underWay.size >= limits.writeChunksInFlightMax) {
      await Promise.race(this.#underWay);
      this.#failIfFailed();
    }
    const { buffers, expectedBytes } = this.#options;
    const { chunkBytes } = buffers;
    const sizeBytes = expectedBytes === undefined ? chunkBytes : Math.min(chunkBytes, expectedBytes - offset);
    const buffer = await buffers.acquire(sizeBytes, this.#abort.signal);
    if (this.#failure !== undefined) buffer.release();
    this.#failIfFailed();
    return buffer;
  }

  /** Starts storing the chunk that was being filled. */
  #store(): void {
    const buffer = this.#filling!;
    const index = this.#chunksBegun;
    const raw = buffer.bytes.subarray(0, this.#filledBytes);
    this.#chunksBegun += 1;
    this.#filling = undefined;
    this.#filledBytes = 0;
    const task: Promise<void> = this.#storeChunk(buffer, raw, index)
      .catch((error: unknown) => this.#fail(error))
      .finally(() => {
        buffer.release();
        this.#underWay.delete(task);
      });
    this.#underWay.add(task);
  }

  /** Ends only when nobody reads `raw` any more. */
  async #storeChunk(buffer: ChunkBuffer, raw: Uint8Array, index: number): Promise<void> {
    this.#digestTail = this.#digestTail.then(() => {
      if (this.#failure === undefined) return this.#options.digest.update(raw);
      return undefined;
    });
    const digest = this.#digestTail;
    const append = this.#appendChunk(buffer, raw, index, digest);
    const [digested, appended] = await Promise.allSettled([digest, append]);
    if (digested.status === "rejected") throw digested.reason;
    if (appended.status === "rejected") throw appended.reason;
  }

  async #appendChunk(buffer: ChunkBuffer, raw: Uint8Array, index: number, digested: Promise<void>): Promise<void> {
    const packed = await packChunk(raw);
    const { storedBytes, blockBytes } = packed;
    const id = this.#parts.ids.chunk();
    const redundancy = redundancyFor(storedBytes, this.#options.redundancy);
    const shards = await this.#shards(buffer, packed, redundancy, digested);
    const places = await storeShards(
      this.#parts,
      { id, owner: { blob: this.#blob, chunkIndex: index }, redundancy, shards },
      (drive, ref) => {
        this.#failIfFailed();
        this.#begun.push({ drive, ref });
      },
      this.#abort.signal,
    );
    this.#chunks[index] = { id, rawBytes: raw.length, storedBytes, blockBytes, redundancy, places };
  }

  /** The bytes of each shard, in pieces. */
  async #shards(
    { room }: ChunkBuffer,
    { body, storedBytes, blockBytes }: PackedChunk,
    redundancy: Redundancy,
    digested: Promise<void>,
  ): Promise<readonly (readonly Uint8Array[])[]> {
    if (redundancy.dataShards === 1) return Array.from({ length: shardsOf(redundancy) }, () => body);
    // What was compressed takes the place of the raw bytes, which the digest must have seen before.
    if (blockBytes !== undefined) await digested;
    this.#failIfFailed();
    return makeShards(room, body, storedBytes, redundancy).map((shard) => [shard]);
  }

  async #end(): Promise<WrittenChunks> {
    const { expectedBytes, digest } = this.#options;
    if (expectedBytes !== undefined && this.#takenBytes < expectedBytes)
      throw new HoldfastError("incomplete_body", "The body is shorter than it was announced.");
    if (this.#filling !== undefined) this.#store();
    await Promise.all(this.#underWay);
    this.#failIfFailed();
    const digests = await digest.finish();
    this.#failIfFailed();
    assert(this.#chunks.length === this.#chunksBegun, "every chunk was stored");
    const { chunkBytes } = this.#options.buffers;
    return { blob: { id: this.#blob, sizeBytes: this.#takenBytes, chunkBytes, chunks: this.#chunks }, digests };
  }

  async #undo(): Promise<void> {
    this.#filling?.release();
    this.#filling = undefined;
    await Promise.all(this.#underWay);
    this.#options.digest.cancel();
    try {
      await removeShards(this.#parts.node, this.#begun);
    } catch (error) {
      this.#parts.log.warn({ blob: this.#blob, error }, "Chunks of a failed write are left to the orphan sweep.");
    }
  }
}
