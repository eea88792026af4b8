/**
 * The erasure code's arithmetic in plain TypeScript: what the kernel is tested against, and what runs where there is no
 * WebAssembly with relaxed SIMD. Some 20 times slower than the kernel.
 */
import { multiply } from "./field.ts";
import type { Matrix } from "./matrix.ts";

/** Each output becomes the sum of all inputs, multiplied by the coefficients of its row. All have one length. */
export function multiplyPlain(matrix: Matrix, inputs: readonly Uint8Array[], outputs: readonly Uint8Array[]): void {
  matrix.forEach((row, index) => {
    const output = outputs[index]!.fill(0);
    row.forEach((coefficient, input) => addProduct(output, inputs[input]!, coefficient));
  });
}

function addProduct(output: Uint8Array, input: Uint8Array, coefficient: number): void {
  const products = Uint8Array.from({ length: 256 }, (_, byte) => multiply(coefficient, byte));
  const { length } = output;
  for (let at = 0; at < length; at++) output[at]! ^= products[input[at]!]!;
}
