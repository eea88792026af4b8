/**
 * The buffers that bodies are cut into chunks in: one bounded stock for all writing streams of a process.
 *
 * Invariants: buffers lent out and kept never exceed chunkBuffersBytesMax together; a stream that finds none waits its
 * turn. Whoever holds a buffer either fills or stores it and waits for nobody's buffer meanwhile, so waiting ends.
 * Buffers kept for reuse are dropped after some idle seconds.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";

/** Below this a digest is computed in place, so shared memory would bring nothing. */
const sharedBytesMin = 64 * 1024;

const idleMs = 10_000;

export type ChunkBuffer = { readonly bytes: Uint8Array; release(): void };

type Waiter = { readonly sizeBytes: number; resolve(buffer: ChunkBuffer): void };

function allocate(sizeBytes: number): Uint8Array {
  return sizeBytes < sharedBytesMin
    ? Buffer.allocUnsafeSlow(sizeBytes)
    : new Uint8Array(new SharedArrayBuffer(sizeBytes));
}

export class ChunkBuffers {
  readonly #chunkBytes: number;
  readonly #bytesMax: number;
  readonly #kept: Uint8Array[] = [];
  readonly #waiting: Waiter[] = [];
  #lentBytes = 0;
  #idleTimer: NodeJS.Timeout | undefined;

  constructor(chunkBytes: number, bytesMax: number = limits.chunkBuffersBytesMax) {
    assert(chunkBytes <= bytesMax, "the stock holds at least one chunk");
    this.#chunkBytes = chunkBytes;
    this.#bytesMax = bytesMax;
  }

  get lentBytes(): number {
    return this.#lentBytes;
  }

  get keptBytes(): number {
    return this.#kept.length * this.#chunkBytes;
  }

  /** A buffer of exactly `sizeBytes`, its content undefined. Fails with `cancelled` when the signal aborts meanwhile. */
  async acquire(sizeBytes: number, signal: AbortSignal): Promise<ChunkBuffer> {
    assert(sizeBytes > 0 && sizeBytes <= this.#chunkBytes, "a chunk buffer has up to chunkBytes");
    if (this.#waiting.length === 0 && this.#fits(sizeBytes)) return this.#lend(sizeBytes);
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        const index = this.#waiting.indexOf(waiter);
        if (index >= 0) this.#waiting.splice(index, 1);
        reject(new HoldfastError("cancelled", "The request was cancelled.", { cause: signal.reason }));
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
