/**
 * A key that a client sends with its request (SSE-C). It seals the object's data key and is kept nowhere: that it opens what it
 * sealed is the only sign that it is the right one.
 */
import { createSecretKey, type KeyObject } from "node:crypto";
import { assert } from "../core/assert.ts";
import type { Random } from "../core/random.ts";
import { KEY_BYTES } from "./crypto.ts";
import { DataKey } from "./data_key.ts";
import { openKey, sealKey } from "./sealed_key.ts";

const nothingBound = Buffer.alloc(0);

export class CustomerKey {
  readonly #key: KeyObject;

  constructor(bytes: Uint8Array) {
    assert(bytes.length === KEY_BYTES, "a customer's key has 32 bytes");
    this.#key = createSecretKey(bytes);
  }

  seal(dataKey: DataKey, random: Random): Buffer {
    return sealKey(this.#key, dataKey.export(), nothingBound, random);
  }

  /** Undefined: another key sealed it. */
  open(sealed: Uint8Array): DataKey | undefined {
    const bytes = openKey(this.#key, sealed, nothingBound);
    return bytes && DataKey.of(bytes);
  }
}
