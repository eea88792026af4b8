/** CopyObject, and what it shares with UploadPartCopy. */
import type { ChecksumAlgorithm, CopyOptions } from "../../object/object.ts";
import { checksumAlgorithmOf, checksumXml } from "../checksums.ts";
import { S3Error } from "../errors.ts";
import type { Handler, S3Request } from "../exchange.ts";
import { copySourceConditions, objectMetadata, writeConditions } from "../headers.ts";
import { invalidArgument } from "../params.ts";
import { xmlReply } from "../respond.ts";
import { decodeKey } from "../route.ts";
import { xmlDocument } from "../xml.ts";

export const copyObject: Handler = async (request, { objects }) => {
  const { bucket, key, headers, signal } = request;
  const source = copySource(request);
  const metadata = copiedMetadata(request, source);
  const conditions = writeConditions(headers);
  const checksumAlgorithm = wantedChecksum(request);
  const result = await objects.copy({
    source,
    bucket,
    key,
    metadata,
    signal,
    ...(checksumAlgorithm !== undefined && { checksumAlgorithm }),
    ...(conditions !== undefined && { conditions }),
  });
  const inner =
    `<LastModified>${new Date(result.modifiedMs).toISOString()}</LastModified>` +
    `<ETag>&quot;${result.etag}&quot;</ETag>` +
    (result.checksum === undefined ? "" : checksumXml(result.checksum));
  return xmlReply(xmlDocument("CopyObjectResult", inner));
};

function wantedChecksum({ headers }: S3Request): ChecksumAlgorithm | undefined {
  const name = headers["x-amz-checksum-algorithm"];
  return typeof name === "string" ? checksumAlgorithmOf(name) : undefined;
}

/** x-amz-copy-source: `bucket/key`, with or without a leading slash, URL-encoded, `?versionId=` behind it. */
export function copySource(request: S3Request): CopyOptions["source"] {
  const text = String(request.headers["x-amz-copy-source"] ?? "");
  const mark = text.indexOf("?versionId=");
  const path = (mark < 0 ? text : text.slice(0, mark)).replace(/^(\/|%2F)/i, "");
  const slash = /\/|%2F/i.exec(path);
  if (slash === null || slash.index === 0) throw badSource(text);
  const key = decodeKey(path.slice(slash.index + slash[0].length));
  if (key.length === 0) throw badSource(text);
  const bucket = decodeKey(path.slice(0, slash.index)).toString();
  if (bucket.startsWith("arn:")) throw new S3Error("NotImplemented", "Access points are not implemented.");
  const conditions = copySourceConditions(request.headers);
  const versionId = mark < 0 ? undefined : text.slice(mark + "?versionId=".length);
  return {
    bucket,
    key,
    ...(versionId !== undefined && { versionId }),
    ...(conditions !== undefined && { conditions }),
  };
}

function badSource(text: string): S3Error {
  return invalidArgument(
    "x-amz-copy-source",
    text,
    "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
  );
}

/** What a copy never takes from its source, as AWS documents it: without them it is STANDARD and redirects nowhere. */
const notCopied = ["x-amz-storage-class", "x-amz-website-redirect-location"] as const;

/** The metadata of the copy: the request's own (REPLACE), or the source's with what the request says of `notCopied` (COPY). */
function copiedMetadata(request: S3Request, source: CopyOptions["source"]): CopyOptions["metadata"] {
  const directive = request.headers["x-amz-metadata-directive"] ?? "COPY";
  const own = objectMetadata(request.headers);
  if (directive === "REPLACE") return own;
  if (directive !== "COPY")
    throw invalidArgument("x-amz-metadata-directive", String(directive), "Unknown metadata directive.");
  const given = Object.fromEntries(Object.entries(own.headers).filter(([name]) => isNotCopied(name)));
  const isOntoItself = source.bucket === request.bucket && source.key.equals(request.key);
  if (isOntoItself && Object.keys(given).length === 0) throw selfCopy();
  return ({ headers, user }) => {
    const kept = Object.entries(headers).filter(([name]) => !isNotCopied(name));
    return { headers: { ...Object.fromEntries(kept), ...given }, user };
  };
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
