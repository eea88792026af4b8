/** Digests computed where they are called: by a digest thread for large streams, by the caller's own for small ones. */
import { createHash, hash, type Hash } from "node:crypto";
import { crc32 } from "node:zlib";
import { crc32Bytes, crc32c, crc64Bytes, RunningCrc64 } from "./crc.ts";
import type { DigestAlgorithm, Digests } from "./digest.ts";

type Part = { update(bytes: Uint8Array): void; finish(): Buffer };

function hashed(algorithm: "md5" | "sha1" | "sha256"): Part {
  const state: Hash = createHash(algorithm);
  return { update: (bytes) => void state.update(bytes), finish: () => state.digest() };
}

function crc32Part(step: (bytes: Uint8Array, previous: number) => number): Part {
  let value = 0;
  return {
    update: (bytes) => {
      value = step(bytes, value);
    },
    finish: () => crc32Bytes(value),
  };
}

function crc64Part(): Part {
  const state = new RunningCrc64();
  return { update: (bytes) => state.update(bytes), finish: () => crc64Bytes(state.value()) };
}

const makers: Record<DigestAlgorithm, () => Part> = {
  md5: () => hashed("md5"),
  sha1: () => hashed("sha1"),
  sha256: () => hashed("sha256"),
  crc32: () => crc32Part((bytes, previous) => crc32(bytes, previous)),
  crc32c: () => crc32Part(crc32c),
  crc64nvme: crc64Part,
};

/** Several digests of one stream of bytes, synchronously. */
export class RunningDigests {
  readonly #parts: readonly { readonly algorithm: DigestAlgorithm; readonly part: Part }[];

  constructor(algorithms: readonly DigestAlgorithm[]) {
    this.#parts = algorithms.map((algorithm) => ({ algorithm, part: makers[algorithm]() }));
  }

  update(bytes: Uint8Array): void {
    for (const { part } of this.#parts) part.update(bytes);
  }

  finish(): Digests {
    return Object.fromEntries(this.#parts.map(({ algorithm, part }) => [algorithm, part.finish()]));
  }
}

function wholeDigest(algorithm: DigestAlgorithm, bytes: Uint8Array): Buffer {
  if (algorithm === "md5" || algorithm === "sha1" || algorithm === "sha256") return hash(algorithm, bytes, "buffer");
  const part = makers[algorithm]();
  part.update(bytes);
  return part.finish();
}

/** All digests of bytes that are there already. One-shot hashing costs half of a stream's for a few KiB. */
export function wholeDigests(algorithms: readonly DigestAlgorithm[], bytes: Uint8Array): Digests {
  return Object.fromEntries(algorithms.map((algorithm) => [algorithm, wholeDigest(algorithm, bytes)]));
}
