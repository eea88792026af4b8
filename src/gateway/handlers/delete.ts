/** DeleteObject and DeleteObjects. */
import { HoldfastError } from "../../core/errors.ts";
import { limits } from "../../core/limits.ts";
import type { DeleteResult, Objects, WriteConditions } from "../../object/object.ts";
import { provesBody } from "../checksums.ts";
import { bypassesGovernance } from "../documents/object_lock.ts";
import { S3Error, toS3Error } from "../errors.ts";
import type { Handler, S3Request } from "../exchange.ts";
import { parseEtagList, writeConditions } from "../headers.ts";
import { needsOfDelete } from "../needs.ts";
import { countParam, invalidArgument, versionParam } from "../params.ts";
import { noContent, xmlReply, type ReplyPart } from "../respond.ts";
import { childrenOf, childText, escapeXml, parseXml, requiredText, xmlDocument } from "../xml.ts";
import type { XmlElement } from "../xml.ts";

type DeleteConditions = WriteConditions & { readonly sizeBytes?: number; readonly modifiedMs?: number };

/** Deletes of one DeleteObjects request that run at once. */
const deletesInFlightMax = 32;

export const deleteObject: Handler = async (request, { objects }) => {
  const { bucket, key, query, headers, origin } = request;
  const sizeBytes = countParam("x-amz-if-match-size", headerText(request, "x-amz-if-match-size"));
  const modified = headerText(request, "x-amz-if-match-last-modified-time");
  const conditions: DeleteConditions = {
    ...writeConditions(headers),
    ...(sizeBytes !== undefined && { sizeBytes }),
    ...(modified !== undefined && { modifiedMs: dateMs("x-amz-if-match-last-modified-time", modified) }),
  };
  const { versionId, isMarker } = await objects.delete({
    bucket,
    key,
    origin,
    ...versionParam(query),
    bypassesGovernance: bypassesGovernance(headers),
    ...(Object.keys(conditions).length > 0 && { conditions }),
  });
  if (versionId === undefined) return noContent;
  return {
    ...noContent,
    headers: ["x-amz-version-id", versionId, ...(isMarker ? ["x-amz-delete-marker", "true"] : [])],
  };
};

function headerText({ headers }: S3Request, name: string): string | undefined {
  const value = headers[name];
  return typeof value === "string" ? value : undefined;
}

function dateMs(name: string, text: string): number {
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) throw invalidArgument(name, text, `${name} is not a date.`);
  return ms;
}

type ToDelete = {
  readonly key: string;
  readonly versionId: string | undefined;
  readonly conditions: DeleteConditions | undefined;
};

export const deleteObjects: Handler = async (request, { objects }) => {
  const { bucket } = request;
  requireChecksum(request);
  const bytes = await request.xml();
  const root = parseXml(bytes, "Delete");
  const quiet = childText(root, "Quiet") === "true";
  const wanted = childrenOf(root, "Object").map(toDelete);
  if (wanted.length === 0 || wanted.length > limits.deleteObjectsMax)
    throw new S3Error(
      "MalformedXML",
      "The XML you provided was not well-formed or did not validate against our published schema",
    );
  await objects.bucket(bucket);
  const results = await deleteAll(wanted, (item) => deleteOne(request, objects, item));
  const shown = quiet ? results.filter((result) => result.failed) : results;
  const reply = xmlReply(xmlDocument("DeleteResult", shown.map((result) => result.xml).join("")));
  return { ...reply, parts: results.map(({ part }) => part) };
};

/** What a DeleteObjects says would be hard to take back, so S3 wants its body proven. */
function requireChecksum({ headers }: S3Request): void {
  if (!provesBody(headers))
    throw new S3Error("InvalidRequest", "Missing required header for this request: Content-MD5");
}

function toDelete(element: XmlElement): ToDelete {
  const key = requiredText(element, "Key");
  if (key === "") throw new S3Error("UserKeyMustBeSpecified", "A key must be specified.");
  const etag = childText(element, "ETag");
  const size = countParam("Size", childText(element, "Size"));
  const modified = childText(element, "LastModifiedTime");
  const conditions: DeleteConditions = {
    ...(etag !== undefined && { ifMatch: parseEtagList(etag) }),
    ...(size !== undefined && { sizeBytes: size }),
    ...(modified !== undefined && { modifiedMs: dateMs("LastModifiedTime", modified) }),
  };
  return {
    key,
    versionId: childText(element, "VersionId"),
    conditions: Object.keys(conditions).length > 0 ? conditions : undefined,
  };
}

type Deleted = { readonly failed: boolean; readonly xml: string; readonly part: ReplyPart };

/** Results in the order of `items`, with deletesInFlightMax under way. */
async function deleteAll(items: readonly ToDelete[], run: (item: ToDelete) => Promise<Deleted>): Promise<Deleted[]> {
  const results: Deleted[] = [];
  for (let start = 0; start < items.length; start += deletesInFlightMax)
    results.push(...(await Promise.all(items.slice(start, start + deletesInFlightMax).map(run))));
  return results;
}

async function deleteOne(request: S3Request, objects: Objects, item: ToDelete): Promise<Deleted> {
  const { key, versionId, conditions } = item;
  const operation = "BATCH.DELETE.OBJECT";
  const names =
    `<Key>${escapeXml(key)}</Key>` + (versionId === undefined ? "" : `<VersionId>${escapeXml(versionId)}</VersionId>`);
  try {
    for (const needed of needsOfDelete(request, { ...item, key: Buffer.from(key) })) request.authority.require(needed);
    const deleted = await objects.delete({
      bucket: request.bucket,
      key: Buffer.from(key),
      origin: request.origin,
      bypassesGovernance: bypassesGovernance(request.headers),
      ...(versionId !== undefined && { versionId }),
      ...(conditions !== undefined && { conditions }),
    });
    const part = { operation, key: Buffer.from(key), versionId, status: 204, code: undefined };
    return { failed: false, xml: `<Deleted>${names}${markerXml(deleted)}</Deleted>`, part };
  } catch (error) {
    if (!(error instanceof HoldfastError || error instanceof S3Error)) throw error;
    const { code, status, message } = toS3Error(error);
    const xml = `<Error>${names}<Code>${code}</Code><Message>${escapeXml(message)}</Message></Error>`;
    return { failed: true, xml, part: { operation, key: Buffer.from(key), versionId, status, code } };
  }
}

/** The delete marker that was made, or that was removed. */
function markerXml({ isMarker, versionId }: DeleteResult): string {
  if (!isMarker || versionId === undefined) return "";
  return `<DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>${versionId}</DeleteMarkerVersionId>`;
}
