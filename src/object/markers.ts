/**
 * Prefixes, common prefixes and markers of listings. A client may send any bytes, also such as no key can have; the rows' keys that they
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

export type Grouping = { readonly prefix?: Buffer; readonly delimiter?: Buffer };

/** What the key is printed as where a delimiter groups keys: all up to the first one behind the prefix. */
export function commonPrefixOf(key: Buffer, { prefix, delimiter }: Grouping): Buffer | undefined {
  if (delimiter === undefined || delimiter.length === 0) return undefined;
  const at = key.indexOf(delimiter, prefix?.length ?? 0);
  return at < 0 ? undefined : key.subarray(0, at + delimiter.length);
}

export function startsWith(key: Buffer, prefix: Buffer): boolean {
  return key.length >= prefix.length && key.compare(prefix, 0, prefix.length, 0, prefix.length) === 0;
}
