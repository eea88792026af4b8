/**
 * The rules of multipart uploads, without any I/O: which checksums may be chosen, and what a CompleteMultipartUpload
 * request makes of the parts that are there. (S3 User Guide: "Checking object integrity", "Multipart upload limits".)
 *
 * The ETag of a multipart object is the MD5 of its parts' MD5s, a hyphen and the number of parts. A COMPOSITE checksum is
 * the checksum of the parts' checksums; a FULL_OBJECT one is that of the whole bytes, which only CRCs can be combined to.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { combineCrc } from "../digest/combine.ts";
import type { DigestPool } from "../digest/digest.ts";
import type { PartRecord } from "../meta/blobs.ts";
import type { ChecksumAlgorithm, ChecksumType, CompletedPart, CompleteOptions, StoredChecksum } from "./object.ts";

export type ChecksumChoice = { readonly algorithm: ChecksumAlgorithm; readonly type: ChecksumType };

/** The object a valid request makes. */
export type Completion = {
  readonly parts: readonly PartRecord[];
  readonly sizeBytes: number;
  readonly etag: string;
  readonly checksum: StoredChecksum | undefined;
};

export type CompletionRequest = Pick<CompleteOptions, "parts" | "checksum" | "checksumType" | "sizeBytes">;

export const isCrc = (algorithm: ChecksumAlgorithm): algorithm is "crc32" | "crc32c" | "crc64nvme" =>
  algorithm !== "sha1" && algorithm !== "sha256";

/** What S3 takes when the client names an algorithm and no type. */
export function defaultChecksumType(algorithm: ChecksumAlgorithm): ChecksumType {
  return algorithm === "crc64nvme" ? "FULL_OBJECT" : "COMPOSITE";
}

/** `invalid_request` for a pair that S3 does not know. */
export function checkChecksumChoice({ algorithm, type }: ChecksumChoice): void {
  const possible = type === "FULL_OBJECT" ? isCrc(algorithm) : algorithm !== "crc64nvme";
  if (possible) return;
  throw new HoldfastError(
    "invalid_request",
    `The ${type} checksum type cannot be used with the ${algorithm} checksum algorithm.`,
  );
}

/** `invalid_part_number` outside 1..partsMax. */
export function checkPartNumber(partNumber: number): void {
  if (Number.isInteger(partNumber) && partNumber >= 1 && partNumber <= limits.partsMax) return;
  throw new HoldfastError(
    "invalid_part_number",
    `Part number must be an integer between 1 and ${limits.partsMax}, inclusive.`,
    { details: { partNumber } },
  );
}

/** What can be said of the request before any part is looked at: `invalid_argument`, `invalid_part_order`. */
export function checkPartList(parts: readonly CompletedPart[]): void {
  if (parts.length === 0) throw new HoldfastError("invalid_argument", "You must specify at least one part.");
  if (parts.length > limits.partsMax)
    throw new HoldfastError("invalid_argument", `An upload has at most ${limits.partsMax} parts.`);
  let before = 0;
  for (const { partNumber } of parts) {
    checkPartNumber(partNumber);
    if (partNumber < before)
      throw new HoldfastError(
        "invalid_part_order",
        "The list of parts was not in ascending order. Parts must be ordered by part number.",
        { details: { partNumber } },
      );
    before = partNumber;
  }
}

/** Judges a request against the parts that are there. `present` finds a part by its number. */
export function judgeCompletion(
  request: CompletionRequest,
  context: {
    readonly choice: ChecksumChoice | undefined;
    readonly present: ReadonlyMap<number, PartRecord>;
    readonly digests: Pick<DigestPool, "whole">;
  },
): Completion {
  checkPartList(request.parts);
  if (context.choice?.type === "COMPOSITE") checkAlgorithms(request.parts, context.choice);
  const parts = lastOfEach(request.parts).map((asked) => matchPart(asked, context.present.get(asked.partNumber)));
  checkPartSizes(parts);
  const sizeBytes = checkTotal(parts, request.sizeBytes);
  const md5 = context.digests.whole(["md5"], Buffer.from(parts.map((part) => part.md5).join(""), "hex")).md5;
  assert(md5 !== undefined, "a digest that was asked for is there");
  const choice = resolveChoice(request, context.choice);
  const checksum = choice && checksumOf(parts, choice, context.digests);
  checkWholeChecksum(request, checksum);
  return { parts, sizeBytes, etag: `${md5.toString("hex")}-${parts.length}`, checksum };
}

/**
 * A checksum of another algorithm cannot be that of a part. One that is missing is none the worse: the part was compared when it came with
 * what its sender said of it. (AWS wants that of every part in the request.)
 */
function checkAlgorithms(parts: readonly CompletedPart[], { algorithm }: ChecksumChoice): void {
  const other = parts.find(({ checksum }) => checksum !== undefined && checksum.algorithm !== algorithm);
  if (other === undefined) return;
  throw new HoldfastError(
    "invalid_request",
    `The upload was created using a ${algorithm} checksum. The request has another one for part ${other.partNumber}.`,
  );
}

/** A part that is named several times in a row was sent several times: what was said of it last holds. */
function lastOfEach(parts: readonly CompletedPart[]): readonly CompletedPart[] {
  return parts.filter(({ partNumber }, at) => parts[at + 1]?.partNumber !== partNumber);
}

function matchPart(asked: CompletedPart, part: PartRecord | undefined): PartRecord {
  const equal = part !== undefined && part.md5 === asked.etag.toLowerCase() && sameChecksum(asked.checksum, part);
  if (equal) return part;
  throw new HoldfastError(
    "invalid_part",
    "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified " +
      "entity tag or checksum may not match the part's.",
    { details: { partNumber: asked.partNumber, etag: asked.etag } },
  );
}

/** A checksum of an algorithm the part was not stored with says nothing about it that could be compared. */
function sameChecksum(asked: CompletedPart["checksum"], part: PartRecord): boolean {
  if (asked === undefined || asked.algorithm !== part.checksum?.algorithm) return true;
  return part.checksum.value.equals(asked.value);
}

function checkPartSizes(parts: readonly PartRecord[]): void {
  const small = parts.slice(0, -1).find((part) => part.sizeBytes < limits.partBytesMin);
  if (small === undefined) return;
  throw new HoldfastError(
    "entity_too_small",
    `Part ${small.partNumber} has ${small.sizeBytes} bytes; every part but the last needs ${limits.partBytesMin}.`,
    {
      details: {
        partNumber: small.partNumber,
        sizeBytes: small.sizeBytes,
        minSizeBytes: limits.partBytesMin,
        etag: small.md5,
      },
    },
  );
}

function checkTotal(parts: readonly PartRecord[], expectedBytes: number | undefined): number {
  const sizeBytes = parts.reduce((sum, part) => sum + part.sizeBytes, 0);
  if (sizeBytes > limits.objectBytesMax)
    throw new HoldfastError("entity_too_large", "The parts together are larger than the largest object.", {
      details: { sizeBytes, maxSizeBytes: limits.objectBytesMax },
    });
  if (expectedBytes !== undefined && expectedBytes !== sizeBytes)
    throw new HoldfastError(
      "invalid_request",
      `The parts have ${sizeBytes} bytes together, not ${expectedBytes} as the request says.`,
    );
  return sizeBytes;
}

/** The upload's own choice rules; a request may bring one only where the upload has none. */
function resolveChoice(request: CompletionRequest, chosen: ChecksumChoice | undefined): ChecksumChoice | undefined {
  const asked = request.checksum;
  if (chosen === undefined) {
    if (asked === undefined) return undefined;
    const type = request.checksumType ?? defaultChecksumType(asked.algorithm);
    checkChecksumChoice({ algorithm: asked.algorithm, type });
    return { algorithm: asked.algorithm, type };
  }
  if (
    (asked !== undefined && asked.algorithm !== chosen.algorithm) ||
    (request.checksumType !== undefined && request.checksumType !== chosen.type)
  )
    throw new HoldfastError(
      "invalid_request",
      `The upload was created with a ${chosen.type} ${chosen.algorithm} checksum; the request names another.`,
    );
  return chosen;
}

function checksumOf(
  parts: readonly PartRecord[],
  { algorithm, type }: ChecksumChoice,
  digests: Pick<DigestPool, "whole">,
): StoredChecksum {
  const values = parts.map(({ partNumber, checksum }) => {
    if (checksum?.algorithm === algorithm) return checksum.value;
    throw new HoldfastError("invalid_request", `Part ${partNumber} was uploaded without a ${algorithm} checksum.`);
  });
  if (type === "COMPOSITE") {
    const value = digests.whole([algorithm], Buffer.concat(values))[algorithm];
    assert(value !== undefined, "a digest that was asked for is there");
    return { algorithm, type, value };
  }
  assert(isCrc(algorithm), "only CRCs can be combined to a checksum of the whole object");
  const value = values.reduce((left, right, index) => combineCrc(algorithm, left, right, parts[index]!.sizeBytes));
  return { algorithm, type, value };
}

function checkWholeChecksum(request: CompletionRequest, computed: StoredChecksum | undefined): void {
  if (request.checksum === undefined) return;
  assert(computed !== undefined, "a checksum that is compared was computed");
  if (computed.value.equals(request.checksum.value)) return;
  throw new HoldfastError(
    "checksum_mismatch",
    `The ${computed.algorithm} you specified did not match the calculated one.`,
  );
}

/** Equal for requests that name the same parts. */
export function requestFingerprint(parts: readonly CompletedPart[], digests: Pick<DigestPool, "whole">): Buffer {
  const text = parts.map((part) => `${part.partNumber} ${part.etag.toLowerCase()}\n`).join("");
  const value = digests.whole(["sha256"], Buffer.from(text)).sha256;
  assert(value !== undefined, "a digest that was asked for is there");
  return value;
}
