/** GetObject and HeadObject. */
import { assert } from "../../core/assert.ts";
import { hasReason } from "../../core/errors.ts";
import type {
  GetOptions,
  GetOutcome,
  HeadOutcome,
  ObjectInfo,
  ReadConditions,
  ResolvedRange,
} from "../../object/object.ts";
import { maySeeTags, visibleLock } from "../authorize.ts";
import { checksumHeaders } from "../checksums.ts";
import { lockHeaders } from "../documents/object_lock.ts";
import { customerKey, encryptionHeaders } from "../encryption.ts";
import { S3Error } from "../errors.ts";
import type { Handler, S3Request } from "../exchange.ts";
import { endingHeader, httpDate, readConditions, requestedRange, versionHeader } from "../headers.ts";
import { countParam, invalidArgument, versionParam } from "../params.ts";
import type { Reply } from "../respond.ts";

type Found = Extract<GetOutcome, { outcome: "found" }>;
type Shown = Pick<Found, "info" | "range" | "partChecksum">;

/** What a GET or HEAD reads. */
function readOptions(request: S3Request): GetOptions {
  const { bucket, key, query, headers, signal } = request;
  const partNumber = countParam("partNumber", query.get("partNumber"));
  const range = requestedRange(headers);
  if (partNumber !== undefined && headers.range !== undefined)
    throw new S3Error("InvalidRequest", "Cannot specify both Range header and partNumber query parameter");
  const conditions = readConditions(headers);
  return {
    bucket,
    key,
    signal,
    ...request.admission.of("target"),
    ...versionParam(query),
    ...customerKey(request),
    ...(conditions !== undefined && { conditions }),
    ...(range !== undefined && { range }),
    ...(partNumber !== undefined && { partNumber }),
  };
}

/**
 * If-Range (RFC 9110, section 13.1.5): the range only of the version the client has a part of, else the whole object.
 * Asked as a condition of the read, so that no other version can slip in between; a failed one asks again without range.
 */
async function withIfRange<T>(
  request: S3Request,
  options: GetOptions,
  read: (options: GetOptions) => Promise<T>,
): Promise<T> {
  const ifRange = request.headers["if-range"];
  if (typeof ifRange !== "string" || options.range === undefined || options.conditions !== undefined)
    return read(options);
  const { range: _, ...wholeObject } = options;
  const conditions = ifRangeCondition(ifRange);
  if (conditions === undefined) return read(wholeObject);
  try {
    return await read({ ...options, conditions });
  } catch (error) {
    if (!hasReason(error, "precondition_failed")) throw error;
    return read(wholeObject);
  }
}

function ifRangeCondition(ifRange: string): ReadConditions | undefined {
  const etag = /^"([^"]*)"$/.exec(ifRange.trim());
  if (etag !== null) return { ifMatch: [etag[1]!] };
  const dateMs = Date.parse(ifRange);
  return Number.isNaN(dateMs) ? undefined : { ifUnmodifiedSinceMs: dateMs };
}

export const headObject: Handler = async (request, { objects }) => {
  const outcome: HeadOutcome = await withIfRange(request, readOptions(request), (options) => objects.head(options));
  if (outcome.outcome === "not_modified") return notModified(outcome.info);
  const length = outcome.range?.length ?? outcome.info.sizeBytes;
  const headers = [...objectHeaders(request, outcome), "content-length", String(length)];
  return { status: outcome.range === undefined ? 200 : 206, headers };
};

export const getObject: Handler = async (request, { objects }) => {
  const overrides = responseOverrides(request);
  const outcome = await withIfRange(request, readOptions(request), (options) => objects.get(options));
  if (outcome.outcome === "not_modified") return notModified(outcome.info);
  const headers = objectHeaders(request, outcome, overrides);
  const status = outcome.range === undefined ? 200 : 206;
  const lengthBytes = outcome.range?.length ?? outcome.info.sizeBytes;
  if (outcome.inline === undefined)
    return {
      status,
      headers,
      body: { lengthBytes, pieces: () => outcome.body(), release: () => outcome.release() },
    };
  outcome.release();
  assert(outcome.inline.length === lengthBytes, "an inline body has the announced length");
  return { status, headers, body: outcome.inline };
};

function notModified(info: ObjectInfo): Reply {
  const headers = ["etag", `"${info.etag}"`, "last-modified", httpDate(info.modifiedMs), ...versionHeader(info)];
  const { "cache-control": cacheControl, expires } = info.metadata.headers;
  if (cacheControl !== undefined) headers.push("cache-control", cacheControl);
  if (expires !== undefined) headers.push("expires", expires);
  return { status: 304, headers };
}

type Overrides = ReadonlyMap<string, string>;
const noOverrides: Overrides = new Map();

const overridable = [
  "content-type",
  "content-language",
  "expires",
  "cache-control",
  "content-disposition",
  "content-encoding",
];

/** response-* of the query: what a signed link may say about the body it hands out. */
function responseOverrides({ query, authority }: S3Request): Overrides {
  if (query.size === 0) return noOverrides;
  let overrides: Map<string, string> | undefined;
  for (const name of overridable) {
    const value = query.get(`response-${name}`);
    if (value === undefined) continue;
    if (/[\0-\x08\x0a-\x1f\x7f]/.test(value))
      throw invalidArgument(`response-${name}`, value, "A header value cannot contain control characters.");
    // Else anybody could make a page of this server out of what anybody may read.
    if (authority.caller?.kind === "anonymous")
      throw new S3Error(
        "InvalidRequest",
        "Request specific response headers cannot be used for anonymous GET requests.",
      );
    overrides ??= new Map();
    // Header bytes travel as latin1 in node: this sends the UTF-8 of the value.
    overrides.set(name, Buffer.from(value).toString("latin1"));
  }
  return overrides ?? noOverrides;
}

function objectHeaders(request: S3Request, shown: Shown, overrides: Overrides = noOverrides): string[] {
  const { info, range } = shown;
  const headers = ["etag", `"${info.etag}"`, "last-modified", httpDate(info.modifiedMs), "accept-ranges", "bytes"];
  headers.push(...versionHeader(info), ...encryptionHeaders(request, info));
  pushMetadata(headers, info, overrides);
  headers.push(...endingHeader(info));
  if (info.tags !== undefined && maySeeTags(request.authority, request, info))
    headers.push("x-amz-tagging-count", String(info.tags.size));
  headers.push(...lockHeaders(visibleLock(request.authority, request, info)));
  if (range !== undefined) headers.push("content-range", contentRange(range, info.sizeBytes));
  if (info.partsCount !== undefined && request.query.has("partNumber"))
    headers.push("x-amz-mp-parts-count", String(info.partsCount));
  if (request.headers["x-amz-checksum-mode"] === "ENABLED") {
    headers.push(...shownChecksum(shown));
  }
  return headers;
}

/** A range of bytes has no checksum, unless it is all of them or exactly a part. */
function shownChecksum({ info, range, partChecksum }: Shown): readonly string[] {
  const { checksum, partsCount, sizeBytes } = info;
  if (partChecksum !== undefined) return checksumHeaders(partChecksum, undefined);
  const isWhole = range === undefined || range.length === sizeBytes;
  return checksum !== undefined && isWhole ? checksumHeaders(checksum, partsCount) : [];
}

function contentRange({ offset, length }: ResolvedRange, sizeBytes: number): string {
  return length === 0 ? `bytes */${sizeBytes}` : `bytes ${offset}-${offset + length - 1}/${sizeBytes}`;
}

function pushMetadata(headers: string[], { metadata }: ObjectInfo, overrides: Overrides): void {
  const kept: Readonly<Record<string, string | undefined>> = metadata.headers;
  for (const name in kept) {
    const value = kept[name];
    if (value === undefined || overrides.has(name)) continue;
    if (name === "x-amz-storage-class" && value === "STANDARD") continue;
    headers.push(name, value);
  }
  if (kept["content-type"] === undefined && !overrides.has("content-type"))
    headers.push("content-type", "binary/octet-stream");
  for (const [name, value] of overrides) headers.push(name, value);
  for (const name in metadata.user) headers.push(`x-amz-meta-${name}`, metadata.user[name]!);
}
