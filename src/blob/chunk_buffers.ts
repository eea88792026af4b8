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
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";

/** Below this a digest is computed in place, so shared memory would bring nothing. */
const sharedBytesMin = 64 * 1024;

const idleMs = 10_000;

export type ChunkBuffer = { readonly bytes: Uint8Array; release(): void };

/** One writing stream's place in the stock. */
export type BufferClaim = {
  /** What the stream's chunks are cut to. */
  readonly chunkBytes: number;
  /** A buffer of exactly `sizeBytes`, its content undefined. Fails with `cancelled` when the signal aborts. */
  acquire(sizeBytes: number, signal: AbortSignal): Promise<ChunkBuffer>;
  /** When every buffer was given back. */
  end(): void;
};

export type ChunkBuffersOptions = {
  /** Bytes of a full chunk. */
  readonly chunkBytes: number;
  readonly bytesMax?: number;
  /** What full chunks may claim. */
  readonly fullBytesMax?: number;
  readonly smallChunkBytes?: number;
};

type Waiter = { readonly sizeBytes: number; resolve(buffer: ChunkBuffer): void };

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
  readonly #kept: Uint8Array[] = [];
  readonly #waiting: Waiter[] = [];
  #claimedBytes = 0;
  #fullClaimedBytes = 0;
  #lentBytes = 0;
  #idleTimer: NodeJS.Timeout | undefined;

  constructor(options: ChunkBuffersOptions) {
    this.#chunkBytes = options.chunkBytes;
    this.#bytesMax = options.bytesMax ?? limits.chunkBuffersBytesMax;
    this.#fullBytesMax = options.fullBytesMax ?? limits.fullChunkBuffersBytesMax;
    this.#smallChunkBytes = Math.min(options.smallChunkBytes ?? limits.smallChunkBytes, this.#chunkBytes);
    assert(this.#chunkBytes <= this.#fullBytesMax, "the stock holds at least one full chunk");
    assert(this.#fullBytesMax <= this.#bytesMax, "full chunks are a part of the stock");
  }

  get lentBytes(): number {
    return this.#lentBytes;
  }

  get claimedBytes(): number {
    return this.#claimedBytes;
  }

  get keptBytes(): number {
    return this.#kept.length * this.#chunkBytes;
  }

  /** A place for a stream of `expectedBytes`, or of any length. Errors: `slow_down` when there is none. */
  claim(expectedBytes: number | undefined): BufferClaim {
    const wantedBytes = Math.min(expectedBytes ?? this.#chunkBytes, this.#chunkBytes);
    const isFull = wantedBytes > this.#smallChunkBytes && this.#fullClaimedBytes + wantedBytes <= this.#fullBytesMax;
    const bytes = isFull ? wantedBytes : Math.min(wantedBytes, this.#smallChunkBytes);
    if (this.#claimedBytes + bytes > this.#bytesMax)
      throw new HoldfastError("slow_down", "Too many uploads are under way.");
    this.#claimedBytes += bytes;
    if (isFull) this.#fullClaimedBytes += bytes;
    let ended = false;
    return {
      chunkBytes: isFull || wantedBytes === bytes ? this.#chunkBytes : this.#smallChunkBytes,
      acquire: (sizeBytes, signal) => {
        assert(!ended && sizeBytes > 0 && sizeBytes <= bytes, "a buffer lies within its claim");
        return this.#acquire(sizeBytes, signal);
      },
      end: () => {
        assert(!ended, "a claim ends once");
        ended = true;
        this.#claimedBytes -= bytes;
        if (isFull) this.#fullClaimedBytes -= bytes;
      },
    };
  }

  async #acquire(sizeBytes: number, signal: AbortSignal): Promise<ChunkBuffer> {
    if (signal.aborted) throw cancelled(signal);
    if (this.#waiting.length === 0 && this.#fits(sizeBytes)) return this.#lend(sizeBytes);
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        const index = this.#waiting.indexOf(waiter);
        if (index >= 0) this.#waiting.splice(index, 1);
        reject(cancelled(signal));
        this.#serve();
      };
      const waiter: Waiter = {
        sizeBytes,
        resolve: (buffer) => {
          signal.removeEventListener("abort", onAbort);
          resolve(buffer);
        },
      };
      this.#waiting.push(waiter);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  #fits(sizeBytes: number): boolean {
    return this.#lentBytes + sizeBytes <= this.#bytesMax;
  }

  #lend(sizeBytes: number): ChunkBuffer {
    const isWhole = sizeBytes === this.#chunkBytes;
    const bytes = (isWhole ? this.#kept.pop() : undefined) ?? allocate(sizeBytes);
    this.#lentBytes += sizeBytes;
    while (this.#kept.length > 0 && this.#lentBytes + this.keptBytes > this.#bytesMax) this.#kept.pop();
    let released = false;
    const release = (): void => {
      assert(!released, "a chunk buffer is given back once");
      released = true;
      this.#lentBytes -= sizeBytes;
      if (isWhole) this.#keep(bytes);
      this.#serve();
    };
    return { bytes, release };
  }

  #keep(bytes: Uint8Array): void {
    if (this.#lentBytes + this.keptBytes + this.#chunkBytes > this.#bytesMax) return;
    this.#kept.push(bytes);
    if (this.#idleTimer === undefined) this.#idleTimer = setTimeout(() => this.#shrink(), idleMs).unref();
    else this.#idleTimer.refresh();
  }

  #shrink(): void {
    this.#idleTimer = undefined;
    this.#kept.length = 0;
  }

  #serve(): void {
    for (;;) {
      const next = this.#waiting[0];
      if (next === undefined || !this.#fits(next.sizeBytes)) return;
      this.#waiting.shift();
      next.resolve(this.#lend(next.sizeBytes));
    }
  }
}
