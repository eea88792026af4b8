/**
 * The files of master keys: 32 bytes, raw or as 64 hex digits or in base64, white space around them left out. A file that others
 * may read is refused, as a key in it is no secret.
 */
import { readFileSync, statSync } from "node:fs";
import { HoldfastError } from "../core/errors.ts";
import { KEY_BYTES } from "../crypto/crypto.ts";

/** One master key for each file, in their order. Errors: as readKeyFile's. */
export function readKeyFiles(files: readonly string[]): Buffer[] {
  return files.map(readKeyFile);
}

/** What others than the owner and its group may do. The group may read, as secrets that a service is given often are. */
const othersMask = 0o007;

/** Errors: `invalid_argument` with a sentence that names the file. */
export function readKeyFile(file: string): Buffer {
  const refuse = (why: string): never => {
    throw new HoldfastError("invalid_argument", `The encryption key file ${file} ${why}`);
  };
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    return refuse(`cannot be read: ${(error as Error).message}`);
  }
  checkPrivate(file, "The encryption key file");
  return parseKey(bytes) ?? refuse("must hold a key of 32 bytes: raw, as 64 hex digits or in base64.");
}

/** A secret lies in it. Errors: `invalid_argument`. */
export function checkPrivate(file: string, what: string): void {
  if ((statSync(file).mode & othersMask) === 0) return;
  const message = `${what} ${file} may be read by others than its owner and group: chmod 600 ${file}`;
  throw new HoldfastError("invalid_argument", message);
}

export function parseKey(bytes: Buffer): Buffer | undefined {
  if (bytes.length === KEY_BYTES) return bytes;
  const text = bytes.toString("latin1").trim();
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, "hex");
  return /^[A-Za-z0-9+/]{43}=$/.test(text) ? Buffer.from(text, "base64") : undefined;
}
