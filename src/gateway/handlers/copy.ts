/** CopyObject, and what it shares with UploadPartCopy. */
import type { ChecksumAlgorithm, CopyOptions, ObjectMetadata, ObjectTags } from "../../object/object.ts";
import { newObjectAcl } from "../acls.ts";
import { checksumAlgorithmOf, checksumXml } from "../checksums.ts";
import { copySource } from "../copy_source.ts";
import { lockAsked } from "../documents/object_lock.ts";
import { taggingHeader } from "../documents/tagging.ts";
import { encryptionHeaders, sourceCustomerKey, wantedEncryption } from "../encryption.ts";
import { S3Error } from "../errors.ts";
import type { Handler, S3Request, Services } from "../exchange.ts";
import { endingHeader, newVersionHeader, objectMetadata, writeConditions } from "../headers.ts";
import { invalidArgument } from "../params.ts";
import { xmlReply } from "../respond.ts";
import { xmlDocument } from "../xml.ts";
import { isoTime } from "./list.ts";

export const copyObject: Handler = async (request, services) => {
  const { objects } = services;
  const { bucket, key, headers, signal, origin } = request;
  const source = { ...copySource(headers), ...sourceCustomerKey(request), ...request.admission.of("source") };
  const metadata = copiedMetadata(request);
  const tags = copiedTags(request);
  const lock = lockAsked(headers);
  const encryption = wantedEncryption(request);
  const changesNothing = metadata.isSource && encryption.encryption === undefined;
  if (changesNothing && isOntoItself(request, source)) await refuseSelfCopy(request, services);
  const conditions = writeConditions(headers);
  const acl = await newObjectAcl(request, services);
  const checksumAlgorithm = wantedChecksum(request);
  const result = await objects.copy({
    source,
    bucket,
    key,
    metadata: metadata.of,
    signal,
    origin,
    ...(tags !== undefined && { tags }),
    ...(lock !== undefined && { lock }),
    ...encryption,
    ...acl,
    ...(checksumAlgorithm !== undefined && { checksumAlgorithm }),
    ...(conditions !== undefined && { conditions }),
  });
  const inner =
    `<LastModified>${isoTime(result.modifiedMs)}</LastModified>` +
    `<ETag>&quot;${result.etag}&quot;</ETag>` +
    (result.checksum === undefined ? "" : checksumXml(result.checksum));
  const versions = [...newVersionHeader(result), ...sourceVersionHeader(result), ...endingHeader(result)];
  return xmlReply(xmlDocument("CopyObjectResult", inner), [...versions, ...encryptionHeaders(request, result)]);
};

export function sourceVersionHeader({
  sourceVersionId,
}: {
  readonly sourceVersionId: string | undefined;
}): readonly string[] {
  return sourceVersionId === undefined ? [] : ["x-amz-copy-source-version-id", sourceVersionId];
}

function wantedChecksum({ headers }: S3Request): ChecksumAlgorithm | undefined {
  const name = headers["x-amz-checksum-algorithm"];
  return typeof name === "string" ? checksumAlgorithmOf(name) : undefined;
}

/** What a copy never takes from its source, as AWS documents it: without them it is STANDARD and redirects nowhere. */
const notCopied = ["x-amz-storage-class", "x-amz-website-redirect-location"] as const;

/** `isSource`: it is the source's as it is. */
type CopiedMetadata = { readonly isSource: boolean; readonly of: CopyOptions["metadata"] };

/** The metadata of the copy: the request's own (REPLACE), or the source's with what the request says of `notCopied` (COPY). */
function copiedMetadata(request: S3Request): CopiedMetadata {
  const directive = request.headers["x-amz-metadata-directive"] ?? "COPY";
  const own = objectMetadata(request.headers);
  if (directive === "REPLACE") return { isSource: false, of: own };
  if (directive !== "COPY")
    throw invalidArgument("x-amz-metadata-directive", String(directive), "Unknown metadata directive.");
  const given = Object.fromEntries(Object.entries(own.headers).filter(([name]) => isNotCopied(name)));
  const of = ({ headers, user }: ObjectMetadata): ObjectMetadata => {
    const kept = Object.entries(headers).filter(([name]) => !isNotCopied(name));
    return { headers: { ...Object.fromEntries(kept), ...given }, user };
  };
  return { isSource: Object.keys(given).length === 0, of };
}

function isOntoItself({ bucket, key }: S3Request, source: CopyOptions["source"]): boolean {
  return source.bucket === bucket && source.key.equals(key);
}

/** Where there are versions it makes a new one, which may be an old one again. Versioning never goes off, so a look is enough. */
async function refuseSelfCopy({ bucket }: S3Request, { objects }: Services): Promise<void> {
  if ((await objects.bucket(bucket)).versioning === "unversioned") throw selfCopy();
}

/** Undefined: the source's. As with AWS, the tags that a request brings count only where it says REPLACE. */
function copiedTags({ headers }: S3Request): ObjectTags | undefined {
  const directive = headers["x-amz-tagging-directive"] ?? "COPY";
  if (directive === "REPLACE") return taggingHeader(headers["x-amz-tagging"]) ?? new Map();
  if (directive === "COPY") return undefined;
  throw invalidArgument("x-amz-tagging-directive", String(directive), "Unknown tagging directive.");
}

function isNotCopied(header: string): boolean {
  return notCopied.some((name) => name === header);
}

function selfCopy(): S3Error {
  return new S3Error(
    "InvalidRequest",
    "This copy request is illegal because it is trying to copy an object to itself without changing the object's " +
      "metadata, storage class, website redirect location or encryption attributes.",
  );
}
