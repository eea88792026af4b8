/**
 * Which operation a request asks for, on which bucket and key. Pure: method, host, raw request target and the presence
 * of a copy source in; a route or an S3 error out. Nothing is looked up and nothing is trusted.
 *
 * Keys are the raw bytes of the percent-decoded path, never normalised: `a//b`, `../a` and `a/` are keys like any other.
 * Path style is `/bucket/key`; virtual-host style is a host `bucket.<domain>` for one of the configured domains.
 */
import { isUtf8 } from "node:buffer";
import { limits } from "../core/limits.ts";
import { S3Error } from "./errors.ts";
import { namedSubResources, operations, subResources } from "./operations.ts";
import type { Level, Operation, OperationSpec } from "./operations.ts";

/** Decoded query parameters; of a name given twice the first counts. A name without `=` has the value "". */
export type Query = ReadonlyMap<string, string>;

export type Route = {
  readonly operation: Operation;
  /** "" for the service itself. Only its length is checked: a name that cannot be a bucket is simply not found. */
  readonly bucket: string;
  /** Empty unless the operation is on an object. */
  readonly key: Buffer;
  readonly query: Query;
  /** Still encoded, as the signature needs them. */
  readonly rawPath: string;
  readonly rawQuery: string;
};

export type RouteInput = {
  readonly method: string;
  readonly host: string | undefined;
  /** The request target as received: node gives its bytes as latin1. */
  readonly target: string;
  readonly hasCopySource: boolean;
  /** Lower-case, without port. */
  readonly domains: readonly string[];
};

const noKey = Buffer.alloc(0);
const noQuery: Query = new Map();

const index = new Map<string, Operation>();
for (const [name, spec] of Object.entries(operations) as [Operation, OperationSpec][]) {
  const { level, method, sub, copy, named } = spec;
  index.set(indexKey(level, method, sub, copy === true ? "copy" : named === true ? "id" : ""), name);
}

/** `variant`: what makes it another operation on the same resource. */
function indexKey(level: Level, method: string, sub: string, variant: "" | "copy" | "id"): string {
  return `${level} ${method} ${sub} ${variant}`;
}

/** Which bucket and key a request names, whatever it wants of them. */
export function addressOf(input: Pick<RouteInput, "host" | "target" | "domains">): Pick<Route, "bucket" | "key"> {
  return addressIn(splitTarget(input.target).path, input);
}

function addressIn(
  path: string,
  { host, domains }: Pick<RouteInput, "host" | "domains">,
): Pick<Route, "bucket" | "key"> {
  const address = locate(path, hostBucket(host, domains));
  checkBucketLength(address.bucket);
  return address;
}

export function detect(input: RouteInput): Route {
  const { path, rawQuery } = splitTarget(input.target);
  const { bucket, key } = addressIn(path, input);
  const query = rawQuery === "" ? noQuery : parseQuery(rawQuery);
  const level: Level = bucket === "" ? "service" : key.length === 0 ? "bucket" : "object";
  const sub = query.size === 0 ? "" : subResourceOf(query);
  const copy = level === "object" && input.method === "PUT" && (input.hasCopySource || query.has("x-amz-copy-source"));
  const named = query.has("id") && namedSubResources.has(sub);
  const operation = index.get(indexKey(level, input.method, sub, copy ? "copy" : named ? "id" : ""));
  if (operation === undefined) throw unknownOperation(sub);
  if (sub === "" && query.size > 0) refuseUnknownWrite(input.method, query);
  return { operation, bucket, key, query, rawPath: path, rawQuery };
}

function unknownOperation(sub: string): S3Error {
  if (sub !== "") return new S3Error("NotImplemented", `The sub-resource "${sub}" is not implemented.`);
  return new S3Error("MethodNotAllowed", "The specified method is not allowed against this resource.");
}

/** Names of parameters that say nothing when they are empty. */
const mayBeEmpty = /^(versionid|partnumber|x-.*)$/i;

/**
 * AWS goes on adding sub-resources, and DELETE or PUT of one that is not known here must not be taken for a DELETE or PUT of the
 * bucket or object itself.
 */
function refuseUnknownWrite(method: string, query: Query): void {
  if (method === "GET" || method === "HEAD") return;
  for (const [name, value] of query) if (value === "" && !mayBeEmpty.test(name)) throw unknownOperation(name);
}

/** Splits an origin-form or absolute-form request target into its still encoded path and query. */
export function splitTarget(target: string): { readonly path: string; readonly rawQuery: string } {
  let start = 0;
  if (!target.startsWith("/")) {
    const scheme = /^https?:\/\/[^/?]*/i.exec(target);
    if (scheme === null) throw invalidUri();
    start = scheme[0].length;
  }
  const mark = target.indexOf("?", start);
  const path = mark < 0 ? target.slice(start) : target.slice(start, mark);
  return { path: path === "" ? "/" : path, rawQuery: mark < 0 ? "" : target.slice(mark + 1) };
}

/** The bucket that a virtual-host style host name carries. */
function hostBucket(host: string | undefined, domains: readonly string[]): string | undefined {
  if (host === undefined || domains.length === 0) return undefined;
  const colon = host.lastIndexOf(":");
  const name = (colon > host.lastIndexOf("]") ? host.slice(0, colon) : host).toLowerCase();
  for (const domain of domains) {
    const cut = name.length - domain.length - 1;
    if (cut > 0 && name.endsWith(domain) && name[cut] === ".") return name.slice(0, cut);
  }
  return undefined;
}

function locate(path: string, virtualBucket: string | undefined): { readonly bucket: string; readonly key: Buffer } {
  if (virtualBucket !== undefined) return { bucket: virtualBucket, key: decodeKey(path.slice(1)) };
  const slash = path.indexOf("/", 1);
  const bucketPart = slash < 0 ? path.slice(1) : path.slice(1, slash);
  if (slash >= 0 && bucketPart === "") throw invalidUri();
  const bucket = bucketPart.includes("%") ? decodeKey(bucketPart).toString() : bucketPart;
  return { bucket, key: slash < 0 ? noKey : decodeKey(path.slice(slash + 1)) };
}

/** AWS judges a name before it looks for it; here only its length is, for what else cannot be a name is not found. */
function checkBucketLength(bucket: string): void {
  if (bucket.length <= limits.bucketNameCharsMax) return;
  throw new S3Error("InvalidBucketName", "The specified bucket is not valid.", { details: { BucketName: bucket } });
}

/** Percent-decodes to bytes. A key is UTF-8 in S3: anything else is refused, so that listings can always name it. */
export function decodeKey(encoded: string): Buffer {
  if (encoded === "") return noKey;
  const bytes = Buffer.from(encoded, "latin1");
  const first = encoded.indexOf("%");
  const decoded = first < 0 ? bytes : bytes.subarray(0, unescapeBytes(bytes, first));
  if (!isUtf8(decoded)) throw invalidUri();
  return decoded;
}

/** Decodes %XX in place from the first escape on; returns the new length. */
function unescapeBytes(bytes: Buffer, first: number): number {
  let to = first;
  for (let from = first; from < bytes.length; from++) {
    let byte = bytes[from]!;
    if (byte === 0x25) {
      const high = hexValue(bytes[from + 1]);
      const low = hexValue(bytes[from + 2]);
      if (high < 0 || low < 0) throw invalidUri();
      byte = high * 16 + low;
      from += 2;
    }
    bytes[to++] = byte;
  }
  return to;
}

function hexValue(byte: number | undefined): number {
  if (byte === undefined) return -1;
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

function invalidUri(): S3Error {
  return new S3Error("InvalidURI", "Couldn't parse the specified URI.");
}

/** Names and values percent-decoded as UTF-8; `+` is a space, as S3 reads it. */
export function parseQuery(rawQuery: string): Query {
  const query = new Map<string, string>();
  for (const pair of rawQuery.split("&")) {
    if (pair === "") continue;
    const equals = pair.indexOf("=");
    const name = decodeQueryPart(equals < 0 ? pair : pair.slice(0, equals));
    if (!query.has(name)) query.set(name, equals < 0 ? "" : decodeQueryPart(pair.slice(equals + 1)));
  }
  return query;
}

function decodeQueryPart(part: string): string {
  return part.includes("%") || !/^[\x21-\x7e]*$/.test(part) || part.includes("+")
    ? decodeKey(part.replaceAll("+", "%20")).toString()
    : part;
}

/** The one sub-resource among the query's names; two at once mean nothing we could answer. */
function subResourceOf(query: Query): string {
  let found = "";
  for (const name of query.keys()) {
    if (!subResources.has(name)) continue;
    if (found !== "")
      throw new S3Error("InvalidArgument", `The query parameters "${found}" and "${name}" exclude each other.`);
    found = name;
  }
  return found;
}
