/**
 * Conditional requests, without any I/O. Reads follow RFC 9110, section 13.2.2; writes follow what S3 documents for
 * "Conditional requests": If-Match on a key that does not exist is NoSuchKey, every other failure is PreconditionFailed.
 */
import { HoldfastError } from "../core/errors.ts";
import type { ReadConditions, WriteConditions } from "./object.ts";

type Validators = { readonly etag: string; readonly modifiedMs: number };

function listHas(list: readonly string[] | "*", etag: string): boolean {
  return list === "*" || list.includes(etag);
}

function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1_000);
}

function failed(condition: string): HoldfastError {
  return new HoldfastError("precondition_failed", "At least one of the preconditions you specified did not hold.", {
    details: { condition },
  });
}

/** Errors: `precondition_failed`. */
export function judgeRead(current: Validators, conditions: ReadConditions | undefined): "proceed" | "not_modified" {
  if (conditions === undefined) return "proceed";
  const { ifMatch, ifNoneMatch, ifModifiedSinceMs, ifUnmodifiedSinceMs } = conditions;
  const modified = wholeSeconds(current.modifiedMs);
  if (ifMatch !== undefined) {
    if (!listHas(ifMatch, current.etag)) throw failed("If-Match");
  } else if (ifUnmodifiedSinceMs !== undefined && modified > wholeSeconds(ifUnmodifiedSinceMs)) {
    throw failed("If-Unmodified-Since");
  }
  if (ifNoneMatch !== undefined) return listHas(ifNoneMatch, current.etag) ? "not_modified" : "proceed";
  if (ifModifiedSinceMs !== undefined && modified <= wholeSeconds(ifModifiedSinceMs)) return "not_modified";
  return "proceed";
}

/** The conditions on a copy's source: what would answer a read with 304 fails the copy. Errors: `precondition_failed`. */
export function judgeCopySource(current: Validators, conditions: ReadConditions | undefined): void {
  if (judgeRead(current, conditions) === "not_modified") throw failed("x-amz-copy-source-if-*");
}

/** `current` is undefined when the key does not exist. Errors: `precondition_failed`, `no_such_key`. */
export function judgeWrite(
  current: Pick<Validators, "etag"> | undefined,
  conditions: WriteConditions | undefined,
): void {
  if (conditions === undefined) return;
  const { ifMatch, ifNoneMatch } = conditions;
  if (ifMatch !== undefined) {
    if (current === undefined) throw new HoldfastError("no_such_key", "The specified key does not exist.");
    if (!listHas(ifMatch, current.etag)) throw failed("If-Match");
  }
  if (ifNoneMatch !== undefined && current !== undefined && listHas(ifNoneMatch, current.etag)) {
    throw failed("If-None-Match");
  }
}

/** Of what a rename would replace, with S3's dates too: what is not there was not modified. Errors: those of `judgeWrite`. */
export function judgeRenameTarget(current: Validators | undefined, conditions: ReadConditions | undefined): void {
  judgeWrite(current, conditions);
  if (conditions === undefined) return;
  const { ifModifiedSinceMs, ifUnmodifiedSinceMs } = conditions;
  const modified = current && wholeSeconds(current.modifiedMs);
  if (ifModifiedSinceMs !== undefined && (modified === undefined || modified <= wholeSeconds(ifModifiedSinceMs)))
    throw failed("If-Modified-Since");
  if (ifUnmodifiedSinceMs !== undefined && modified !== undefined && modified > wholeSeconds(ifUnmodifiedSinceMs))
    throw failed("If-Unmodified-Since");
}

export type DeleteConditions = WriteConditions & { readonly sizeBytes?: number; readonly modifiedMs?: number };

/** DeleteObject's x-amz-if-match-size and -last-modified-time come on top. Errors: those of `judgeWrite`. */
export function judgeDelete(
  current: (Validators & { readonly sizeBytes: number }) | undefined,
  conditions: DeleteConditions | undefined,
): void {
  judgeWrite(current, conditions);
  if (conditions === undefined || current === undefined) return;
  const { sizeBytes, modifiedMs } = conditions;
  if (sizeBytes !== undefined && sizeBytes !== current.sizeBytes) throw failed("x-amz-if-match-size");
  if (modifiedMs !== undefined && wholeSeconds(modifiedMs) !== wholeSeconds(current.modifiedMs)) {
    throw failed("x-amz-if-match-last-modified-time");
  }
}
