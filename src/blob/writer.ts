/**
 * One body on its way to the drives: fills chunk buffers, and stores each full one while the next is being filled.
 *
 * Invariants: at most writeChunksInFlightMax chunks of the stream are under way, the one being filled included; a buffer
 * goes back only when both its digest and its append have ended; after a failure nothing is started any more, and what
 * was appended is removed before the first error leaves.
 *
 * What is compressed or encrypted lies beside the chunk's buffer until the chunk is stored: as much again at most.
 *
 * A chunk is stored when a quorum of its shards is; an append to a slow drive may go on after that (shard_writer.ts). Its buffer is
 * held until it ends, and the shard it may leave is told as a stray with the blob. A write that fails removes what has ended
 * by then; an append that lands later is told to `onLanded`, and one whose outcome stays unknown is left to the orphan sweep.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { giveBack } from "../core/give_back.ts";
import type { BlobId, DriveId, IdSource } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { shardsOf, type Redundancy } from "../core/redundancy.ts";
import type { BlockCipher } from "../crypto/cipher.ts";
import type { DataKey } from "../crypto/data_key.ts";
import type { StreamDigest, Digests } from "../digest/digest.ts";
import type { ShardRef } from "../node/node.ts";
import type { ChunkRef, ChunkedBlob, StrayShard } from "./blob.ts";
import type { BufferClaim, ChunkBuffer } from "./chunk_buffers.ts";
import { packChunk, type PackedChunk } from "./compression.ts";
import { cancelled } from "./hedge.ts";
import { removeShards } from "./remover.ts";
import { sealChunk } from "./sealing.ts";
import { storeShards, type LandedShard, type ShardWriterParts, type Storing } from "./shard_writer.ts";
import { makeShards, redundancyFor } from "./shards.ts";

export type WriterParts = ShardWriterParts & { readonly ids: IdSource };

export type WriterOptions = {
  readonly digest: StreamDigest;
  readonly redundancy: Redundancy;
  readonly dataKey: DataKey | undefined;
  /** Claimed for this redundancy, and for encryption if there is a data key; ended by whoever made it, after `run`. */
  readonly buffers: BufferClaim;
  readonly bytesMax: number;
  /** What the body said it would have. */
  readonly expectedBytes: number | undefined;
  readonly signal: AbortSignal | undefined;
};

export type WrittenChunks = { readonly blob: ChunkedBlob; readonly digests: Digests };

function isSame(append: Storing["unended"][number], { drive, ref }: LandedShard): boolean {
  return append.drive === drive && append.chunk === ref.chunk && append.shardIndex === ref.shardIndex;
}

export class BlobWriter {
  readonly #parts: WriterParts;
  readonly #options: WriterOptions;
  readonly #blob: BlobId;
  readonly #cipher: BlockCipher | undefined;
  /** Ends the stores under way after a failure. */
  readonly #abort = new AbortController();
  readonly #chunks: ChunkRef[] = [];
  readonly #strays: StrayShard[] = [];
  readonly #underWay = new Set<Promise<void>>();
  /** Every append that was begun, whatever became of it. */
  readonly #begun: LandedShard[] = [];
  /** By the chunk's index, while an append of it has not ended. */
  readonly #storings = new Map<number, Storing>();
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
    this.#cipher = options.dataKey?.ofBlob(this.#blob);
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
      .finally(() => this.#underWay.delete(task));
    this.#underWay.add(task);
  }

  /** The buffer is given back when nobody reads it any more. */
  async #storeChunk(buffer: ChunkBuffer, raw: Uint8Array, index: number): Promise<void> {
    this.#digestTail = this.#digestTail.then(() => {
      if (this.#failure === undefined) return this.#options.digest.update(raw);
      return undefined;
    });
    const digest = this.#digestTail;
    const append = this.#appendChunk(buffer, raw, index, digest);
    const [digested, appended] = await Promise.allSettled([digest, append]);
    const isStored = digested.status === "fulfilled" && appended.status === "fulfilled";
    this.#giveBack(buffer, index, isStored ? appended.value : []);
    if (digested.status === "rejected") throw digested.reason;
    if (appended.status === "rejected") throw appended.reason;
  }

  /** What was stored, in pieces: views of the buffer, or memory of their own. */
  async #appendChunk(
    buffer: ChunkBuffer,
    raw: Uint8Array,
    index: number,
    digested: Promise<void>,
  ): Promise<readonly Uint8Array[]> {
    const cipher = this.#cipher;
    const packed = cipher === undefined ? await packChunk(raw) : sealChunk(cipher, index, await packChunk(raw));
    const { storedBytes, blockBytes } = packed;
    const id = this.#parts.ids.chunk();
    const redundancy = redundancyFor(storedBytes, this.#options.redundancy);
    const shards = await this.#shards(buffer, packed, redundancy, digested);
    const chunk = { id, owner: { blob: this.#blob, chunkIndex: index }, redundancy, shards };
    const onBegin = (drive: DriveId, ref: ShardRef): void => {
      this.#failIfFailed();
      this.#begun.push({ drive, ref, owner: chunk.owner });
    };
    const storing = storeShards(this.#parts, chunk, onBegin, this.#abort.signal);
    this.#storings.set(index, storing);
    const { places, strays } = await storing.done;
    const stored = { id, rawBytes: raw.length, storedBytes, blockBytes, redundancy, places };
    this.#chunks[index] = cipher === undefined ? stored : { ...stored, isSealed: true };
    for (const stray of strays) this.#strays.push({ chunk: id, chunkIndex: index, ...stray });
    return packed.body;
  }

  /** `body`: what was stored, if it was. What an append may still read beside the buffer is left to the collector. */
  #giveBack(buffer: ChunkBuffer, index: number, body: readonly Uint8Array[]): void {
    const storing = this.#storings.get(index);
    if (storing === undefined || storing.isIdle) {
      this.#storings.delete(index);
      for (const piece of body) if (piece.buffer !== buffer.room.buffer) giveBack(piece);
      return buffer.release();
    }
    const idle = storing.idle.then(() => void this.#storings.delete(index));
    buffer.hold(idle);
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
    const [id, sizeBytes, chunks, strays] = [this.#blob, this.#takenBytes, this.#chunks, this.#strays];
    return { blob: { id, sizeBytes, chunkBytes, chunks, strays }, digests };
  }

  async #undo(): Promise<void> {
    this.#filling?.release();
    this.#filling = undefined;
    await Promise.all(this.#underWay);
    this.#options.digest.cancel();
    const unended = [...this.#storings.values()].flatMap((storing) => storing.unended);
    const hanging = new Set(unended.map(({ drive }) => drive));
    const begun = this.#begun.filter(({ drive }) => !hanging.has(drive));
    // A drive that does not answer is not asked to remove: what it has is noted, what it may still get when it has it.
    for (const shard of this.#begun)
      if (hanging.has(shard.drive) && !unended.some((place) => isSame(place, shard))) this.#parts.onLanded?.(shard);
    try {
      await removeShards(this.#parts.node, begun);
    } catch (error) {
      this.#parts.log.warn({ blob: this.#blob, error }, "Chunks of a failed write are left to the orphan sweep.");
    }
  }
}
