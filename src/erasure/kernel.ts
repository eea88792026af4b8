/**
 * Runs the compiled kernel (kernel.as.ts): copies a block of every input into its memory, multiplies there, copies the
 * outputs out. A block is so small that all of it stays in the processor's second-level cache, so the copies cost about as
 * much as reading and writing the shards once; shards that lie in the kernel's memory already would save at most half of
 * the time, at the price of one owner for all buffers.
 *
 * One instance for each process, opened when first used; calls are synchronous, so its memory has one user at a time.
 */
import { assert } from "../core/assert.ts";
import { limits } from "../core/limits.ts";
import { kernelBase64 } from "./kernel_bytes.ts";
import { rowTablesBytes, type Transform } from "./transform.ts";

/** What the kernel exports; numbers are the layout of its memory. */
type Exports = {
  readonly memory: { readonly buffer: ArrayBuffer };
  readonly multiply: (inputs: number, rows: number, lengthBytes: number) => void;
  readonly sum: (inputs: number, output: number, lengthBytes: number) => void;
} & Readonly<Record<"blockBytes" | "tablesAt" | "rowBytes" | "slotsAt" | "slotBytes", { readonly value: number }>>;

/** As much of WebAssembly's interface as is used here (the types of Node.js have none). Absent with --jitless. */
type Wasm = {
  readonly validate: (bytes: Uint8Array) => boolean;
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
};

export class Kernel {
  readonly #exports: Exports;
  readonly #blockBytes: number;
  readonly #tables: Uint8Array;
  /** One block each. */
  readonly #slots: readonly Uint8Array[];

  constructor(exports: Exports) {
    const { buffer } = exports.memory;
    const [blockBytes, slotsAt, slotBytes] = [exports.blockBytes.value, exports.slotsAt.value, exports.slotBytes.value];
    const slots = limits.dataShardsMax + limits.parityShardsMax;
    assert(exports.rowBytes.value === rowTablesBytes, "the kernel's tables are laid out like ours");
    assert(slotsAt + slots * slotBytes <= buffer.byteLength, "the kernel's memory holds all shards");
    this.#exports = exports;
    this.#blockBytes = blockBytes;
    this.#tables = new Uint8Array(buffer, exports.tablesAt.value, limits.parityShardsMax * rowTablesBytes);
    this.#slots = Array.from(
      { length: slots },
      (_, slot) => new Uint8Array(buffer, slotsAt + slot * slotBytes, blockBytes),
    );
  }

  /** Each output becomes the sum of all inputs, multiplied by the coefficients of its row. All have one length. */
  multiply(transform: Transform, inputs: readonly Uint8Array[], outputs: readonly Uint8Array[]): void {
    this.#tables.set(transform.tables);
    const lengthBytes = inputs[0]!.length;
    for (let from = 0; from < lengthBytes; from += this.#blockBytes) {
      const to = Math.min(from + this.#blockBytes, lengthBytes);
      inputs.forEach((input, slot) => this.#slots[slot]!.set(input.subarray(from, to)));
      this.#compute(transform, to - from);
      this.#copyOut(transform, outputs, { from, to });
    }
  }

  /** The rows with tables fill the first slots after the inputs, the sums the next ones. */
  #compute({ inputs, products, sums }: Transform, lengthBytes: number): void {
    if (products.length > 0) this.#exports.multiply(inputs, products.length, lengthBytes);
    sums.forEach((_, index) => this.#exports.sum(inputs, products.length + index, lengthBytes));
  }

  #copyOut(transform: Transform, outputs: readonly Uint8Array[], range: { from: number; to: number }): void {
    const lengthBytes = range.to - range.from;
    [...transform.products, ...transform.sums].forEach((row, index) => {
      const slot = this.#slots[transform.inputs + index]!;
      outputs[row]!.set(lengthBytes === slot.length ? slot : slot.subarray(0, lengthBytes), range.from);
    });
  }
}

/** Undefined where WebAssembly, or its relaxed SIMD, is not to be had. Node.js has both since version 21. */
export function openKernel(bytes: Uint8Array = Buffer.from(kernelBase64, "base64")): Kernel | undefined {
  const { WebAssembly: wasm } = globalThis as { readonly WebAssembly?: Wasm };
  if (!wasm?.validate(bytes)) return undefined;
  return new Kernel(new wasm.Instance(new wasm.Module(bytes)).exports as Exports);
}
