/**
 * The CRC of two pieces put together, from the CRCs of the pieces: what a multipart upload needs for a checksum of the
 * full object without reading it again. Pure.
 *
 * A CRC is a remainder of polynomials over GF(2), so crc(A||B) = crc(A)·x^(8·length(B)) + crc(B); the all-ones start and
 * end cancel out. Polynomials are kept reflected and left-aligned in 64 bits: the top bit is x^0, whatever the width.
 */
import { assert } from "../core/assert.ts";
import {
  crc32cPolynomial,
  crc32Polynomial,
  crc64Bytes,
  crc64FromBytes,
  crc64nvmePolynomial,
  type Crc64,
} from "./crc.ts";

export type CrcAlgorithm = "crc32" | "crc32c" | "crc64nvme";

type Field = {
  readonly widthBits: 32 | 64;
  readonly polynomial: Crc64;
  /** x^(8·2^k) by k, built as needed. */
  readonly squares: Crc64[];
  /** The last power asked for: the parts of an upload mostly have one size. */
  last: { readonly lengthBytes: number; readonly power: Crc64 };
};

const one: Crc64 = { high: 0x80000000, low: 0 };
const xToThe8: Crc64 = { high: 0x00800000, low: 0 };

function field(widthBits: 32 | 64, polynomial: Crc64): Field {
  return { widthBits, polynomial, squares: [xToThe8], last: { lengthBytes: 0, power: one } };
}

const fields: Record<CrcAlgorithm, Field> = {
  crc32: field(32, { high: crc32Polynomial, low: 0 }),
  crc32c: field(32, { high: crc32cPolynomial, low: 0 }),
  crc64nvme: field(64, crc64nvmePolynomial),
};

/** a·b modulo the polynomial. */
function multiply({ widthBits, polynomial }: Field, a: Crc64, b: Crc64): Crc64 {
  let high = 0;
  let low = 0;
  let shiftedHigh = b.high;
  let shiftedLow = b.low;
  for (let power = 0; power < widthBits; power++) {
    const bit = power < 32 ? (a.high >>> (31 - power)) & 1 : (a.low >>> (63 - power)) & 1;
    if (bit) {
      high ^= shiftedHigh;
      low ^= shiftedLow;
    }
    const carry = (widthBits === 32 ? shiftedHigh : shiftedLow) & 1;
    shiftedLow = widthBits === 32 ? 0 : (shiftedLow >>> 1) | (shiftedHigh << 31);
    shiftedHigh >>>= 1;
    if (carry) {
      shiftedHigh ^= polynomial.high;
      shiftedLow ^= polynomial.low;
    }
  }
  return { high: high >>> 0, low: low >>> 0 };
}

/** x^(8·lengthBytes) modulo the polynomial. */
function powerOfLength(field: Field, lengthBytes: number): Crc64 {
  if (field.last.lengthBytes === lengthBytes) return field.last.power;
  let power = one;
  let rest = lengthBytes;
  for (let index = 0; rest > 0; index++) {
    if (index === field.squares.length) {
      const before = field.squares[index - 1]!;
      field.squares.push(multiply(field, before, before));
    }
    if (rest % 2 === 1) power = multiply(field, power, field.squares[index]!);
    rest = Math.floor(rest / 2);
  }
  field.last = { lengthBytes, power };
  return power;
}

function aligned(field: Field, bytes: Buffer): Crc64 {
  if (field.widthBits === 64) return crc64FromBytes(bytes);
  assert(bytes.length === 4, "a 32-bit CRC has 4 bytes");
  return { high: bytes.readUInt32BE(0), low: 0 };
}

/** The CRC of A followed by B, from the CRC `a` of A, `b` of B (big-endian, as in Digests), and the length of B in bytes. */
export function combineCrc(algorithm: CrcAlgorithm, a: Buffer, b: Buffer, lengthB: number): Buffer {
  assert(Number.isSafeInteger(lengthB) && lengthB >= 0, "a length is a whole number of bytes");
  const field = fields[algorithm];
  const moved = multiply(field, aligned(field, a), powerOfLength(field, lengthB));
  const added = aligned(field, b);
  const sum = crc64Bytes({ high: (moved.high ^ added.high) >>> 0, low: (moved.low ^ added.low) >>> 0 });
  return field.widthBits === 64 ? sum : sum.subarray(0, 4);
}
