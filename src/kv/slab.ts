/**
 * Memory for rows that were read. A Buffer of its own costs more than the read itself as soon as it is too long for node's
 * own pool, and is one thing more for the garbage collector; slices of a slab are cheap, and a slab goes when its last
 * slice does. What is kept for long must be copied by whoever keeps it: a slice holds its whole slab.
 */
const slabBytes = 64 * 1024;
/** Larger rows would waste the rest of a slab. */
const sliceBytesMax = slabBytes / 4;

export class Slab {
  #slab = Buffer.allocUnsafeSlow(0);
  #usedBytes = 0;

  /** A Buffer of these bytes of `source`, which may be longer than it says. */
  copy(source: Buffer, start: number, end: number): Buffer {
    const into = this.#take(end - start);
    source.copy(into, 0, start, end);
    return into;
  }

  #take(bytes: number): Buffer {
    if (bytes > sliceBytesMax) return Buffer.allocUnsafeSlow(bytes);
    if (this.#usedBytes + bytes > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(slabBytes);
      this.#usedBytes = 0;
    }
    const start = this.#usedBytes;
    this.#usedBytes += bytes;
    return this.#slab.subarray(start, start + bytes);
  }
}
