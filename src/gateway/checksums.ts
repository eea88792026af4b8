/**
 * Which digests a request's body is checked by, and the checksums S3 keeps. Promises: everything the client said about its
 * body (Content-MD5, x-amz-checksum-*, trailer, signed SHA-256) is compared before anything is stored.
 *
 * Known difference: when a client names no checksum AWS computes and keeps CRC64NVME. Holdfast keeps none then: it costs a
 * pass over every body, and what lies on the drives has checksums of its own.
 */
import type { IncomingHttpHeaders } from "node:http";
import { HoldfastError } from "../core/errors.ts";
import type { DigestAlgorithm, Digests } from "../digest/digest.ts";
import type { BodyVerifier, ChecksumAlgorithm, ChecksumType, StoredChecksum } from "../object/object.ts";
import type { Trailers } from "./aws_chunked.ts";
import { S3Error } from "./errors.ts";
import type { Payload } from "./sigv4.ts";
import { childText } from "./xml.ts";
import type { XmlElement } from "./xml.ts";

const DIGEST_BYTES: Readonly<Record<ChecksumAlgorithm, number>> = {
  crc32: 4,
  crc32c: 4,
  crc64nvme: 8,
  sha1: 20,
  sha256: 32,
};

export const checksumAlgorithms = Object.keys(DIGEST_BYTES) as readonly ChecksumAlgorithm[];

const elementNames: Readonly<Record<ChecksumAlgorithm, string>> = {
  crc32: "ChecksumCRC32",
  crc32c: "ChecksumCRC32C",
  crc64nvme: "ChecksumCRC64NVME",
  sha1: "ChecksumSHA1",
  sha256: "ChecksumSHA256",
};

const headerPrefix = "x-amz-checksum-";

/** Headers of that prefix that are no checksum. */
const notChecksums: ReadonlySet<string> = new Set(["mode", "type", "algorithm"].map((word) => headerPrefix + word));

/** Checksums of AWS that Holdfast does not compute (yet). */
const missing: ReadonlySet<string> = new Set(
  ["md5", "sha512", "xxhash3", "xxhash64", "xxhash128"].map((name) => headerPrefix + name),
);

/** A checksum that nobody compares must not look as if it had been. */
function refuseUnknown(headers: IncomingHttpHeaders): void {
  for (const name in headers) {
    if (!name.startsWith(headerPrefix) || notChecksums.has(name)) continue;
    if (missing.has(name)) throw new S3Error("NotImplemented", `The checksum ${name} is not implemented.`);
    if (!checksumAlgorithms.some((algorithm) => name === headerPrefix + algorithm))
      throw new S3Error("InvalidRequest", "The algorithm type you specified in x-amz-checksum- header is invalid.");
  }
}

/** Whether anything in the headers proves the body. */
export function provesBody(headers: IncomingHttpHeaders): boolean {
  if (headers["content-md5"] !== undefined || headers["x-amz-trailer"] !== undefined) return true;
  return checksumAlgorithms.some((algorithm) => headers[headerPrefix + algorithm] !== undefined);
}

/** `CRC32C` of x-amz-checksum-algorithm and its like; InvalidRequest when S3 knows no such algorithm. */
export function checksumAlgorithmOf(name: string): ChecksumAlgorithm {
  const lower = name.toLowerCase();
  const found = checksumAlgorithms.find((algorithm) => algorithm === lower);
  if (found !== undefined) return found;
  throw new S3Error(
    "InvalidRequest",
    "Checksum algorithm provided is unsupported. Please try again with any of the valid types: " +
      "[CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
  );
}

/** FULL_OBJECT or COMPOSITE of x-amz-checksum-type. */
export function checksumTypeOf(name: string): ChecksumType {
  if (name === "FULL_OBJECT" || name === "COMPOSITE") return name;
  throw new S3Error("InvalidRequest", "Value for x-amz-checksum-type header is invalid.");
}

/** A part's checksum has no type. */
type ShownChecksum = Omit<StoredChecksum, "type"> & { readonly type?: ChecksumType };

/** The value as S3 prints it: base64, and `-<parts>` behind a composite one. */
export function checksumText({ type, value }: ShownChecksum, partsCount: number | undefined): string {
  const text = value.toString("base64");
  return type === "COMPOSITE" && partsCount !== undefined ? `${text}-${partsCount}` : text;
}

/** Flat header list. */
export function checksumHeaders(checksum: ShownChecksum, partsCount: number | undefined): string[] {
  const headers = [headerPrefix + checksum.algorithm, checksumText(checksum, partsCount)];
  if (checksum.type !== undefined) headers.push("x-amz-checksum-type", checksum.type);
  return headers;
}

export function checksumXml(checksum: ShownChecksum, partsCount?: number): string {
  const name = elementNames[checksum.algorithm];
  const type = checksum.type === undefined ? "" : `<ChecksumType>${checksum.type}</ChecksumType>`;
  return `<${name}>${checksumText(checksum, partsCount)}</${name}>${type}`;
}

/** The one checksum among an element's children (a Part of CompleteMultipartUpload). */
export function checksumXmlChildren(element: XmlElement): Expected | undefined {
  let found: Expected | undefined;
  for (const algorithm of checksumAlgorithms) {
    const text = childText(element, elementNames[algorithm]);
    if (text === undefined || text === "") continue;
    if (found !== undefined) throw several();
    const value = decodeChecksum(algorithm, text.trim());
    if (value === undefined)
      throw new S3Error("InvalidRequest", `The value of ${elementNames[algorithm]} is not valid.`);
    found = { algorithm, value };
  }
  return found;
}

/** `ChecksumCRC32` and its like. */
export function checksumElement(algorithm: ChecksumAlgorithm): string {
  return elementNames[algorithm];
}

/** Base64 of exactly the algorithm's length; undefined when it is anything else. */
export function decodeChecksum(algorithm: ChecksumAlgorithm, text: string): Buffer | undefined {
  return decodeBase64(text, DIGEST_BYTES[algorithm]);
}

function decodeBase64(text: string, lengthBytes: number): Buffer | undefined {
  const bytes = Buffer.from(text, "base64");
  return bytes.length === lengthBytes && bytes.toString("base64") === text ? bytes : undefined;
}

type Expected = Omit<StoredChecksum, "type">;

/** What is no checksum of this algorithm is not that of the body either. */
function invalidChecksum(algorithm: ChecksumAlgorithm, where: "header" | "trailing header"): S3Error {
  return new S3Error("BadDigest", `Value for ${headerPrefix}${algorithm} ${where} is invalid.`);
}

const several = (): S3Error =>
  new S3Error("InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.");

/** The checksum that CompleteMultipartUpload declares for the whole object; a composite one bears `-<parts>`. */
export function declaredChecksum(headers: IncomingHttpHeaders): Expected | undefined {
  return headerChecksum(headers, (text) => text.replace(/-\d{1,5}$/, ""));
}

/** The one x-amz-checksum-<algorithm> of the headers. */
function headerChecksum(
  headers: IncomingHttpHeaders,
  bare: (text: string) => string = (text) => text,
): Expected | undefined {
  refuseUnknown(headers);
  let found: Expected | undefined;
  for (const algorithm of checksumAlgorithms) {
    const text = headers[headerPrefix + algorithm];
    if (text === undefined) continue;
    if (found !== undefined) throw several();
    const value = decodeChecksum(algorithm, bare(String(text)));
    if (value === undefined) throw invalidChecksum(algorithm, "header");
    found = { algorithm, value };
  }
  return found;
}

/** The algorithm that x-amz-trailer announces; other trailers than checksums are refused, as AWS does. */
function trailerAlgorithm(headers: IncomingHttpHeaders): ChecksumAlgorithm | undefined {
  const announced = headers["x-amz-trailer"];
  if (announced === undefined) return undefined;
  const name = String(announced).trim().toLowerCase();
  const algorithm = checksumAlgorithms.find((each) => name === headerPrefix + each);
  if (algorithm !== undefined) return algorithm;
  throw new S3Error("InvalidRequest", "The value specified in the x-amz-trailer header is not supported");
}

/** What x-amz-sdk-checksum-algorithm promises must come, as a header or as a trailer. */
function checkPromised(headers: IncomingHttpHeaders, given: ChecksumAlgorithm | undefined): void {
  const promised = headers["x-amz-sdk-checksum-algorithm"];
  if (promised === undefined) return;
  const algorithm = checksumAlgorithmOf(String(promised));
  // Some SDKs send the word with a request that carries only Content-MD5; then there is nothing to compare.
  if (given === undefined && headers["content-md5"] !== undefined) return;
  if (given !== algorithm)
    throw new S3Error(
      "InvalidRequest",
      "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
    );
}

function contentMd5(headers: IncomingHttpHeaders): Buffer | undefined {
  const text = headers["content-md5"];
  if (text === undefined) return undefined;
  const value = decodeBase64(String(text), 16);
  if (value === undefined) throw new S3Error("InvalidDigest", "The Content-MD5 you specified is not valid.");
  return value;
}

export type ChecksumPlan = {
  readonly verifier: BodyVerifier;
  /** To be given the trailers of an aws-chunked body before `verify` is called. */
  readonly onTrailers: (trailers: Trailers) => void;
};

/** Reads the headers; throws InvalidDigest, BadDigest or InvalidRequest for what is malformed. */
export function planChecksums(headers: IncomingHttpHeaders, payload: Payload): ChecksumPlan {
  const md5 = contentMd5(headers);
  const inHeader = headerChecksum(headers);
  const trailing = trailerAlgorithm(headers);
  if (inHeader !== undefined && trailing !== undefined) throw several();
  if (trailing !== undefined && payload !== "streaming-unsigned-trailer" && payload !== "streaming-signed-trailer")
    throw new S3Error("InvalidRequest", "x-amz-trailer needs a body with trailers (x-amz-content-sha256).");
  checkPromised(headers, inHeader?.algorithm ?? trailing);
  const sha256 = typeof payload === "object" ? Buffer.from(payload.sha256, "hex") : undefined;
  const digests = new Set<DigestAlgorithm>();
  if (inHeader !== undefined) digests.add(inHeader.algorithm);
  if (trailing !== undefined) digests.add(trailing);
  if (sha256 !== undefined) digests.add("sha256");
  if (md5 !== undefined) digests.add("md5");
  let expected = inHeader;
  return {
    onTrailers: (trailers) => {
      expected = trailerChecksum(trailers, trailing) ?? inHeader;
    },
    verifier: {
      digests: [...digests],
      verify: (computed) => {
        compareContentMd5(md5, computed);
        if (sha256 !== undefined && !computed.sha256?.equals(sha256)) throw sha256Mismatch();
        if (expected === undefined) return undefined;
        if (!computed[expected.algorithm]?.equals(expected.value)) throw checksumMismatch(expected.algorithm);
        return expected;
      },
    },
  };
}

/** The trailers must be exactly the announced one. */
function trailerChecksum(trailers: Trailers, announced: ChecksumAlgorithm | undefined): Expected | undefined {
  const text = announced === undefined ? undefined : trailers.get(headerPrefix + announced);
  if (trailers.size !== (announced === undefined ? 0 : 1) || (announced !== undefined && text === undefined))
    throw new S3Error(
      "MalformedTrailerError",
      "The request contained trailing data that was not well-formed or did not conform to our published schema.",
    );
  if (announced === undefined || text === undefined) return undefined;
  const value = decodeChecksum(announced, text);
  if (value === undefined) throw invalidChecksum(announced, "trailing header");
  return { algorithm: announced, value };
}

function compareContentMd5(md5: Buffer | undefined, { md5: computed }: Digests): void {
  if (md5 === undefined || computed?.equals(md5)) return;
  throw new HoldfastError("bad_digest", "The Content-MD5 you specified did not match what we received.", {
    details: {
      ExpectedDigest: md5.toString("base64"),
      CalculatedDigest: computed?.toString("base64") ?? "",
    },
  });
}

function sha256Mismatch(): HoldfastError {
  return new HoldfastError(
    "content_sha256_mismatch",
    "The provided 'x-amz-content-sha256' header does not match what was computed.",
  );
}

function checksumMismatch(algorithm: ChecksumAlgorithm): HoldfastError {
  return new HoldfastError(
    "checksum_mismatch",
    `The ${algorithm.toUpperCase()} you specified did not match the calculated checksum.`,
  );
}
