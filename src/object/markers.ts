/**
 * Prefixes and markers of listings. A client may send any bytes, also such as no key can have; the rows' keys that they
 * are made into must stay within the store's bounds, which are asserted.
 */
import { limits } from "../core/limits.ts";

/** How many of these bytes, from the first on, some key could begin with. */
function possibleBytes(bytes: Uint8Array): number {
  const length = Math.min(bytes.length, limits.objectKeyBytesMax);
  if (length <= limits.objectKeyNulBytesMax) return length;
  let nulBytes = 0;
  for (let at = 0; at < length; at++) {
    if (bytes[at] !== 0) continue;
    nulBytes += 1;
    if (nulBytes > limits.objectKeyNulBytesMax) return at;
  }
  return length;
}

/** Whether any key can begin so. */
export function canBegin(prefix: Uint8Array): boolean {
  return possibleBytes(prefix) === prefix.length;
}

/** A marker that the same keys lie behind, and short enough for a row's key. */
export function clipMarker(after: Buffer): Buffer {
  return after.subarray(0, possibleBytes(after));
}
