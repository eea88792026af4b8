/**
 * CRC-32C (Castagnoli, RFC 3720) and CRC-64/NVME (NVM Express, as AWS uses it) in plain TypeScript, eight bytes a step
 * ("slicing by 8"): eight tables, so that the look-ups of one step don't wait for each other. CRC-32 is `zlib.crc32`.
 * All are reflected, start from all ones and end with all ones xored in; the functions take and return the finished
 * value, so a CRC goes on where an earlier one ended. Tables are built when first used.
 */
import { endianness } from "node:os";
import { assert } from "../core/assert.ts";

/** The polynomials in reflected form; a 64-bit value as two unsigned halves. */
export const crc32Polynomial = 0xedb88320;
export const crc32cPolynomial = 0x82f63b78;
export const crc64nvmePolynomial = { high: 0x9a6c9329, low: 0xac4bc9b5 } as const;

export type Crc64 = { readonly high: number; readonly low: number };

const slices = 8;

// The inner loops load whole words, which are little-endian on everything Node.js is released for but s390x and AIX.
const wordsAreLittleEndian = endianness() === "LE";

let tables32c: Int32Array | undefined;
let tables64: { readonly high: Int32Array; readonly low: Int32Array } | undefined;

function build32c(): Int32Array {
  const tables = new Int32Array(slices * 256);
  for (let byte = 0; byte < 256; byte++) {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ crc32cPolynomial : value >>> 1;
    tables[byte] = value;
  }
  for (let index = 256; index < tables.length; index++) {
    const before = tables[index - 256]!;
    tables[index] = (before >>> 8) ^ tables[before & 0xff]!;
  }
  return tables;
}

function build64(): { readonly high: Int32Array; readonly low: Int32Array } {
  const high = new Int32Array(slices * 256);
  const low = new Int32Array(slices * 256);
  for (let byte = 0; byte < 256; byte++) {
    let valueHigh = 0;
    let valueLow = byte;
    for (let bit = 0; bit < 8; bit++) {
      const carry = valueLow & 1;
      valueLow = (valueLow >>> 1) | (valueHigh << 31);
      valueHigh >>>= 1;
      if (carry) {
        valueHigh ^= crc64nvmePolynomial.high;
        valueLow ^= crc64nvmePolynomial.low;
      }
    }
    high[byte] = valueHigh;
    low[byte] = valueLow;
  }
  for (let index = 256; index < low.length; index++) {
    const beforeHigh = high[index - 256]!;
    const beforeLow = low[index - 256]!;
    low[index] = ((beforeLow >>> 8) | (beforeHigh << 24)) ^ low[beforeLow & 0xff]!;
    high[index] = (beforeHigh >>> 8) ^ high[beforeLow & 0xff]!;
  }
  return { high, low };
}

/** Where whole words begin and end: bytes before and after are taken one by one. */
function wordSpan(bytes: Uint8Array): { readonly head: number; readonly words: Int32Array } {
  const head = Math.min(bytes.length, -bytes.byteOffset & 3);
  const pairs = wordsAreLittleEndian ? Math.floor((bytes.length - head) / 8) : 0;
  if (pairs === 0) return { head: 0, words: new Int32Array(0) };
  return { head, words: new Int32Array(bytes.buffer, bytes.byteOffset + head, pairs * 2) };
}

function bytewise32c(t: Int32Array, bytes: Uint8Array, from: number, to: number, start: number): number {
  let crc = start;
  for (let index = from; index < to; index++) crc = (crc >>> 8) ^ t[(crc ^ bytes[index]!) & 0xff]!;
  return crc;
}

/** CRC-32C of `bytes`, going on from `previous`; an unsigned 32-bit number. */
export function crc32c(bytes: Uint8Array, previous = 0): number {
  const t = (tables32c ??= build32c());
  const { head, words } = wordSpan(bytes);
  let crc = bytewise32c(t, bytes, 0, head, ~previous);
  const { length } = words;
  for (let index = 0; index < length; index += 2) {
    const a = words[index]! ^ crc;
    const b = words[index + 1]!;
    crc =
      t[1792 + (a & 0xff)]! ^
      t[1536 + ((a >>> 8) & 0xff)]! ^
      t[1280 + ((a >>> 16) & 0xff)]! ^
      t[1024 + (a >>> 24)]! ^
      t[768 + (b & 0xff)]! ^
      t[512 + ((b >>> 8) & 0xff)]! ^
      t[256 + ((b >>> 16) & 0xff)]! ^
      t[b >>> 24]!;
  }
  return ~bytewise32c(t, bytes, head + length * 4, bytes.length, crc) >>> 0;
}

/** A running CRC-64/NVME. */
export class RunningCrc64 {
  #high = -1;
  #low = -1;

  #bytewise(bytes: Uint8Array, from: number, to: number): void {
    const { high, low } = (tables64 ??= build64());
    for (let index = from; index < to; index++) {
      const entry = (this.#low ^ bytes[index]!) & 0xff;
      this.#low = ((this.#low >>> 8) | (this.#high << 24)) ^ low[entry]!;
      this.#high = (this.#high >>> 8) ^ high[entry]!;
    }
  }

  update(bytes: Uint8Array): void {
    const { head, words } = wordSpan(bytes);
    this.#bytewise(bytes, 0, head);
    this.#wordwise(words);
    this.#bytewise(bytes, head + words.length * 4, bytes.length);
  }

  #wordwise(words: Int32Array): void {
    const { high, low } = (tables64 ??= build64());
    let crcHigh = this.#high;
    let crcLow = this.#low;
    const { length } = words;
    for (let index = 0; index < length; index += 2) {
      const a = words[index]! ^ crcLow;
      const b = words[index + 1]! ^ crcHigh;
      const i7 = 1792 + (a & 0xff);
      const i6 = 1536 + ((a >>> 8) & 0xff);
      const i5 = 1280 + ((a >>> 16) & 0xff);
      const i4 = 1024 + (a >>> 24);
      const i3 = 768 + (b & 0xff);
      const i2 = 512 + ((b >>> 8) & 0xff);
      const i1 = 256 + ((b >>> 16) & 0xff);
      const i0 = b >>> 24;
      crcLow = low[i7]! ^ low[i6]! ^ low[i5]! ^ low[i4]! ^ low[i3]! ^ low[i2]! ^ low[i1]! ^ low[i0]!;
      crcHigh = high[i7]! ^ high[i6]! ^ high[i5]! ^ high[i4]! ^ high[i3]! ^ high[i2]! ^ high[i1]! ^ high[i0]!;
    }
    this.#high = crcHigh;
    this.#low = crcLow;
  }

  value(): Crc64 {
    return { high: ~this.#high >>> 0, low: ~this.#low >>> 0 };
  }
}

/** A 32-bit CRC as S3 encodes it. */
export function crc32Bytes(value: number): Buffer {
  const out = Buffer.allocUnsafe(4);
  out.writeUInt32BE(value);
  return out;
}

export function crc64Bytes(value: Crc64): Buffer {
  const out = Buffer.allocUnsafe(8);
  out.writeUInt32BE(value.high, 0);
  out.writeUInt32BE(value.low, 4);
  return out;
}

export function crc64FromBytes(bytes: Uint8Array): Crc64 {
  assert(bytes.length === 8, "a 64-bit CRC has 8 bytes");
  const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
  return { high: view.getUint32(0), low: view.getUint32(4) };
}
