/**
 * PostObject: an object from a browser's form. What a header is to PutObject, a field is here; who may store what is said by the
 * policy in the form, which its maker has signed (post_policy.ts). Everything is judged before the file is read, except
 * what the file itself shows: its length and its checksum.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { BodySource } from "../blob/blob.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { ObjectAcl, Objects, ObjectTags, PutResult } from "../object/object.ts";
import { checksumHeaders, planChecksums, provesBody } from "./checksums.ts";
import { objectTags } from "./documents/tagging.ts";
import { encryptionHeaders, wantedEncryption } from "./encryption.ts";
import { S3Error } from "./errors.ts";
import { asHeader } from "./exchange.ts";
import type { S3Request } from "./exchange.ts";
import { Form } from "./form.ts";
import type { FormFields, FormHead } from "./form.ts";
import { endingHeader, newVersionHeader, objectMetadata, writeConditions } from "./headers.ts";
import { encodeUrl } from "./params.ts";
import { judgePost, parsePostPolicy } from "./post_policy.ts";
import type { LengthRange } from "./post_policy.ts";
import type { Reply } from "./respond.ts";
import { parseXml, xmlElement } from "./xml.ts";

/** What a form asks for, before anybody has judged it. */
export type Posted = {
  readonly key: Buffer;
  /** As they came, but for `key`, in which the file's name stands now, and `bucket`, which is the one it was sent to. */
  readonly fields: FormFields;
  /** The fields that are headers of a PutObject. */
  readonly headers: IncomingHttpHeaders;
  readonly tags: ObjectTags | undefined;
};

/** Reads nothing yet. Errors: those of a form that is none; NotImplemented for a checksum of the whole request. */
export function openForm(request: S3Request): Form {
  if (provesBody(request.headers))
    throw new S3Error(
      "NotImplemented",
      "A checksum of a whole form is not implemented; its file can have one, in a field.",
    );
  return new Form(request.headers, request.body().source.stream());
}

/** Errors: InvalidArgument, and what is wrong with tags. */
export function postedObject({ bucket }: S3Request, { fields, fileName }: FormHead): Posted {
  const template = fields.get("key");
  if (template === undefined) throw badKey("Bucket POST must contain a field named 'key'.");
  const key = template.replaceAll("${filename}", () => fileName);
  if (key === "") throw badKey("User key must have a length greater than 0.");
  const judged = new Map(fields).set("key", key).set("bucket", bucket);
  const tagging = fields.get("tagging");
  const tags = tagging === undefined ? undefined : objectTags(parseXml(Buffer.from(tagging), "Tagging"));
  return { key: Buffer.from(key), fields: judged, headers: headersOf(fields), tags };
}

function badKey(why: string): S3Error {
  return new S3Error("InvalidArgument", why, { details: { ArgumentName: "key", ArgumentValue: "" } });
}

const plainHeaders: ReadonlySet<string> = new Set([
  "content-type",
  "content-encoding",
  "content-language",
  "content-disposition",
  "content-md5",
  "cache-control",
  "expires",
  "if-match",
  "if-none-match",
]);

function headersOf(fields: FormFields): IncomingHttpHeaders {
  const headers: IncomingHttpHeaders = {};
  for (const [name, value] of fields) {
    if (name === "acl") headers["x-amz-acl"] = asHeader(name, value);
    else if (plainHeaders.has(name) || name.startsWith("x-amz-")) headers[name] = asHeader(name, value);
  }
  return headers;
}

/** The headers that a PutObject would have had, as far as permissions and conditions depend on them. */
export function judgedHeaders({ headers: sent }: S3Request, { headers, tags }: Posted): IncomingHttpHeaders {
  const { "user-agent": agent, referer } = sent;
  const tagging = tags === undefined ? undefined : new URLSearchParams([...tags]).toString();
  return { ...headers, "user-agent": agent, referer, ...(tagging !== undefined && { "x-amz-tagging": tagging }) };
}

/** What the policy in the form says of it; one without is an anonymous request. Errors: InvalidPolicyDocument, AccessDenied. */
export function judgePosted({ fields }: Posted, nowMs: number): LengthRange {
  const policy = fields.get("policy");
  if (policy === undefined) return { minBytes: 0, maxBytes: limits.putBytesMax };
  return judgePost(parsePostPolicy(policy), { fields, nowMs });
}

export type StoreOptions = {
  readonly request: S3Request;
  readonly form: Form;
  readonly posted: Posted;
  readonly range: LengthRange;
  readonly acl: { readonly acl?: ObjectAcl };
  readonly objects: Objects;
};

export async function storePosted({ request, form, posted, range, acl, objects }: StoreOptions): Promise<Reply> {
  const { key, headers, tags } = posted;
  const conditions = writeConditions(headers);
  if (wantedEncryption(request).encryption !== undefined)
    throw new S3Error("NotImplemented", "A form asks for encryption in its fields, not in the headers of its request.");
  const { isPrivate } = request;
  const result = await objects.put({
    bucket: request.bucket,
    key,
    body: bodyOf(form, range),
    metadata: objectMetadata(headers),
    verifier: planChecksums(headers, "unsigned").verifier,
    signal: request.signal,
    ...wantedEncryption({ headers, isPrivate }),
    origin: request.origin,
    event: "ObjectCreated:Post",
    ...acl,
    ...(tags !== undefined && { tags }),
    ...(conditions !== undefined && { conditions }),
  });
  return answer(request, posted, result);
}

function bodyOf(form: Form, range: LengthRange): BodySource {
  return {
    sizeBytes: undefined,
    stream: () => within(form.file(), range),
    async collect(bytesMax) {
      const { minBytes, maxBytes } = range;
      const pieces: Uint8Array[] = [];
      for await (const piece of within(form.file(), { minBytes, maxBytes: Math.min(maxBytes, bytesMax) }))
        pieces.push(piece);
      return Buffer.concat(pieces);
    },
  };
}

async function* within(
  pieces: AsyncIterable<Uint8Array>,
  { minBytes, maxBytes }: LengthRange,
): AsyncGenerator<Uint8Array, void, undefined> {
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    if (bytes > maxBytes)
      throw new HoldfastError("entity_too_large", "Your proposed upload exceeds the maximum allowed size", {
        details: { ProposedSize: bytes, MaxSizeAllowed: maxBytes },
      });
    yield piece;
  }
  if (bytes >= minBytes) return;
  throw new HoldfastError("entity_too_small", "Your proposed upload is smaller than the minimum allowed size", {
    details: { ProposedSize: bytes, MinSizeAllowed: minBytes },
  });
}

// ---- The answer ----

function answer(request: S3Request, posted: Posted, result: PutResult): Reply {
  const { key, fields } = posted;
  const etag = `"${result.etag}"`;
  const location = `${request.address}/${encodeUrl(key.toString())}`;
  const headers = ["etag", etag, ...newVersionHeader(result), ...encryptionHeaders(posted, result)];
  headers.push(...endingHeader(result));
  if (result.checksum !== undefined) headers.push(...checksumHeaders(result.checksum, undefined));
  const redirect = redirectOf(request, fields, etag);
  if (redirect !== undefined) return { status: 303, headers: [...headers, "location", redirect] };
  headers.push("location", location);
  const status = fields.get("success_action_status");
  if (status === "200") return { status: 200, headers };
  if (status !== "201") return { status: 204, headers };
  const inner =
    xmlElement("Location", location) +
    xmlElement("Bucket", request.bucket) +
    xmlElement("Key", key.toString()) +
    xmlElement("ETag", etag);
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n<PostResponse>${inner}</PostResponse>`;
  return { status: 201, headers: [...headers, "content-type", "application/xml"], body };
}

/** Where the browser is sent. As with AWS, one that is no address counts as none. */
function redirectOf({ bucket }: S3Request, fields: FormFields, etag: string): string | undefined {
  const text = fields.get("success_action_redirect") ?? fields.get("redirect");
  if (text === undefined || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (url.protocol !== "http:" && url.protocol !== "https:") return undefined;
  const told = { bucket, key: fields.get("key") ?? "", etag };
  const query = Object.entries(told).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  url.search += (url.search === "" ? "?" : "&") + query.join("&");
  return url.href;
}
