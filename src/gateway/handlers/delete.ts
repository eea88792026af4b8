/** DeleteObject and DeleteObjects. */
import { HoldfastError } from "../../core/errors.ts";
import { limits } from "../../core/limits.ts";
import type { Objects, WriteConditions } from "../../object/object.ts";
import { provesBody } from "../checksums.ts";
import { S3Error, toS3Error } from "../errors.ts";
import type { Handler, S3Request } from "../exchange.ts";
import { parseEtagList, writeConditions } from "../headers.ts";
import { countParam, invalidArgument } from "../params.ts";
import { noContent, xmlReply } from "../respond.ts";
import { childrenOf, childText, escapeXml, parseXml, requiredText, xmlDocument } from "../xml.ts";
import type { XmlElement } from "../xml.ts";

type DeleteConditions = WriteConditions & { readonly sizeBytes?: number; readonly modifiedMs?: number };

/** Deletes of one DeleteObjects request that run at once. */
const deletesInFlightMax = 32;

export const deleteObject: Handler = async (request, { objects }) => {
  const { bucket, key, query, headers } = request;
  const versionId = query.get("versionId");
  const sizeBytes = countParam("x-amz-if-match-size", headerText(request, "x-amz-if-match-size"));
  const modified = headerText(request, "x-amz-if-match-last-modified-time");
  const conditions: DeleteConditions = {
    ...writeConditions(headers),
    ...(sizeBytes !== undefined && { sizeBytes }),
    ...(modified !== undefined && { modifiedMs: dateMs("x-amz-if-match-last-modified-time", modified) }),
  };
  await objects.delete({
    bucket,
    key,
    ...(versionId !== undefined && { versionId }),
    ...(Object.keys(conditions).length > 0 && { conditions }),
  });
  return noContent;
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
  const results = await deleteAll(wanted, (item) => deleteOne(objects, bucket, item));
  const shown = quiet ? results.filter((result) => result.failed) : results;
  return xmlReply(xmlDocument("DeleteResult", shown.map((result) => result.xml).join("")));
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

type Deleted = { readonly failed: boolean; readonly xml: string };

/** Results in the order of `items`, with deletesInFlightMax under way. */
async function deleteAll(items: readonly ToDelete[], run: (item: ToDelete) => Promise<Deleted>): Promise<Deleted[]> {
  const results: Deleted[] = [];
  for (let start = 0; start < items.length; start += deletesInFlightMax)
    results.push(...(await Promise.all(items.slice(start, start + deletesInFlightMax).map(run))));
  return results;
}

async function deleteOne(objects: Objects, bucket: string, item: ToDelete): Promise<Deleted> {
  const { key, versionId, conditions } = item;
  const names =
    `<Key>${escapeXml(key)}</Key>` + (versionId === undefined ? "" : `<VersionId>${escapeXml(versionId)}</VersionId>`);
  try {
    await objects.delete({
      bucket,
      key: Buffer.from(key),
      ...(versionId !== undefined && { versionId }),
      ...(conditions !== undefined && { conditions }),
    });
    return { failed: false, xml: `<Deleted>${names}</Deleted>` };
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    const { code, message } = toS3Error(error);
    const xml = `<Error>${names}<Code>${code}</Code><Message>${escapeXml(message)}</Message></Error>`;
    return { failed: true, xml };
  }
}
