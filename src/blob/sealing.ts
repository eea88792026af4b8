/**
 * Encryption of chunks: block by block behind compression, and before shards are made, so that what moves or mends shards needs no
 * key. A sealed block is its bytes encrypted, then a tag; where it belongs is authenticated with it (crypto/cipher.ts).
 *
 * The CRCs of the segments find a flipped bit first, on the drive where it was; a tag that is wrong says that what was stored is not
 * what was sealed here, or that this is not its key.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { TAG_BYTES, type BlockCipher, type BlockPlace } from "../crypto/cipher.ts";
import { blocksOf, type PackedChunk } from "./compression.ts";

/** What a chunk of `rawBytes` is stored in at most. */
export function sealedBytesMax(rawBytes: number): number {
  return rawBytes + TAG_BYTES * Math.ceil(rawBytes / limits.compressionBlockBytes);
}

/** The packed chunk with every block sealed. What it returns are bytes of their own: neither `raw` nor views of it. */
export function sealChunk(cipher: BlockCipher, chunk: number, packed: PackedChunk): PackedChunk {
  const { blockBytes, body } = packed;
  const blocks = blockBytes === undefined ? body.flatMap(blocksOf) : body;
  assert(blockBytes === undefined || blockBytes.length === blocks.length, "a packed chunk has a piece for each block");
  const sealed = blocks.map((bytes, block) => cipher.seal({ chunk, block }, bytes));
  return {
    body: sealed.flatMap(({ bytes, tag }) => [bytes, tag]),
    storedBytes: packed.storedBytes + sealed.length * TAG_BYTES,
    blockBytes: sealed.map(({ bytes }) => bytes.length + TAG_BYTES),
  };
}

/** What was sealed. Errors: `corrupt_chunk`. */
export function openBlock(cipher: BlockCipher, place: BlockPlace, stored: Buffer): Buffer {
  const end = stored.length - TAG_BYTES;
  const opened = end < 0 ? undefined : cipher.open(place, stored.subarray(0, end), stored.subarray(end));
  if (opened === undefined) throw new HoldfastError("corrupt_chunk", "An encrypted block does not open.");
  return opened;
}
