/**
 * The five calls that write a multipart upload. CompleteMultipartUpload flips pointers in a few commits, so its answer
 * comes quickly and is sent whole: no whitespace is sent ahead, and its status always tells the truth.
 */
import { limits } from "../../core/limits.ts";
import type { ChecksumAlgorithm, ChecksumType, CompletedPart, UploadRef } from "../../object/object.ts";
import { completedAcl, newObjectAcl } from "../acls.ts";
import {
  checksumAlgorithmOf,
  checksumTypeOf,
  checksumHeaders,
  checksumXml,
  checksumXmlChildren,
  declaredChecksum,
} from "../checksums.ts";
import { copySource } from "../copy_source.ts";
import { lockAsked } from "../documents/object_lock.ts";
import { taggingHeader } from "../documents/tagging.ts";
import {
  customerKey,
  encryptionHeaders,
  sourceCustomerKey,
  uploadEncryption,
  wantedEncryption,
} from "../encryption.ts";
import { S3Error } from "../errors.ts";
import type { Handler, S3Request } from "../exchange.ts";
import {
  abortHeaders,
  endingHeader,
  newVersionHeader,
  objectMetadata,
  parseEtag,
  writeConditions,
} from "../headers.ts";
import { countParam, invalidArgument, requiredParam } from "../params.ts";
import { noContent, xmlReply } from "../respond.ts";
import { childrenOf, childText, escapeXml, parseXml, xmlDocument } from "../xml.ts";
import type { XmlElement } from "../xml.ts";
import { sourceVersionHeader } from "./copy.ts";
import { isoTime } from "./list.ts";

export function uploadRef({ bucket, key, query }: S3Request): UploadRef {
  return { bucket, key, uploadId: requiredParam(query, "uploadId") };
}

function partNumberOf({ query }: S3Request): number {
  const number = countParam("partNumber", requiredParam(query, "partNumber"))!;
  if (number < 1 || number > limits.partsMax)
    throw invalidArgument(
      "partNumber",
      String(number),
      `Part number must be an integer between 1 and ${limits.partsMax}, inclusive`,
    );
  return number;
}

type UploadChecksum = { readonly algorithm: ChecksumAlgorithm; readonly type: ChecksumType };

/** Which algorithms may be of which type, and which type they have when the client names none (AWS's table). */
const checksumTypes: Readonly<Record<ChecksumAlgorithm, readonly ChecksumType[]>> = {
  crc64nvme: ["FULL_OBJECT"],
  crc32: ["COMPOSITE", "FULL_OBJECT"],
  crc32c: ["COMPOSITE", "FULL_OBJECT"],
  sha1: ["COMPOSITE"],
  sha256: ["COMPOSITE"],
};

function uploadChecksum({ headers }: S3Request): UploadChecksum | undefined {
  const name = headers["x-amz-checksum-algorithm"];
  const type = headers["x-amz-checksum-type"];
  if (typeof name !== "string") {
    if (type === undefined) return undefined;
    throw new S3Error("InvalidRequest", "The x-amz-checksum-type header needs the x-amz-checksum-algorithm header.");
  }
  const algorithm = checksumAlgorithmOf(name);
  const allowed = checksumTypes[algorithm];
  const wanted = type === undefined ? allowed[0] : allowed.find((one) => one === type);
  if (wanted === undefined)
    throw new S3Error(
      "InvalidRequest",
      `The ${String(type)} checksum type cannot be used with the ${name} checksum algorithm.`,
    );
  return { algorithm, type: wanted };
}

export const createMultipartUpload: Handler = async (request, services) => {
  const { objects } = services;
  const { bucket, key } = request;
  const checksum = uploadChecksum(request);
  const tags = taggingHeader(request.headers["x-amz-tagging"]);
  const lock = lockAsked(request.headers);
  const upload = await objects.createUpload({
    bucket,
    key,
    metadata: objectMetadata(request.headers),
    ...(await newObjectAcl(request, services)),
    ...(tags !== undefined && { tags }),
    ...(lock !== undefined && { lock }),
    ...wantedEncryption(request),
    ...(checksum !== undefined && { checksum }),
  });
  const headers =
    upload.checksum === undefined
      ? []
      : [
          "x-amz-checksum-algorithm",
          upload.checksum.algorithm.toUpperCase(),
          "x-amz-checksum-type",
          upload.checksum.type,
        ];
  const inner =
    `<Bucket>${escapeXml(bucket)}</Bucket><Key>${escapeXml(key.toString())}</Key>` +
    `<UploadId>${escapeXml(upload.id)}</UploadId>`;
  const all = [...headers, ...encryptionHeaders(request, upload), ...abortHeaders(upload)];
  return xmlReply(xmlDocument("InitiateMultipartUploadResult", inner), all);
};

export const uploadPart: Handler = async (request, { objects }) => {
  const ref = uploadRef(request);
  const partNumber = partNumberOf(request);
  const key = uploadEncryption(request);
  const { source, verifier } = request.body();
  const { signal } = request;
  const part = await objects.uploadPart({ ...ref, partNumber, body: source, verifier, signal, ...key });
  const headers = ["etag", `"${part.etag}"`, ...encryptionHeaders(request, part)];
  if (part.checksum !== undefined) headers.push(...checksumHeaders(part.checksum, undefined));
  return { status: 200, headers };
};

export const uploadPartCopy: Handler = async (request, { objects }) => {
  const ref = uploadRef(request);
  const partNumber = partNumberOf(request);
  const source = { ...copySource(request.headers), ...sourceCustomerKey(request), ...request.admission.of("source") };
  const range = copyRange(request);
  const part = await objects.uploadPartCopy({
    ...ref,
    partNumber,
    source,
    signal: request.signal,
    ...customerKey(request),
    ...(range !== undefined && { range }),
  });
  const inner =
    `<LastModified>${isoTime(part.modifiedMs)}</LastModified><ETag>&quot;${part.etag}&quot;</ETag>` +
    (part.checksum === undefined ? "" : checksumXml(part.checksum));
  const headers = [...sourceVersionHeader(part), ...encryptionHeaders(request, part)];
  return xmlReply(xmlDocument("CopyPartResult", inner), headers);
};

function copyRange({ headers }: S3Request): { readonly first: number; readonly last: number } | undefined {
  const text = headers["x-amz-copy-source-range"];
  if (typeof text !== "string") return undefined;
  const match = /^bytes=(\d{1,15})-(\d{1,15})$/.exec(text);
  const [first, last] = [Number(match?.[1]), Number(match?.[2])];
  if (match === null || first > last)
    throw invalidArgument(
      "x-amz-copy-source-range",
      text,
      "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
    );
  return { first, last };
}

export const completeMultipartUpload: Handler = async (request, services) => {
  const ref = uploadRef(request);
  const bytes = await request.xml();
  const parts = completedParts(parseXml(bytes, "CompleteMultipartUpload"));
  const conditions = writeConditions(request.headers);
  const checksum = declaredChecksum(request.headers);
  const type = checksumTypeHeader(request);
  const sizeBytes = countParam("x-amz-mp-object-size", textHeader(request, "x-amz-mp-object-size"));
  const result = await services.objects.completeUpload({
    ...ref,
    parts,
    judgeAcl: (acl) => completedAcl(acl, request, services),
    ...uploadEncryption(request),
    origin: request.origin,
    ...(conditions !== undefined && { conditions }),
    ...(checksum !== undefined && { checksum }),
    ...(type !== undefined && { checksumType: type }),
    ...(sizeBytes !== undefined && { sizeBytes }),
  });
  const key = request.key.toString();
  const path = `${encodeURIComponent(ref.bucket)}/${encodeURIComponent(key).replaceAll("%2F", "/")}`;
  const inner =
    `<Location>${escapeXml(`http://${request.headers.host ?? ""}/${path}`)}</Location><Bucket>${escapeXml(ref.bucket)}</Bucket>` +
    `<Key>${escapeXml(key)}</Key><ETag>&quot;${result.etag}&quot;</ETag>` +
    (result.checksum === undefined ? "" : checksumXml(result.checksum, parts.length));
  const headers = [...newVersionHeader(result), ...encryptionHeaders(request, result), ...endingHeader(result)];
  return xmlReply(xmlDocument("CompleteMultipartUploadResult", inner), headers);
};

function textHeader({ headers }: S3Request, name: string): string | undefined {
  const value = headers[name];
  return typeof value === "string" ? value : undefined;
}

function checksumTypeHeader(request: S3Request): ChecksumType | undefined {
  const type = textHeader(request, "x-amz-checksum-type");
  return type === undefined ? undefined : checksumTypeOf(type);
}

function completedParts(root: XmlElement): CompletedPart[] {
  const parts = childrenOf(root, "Part").map(completedPart);
  if (parts.length === 0 || parts.length > limits.partsMax) throw malformed();
  return parts;
}

function completedPart(element: XmlElement): CompletedPart {
  const number = childText(element, "PartNumber");
  const etag = childText(element, "ETag");
  if (number === undefined || etag === undefined || !/^\d{1,9}$/.test(number)) throw malformed();
  const partNumber = Number(number);
  if (partNumber < 1 || partNumber > limits.partsMax)
    throw invalidArgument("PartNumber", number, `Part number must be between 1 and ${limits.partsMax}, inclusive`);
  const checksum = checksumXmlChildren(element);
  return { partNumber, etag: parseEtag(etag), ...(checksum !== undefined && { checksum }) };
}

function malformed(): S3Error {
  return new S3Error(
    "MalformedXML",
    "The XML you provided was not well-formed or did not validate against our published schema",
  );
}

export const abortMultipartUpload: Handler = async (request, { objects }) => {
  await objects.abortUpload(uploadRef(request));
  return noContent;
};
