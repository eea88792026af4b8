/**
 * Request headers as values: ranges, dates, conditions, metadata. What a header says wrongly is ignored where RFC 9110 says
 * so (ranges, dates) and refused where it would change what is stored.
 *
 * Header bytes travel through node as latin1, one character a byte, and metadata keeps them so: what a client stored comes
 * back to it byte for byte, be it UTF-8 or RFC 2047. (AWS itself answers text beyond ASCII as RFC 2047.)
 */
import type { IncomingHttpHeaders } from "node:http";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type {
  ContentHeaderName,
  Ending,
  ObjectMetadata,
  ReadConditions,
  RequestedRange,
  WriteConditions,
} from "../object/object.ts";
import { S3Error } from "./errors.ts";

function textOf(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(", ") : value;
}

// ---- Dates ----

/** Unix milliseconds as an IMF-fixdate (RFC 9110, section 5.6.7). */
export function httpDate(ms: number): string {
  return new Date(ms).toUTCString();
}

const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const dayNames = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)";
const longDayNames = "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)";
const time = "(?<time>\\d\\d:\\d\\d:\\d\\d)";
const dateForms = [
  new RegExp(`^${dayNames}, (?<day>\\d\\d) (?<month>[A-Z][a-z]{2}) (?<year>\\d{4}) ${time} GMT$`),
  new RegExp(`^${longDayNames}, (?<day>\\d\\d)-(?<month>[A-Z][a-z]{2})-(?<year>\\d\\d) ${time} GMT$`),
  new RegExp(`^${dayNames} (?<month>[A-Z][a-z]{2}) (?<day>[ \\d]\\d) ${time} (?<year>\\d{4})$`),
];

/** Unix milliseconds of any of HTTP's three date forms (two-digit years are 1970 to 2069); undefined for all else. */
export function parseHttpDate(text: string): number | undefined {
  for (const form of dateForms) {
    const groups = form.exec(text.trim())?.groups;
    if (groups === undefined) continue;
    const month = months.indexOf(groups["month"]!);
    const [hour, minute, second] = groups["time"]!.split(":").map(Number) as [number, number, number];
    const day = Number(groups["day"]);
    const shortYear = Number(groups["year"]);
    const year = groups["year"]!.length === 4 ? shortYear : shortYear + (shortYear < 70 ? 2000 : 1900);
    const date = new Date(0);
    date.setUTCFullYear(year, month, day);
    date.setUTCHours(hour, minute, second);
    const exact = month >= 0 && date.getUTCDate() === day && hour < 24 && minute < 60 && second <= 60;
    return exact ? date.getTime() : undefined;
  }
  return undefined;
}

// ---- Ranges ----

/** Where digits may be missing their blanks go with them: else a header of blanks would be tried in every split. */
const rangeForm = /^\s*bytes\s*=\s*(?:(\d+)\s*)?-\s*(?:(\d+)\s*)?$/i;

/** The one range of a Range header; undefined for none, several, or one that is malformed: then all is sent (as S3 does). */
export function requestedRange(headers: IncomingHttpHeaders): RequestedRange | undefined {
  return headers.range === undefined ? undefined : parseRange(headers.range);
}

export function parseRange(text: string): RequestedRange | undefined {
  const found = rangeForm.exec(text);
  if (found === null) return undefined;
  const [, first = "", last = ""] = found;
  if (first === "") return last === "" ? undefined : { kind: "suffix", length: position(last) };
  if (last === "") return { kind: "from", first: position(first), last: undefined };
  if (position(last) < position(first)) return undefined;
  return { kind: "from", first: position(first), last: position(last) };
}

/** Numbers no object reaches are as good as the largest one. */
const position = (digits: string): number => Math.min(Number(digits), Number.MAX_SAFE_INTEGER);

// ---- Conditions ----

const etagForm = /[\s,]*(W\/)?(?:"([^"]*)"|([^",\s]+))/y;

/** ETags without quotes, or `*`. Quotes may be missing, as S3 tolerates. Weak ones are left out unless `weak` is set. */
export function parseEtagList(text: string, weak = false): readonly string[] | "*" {
  if (text.trim() === "*") return "*";
  const etags: string[] = [];
  etagForm.lastIndex = 0;
  for (let found = etagForm.exec(text); found !== null; found = etagForm.exec(text))
    if (weak || found[1] === undefined) etags.push(found[2] ?? found[3] ?? "");
  return etags;
}

/** One ETag without its quotes. */
export function parseEtag(text: string): string {
  return text.trim().replace(/^"(.*)"$/s, "$1");
}

export function writeConditions(headers: IncomingHttpHeaders): WriteConditions | undefined {
  const ifMatch = headers["if-match"];
  const ifNoneMatch = headers["if-none-match"];
  if (ifMatch === undefined && ifNoneMatch === undefined) return undefined;
  return {
    ...(ifMatch !== undefined && { ifMatch: parseEtagList(ifMatch) }),
    ...(ifNoneMatch !== undefined && { ifNoneMatch: parseEtagList(ifNoneMatch, true) }),
  };
}

export function readConditions(headers: IncomingHttpHeaders): ReadConditions | undefined {
  return conditionsOf(headers, "");
}

/** x-amz-copy-source-if-*. */
export function copySourceConditions(headers: IncomingHttpHeaders): ReadConditions | undefined {
  return conditionsOf(headers, "x-amz-copy-source-");
}

/** x-amz-rename-source-if-*. */
export function renameSourceConditions(headers: IncomingHttpHeaders): ReadConditions | undefined {
  return conditionsOf(headers, "x-amz-rename-source-");
}

function conditionsOf(headers: IncomingHttpHeaders, prefix: string): ReadConditions | undefined {
  const ifMatch = textOf(headers[`${prefix}if-match`]);
  const ifNoneMatch = textOf(headers[`${prefix}if-none-match`]);
  const ifModifiedSinceMs = parseHttpDate(textOf(headers[`${prefix}if-modified-since`]) ?? "");
  const ifUnmodifiedSinceMs = parseHttpDate(textOf(headers[`${prefix}if-unmodified-since`]) ?? "");
  const conditions: ReadConditions = {
    ...(ifMatch !== undefined && { ifMatch: parseEtagList(ifMatch) }),
    ...(ifNoneMatch !== undefined && { ifNoneMatch: parseEtagList(ifNoneMatch, true) }),
    ...(ifModifiedSinceMs !== undefined && { ifModifiedSinceMs }),
    ...(ifUnmodifiedSinceMs !== undefined && { ifUnmodifiedSinceMs }),
  };
  return Object.keys(conditions).length === 0 ? undefined : conditions;
}

// ---- Versions ----

const noHeaders: readonly string[] = [];

/** Of what was read. */
export function versionHeader({ versionId }: { readonly versionId: string | undefined }): readonly string[] {
  return versionId === undefined ? noHeaders : ["x-amz-version-id", versionId];
}

/** Of what was written: AWS does not name the null version there. */
export function newVersionHeader({ versionId }: { readonly versionId: string | undefined }): readonly string[] {
  return versionId === undefined || versionId === "null" ? noHeaders : ["x-amz-version-id", versionId];
}

// ---- Metadata ----

export const contentHeaderNames: readonly ContentHeaderName[] = [
  "content-type",
  "content-encoding",
  "content-language",
  "content-disposition",
  "cache-control",
  "expires",
  "x-amz-website-redirect-location",
  "x-amz-storage-class",
];

/**
 * Labels that are kept. Not GLACIER and DEEP_ARCHIVE: an object that bears one cannot be read on AWS until it is restored, so
 * clients (aws s3 cp -r, for one) pass over it without asking, and here nobody could ever restore it.
 */
const storageClasses: ReadonlySet<string> = new Set([
  "STANDARD",
  "REDUCED_REDUNDANCY",
  "STANDARD_IA",
  "ONEZONE_IA",
  "INTELLIGENT_TIERING",
  "GLACIER_IR",
  "EXPRESS_ONEZONE",
]);

// ---- Lifecycle ----

/** When an object will expire, and by which rule. */
export function endingHeader({ ending }: { readonly ending?: Ending }): readonly string[] {
  if (ending === undefined) return noHeaders;
  const { atMs, ruleId } = ending;
  return [
    "x-amz-expiration",
    `expiry-date="${httpDate(atMs)}", rule-id="${encodeURIComponent(ruleId.toWellFormed())}"`,
  ];
}

/** When an upload will end that is not completed, and by which rule. */
export function abortHeaders({ ending }: { readonly ending?: Ending }): readonly string[] {
  if (ending === undefined) return noHeaders;
  const { atMs, ruleId } = ending;
  return ["x-amz-abort-date", httpDate(atMs), "x-amz-abort-rule-id", encodeURIComponent(ruleId.toWellFormed())];
}

const userPrefix = "x-amz-meta-";

/** What a PUT or CreateMultipartUpload says about its object. `metadata_too_large`, InvalidStorageClass. */
export function objectMetadata(headers: IncomingHttpHeaders): ObjectMetadata {
  const kept: { [N in ContentHeaderName]?: string } = {};
  for (const name of contentHeaderNames) {
    const value = contentHeader(name, textOf(headers[name]));
    if (value !== undefined) kept[name] = value;
  }
  return { headers: kept, user: userMetadata(headers) };
}

function contentHeader(name: ContentHeaderName, text: string | undefined): string | undefined {
  if (text === undefined || text === "") return undefined;
  const value = name === "content-encoding" ? withoutAwsChunked(text) : text;
  if (value === undefined) return undefined;
  if (name === redirectHeader) checkRedirect(value);
  if (value.length > limits.contentHeaderBytesMax)
    throw new HoldfastError("metadata_too_large", `The header ${name} is longer than S3 keeps.`, {
      details: { MaxSizeAllowed: limits.contentHeaderBytesMax, Size: value.length },
    });
  if (name === "x-amz-storage-class" && !storageClasses.has(value))
    throw new S3Error("InvalidStorageClass", "The storage class you specified is not valid", {
      details: { StorageClassRequested: value },
    });
  return value;
}

/** Where the website of the bucket sends whoever asks for the object. */
export const redirectHeader = "x-amz-website-redirect-location";

function checkRedirect(location: string): void {
  if (location.length > limits.contentHeaderBytesMax)
    throw new S3Error(
      "InvalidRedirectLocation",
      `The length of website redirect location cannot exceed ${limits.contentHeaderBytesMax} characters.`,
    );
  if (/^(?:\/|https?:\/\/)/.test(location)) return;
  throw new S3Error(
    "InvalidRedirectLocation",
    "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
  );
}

/** The coding of the request's transfer is no property of the object. */
function withoutAwsChunked(encoding: string): string | undefined {
  if (!encoding.toLowerCase().includes("aws-chunked")) return encoding;
  const codings = encoding.split(",").map((coding) => coding.trim());
  const left = codings.filter((coding) => coding !== "" && coding.toLowerCase() !== "aws-chunked");
  return left.length === 0 ? undefined : left.join(",");
}

function userMetadata(headers: IncomingHttpHeaders): Readonly<Record<string, string>> {
  const user: [string, string][] = [];
  let sizeBytes = 0;
  for (const header in headers) {
    if (!header.startsWith(userPrefix) || header.length === userPrefix.length) continue;
    const name = header.slice(userPrefix.length);
    const value = textOf(headers[header]) ?? "";
    sizeBytes += name.length + value.length;
    user.push([name, value]);
  }
  if (sizeBytes > limits.userMetadataBytesMax)
    throw new HoldfastError("metadata_too_large", "Your metadata headers exceed the maximum allowed metadata size", {
      details: { MaxSizeAllowed: limits.userMetadataBytesMax, Size: sizeBytes },
    });
  // fromEntries defines properties, so that a name like __proto__ is one too.
  return Object.fromEntries(user);
}
