/**
 * A key sealed by another: format u8 (1), salt (16), the key encrypted (32), tag (16). The salt makes a key of its own for each
 * sealing (HKDF), so that it does not matter how many keys one key seals. What is `bound` must be given again to open it.
 */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from "node:crypto";
import type { Random } from "../core/random.ts";
import { TAG_BYTES } from "./cipher.ts";
import { KEY_BYTES } from "./crypto.ts";
import { derive } from "./data_key.ts";

const format = 1;
const SALT_BYTES = 16;
const algorithm = "aes-256-gcm";
const nonce = Buffer.alloc(12);
const info = Buffer.from("holdfast sealed key");

export const SEALED_KEY_BYTES = 1 + SALT_BYTES + KEY_BYTES + TAG_BYTES;

/** As a KeyObject: what node:crypto does to find out that bytes are bytes (it throws and catches) takes several times as long. */
function keyFor(by: KeyObject, salt: Uint8Array): KeyObject {
  return createSecretKey(derive(by, salt, info));
}

export function sealKey(by: KeyObject, key: Uint8Array, bound: Uint8Array, random: Random): Buffer {
  const salt = random.bytes(SALT_BYTES);
  const cipher = createCipheriv(algorithm, keyFor(by, salt), nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(bound);
  const bytes = Buffer.concat([cipher.update(key), cipher.final()]);
  return Buffer.concat([Buffer.of(format), salt, bytes, cipher.getAuthTag()]);
}

/** Undefined: another key sealed this, something else was bound, or it was changed. */
export function openKey(by: KeyObject, sealed: Uint8Array, bound: Uint8Array): Buffer | undefined {
  if (sealed.length !== SEALED_KEY_BYTES || sealed[0] !== format) return undefined;
  const salt = sealed.subarray(1, 1 + SALT_BYTES);
  const bytes = sealed.subarray(1 + SALT_BYTES, SEALED_KEY_BYTES - TAG_BYTES);
  const decipher = createDecipheriv(algorithm, keyFor(by, salt), nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(bound);
  decipher.setAuthTag(sealed.subarray(SEALED_KEY_BYTES - TAG_BYTES));
  const key = decipher.update(bytes);
  try {
    decipher.final();
  } catch {
    return undefined;
  }
  return key;
}
