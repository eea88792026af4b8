/** ListObjects, ListObjectsV2 and ListObjectVersions: one page of a bucket as XML, built in one string. */
import { limits } from "../../core/limits.ts";
import type { ListedObject, ListResult } from "../../object/object.ts";
import type { Handler, Owner, S3Request, Services } from "../exchange.ts";
import { bytesParam, decodeToken, encodeToken, encodeUrl, invalidArgument, pageLimit, urlEncoded } from "../params.ts";
import { xmlReply } from "../respond.ts";
import type { Reply } from "../respond.ts";
import { escapeXml, xmlDocument } from "../xml.ts";

type Page = {
  readonly request: S3Request;
  readonly result: ListResult;
  readonly limit: number;
  /** Spells a key or prefix for XML, URL-encoded where the client asked for it. */
  readonly spell: (text: Buffer | string) => string;
};

async function page(request: S3Request, services: Services, after: Buffer | undefined): Promise<Page> {
  const { bucket, query } = request;
  const encoded = urlEncoded(query);
  const limit = pageLimit(query, "max-keys", limits.listPageKeysMax);
  const prefix = bytesParam(query, "prefix");
  const delimiter = bytesParam(query, "delimiter");
  const result = await services.objects.list({
    bucket,
    limit,
    ...(prefix !== undefined && { prefix }),
    ...(delimiter !== undefined && { delimiter }),
    ...(after !== undefined && { after }),
  });
  const spell = encoded
    ? (text: Buffer | string): string => encodeUrl(text.toString())
    : (text: Buffer | string): string => escapeXml(text.toString());
  return { request, result, limit, spell };
}

/** The elements that all three listings begin with, and `own` between them. */
function head(page: Page, own: string): string {
  const { query, bucket } = page.request;
  const delimiter = query.get("delimiter");
  return (
    `<Name>${escapeXml(bucket)}</Name><Prefix>${page.spell(query.get("prefix") ?? "")}</Prefix>${own}` +
    `<MaxKeys>${page.limit}</MaxKeys>` +
    (delimiter === undefined || delimiter === "" ? "" : `<Delimiter>${page.spell(delimiter)}</Delimiter>`) +
    (query.get("encoding-type") === "url" ? "<EncodingType>url</EncodingType>" : "") +
    `<IsTruncated>${page.result.next !== undefined}</IsTruncated>`
  );
}

function commonPrefixes(page: Page): string {
  let xml = "";
  for (const prefix of page.result.commonPrefixes)
    xml += `<CommonPrefixes><Prefix>${page.spell(prefix)}</Prefix></CommonPrefixes>`;
  return xml;
}

export function ownerXml(owner: Owner, element = "Owner"): string {
  return `<${element}><ID>${escapeXml(owner.id)}</ID><DisplayName>${escapeXml(owner.displayName)}</DisplayName></${element}>`;
}

const minuteMs = 60_000;
/** Keys listed together were often written together, and a date is a third of what an entry costs. */
let lastMinute = { startsMs: Number.NaN, text: "" };

/** Unix milliseconds as `2026-01-01T00:00:00.000Z`. */
export function isoTime(ms: number): string {
  const startsMs = ms - (ms % minuteMs);
  if (startsMs !== lastMinute.startsMs) lastMinute = { startsMs, text: new Date(startsMs).toISOString().slice(0, 17) };
  const rest = ms - startsMs;
  return `${lastMinute.text}${(rest < 10_000 ? "0" : "") + (rest / 1_000).toFixed(3)}Z`;
}

/** What stands between Key and the end of an entry. */
function facts(object: ListedObject): string {
  const { checksum } = object;
  return (
    `<LastModified>${isoTime(object.modifiedMs)}</LastModified><ETag>&quot;${object.etag}&quot;</ETag>` +
    (checksum === undefined
      ? ""
      : `<ChecksumAlgorithm>${checksum.algorithm.toUpperCase()}</ChecksumAlgorithm>` +
        `<ChecksumType>${checksum.type}</ChecksumType>`) +
    `<Size>${object.sizeBytes}</Size><StorageClass>${escapeXml(object.storageClass ?? "STANDARD")}</StorageClass>`
  );
}

function contents(page: Page, owner: Owner | undefined): string {
  const ownerPart = owner === undefined ? "" : ownerXml(owner);
  let xml = "";
  for (const object of page.result.objects)
    xml += `<Contents><Key>${page.spell(object.key)}</Key>${facts(object)}${ownerPart}</Contents>`;
  return xml;
}

function listing(root: string, inner: string): Reply {
  return xmlReply(xmlDocument(root, inner));
}

export const listObjects: Handler = async (request, services) => {
  const { query } = request;
  const made = await page(request, services, bytesParam(query, "marker"));
  const { next } = made.result;
  // AWS names the next marker only where the client could not take it from the last key: with a delimiter.
  const named = next !== undefined && bytesParam(query, "delimiter") !== undefined;
  const own =
    `<Marker>${made.spell(query.get("marker") ?? "")}</Marker>` +
    (named ? `<NextMarker>${made.spell(next)}</NextMarker>` : "");
  return listing("ListBucketResult", head(made, own) + contents(made, services.owner) + commonPrefixes(made));
};

export const listObjectsV2: Handler = async (request, services) => {
  const { query } = request;
  const type = query.get("list-type") ?? "";
  if (type !== "2") throw invalidArgument("list-type", type, "The list type is not valid.");
  const token = query.get("continuation-token");
  const startAfter = query.get("start-after");
  const after = token === undefined || token === "" ? bytesParam(query, "start-after") : decodeToken(token);
  const made = await page(request, services, after);
  const { next, objects, commonPrefixes: prefixes } = made.result;
  const own =
    (token === undefined ? "" : `<ContinuationToken>${escapeXml(token)}</ContinuationToken>`) +
    (next === undefined ? "" : `<NextContinuationToken>${encodeToken(next)}</NextContinuationToken>`) +
    (startAfter === undefined ? "" : `<StartAfter>${made.spell(startAfter)}</StartAfter>`) +
    `<KeyCount>${objects.length + prefixes.length}</KeyCount>`;
  const owner = query.get("fetch-owner") === "true" ? services.owner : undefined;
  return listing("ListBucketResult", head(made, own) + contents(made, owner) + commonPrefixes(made));
};

/** Without versioning every object is its own and only version, called `null`. */
export const listObjectVersions: Handler = async (request, services) => {
  const { query } = request;
  const keyMarker = query.get("key-marker") ?? "";
  const versionMarker = query.get("version-id-marker") ?? "";
  if (versionMarker !== "" && keyMarker === "")
    throw invalidArgument(
      "version-id-marker",
      versionMarker,
      "A version-id marker cannot be specified without a key marker.",
    );
  const made = await page(request, services, bytesParam(query, "key-marker"));
  const { next } = made.result;
  const own =
    `<KeyMarker>${made.spell(keyMarker)}</KeyMarker><VersionIdMarker>${escapeXml(versionMarker)}</VersionIdMarker>` +
    (next === undefined
      ? ""
      : `<NextKeyMarker>${made.spell(next)}</NextKeyMarker><NextVersionIdMarker>null</NextVersionIdMarker>`);
  const owner = ownerXml(services.owner);
  const versions = made.result.objects.map(
    (object) =>
      `<Version><Key>${made.spell(object.key)}</Key><VersionId>null</VersionId><IsLatest>true</IsLatest>` +
      `${facts(object)}${owner}</Version>`,
  );
  return listing("ListVersionsResult", head(made, own) + versions.join("") + commonPrefixes(made));
};
