import type { BodySource } from "../../src/blob/blob.ts";

/** A body that is whole in memory, handed over in pieces. */
export function bodyOf(bytes: Buffer, pieceBytes = 10_000): BodySource {
  return {
    sizeBytes: bytes.length,
    collect: async () => bytes,
    async *stream() {
      for (let offset = 0; offset < bytes.length; offset += pieceBytes) {
        await Promise.resolve();
        yield Buffer.from(bytes.subarray(offset, offset + pieceBytes));
      }
    },
  };
}
