/**
 * The matrices of the erasure code over GF(2^8): which sums of products make the parity shards from the data shards, and
 * which make missing shards from those that are there. Pure. `parityMatrix` is part of the format (docs/formats/erasure.md).
 *
 * Why any k shards are enough: the parity matrix is a Cauchy matrix, 1 / (x_i + y_j) with all x_i and y_j different, whose
 * columns are multiplied by numbers that are not zero. Every square piece of such a matrix has an inverse, and so have
 * therefore any k rows of the identity with the parity matrix below it.
 */
import { assert } from "../core/assert.ts";
import type { Redundancy } from "../core/redundancy.ts";
import { divide, multiply } from "./field.ts";

/** Rows of equal length; a row has one coefficient for each input. */
export type Matrix = readonly Uint8Array[];

/**
 * Row i, column j is u / (u + i) with u = 255 - j. So the first row is all ones: one parity shard is the xor of the data,
 * and losing one costs little. A coefficient depends on neither k nor m.
 */
export function parityMatrix({ dataShards, parityShards }: Redundancy): Matrix {
  return Array.from({ length: parityShards }, (_, i) =>
    Uint8Array.from({ length: dataShards }, (_, j) => divide(255 - j, (255 - j) ^ i)),
  );
}

function identity(size: number): Matrix {
  return Array.from({ length: size }, (_, i) => {
    const row = new Uint8Array(size);
    row[i] = 1;
    return row;
  });
}

/** row += factor × other */
function add(row: Uint8Array, other: Uint8Array, factor: number): void {
  for (let j = 0; j < row.length; j++) row[j]! ^= multiply(factor, other[j]!);
}

function scale(row: Uint8Array, factor: number): void {
  for (let j = 0; j < row.length; j++) row[j] = multiply(factor, row[j]!);
}

/** By Gauss and Jordan. The matrix must have an inverse. */
export function inverse(matrix: Matrix): Matrix {
  const size = matrix.length;
  const left = matrix.map((row) => row.slice());
  const right = identity(size).map((row) => row.slice());
  for (let column = 0; column < size; column++) {
    const pivot = left.findIndex((row, index) => index >= column && row[column] !== 0);
    assert(pivot >= 0, "the matrix has an inverse");
    for (const rows of [left, right]) {
      [rows[column], rows[pivot]] = [rows[pivot]!, rows[column]!];
    }
    const factor = divide(1, left[column]![column]!);
    for (const rows of [left, right]) scale(rows[column]!, factor);
    for (let index = 0; index < size; index++) {
      const factor = left[index]![column]!;
      if (index === column || factor === 0) continue;
      for (const rows of [left, right]) add(rows[index]!, rows[column]!, factor);
    }
  }
  return right;
}

export function product(a: Matrix, b: Matrix): Matrix {
  return a.map((factors) => {
    const row = new Uint8Array(b[0]!.length);
    factors.forEach((factor, index) => add(row, b[index]!, factor));
    return row;
  });
}

/** The rows that make the shards `wanted` from the shards `sources`, k different ones, in that order. */
export function decodingMatrix(code: Redundancy, sources: readonly number[], wanted: readonly number[]): Matrix {
  assert(sources.length === code.dataShards, "as many sources as data shards");
  const generator = [...identity(code.dataShards), ...parityMatrix(code)];
  const rowsOf = (shards: readonly number[]): Matrix => shards.map((shard) => generator[shard]!);
  return product(rowsOf(wanted), inverse(rowsOf(sources)));
}
