/**
 * The field GF(2^8) as the erasure code uses it: bytes are polynomials over GF(2), multiplied modulo
 * x^8 + x^4 + x^3 + x^2 + 1 (0x11d). Adding is xor. The powers of x (of 2) run through all 255 bytes but zero, so a product
 * is a sum of logarithms. Part of the format (docs/formats/erasure.md): nothing here may change.
 */
import { assert } from "../core/assert.ts";

const polynomial = 0x11d;

/** 2^n for n from 0 to 509, so that a sum of two logarithms needs no reduction. */
const powers = new Uint8Array(510);
const logarithms = new Uint8Array(256);

for (let exponent = 0, power = 1; exponent < 255; exponent++) {
  powers[exponent] = power;
  powers[exponent + 255] = power;
  logarithms[power] = exponent;
  power <<= 1;
  if (power > 255) power ^= polynomial;
}

export function multiply(a: number, b: number): number {
  if (a === 0 || b === 0) return 0;
  return powers[logarithms[a]! + logarithms[b]!]!;
}

export function divide(a: number, b: number): number {
  assert(b !== 0, "nothing is divided by zero");
  if (a === 0) return 0;
  return powers[logarithms[a]! + 255 - logarithms[b]!]!;
}
