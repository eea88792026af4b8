/** Versioning of buckets, and the versions of their keys: Get- and PutBucketVersioning, ListObjectVersions. */
import { limits } from "../../core/limits.ts";
import type { ListedVersion, ListVersionsResult, Versioning } from "../../object/object.ts";
import { S3Error } from "../errors.ts";
import type { Handler } from "../exchange.ts";
import { ownersOf, ownerXml } from "../owners.ts";
import { bytesParam, encodeUrl, invalidArgument, pageLimit, urlEncoded } from "../params.ts";
import { xmlReply } from "../respond.ts";
import { childText, escapeXml, parseXml, xmlDocument } from "../xml.ts";
import { commonPrefixesXml, factsXml, isoTime, pageHeadXml } from "./list.ts";

const statusOf = { unversioned: "", enabled: "<Status>Enabled</Status>", suspended: "<Status>Suspended</Status>" };

export const getBucketVersioning: Handler = async ({ bucket }, { objects }) => {
  const { versioning } = await objects.bucket(bucket);
  return xmlReply(xmlDocument("VersioningConfiguration", statusOf[versioning]));
};

const versionings: ReadonlyMap<string, Exclude<Versioning, "unversioned">> = new Map([
  ["Enabled", "enabled"],
  ["Suspended", "suspended"],
]);

export const putBucketVersioning: Handler = async (request, { objects }) => {
  const root = parseXml(await request.xml(), "VersioningConfiguration");
  const mfaDelete = childText(root, "MfaDelete");
  if (mfaDelete === "Enabled")
    throw new S3Error(
      "NotImplemented",
      "A document you provided implies functionality that is not implemented: MFA delete.",
    );
  const status = childText(root, "Status");
  if (status === undefined)
    throw new S3Error("IllegalVersioningConfigurationException", "The Versioning element must be specified");
  const versioning = versionings.get(status);
  if (versioning === undefined || (mfaDelete !== undefined && mfaDelete !== "Disabled"))
    throw new S3Error(
      "MalformedXML",
      "The XML you provided was not well-formed or did not validate against our published schema",
    );
  await objects.setVersioning(request.bucket, versioning);
  return { status: 200, headers: [] };
};

/** A marker that a client leaves empty asks for nothing. */
function markers(query: ReadonlyMap<string, string>): { readonly key: string; readonly version: string } {
  const key = query.get("key-marker") ?? "";
  const version = query.get("version-id-marker") ?? "";
  if (version !== "" && key === "")
    throw invalidArgument(
      "version-id-marker",
      version,
      "A version-id marker cannot be specified without a key marker.",
    );
  return { key, version };
}

export const listObjectVersions: Handler = async (request, services) => {
  const { bucket, query } = request;
  const marker = markers(query);
  const spell = urlEncoded(query) ? (text: Buffer | string) => encodeUrl(text.toString()) : spellXml;
  const limit = pageLimit(query, "max-keys", limits.listPageKeysMax);
  const prefix = bytesParam(query, "prefix");
  const delimiter = bytesParam(query, "delimiter");
  const result = await services.objects.listVersions({
    bucket,
    limit,
    ...(prefix !== undefined && { prefix }),
    ...(delimiter !== undefined && { delimiter }),
    ...(marker.key !== "" && { afterKey: Buffer.from(marker.key) }),
    ...(marker.version !== "" && { afterVersionId: marker.version }),
  });
  const own =
    `<KeyMarker>${spell(marker.key)}</KeyMarker><VersionIdMarker>${escapeXml(marker.version)}</VersionIdMarker>` +
    nextXml(result, spell);
  const page = { request, limit, spell, isTruncated: result.next !== undefined };
  const ids = result.versions.map(({ owner }) => owner);
  const owners = await ownersOf(services.accounts, result.account, ids);
  const versions = result.versions
    .map((version) => versionXml(version, spell(version.key), ownerXml(owners(version.owner))))
    .join("");
  const inner = pageHeadXml(page, own) + versions + commonPrefixesXml(result.commonPrefixes, spell);
  return xmlReply(xmlDocument("ListVersionsResult", inner));
};

function spellXml(text: Buffer | string): string {
  return escapeXml(text.toString());
}

function nextXml({ next }: ListVersionsResult, spell: (text: Buffer) => string): string {
  if (next === undefined) return "";
  const { key, versionId } = next;
  const version = versionId === undefined ? "" : `<NextVersionIdMarker>${versionId}</NextVersionIdMarker>`;
  return `<NextKeyMarker>${spell(key)}</NextKeyMarker>${version}`;
}

function versionXml(version: ListedVersion, key: string, owner: string): string {
  const { versionId, isLatest, isMarker, modifiedMs } = version;
  const names = `<Key>${key}</Key><VersionId>${versionId}</VersionId><IsLatest>${isLatest}</IsLatest>`;
  if (!isMarker) return `<Version>${names}${factsXml(version)}${owner}</Version>`;
  return `<DeleteMarker>${names}<LastModified>${isoTime(modifiedMs)}</LastModified>${owner}</DeleteMarker>`;
}
