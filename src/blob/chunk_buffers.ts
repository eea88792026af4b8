/**
 * The buffers that bodies are cut into chunks in: one bounded stock for all writing streams of a process.
 *
 * A client decides how long its buffer takes to fill, so nobody may have to wait for another's. Each stream therefore claims
 * a place for one buffer before it begins, and all claims together fit the stock. Claims of full chunks fit a part of it;
 * a stream that finds that part claimed is cut into small chunks, of which hundreds find room; one that does not even
 * find room for that is refused with `slow_down`. So many slow uploads make others less efficient, and stop none.
 *
 * Invariants: buffers lent out and kept never exceed bytesMax together; a stream fills one buffer at a time, within its
 * claim, and everything else it holds is being stored. So a stream that waits for a buffer waits for drives only: what
 * the others are filling leaves room for its claim. Buffers kept for reuse are dropped after some idle seconds.
 *
 * A buffer whose chunk is stored may still be read by an append to a drive that hangs, which nobody waits for any more. It is
 * *held* until that has ended. Held buffers count by themselves, up to heldBytesMax, so that one such drive stops no other
 * upload; beyond that they count as lent, and streams wait. All together: at most bytesMax + heldBytesMax.
 *
 * Buffers come in sizes a quarter of a power of two apart, so that bodies of any length use each other's again. Without that
 * each body below a chunk took new memory, and the digest threads that had seen it kept it alive until their own garbage
 * collection, which has little reason to run: a gigabyte within a minute.
 *
 * A chunk that is erasure coded lies in its buffer with room behind it for zeros and its parity shards. Where parity takes
 * much room (ec:2+8 stores five times the bytes) chunks are cut smaller, so that a buffer stays within chunkRoomBytesMax.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { oneCopy, type Redundancy } from "../core/redundancy.ts";
import { TAG_BYTES } from "../crypto/cipher.ts";
import { sealedBytesMax } from "./sealing.ts";
import { codedBytes } from "./shards.ts";

/** Below this a digest is computed in place, so shared memory would bring nothing. */
const sharedBytesMin = 64 * 1024;

const idleMs = 10_000;

export type ChunkBuffer = {
  /** For the chunk itself. */
  readonly bytes: Uint8Array;
  /** `bytes`, and what lies behind them: all shards of the chunk fit. */
  readonly room: Uint8Array;
  release(): void;
  /** In place of `release`: the bytes may be read until `idle` resolves. It must not reject. */
  hold(idle: Promise<void>): void;
};

/** What a buffer for `sizeBytes` takes: a little more, at most a quarter, so that others can use it again. */
function lentBytesOf(sizeBytes: number, largestBytes: number): number {
  if (sizeBytes < sharedBytesMin) return sizeBytes;
  const stepBytes = 2 ** Math.floor(Math.log2(sizeBytes)) / 4;
  return Math.min(largestBytes, Math.ceil(sizeBytes / stepBytes) * stepBytes);
}

/** What tags add to a chunk of any size. */
const tagsBytesMax = TAG_BYTES * (limits.chunkBytesMax / limits.compressionBlockBytes);

/** What chunks of up to `chunkBytesMax` are cut to, so that each with its tags and its parity fits a buffer. */
function chunkBytesOf(chunkBytesMax: number, { dataShards, parityShards }: Redundancy, tagsBytes: number): number {
  if (dataShards === 1) return chunkBytesMax;
  const fitting = Math.floor((limits.chunkRoomBytesMax * dataShards) / (dataShards + parityShards)) - tagsBytes;
  if (fitting >= chunkBytesMax) return chunkBytesMax;
  return fitting - (fitting % limits.compressionBlockBytes);
}

/** One writing stream's place in the stock. */
export type BufferClaim = {
  /** What the stream's chunks are cut to. */
  readonly chunkBytes: number;
  /** A buffer of exactly `sizeBytes`, its content undefined. Fails with `cancelled` when the signal aborts. */
  acquire(sizeBytes: number, signal: AbortSignal): Promise<ChunkBuffer>;
  /** When every buffer was given back, or is held. */
  end(): void;
};

export type ChunkBuffersOptions = {
  /** Bytes of a full chunk. */
  readonly chunkBytes: number;
  readonly bytesMax?: number;
  /** What full chunks may claim. */
  readonly fullBytesMax?: number;
  readonly smallChunkBytes?: number;
  readonly heldBytesMax?: number;
};

type Waiter = { readonly roomBytes: number; lend(): void };

function allocate(sizeBytes: number): Uint8Array {
  return sizeBytes < sharedBytesMin
    ? Buffer.allocUnsafeSlow(sizeBytes)
    : new Uint8Array(new SharedArrayBuffer(sizeBytes));
}

function cancelled(signal: AbortSignal): HoldfastError {
  return new HoldfastError("cancelled", "The request was cancelled.", { cause: signal.reason });
}

export class ChunkBuffers {
  readonly #chunkBytes: number;
  readonly #smallChunkBytes: number;
  readonly #bytesMax: number;
  readonly #fullBytesMax: number;
  readonly #heldBytesMax: number;
  /** By their length. */
  readonly #kept = new Map<number, Uint8Array[]>();
  #keptBytes = 0;
  readonly #waiting: Waiter[] = [];
  #claimedBytes = 0;
  #fullClaimedBytes = 0;
  #lentBytes = 0;
  #heldBytes = 0;
  #idleTimer: NodeJS.Timeout | undefined;

  constructor(options: ChunkBuffersOptions) {
    this.#chunkBytes = options.chunkBytes;
    this.#bytesMax = options.bytesMax ?? limits.chunkBuffersBytesMax;
    this.#fullBytesMax = options.fullBytesMax ?? limits.fullChunkBuffersBytesMax;
    this.#heldBytesMax = options.heldBytesMax ?? limits.heldBuffersBytesMax;
    this.#smallChunkBytes = Math.min(options.smallChunkBytes ?? limits.smallChunkBytes, this.#chunkBytes);
    assert(this.#chunkBytes <= this.#fullBytesMax, "the stock holds at least one full chunk");
    assert(this.#fullBytesMax <= this.#bytesMax, "full chunks are a part of the stock");
  }

  get lentBytes(): number {
    return this.#lentBytes;
  }

  /** Beside those lent. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  get claimedBytes(): number {
    return this.#claimedBytes;
  }

  get keptBytes(): number {
    return this.#keptBytes;
  }

  /**
   * A place for a stream of `expectedBytes`, or of any length, whose chunks are encrypted or not. Errors: `slow_down` when there
   * is none.
   */
  claim(expectedBytes: number | undefined, redundancy: Redundancy = oneCopy, isSealed = false): BufferClaim {
    const plainChunkBytes = chunkBytesOf(this.#chunkBytes, redundancy, 0);
    const fullChunkBytes = isSealed
      ? chunkBytesOf(Math.min(this.#chunkBytes, limits.sealedChunkBytesMax), redundancy, tagsBytesMax)
      : plainChunkBytes;
    // Copies of an encrypted chunk lie beside the buffer; its shards are made in it.
    const storedBytes = (sizeBytes: number): number =>
      codedBytes(isSealed && redundancy.dataShards > 1 ? sealedBytesMax(sizeBytes) : sizeBytes, redundancy);
    const smallChunkBytes = Math.min(this.#smallChunkBytes, fullChunkBytes);
    const wantedBytes = Math.min(expectedBytes ?? fullChunkBytes, fullChunkBytes);
    // Buffers for chunks that are encrypted and for those that are not are the same, so that they are used again.
    const fullRoomBytes = Math.max(storedBytes(fullChunkBytes), codedBytes(plainChunkBytes, redundancy));
    const roomBytes = (sizeBytes: number): number => lentBytesOf(storedBytes(sizeBytes), fullRoomBytes);
    const isFull =
      wantedBytes > smallChunkBytes && this.#fullClaimedBytes + roomBytes(wantedBytes) <= this.#fullBytesMax;
    const largestBytes = isFull ? wantedBytes : Math.min(wantedBytes, smallChunkBytes);
    const bytes = roomBytes(largestBytes);
    if (this.#claimedBytes + bytes > this.#bytesMax)
      throw new HoldfastError("slow_down", "Too many uploads are under way.");
    this.#claimedBytes += bytes;
    if (isFull) this.#fullClaimedBytes += bytes;
    let ended = false;
    return {
      chunkBytes: isFull || wantedBytes === largestBytes ? fullChunkBytes : smallChunkBytes,
      acquire: (sizeBytes, signal) => {
        assert(!ended && sizeBytes > 0 && sizeBytes <= largestBytes, "a buffer lies within its claim");
        return this.#acquire(sizeBytes, roomBytes(sizeBytes), signal);
      },
      end: () => {
        assert(!ended, "a claim ends once");
        ended = true;
        this.#claimedBytes -= bytes;
        if (isFull) this.#fullClaimedBytes -= bytes;
      },
    };
  }

  async #acquire(sizeBytes: number, roomBytes: number, signal: AbortSignal): Promise<ChunkBuffer> {
    if (signal.aborted) throw cancelled(signal);
    if (this.#waiting.length === 0 && this.#fits(roomBytes)) return this.#lend(sizeBytes, roomBytes);
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        const index = this.#waiting.indexOf(waiter);
        if (index >= 0) this.#waiting.splice(index, 1);
        reject(cancelled(signal));
        this.#serve();
      };
      const waiter: Waiter = {
        roomBytes,
        lend: () => {
          signal.removeEventListener("abort", onAbort);
          resolve(this.#lend(sizeBytes, roomBytes));
        },
      };
      this.#waiting.push(waiter);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  #fits(roomBytes: number): boolean {
    return this.#lentBytes + roomBytes <= this.#bytesMax;
  }

  #lend(sizeBytes: number, roomBytes: number): ChunkBuffer {
    const room = this.#takeKept(roomBytes) ?? allocate(roomBytes);
    this.#lentBytes += roomBytes;
    while (this.#keptBytes > 0 && this.#lentBytes + this.#keptBytes > this.#bytesMax) this.#dropOne();
    let released = false;
    const release = (): void => {
      assert(!released, "a chunk buffer is given back once");
      released = true;
      this.#lentBytes -= roomBytes;
      this.#takeBack(room);
    };
    const hold = (idle: Promise<void>): void => {
      assert(!released, "a chunk buffer is given back once");
      if (this.#heldBytes + roomBytes > this.#heldBytesMax) return void idle.then(release);
      released = true;
      this.#lentBytes -= roomBytes;
      this.#heldBytes += roomBytes;
      this.#serve();
      void idle.then(() => {
        this.#heldBytes -= roomBytes;
        this.#takeBack(room);
      });
    };
    return { bytes: room.subarray(0, sizeBytes), room, release, hold };
  }

  #takeBack(room: Uint8Array): void {
    if (room.length >= sharedBytesMin || room.length === this.#chunkBytes) this.#keep(room);
    this.#serve();
  }

  #takeKept(bytes: number): Uint8Array | undefined {
    const room = this.#kept.get(bytes)?.pop();
    if (room !== undefined) this.#keptBytes -= bytes;
    return room;
  }

  #keep(room: Uint8Array): void {
    if (this.#lentBytes + this.#keptBytes + room.length > this.#bytesMax) return;
    this.#keptBytes += room.length;
    const alike = this.#kept.get(room.length);
    if (alike === undefined) this.#kept.set(room.length, [room]);
    else alike.push(room);
    if (this.#idleTimer === undefined) this.#idleTimer = setTimeout(() => this.#shrink(), idleMs).unref();
    else this.#idleTimer.refresh();
  }

  #dropOne(): void {
    for (const [bytes, alike] of this.#kept) {
      if (alike.pop() === undefined) continue;
      this.#keptBytes -= bytes;
      return;
    }
  }

  #shrink(): void {
    this.#idleTimer = undefined;
    this.#kept.clear();
    this.#keptBytes = 0;
  }

  #serve(): void {
    for (;;) {
      const next = this.#waiting[0];
      if (next === undefined || !this.#fits(next.roomBytes)) return;
      this.#waiting.shift();
      next.lend();
    }
  }
}
