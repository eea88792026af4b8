/**
 * The front door of erasure coding: a systematic Reed-Solomon code over GF(2^8). From k data shards come m parity shards,
 * and any k of the k + m shards give all others back. k is 2 to 16, m is 1 to 8; copies (k = 1) are no business of this room.
 *
 * Position by position: byte p of every shard depends on byte p of the others alone. So the same range of k shards gives
 * that range of the missing ones, wherever it begins and however long it is, and a reader needs no more than what it was
 * asked for. What the code computes is part of the format on disk: docs/formats/erasure.md.
 *
 * Synchronous, on the calling thread, because a chunk costs little: encoding 4 MiB of data, or computing what was lost of
 * them, takes about 1 ms with 4+2 and 1.3 ms with 16+4 (bench/erasure.ts); a small range costs some 5 µs. The first call of
 * a process opens the kernel, 1 ms. Where there is no WebAssembly with relaxed SIMD, plain TypeScript does the same some 20
 * times slower.
 *
 * Known gap: the code tells a missing shard, not a wrong one. Whoever hands shards in has verified them.
 */
import { assert } from "../core/assert.ts";
import { limits } from "../core/limits.ts";
import { isRedundancy, shardsOf, type Redundancy } from "../core/redundancy.ts";
import { openKernel, type Kernel } from "./kernel.ts";
import { decodingMatrix, parityMatrix } from "./matrix.ts";
import { multiplyPlain } from "./plain.ts";
import { transformOf, type Transform } from "./transform.ts";

let kernel: Kernel | "absent" | undefined;

/** Matrices in use, the one used last at the end. */
const transforms = new Map<string, Transform>();

function remembered(key: string, make: () => Transform): Transform {
  const transform = transforms.get(key) ?? make();
  transforms.delete(key);
  transforms.set(key, transform);
  if (transforms.size > limits.erasureMatricesMax) transforms.delete(transforms.keys().next().value!);
  return transform;
}

function assertCode(code: Redundancy): void {
  assert(isRedundancy(code) && code.dataShards >= 2, "the code lies within its bounds");
}

function overlap(a: Uint8Array, b: Uint8Array): boolean {
  return a.buffer === b.buffer && a.byteOffset < b.byteOffset + b.length && b.byteOffset < a.byteOffset + a.length;
}

function run(transform: Transform, inputs: readonly Uint8Array[], outputs: readonly Uint8Array[]): void {
  const lengthBytes = inputs[0]!.length;
  assert(lengthBytes >= 1 && lengthBytes <= limits.chunkBytesMax, "a shard has bytes, and no more than a chunk");
  const all = [...outputs, ...inputs];
  assert(
    all.every((shard) => shard.length === lengthBytes),
    "all shards have the same length",
  );
  assert(
    outputs.every((output, index) => !all.some((other, place) => place > index && overlap(output, other))),
    "what is computed lies apart from what it is computed from",
  );
  kernel ??= openKernel() ?? "absent";
  if (kernel === "absent") multiplyPlain(transform.matrix, inputs, outputs);
  else kernel.multiply(transform, inputs, outputs);
}

/** Fills the m `parity` shards, or a range of them, from the same range of the k `data` shards. */
export function encode(code: Redundancy, data: readonly Uint8Array[], parity: readonly Uint8Array[]): void {
  assertCode(code);
  assert(data.length === code.dataShards, "all data shards are there");
  assert(parity.length === code.parityShards, "every parity shard has a place");
  const key = `${code.dataShards}+${code.parityShards}`;
  run(
    remembered(key, () => transformOf(parityMatrix(code))),
    data,
    parity,
  );
}

/**
 * Computes the missing shards `wanted`, data or parity, into `out`, in that order. `shards` has k + m places, data first,
 * undefined where a shard is missing; at least k are there. More than k do no harm: data shards are preferred, then those
 * with the smallest index.
 */
export function reconstruct(
  code: Redundancy,
  shards: readonly (Uint8Array | undefined)[],
  wanted: readonly number[],
  out: readonly Uint8Array[],
): void {
  assertCode(code);
  assert(shards.length === shardsOf(code), "every shard of the code has its place");
  assert(wanted.length >= 1 && wanted.length === out.length, "every wanted shard has a place to go to");
  assert(new Set(wanted).size === wanted.length, "no shard is wanted twice");
  assert(
    wanted.every((shard) => shard in shards && shards[shard] === undefined),
    "what is wanted is a shard that is missing",
  );
  const there = shards.flatMap((shard, index) => (shard === undefined ? [] : [index]));
  assert(there.length >= code.dataShards, "as many shards are there as the data has");
  const sources = there.slice(0, code.dataShards);
  const key = `${code.dataShards}+${code.parityShards}:${sources.join()}:${wanted.join()}`;
  run(
    remembered(key, () => transformOf(decodingMatrix(code, sources, wanted))),
    sources.map((source) => shards[source]!),
    out,
  );
}
