import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { limits } from "../core/limits.ts";
import { divide, multiply } from "./field.ts";
import { decodingMatrix, inverse, parityMatrix, product, type Matrix } from "./matrix.ts";

const byte = fc.nat(255);
const unit = fc.integer({ min: 1, max: 255 });
const largest = { dataShards: limits.dataShardsMax, parityShards: limits.parityShardsMax };

/** The definition: polynomials over GF(2), the remainder by 0x11d. */
function multiplyBitwise(a: number, b: number): number {
  let sum = 0;
  for (let bit = 0; bit < 8; bit++) if ((b >> bit) & 1) sum ^= a << bit;
  for (let bit = 14; bit >= 8; bit--) if ((sum >> bit) & 1) sum ^= 0x11d << (bit - 8);
  return sum;
}

void test("every product is what its definition says, and every quotient undoes one", () => {
  for (let a = 0; a < 256; a++) {
    for (let b = 0; b < 256; b++) {
      assert.equal(multiply(a, b), multiplyBitwise(a, b));
      if (b !== 0) assert.equal(divide(multiply(a, b), b), a);
    }
  }
  assert.throws(() => divide(1, 0), /divided by zero/);
});

void test("the field's laws", () => {
  fc.assert(
    fc.property(byte, byte, byte, unit, (a, b, c, u) => {
      assert.equal(multiply(a, b), multiply(b, a));
      assert.equal(multiply(a, multiply(b, c)), multiply(multiply(a, b), c));
      assert.equal(multiply(a, b ^ c), multiply(a, b) ^ multiply(a, c));
      assert.equal(multiply(a, 1), a);
      assert.equal(multiply(divide(a, u), u), a);
    }),
  );
});

function subsets(size: number): number[][] {
  const count = 2 ** size;
  return Array.from({ length: count }, (_, mask) =>
    Array.from({ length: size }, (_, index) => index).filter((index) => (mask >> index) & 1),
  );
}

/** Whether the square piece of `matrix` has an inverse: elimination in place, in `scratch`, as there are many to look at. */
function isRegular(matrix: Matrix, rows: readonly number[], columns: readonly number[], scratch: Uint8Array): boolean {
  const size = rows.length;
  for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) scratch[i * size + j] = matrix[rows[i]!]![columns[j]!]!;
  for (let step = 0; step < size; step++) {
    let pivot = step;
    while (pivot < size && scratch[pivot * size + step] === 0) pivot += 1;
    if (pivot === size) return false;
    for (let j = step; j < size; j++) {
      const above = scratch[step * size + j]!;
      scratch[step * size + j] = scratch[pivot * size + j]!;
      scratch[pivot * size + j] = above;
    }
    for (let i = step + 1; i < size; i++) {
      const factor = divide(scratch[i * size + step]!, scratch[step * size + step]!);
      for (let j = step; j < size; j++) scratch[i * size + j]! ^= multiply(factor, scratch[step * size + j]!);
    }
  }
  return true;
}

// The matrix of every smaller code is a corner of the largest one, so this is every pattern of losses of every code.
void test("every square piece of the largest parity matrix has an inverse", () => {
  const matrix = parityMatrix(largest);
  const scratch = new Uint8Array(64);
  const columnsBySize: number[][][] = Array.from({ length: 17 }, () => []);
  for (const columns of subsets(largest.dataShards)) columnsBySize[columns.length]!.push(columns);
  let count = 0;
  for (const rows of subsets(largest.parityShards)) {
    for (const columns of columnsBySize[rows.length]!) {
      count += 1;
      if (!isRegular(matrix, rows, columns, scratch)) assert.fail(`rows ${rows.join()} columns ${columns.join()}`);
    }
  }
  assert.equal(count, 735_471, "as many as there are ways to choose 8 of 24 shards");
});

void test("a piece without inverse is told", () => {
  const rows = [Uint8Array.of(1, 2), Uint8Array.of(2, 4)];
  assert.equal(isRegular(rows, [0, 1], [0, 1], new Uint8Array(64)), false);
  assert.throws(() => inverse(rows), /has an inverse/);
});

void test("a coefficient depends on neither k nor m, and the first row is all ones", () => {
  const all = parityMatrix(largest);
  assert.deepEqual(
    [...all[0]!],
    Array.from({ length: 16 }, () => 1),
  );
  for (let dataShards = 2; dataShards <= 16; dataShards++)
    for (let parityShards = 1; parityShards <= 8; parityShards++)
      assert.deepEqual(
        parityMatrix({ dataShards, parityShards }),
        all.slice(0, parityShards).map((row) => row.slice(0, dataShards)),
      );
});

void test("the inverse undoes the matrix, from both sides", () => {
  const code = fc.record({ dataShards: fc.integer({ min: 2, max: 16 }), parityShards: fc.integer({ min: 1, max: 8 }) });
  fc.assert(
    fc.property(code, fc.infiniteStream(fc.nat()), (code, order) => {
      const shards = Array.from({ length: code.dataShards + code.parityShards }, (_, index) => index);
      const ranks = shards.map(() => order.next().value!);
      const sources = shards.toSorted((a, b) => ranks[a]! - ranks[b]!).slice(0, code.dataShards);
      const data = shards.slice(0, code.dataShards);
      const decoding = decodingMatrix(code, sources, data);
      const identity = decodingMatrix(code, data, data);
      assert.deepEqual(
        identity,
        data.map((i) => Uint8Array.from(data, (j) => (i === j ? 1 : 0))),
      );
      assert.deepEqual(product(decoding, inverse(decoding)), identity);
      assert.deepEqual(product(inverse(decoding), decoding), identity);
    }),
  );
});
