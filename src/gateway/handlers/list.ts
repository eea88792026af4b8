/** ListObjects and ListObjectsV2: one page of a bucket as XML, built in one string; and what ListObjectVersions shares. */
import { limits } from "../../core/limits.ts";
import type { ListedObject, ListResult } from "../../object/object.ts";
import type { Handler, S3Request, Services } from "../exchange.ts";
import { ownersOf, ownerXml, type Owner } from "../owners.ts";
import { bytesParam, decodeToken, encodeToken, encodeUrl, invalidArgument, pageLimit, urlEncoded } from "../params.ts";
import { xmlReply } from "../respond.ts";
import type { Reply } from "../respond.ts";
import { escapeXml, xmlDocument } from "../xml.ts";

type PageHead = {
  readonly request: S3Request;
  readonly limit: number;
  readonly isTruncated: boolean;
  /** Spells a key or prefix for XML, URL-encoded where the client asked for it. */
  readonly spell: (text: Buffer | string) => string;
};

type Page = PageHead & { readonly result: ListResult };

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
  return { request, result, limit, spell, isTruncated: result.next !== undefined };
}

/** The elements that all three listings begin with, and `own` between them. */
export function pageHeadXml(page: PageHead, own: string): string {
  const { query, bucket } = page.request;
  const delimiter = query.get("delimiter");
  return (
    `<Name>${escapeXml(bucket)}</Name><Prefix>${page.spell(query.get("prefix") ?? "")}</Prefix>${own}` +
    `<MaxKeys>${page.limit}</MaxKeys>` +
    (delimiter === undefined || delimiter === "" ? "" : `<Delimiter>${page.spell(delimiter)}</Delimiter>`) +
    (query.get("encoding-type") === "url" ? "<EncodingType>url</EncodingType>" : "") +
    `<IsTruncated>${page.isTruncated}</IsTruncated>`
  );
}

export function commonPrefixesXml(prefixes: readonly Buffer[], spell: PageHead["spell"]): string {
  let xml = "";
  for (const prefix of prefixes) xml += `<CommonPrefixes><Prefix>${spell(prefix)}</Prefix></CommonPrefixes>`;
  return xml;
}

const minuteMs = 60_000;
/** Keys listed together were often written together, and a date is a third of what an entry costs. */
let lastMinute = { startsMs: Number.NaN, text: "" };

/**
 * Unix milliseconds as `2026-01-01T00:00:00.000Z`: in whole seconds, as AWS has them and as Last-Modified says them. A client
 * that gives a file the time of one and compares it with the other would otherwise never find them equal.
 */
export function isoTime(ms: number): string {
  const startsMs = ms - (ms % minuteMs);
  if (startsMs !== lastMinute.startsMs) lastMinute = { startsMs, text: new Date(startsMs).toISOString().slice(0, 17) };
  const seconds = Math.floor((ms - startsMs) / 1_000);
  return `${lastMinute.text}${(seconds < 10 ? "0" : "") + String(seconds)}.000Z`;
}

/** What stands between Key and the end of an entry. */
export function factsXml(object: ListedObject): string {
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

type Owners = (id: string | undefined) => Owner;

function ownersOfPage({ result }: Page, { accounts }: Services): Promise<Owners> {
  const ids = result.objects.map(({ owner }) => owner);
  return ownersOf(accounts, result.account, ids);
}

function contents(page: Page, owners: Owners | undefined): string {
  const bucketOwner = owners === undefined ? "" : ownerXml(owners(undefined));
  const ownerPart = ({ owner }: ListedObject): string =>
    owner === undefined || owners === undefined ? bucketOwner : ownerXml(owners(owner));
  let xml = "";
  for (const object of page.result.objects)
    xml += `<Contents><Key>${page.spell(object.key)}</Key>${factsXml(object)}${ownerPart(object)}</Contents>`;
  return xml;
}

function listing(root: string, inner: string): Reply {
  return xmlReply(xmlDocument(root, inner));
}

export const listObjects: Handler = async (request, services) => {
  const { query } = request;
  const made = await page(request, services, bytesParam(query, "marker"));
  const { next } = made.result;
  const owners = await ownersOfPage(made, services);
  // AWS names the next marker only where the client could not take it from the last key: with a delimiter.
  const named = next !== undefined && bytesParam(query, "delimiter") !== undefined;
  const own =
    `<Marker>${made.spell(query.get("marker") ?? "")}</Marker>` +
    (named ? `<NextMarker>${made.spell(next)}</NextMarker>` : "");
  return listing(
    "ListBucketResult",
    pageHeadXml(made, own) + contents(made, owners) + commonPrefixesXml(made.result.commonPrefixes, made.spell),
  );
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
  const owners = query.get("fetch-owner") === "true" ? await ownersOfPage(made, services) : undefined;
  return listing(
    "ListBucketResult",
    pageHeadXml(made, own) + contents(made, owners) + commonPrefixesXml(prefixes, made.spell),
  );
};
