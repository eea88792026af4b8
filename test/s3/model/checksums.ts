/**
 * Checksums: of a whole object (FULL_OBJECT), or of the checksums of its parts (COMPOSITE). A client sends one with its bytes, or has
 * an upload begin with a choice, which every part then has, sent or not.
 */
import { wholeDigests } from "../../../src/digest/running.ts";
import type { Headers } from "./types.ts";

export const algorithms = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"] as const;
export type Algorithm = (typeof algorithms)[number];
export type ChecksumType = "FULL_OBJECT" | "COMPOSITE";
export type Choice = { readonly algorithm: Algorithm; readonly type: ChecksumType };
/** `text`: in base64. */
export type Sum = { readonly algorithm: Algorithm; readonly text: string };
/** As it is shown: `-` and the number of parts behind a composite one. */
export type Checksum = Sum & { readonly type: ChecksumType };

export function sumOf(algorithm: Algorithm, bytes: Uint8Array): Sum {
  return { algorithm, text: wholeDigests([algorithm], bytes)[algorithm]!.toString("base64") };
}

export const wholeSum = (algorithm: Algorithm, bytes: Uint8Array): Checksum => ({
  ...sumOf(algorithm, bytes),
  type: "FULL_OBJECT",
});

/** Undefined where a part has no checksum of the algorithm. */
export function completedSum(
  { algorithm, type }: Choice,
  parts: readonly { readonly bytes: Buffer; readonly sum: Sum | undefined }[],
): Checksum | undefined {
  const sums = parts.flatMap(({ sum }) => (sum?.algorithm === algorithm ? [Buffer.from(sum.text, "base64")] : []));
  if (sums.length < parts.length) return undefined;
  if (type === "FULL_OBJECT") return wholeSum(algorithm, Buffer.concat(parts.map(({ bytes }) => bytes)));
  return { algorithm, type, text: `${sumOf(algorithm, Buffer.concat(sums)).text}-${parts.length}` };
}

const isCrc = (algorithm: Algorithm): boolean => algorithm.startsWith("crc");

export const isPossible = ({ algorithm, type }: Choice): boolean =>
  type === "FULL_OBJECT" ? isCrc(algorithm) : algorithm !== "crc64nvme";

/** What it is where nobody says. */
export const usualChoice = (algorithm: Algorithm): Choice => ({
  algorithm,
  type: algorithm === "crc64nvme" ? "FULL_OBJECT" : "COMPOSITE",
});

/** An append goes on with a CRC of the whole, and with no other. */
export function appendedSum(before: Checksum | undefined, all: Uint8Array): Checksum | undefined {
  const isCarried = before?.type === "FULL_OBJECT" && isCrc(before.algorithm);
  return isCarried ? wholeSum(before.algorithm, all) : undefined;
}

export const sumHeader = (algorithm: Algorithm): string => `x-amz-checksum-${algorithm}`;
export const sumElement = (algorithm: Algorithm): string => `Checksum${algorithm.toUpperCase()}`;

/** Every algorithm's, so that no other is shown. */
export function sumHeaders(sum: (Sum & { readonly type?: ChecksumType }) | undefined): Headers {
  const all = algorithms.map((each) => [sumHeader(each), each === sum?.algorithm ? sum.text : undefined]);
  return { ...(Object.fromEntries(all) as Headers), "x-amz-checksum-type": sum?.type };
}
