/** Byte ranges (RFC 9110, section 14.1.2), without any I/O. */
import { HoldfastError } from "../core/errors.ts";
import type { RequestedRange, ResolvedRange } from "./object.ts";

/** What is sent of an object of `sizeBytes`. Errors: `invalid_range` when that is nothing. */
export function resolveRange(range: RequestedRange, sizeBytes: number): ResolvedRange {
  const offset = range.kind === "from" ? range.first : Math.max(0, sizeBytes - range.length);
  const end = range.kind === "from" && range.last !== undefined ? Math.min(range.last + 1, sizeBytes) : sizeBytes;
  if (offset >= end) {
    throw new HoldfastError("invalid_range", "The requested range is not satisfiable.", { details: { sizeBytes } });
  }
  return { offset, length: end - offset };
}
