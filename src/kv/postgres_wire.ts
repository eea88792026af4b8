/**
 * Arrays in PostgreSQL's binary format ("Message Formats" and array_recv in its sources): number of dimensions, a flag for
 * NULLs, the type of the elements, then for the one dimension its size and first index, then each element's length and
 * bytes. npm `pg` sends a Buffer as it is, so rows travel without the twice as long text form of bytes.
 *
 * Answers come as text, for npm `pg` reads every field as a string: bytes are hexadecimal digits after `\x`.
 */
import type { Key } from "./kv.ts";

const oids = { bytes: 17, int8: 20, int4: 23 } as const;

const emptyHeadBytes = 12;
const headBytes = 20;

function withHead(oid: number, size: number, bodyBytes: number): Buffer {
  const into = Buffer.allocUnsafe(size === 0 ? emptyHeadBytes : headBytes + bodyBytes);
  into.writeInt32BE(size === 0 ? 0 : 1, 0);
  into.writeInt32BE(0, 4);
  into.writeInt32BE(oid, 8);
  if (size > 0) {
    into.writeInt32BE(size, 12);
    into.writeInt32BE(1, 16);
  }
  return into;
}

/** A `bytea[]`. */
export function bytesArray(items: readonly Uint8Array[]): Buffer {
  const bodyBytes = items.reduce((sum, item) => sum + 4 + item.length, 0);
  const into = withHead(oids.bytes, items.length, bodyBytes);
  let at = headBytes;
  for (const item of items) {
    into.writeInt32BE(item.length, at);
    into.set(item, at + 4);
    at += 4 + item.length;
  }
  return into;
}

/** An `int4[]`. */
export function int4Array(items: readonly number[]): Buffer {
  const into = withHead(oids.int4, items.length, items.length * 8);
  items.forEach((item, index) => {
    into.writeInt32BE(4, headBytes + index * 8);
    into.writeInt32BE(item, headBytes + index * 8 + 4);
  });
  return into;
}

/** An `int8[]`. */
export function int8Array(items: readonly number[]): Buffer {
  const into = withHead(oids.int8, items.length, items.length * 12);
  items.forEach((item, index) => {
    into.writeInt32BE(8, headBytes + index * 12);
    into.writeBigInt64BE(BigInt(item), headBytes + index * 12 + 4);
  });
  return into;
}

/** A `bytea` of an answer. */
export function bytesOf(text: string): Buffer {
  return Buffer.from(text.slice(2), "hex");
}

/** An `int4[]` of an answer: `{1,2}`. */
export function numbersOf(text: string): number[] {
  return text === "{}" ? [] : text.slice(1, -1).split(",").map(Number);
}

/** The number of a key's lock: 30 bits of FNV-1a, never 0, which is the whole store's. Every process must find the same. */
export function lockOf(key: Key): number {
  let hash = 0x811c9dc5;
  for (const byte of key) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 2 || 1;
}
