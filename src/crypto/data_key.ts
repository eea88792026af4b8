/**
 * A data key: 32 random bytes from which the keys of one object's bytes are derived. It is held in a KeyObject, which prints
 * and serializes as nothing, and never leaves this room but sealed.
 */
import { createSecretKey, hkdfSync, type KeyObject } from "node:crypto";
import { assert } from "../core/assert.ts";
import { BLOB_ID_BYTES, type BlobId } from "../core/ids.ts";
import type { Random } from "../core/random.ts";
import { BlockCipher } from "./cipher.ts";
import { KEY_BYTES } from "./crypto.ts";

/** MD5's length, so that what stands for an MD5 looks like one. */
const TOKEN_BYTES = 16;

/** HKDF (RFC 5869) with SHA-256. `info` names what the derived key is for. */
export function derive(key: KeyObject, salt: Uint8Array, info: Uint8Array, lengthBytes: number = KEY_BYTES): Buffer {
  return Buffer.from(hkdfSync("sha256", key, salt, info, lengthBytes));
}

const noSalt = Buffer.alloc(0);

export class DataKey {
  readonly #key: KeyObject;
  #inline: BlockCipher | undefined;

  private constructor(bytes: Uint8Array) {
    assert(bytes.length === KEY_BYTES, "a data key has 32 bytes");
    this.#key = createSecretKey(bytes);
  }

  /** `random` must be fit for secrets. */
  static generate(random: Random): DataKey {
    return new DataKey(random.bytes(KEY_BYTES));
  }

  static of(bytes: Uint8Array): DataKey {
    return new DataKey(bytes);
  }

  /** To be sealed by another key. */
  export(): Buffer {
    return this.#key.export();
  }

  /** For the blocks of one blob. */
  ofBlob(blob: BlobId): BlockCipher {
    const id = Buffer.from(blob, "hex");
    assert(id.length === BLOB_ID_BYTES, "a blob id has 16 bytes");
    return new BlockCipher(this.#derive("blob", id));
  }

  /** For bytes that lie in the metadata: one block, and never other bytes under the same data key. Derived once. */
  ofInline(): BlockCipher {
    return (this.#inline ??= new BlockCipher(this.#derive("inline")));
  }

  /** What stands for an MD5 where that would tell what the bytes are: the same for the same bytes under this key alone. */
  tokenFor(md5: Uint8Array): Buffer {
    return derive(this.#key, md5, Buffer.from("holdfast etag"), TOKEN_BYTES);
  }

  #derive(purpose: "blob" | "inline", id: Uint8Array = noSalt): Buffer {
    return derive(this.#key, noSalt, Buffer.concat([Buffer.from(`holdfast ${purpose} `), id]));
  }
}
