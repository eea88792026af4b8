/** What is known of uploads and parts: ListParts, ListMultipartUploads, GetObjectAttributes. */
import { limits } from "../../core/limits.ts";
import type { ListUploadsResult, ObjectInfo, PartInfo, UploadInfo } from "../../object/object.ts";
import { checksumXml } from "../checksums.ts";
import { customerKey } from "../encryption.ts";
import { S3Error } from "../errors.ts";
import type { Handler, S3Request } from "../exchange.ts";
import { abortHeaders, httpDate, versionHeader } from "../headers.ts";
import { ownersOf, ownerXml, type Owner } from "../owners.ts";
import { bytesParam, countParam, encodeUrl, invalidArgument, pageLimit, urlEncoded, versionParam } from "../params.ts";
import { xmlReply } from "../respond.ts";
import { escapeXml, xmlDocument } from "../xml.ts";
import { uploadRef } from "./multipart.ts";
import { isoTime } from "./list.ts";

type Spell = (text: Buffer | string) => string;

function speller(request: S3Request): Spell {
  return urlEncoded(request.query) ? (text) => encodeUrl(text.toString()) : (text) => escapeXml(text.toString());
}

export const listParts: Handler = async (request, { objects, accounts }) => {
  const { bucket, key, query } = request;
  // A client's key may come, and nothing that is shown needs it: only its form is judged.
  customerKey(request);
  const limit = pageLimit(query, "max-parts", limits.listPageKeysMax);
  const after = countParam("part-number-marker", query.get("part-number-marker")) ?? 0;
  const { account, upload, parts, isTruncated } = await objects.listParts({ ...uploadRef(request), after, limit });
  const owners = await ownersOf(accounts, account, [upload.acl?.owner]);
  const last = parts.at(-1)?.partNumber ?? after;
  const spell = speller(request);
  const inner =
    `<Bucket>${escapeXml(bucket)}</Bucket><Key>${spell(key)}</Key><UploadId>${escapeXml(upload.id)}</UploadId>` +
    uploadFacts(upload, owners(upload.acl?.owner)) +
    `<PartNumberMarker>${after}</PartNumberMarker><NextPartNumberMarker>${last}</NextPartNumberMarker>` +
    `<MaxParts>${limit}</MaxParts><IsTruncated>${isTruncated}</IsTruncated>` +
    parts.map((part) => `<Part>${partFacts(part)}</Part>`).join("");
  return xmlReply(xmlDocument("ListPartsResult", inner), abortHeaders(upload));
};

function uploadFacts(upload: UploadInfo, owner: Owner): string {
  const { checksum, metadata } = upload;
  return (
    `${ownerXml(owner, "Initiator")}${ownerXml(owner)}` +
    `<StorageClass>${escapeXml(metadata.headers["x-amz-storage-class"] ?? "STANDARD")}</StorageClass>` +
    (checksum === undefined
      ? ""
      : `<ChecksumAlgorithm>${checksum.algorithm.toUpperCase()}</ChecksumAlgorithm>` +
        `<ChecksumType>${checksum.type}</ChecksumType>`)
  );
}

function partFacts(part: PartInfo): string {
  return (
    `<PartNumber>${part.partNumber}</PartNumber><LastModified>${isoTime(part.modifiedMs)}</LastModified>` +
    `<ETag>&quot;${part.etag}&quot;</ETag><Size>${part.sizeBytes}</Size>` +
    (part.checksum === undefined ? "" : checksumXml(part.checksum))
  );
}

export const listMultipartUploads: Handler = async (request, services) => {
  const { bucket, query } = request;
  const spell = speller(request);
  const limit = pageLimit(query, "max-uploads", limits.listPageKeysMax);
  const prefix = bytesParam(query, "prefix");
  const delimiter = bytesParam(query, "delimiter");
  const afterKey = bytesParam(query, "key-marker");
  const afterUploadId = afterKey === undefined ? undefined : query.get("upload-id-marker");
  const result = await services.objects.listUploads({
    bucket,
    limit,
    ...(prefix !== undefined && { prefix }),
    ...(delimiter !== undefined && { delimiter }),
    ...(afterKey !== undefined && { afterKey }),
    ...(afterUploadId !== undefined && afterUploadId !== "" && { afterUploadId }),
  });
  const { uploads, account } = result;
  const owners = await ownersOf(
    services.accounts,
    account,
    uploads.map(({ acl }) => acl?.owner),
  );
  const page = { request, owners, result, limit, spell };
  return xmlReply(xmlDocument("ListMultipartUploadsResult", uploadsXml(page)));
};

function uploadsXml(page: {
  readonly request: S3Request;
  readonly owners: (id: string | undefined) => Owner;
  readonly result: ListUploadsResult;
  readonly limit: number;
  readonly spell: Spell;
}): string {
  const { result, spell, owners } = page;
  const { bucket, query } = page.request;
  const { next } = result;
  const delimiter = query.get("delimiter") ?? "";
  const uploads = result.uploads.map(
    (upload) =>
      `<Upload><Key>${spell(upload.key)}</Key><UploadId>${escapeXml(upload.id)}</UploadId>` +
      `${uploadFacts(upload, owners(upload.acl?.owner))}<Initiated>${new Date(upload.startedMs).toISOString()}</Initiated></Upload>`,
  );
  const prefixes = result.commonPrefixes.map(
    (prefix) => `<CommonPrefixes><Prefix>${spell(prefix)}</Prefix></CommonPrefixes>`,
  );
  return (
    `<Bucket>${escapeXml(bucket)}</Bucket><KeyMarker>${spell(query.get("key-marker") ?? "")}</KeyMarker>` +
    `<UploadIdMarker>${escapeXml(query.get("upload-id-marker") ?? "")}</UploadIdMarker>` +
    (next === undefined
      ? ""
      : `<NextKeyMarker>${spell(next.key)}</NextKeyMarker>` +
        `<NextUploadIdMarker>${escapeXml(next.uploadId ?? "")}</NextUploadIdMarker>`) +
    `<Prefix>${spell(query.get("prefix") ?? "")}</Prefix>` +
    (delimiter === "" ? "" : `<Delimiter>${spell(delimiter)}</Delimiter>`) +
    (query.get("encoding-type") === "url" ? "<EncodingType>url</EncodingType>" : "") +
    `<MaxUploads>${page.limit}</MaxUploads><IsTruncated>${next !== undefined}</IsTruncated>` +
    uploads.join("") +
    prefixes.join("")
  );
}

const attributeNames = new Set(["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]);

export const getObjectAttributes: Handler = async (request, { objects }) => {
  const { bucket, key, headers, query } = request;
  const wanted = wantedAttributes(headers["x-amz-object-attributes"]);
  const limit = Math.min(
    countParam("x-amz-max-parts", textOf(headers["x-amz-max-parts"])) ?? limits.listPageKeysMax,
    limits.listPageKeysMax,
  );
  const after = countParam("x-amz-part-number-marker", textOf(headers["x-amz-part-number-marker"])) ?? 0;
  const { info, parts, isTruncated } = await objects.objectParts({
    bucket,
    key,
    after,
    limit,
    ...versionParam(query),
    ...customerKey(request),
    ...request.admission.of("target"),
  });
  const inner =
    (wanted.has("ETag") ? `<ETag>${info.etag}</ETag>` : "") +
    (wanted.has("Checksum") && info.checksum !== undefined
      ? `<Checksum>${checksumXml(info.checksum, info.partsCount)}</Checksum>`
      : "") +
    (wanted.has("ObjectParts") ? objectPartsXml({ info, parts, isTruncated, after, limit }) : "") +
    (wanted.has("StorageClass")
      ? `<StorageClass>${escapeXml(info.metadata.headers["x-amz-storage-class"] ?? "STANDARD")}</StorageClass>`
      : "") +
    (wanted.has("ObjectSize") ? `<ObjectSize>${info.sizeBytes}</ObjectSize>` : "");
  return xmlReply(xmlDocument("GetObjectAttributesResponse", inner), [
    "last-modified",
    httpDate(info.modifiedMs),
    ...versionHeader(info),
  ]);
};

function textOf(value: string | string[] | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function wantedAttributes(header: string | string[] | undefined): ReadonlySet<string> {
  const names = (textOf(header) ?? "")
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  if (names.length === 0)
    throw new S3Error("InvalidRequest", "The x-amz-object-attributes header specifying the attributes is missing.");
  for (const name of names)
    if (!attributeNames.has(name))
      throw invalidArgument("x-amz-object-attributes", name, "Invalid attribute name specified.");
  return new Set(names);
}

function objectPartsXml(page: {
  readonly info: ObjectInfo;
  readonly parts: readonly PartInfo[];
  readonly isTruncated: boolean;
  readonly after: number;
  readonly limit: number;
}): string {
  const { info, parts, isTruncated, after, limit } = page;
  if (info.partsCount === undefined) return "";
  // AWS lists single parts only where they have a checksum of their own.
  const shown = parts.filter((part) => part.checksum !== undefined);
  return (
    `<ObjectParts><PartsCount>${info.partsCount}</PartsCount><PartNumberMarker>${after}</PartNumberMarker>` +
    `<NextPartNumberMarker>${parts.at(-1)?.partNumber ?? after}</NextPartNumberMarker><MaxParts>${limit}</MaxParts>` +
    `<IsTruncated>${isTruncated}</IsTruncated>` +
    shown
      .map(
        (part) =>
          `<Part><PartNumber>${part.partNumber}</PartNumber><Size>${part.sizeBytes}</Size>` +
          `${checksumXml(part.checksum!)}</Part>`,
      )
      .join("") +
    "</ObjectParts>"
  );
}
