/**
 * A matrix made ready for the kernel: its rows of ones apart, which are plain sums, and for every other coefficient the two
 * tables of 16 products that the kernel looks up, laid out as it wants them in its memory.
 */
import { assert } from "../core/assert.ts";
import { limits } from "../core/limits.ts";
import { multiply } from "./field.ts";
import type { Matrix } from "./matrix.ts";

export type Transform = {
  readonly matrix: Matrix;
  readonly inputs: number;
  /** The rows that need tables, in the order of their tables. */
  readonly products: readonly number[];
  /** The rows whose coefficients are all one. */
  readonly sums: readonly number[];
  readonly tables: Uint8Array;
};

/** A coefficient times 0, 1 … 15, then times 0, 16 … 240. */
const tableBytes = 32;
/** A row takes as much room as the longest one would. */
export const rowTablesBytes = tableBytes * limits.dataShardsMax;

function isSum(row: Uint8Array): boolean {
  return row.every((coefficient) => coefficient === 1);
}

function writeTables(table: Uint8Array, coefficient: number): void {
  for (let half = 0; half < 16; half++) {
    table[half] = multiply(coefficient, half);
    table[16 + half] = multiply(coefficient, half << 4);
  }
}

export function transformOf(matrix: Matrix): Transform {
  const inputs = matrix[0]!.length;
  assert(matrix.length <= limits.parityShardsMax && inputs <= limits.dataShardsMax, "the matrix fits the kernel");
  const indices = matrix.map((_, index) => index);
  const products = indices.filter((index) => !isSum(matrix[index]!));
  const tables = new Uint8Array(products.length * rowTablesBytes);
  products.forEach((index, place) =>
    matrix[index]!.forEach((coefficient, input) =>
      writeTables(tables.subarray(place * rowTablesBytes + input * tableBytes), coefficient),
    ),
  );
  return { matrix, inputs, products, sums: indices.filter((index) => isSum(matrix[index]!)), tables };
}
