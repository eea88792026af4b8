/**
 * What access keys and secrets may look like, and new ones. An access key stands in Signature V4's credential scope
 * (separated by `/`) and in Basic authentication (ends at `:`), so it is made of letters, digits, `_`, `.` and `-`.
 */
import { HoldfastError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";

export const accessKeyCharsMax = 128;
const accessKeyPattern = /^[A-Za-z0-9_.-]{3,128}$/;
/** Printable ASCII without the space. */
const secretKeyPattern = /^[\x21-\x7e]{8,128}$/;
const descriptionBytesMax = 256;

export function checkAccessKey(text: unknown): string {
  if (typeof text === "string" && accessKeyPattern.test(text)) return text;
  throw new HoldfastError("invalid_argument", "An access key has 3 to 128 letters, digits, '_', '.' or '-'.");
}

export function checkSecretKey(text: unknown): string {
  if (typeof text === "string" && secretKeyPattern.test(text)) return text;
  throw new HoldfastError("invalid_argument", "A secret key has 8 to 128 printable ASCII characters and no space.");
}

export function checkDescription(text: unknown): string {
  if (typeof text === "string" && Buffer.byteLength(text) <= descriptionBytesMax) return text;
  throw new HoldfastError("invalid_argument", `A description is a text of at most ${descriptionBytesMax} bytes.`);
}

/** No letters that are taken for one another, and nothing that a shell or a URL would read in its own way. */
const accessKeyLetters = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const secretKeyLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/** 18 random letters after the `HF`: 90 bits. */
export function generateAccessKey(random: Random): string {
  return `HF${randomText(random, accessKeyLetters, 18)}`;
}

/** Of temporary credentials. */
export function generateSessionKey(random: Random): string {
  return `HT${randomText(random, accessKeyLetters, 18)}`;
}

/** 40 random letters: 238 bits. */
export function generateSecretKey(random: Random): string {
  return randomText(random, secretKeyLetters, 40);
}

/** Evenly distributed: bytes beyond the last whole multiple of the alphabet are thrown away. */
function randomText(random: Random, letters: string, length: number): string {
  const usable = 256 - (256 % letters.length);
  let out = "";
  while (out.length < length) {
    for (const byte of random.bytes(length * 2)) {
      if (byte < usable && out.length < length) out += letters[byte % letters.length];
    }
  }
  return out;
}
