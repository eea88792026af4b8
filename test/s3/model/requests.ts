/** How a request says what a step wants, and what its answer tells. Pure, but for what the model knows. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { childText, escapeXml, type XmlElement } from "../../../src/gateway/xml.ts";
import type { RawAnswer } from "../server.ts";
import { sumHeader, sumOf, type Algorithm, type Sum } from "./checksums.ts";
import { learn, noEtag, type Model } from "./model.ts";
import { isClients, methodHeader } from "./types.ts";
import type { ClientKey, Condition, Kept, Lock, Mode, Outcome, Retention, Rules, Upload, Version } from "./types.ts";

export const hourMs = 3_600_000;
const secrets = { one: Buffer.alloc(32, 1), two: Buffer.alloc(32, 2) };

const md5Of = (bytes: Buffer): string => createHash("md5").update(bytes).digest("base64");
export const proof = (bytes: Buffer): Record<string, string> => ({ "content-md5": md5Of(bytes) });

export function document(text: string): { headers: Record<string, string>; body: Buffer } {
  const bytes = Buffer.from(text);
  return { headers: proof(bytes), body: bytes };
}

export function keyHeaders(clientKey: ClientKey | undefined): Record<string, string> {
  if (clientKey === undefined) return {};
  const prefix = `${methodHeader}-customer-`;
  const secret = secrets[clientKey];
  return {
    [`${prefix}algorithm`]: "AES256",
    [`${prefix}key`]: secret.toString("base64"),
    [`${prefix}key-md5`]: md5Of(secret),
  };
}

function modeHeaders(mode: Mode | undefined): Record<string, string> {
  if (isClients(mode)) return keyHeaders(mode);
  if (mode === "s3") return { [methodHeader]: "AES256" };
  if (mode === "default") return { [methodHeader]: "aws:kms" };
  return mode === "blue" ? { [methodHeader]: "aws:kms", [`${methodHeader}-aws-kms-key-id`]: mode } : {};
}

export function renamed(headers: Record<string, string>, to: string, from = ""): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [to + name.slice(from.length), value]));
}

/** What a client says of its bytes, or by mistake of others. */
export type AskedSum = { readonly algorithm: Algorithm; readonly isWrong: boolean } | undefined;
export const toldSum = (asked: AskedSum, bytes: Buffer): Sum | undefined =>
  asked && sumOf(asked.algorithm, asked.isWrong ? Buffer.concat([bytes, Buffer.from("x")]) : bytes);
export const toldSumHeaders = (sum: Sum | undefined): Record<string, string> =>
  sum === undefined ? {} : { [sumHeader(sum.algorithm)]: sum.text };

export function retentionOf(model: Model, asked: { mode: string; hours: number } | undefined): Retention | undefined {
  if (asked === undefined) return undefined;
  const named = asked.mode === "COMPLIANCE" ? "COMPLIANCE" : "GOVERNANCE";
  return { mode: named, untilMs: model.clock.nowMs() + (asked.hours - 0.5) * hourMs };
}

type Asked = Kept & {
  readonly mode: Mode | undefined;
  readonly retention: { mode: string; hours: number } | undefined;
  readonly held: boolean | undefined;
};

/** Where nothing can be locked it is asked for rarely, for it would be refused. */
export function lockOf(model: Model, each: Asked): Lock {
  if (!model.hasLock && each.note !== "x") return {};
  return { retention: retentionOf(model, each.retention), held: each.held };
}

/** All that a new object is to be. */
export function askedHeaders(model: Model, each: Asked): Record<string, string> {
  const { retention: kept, held: on } = lockOf(model, each);
  const headers = modeHeaders(each.mode);
  if (each.note !== undefined) headers["x-amz-meta-note"] = each.note;
  if (each.tag !== undefined) headers["x-amz-tagging"] = `t=${each.tag}`;
  if (each.isPublic === true) headers["x-amz-acl"] = "public-read";
  if (on !== undefined) headers["x-amz-object-lock-legal-hold"] = on ? "ON" : "OFF";
  if (kept === undefined) return headers;
  headers["x-amz-object-lock-mode"] = kept.mode;
  headers["x-amz-object-lock-retain-until-date"] = new Date(kept.untilMs).toISOString();
  return headers;
}

/** `isRead`: what must not match is the version's own ETag. */
export function conditionHeaders(
  asked: Condition,
  version: Version | undefined,
  isRead = false,
): Record<string, string> {
  const etag = `"${version?.etag ?? noEtag}"`;
  if (asked === "none") return {};
  if (asked === "absent") return { "if-none-match": isRead ? etag : "*" };
  return { "if-match": asked === "there" ? etag : `"${noEtag}"` };
}

export const objectOf = (version: Version | undefined): Version | undefined =>
  version?.isMarker === true ? undefined : version;

/** The version that a request is about, if it is an object. */
export function versionAt(model: Model, key: string, id: string | undefined): Version | undefined {
  return objectOf(id === undefined ? model.current(key) : model.of(key).find((version) => version.id === id));
}

export function broughtKey(of: Mode | undefined, brought: string): ClientKey | undefined {
  if (brought === "none") return undefined;
  if (brought === "wrong") return of === "one" ? "two" : "one";
  return isClients(of) ? of : undefined;
}

export type Deleted = {
  readonly key: string;
  readonly id: string | undefined;
  readonly condition: Condition;
};

export function deletedText(model: Model, { key, id, condition }: Deleted): string {
  const etag = conditionHeaders(condition, versionAt(model, key, id))["if-match"];
  const version = id === undefined ? "" : `<VersionId>${id}</VersionId>`;
  return `<Object><Key>${key}</Key>${version}${etag === undefined ? "" : `<ETag>${etag}</ETag>`}</Object>`;
}

/** One key of an answer to DeleteObjects. */
export function assertDeleted(element: XmlElement, { key, id }: Deleted, outcome: Outcome): void {
  assert.deepEqual([childText(element, "Key"), childText(element, "VersionId")], [key, id]);
  if ("refused" in outcome) return assert.ok(outcome.refused.includes(childText(element, "Code") ?? "none"));
  assert.equal(element.name, "Deleted");
  assert.equal(childText(element, "DeleteMarker"), outcome.headers["x-amz-delete-marker"]);
  const markerId = childText(element, "DeleteMarkerVersionId");
  if (outcome.made !== undefined) learn(outcome.made, { id: markerId });
  else if (outcome.headers["x-amz-delete-marker"] !== undefined) assert.equal(markerId, id);
}

/** Undefined where no rule says anything. */
export function rulesText({ prefix, expires, noncurrent, markers, aborts }: Rules): string | undefined {
  const expired = "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>";
  const wanted = [
    expires && "<Expiration><Days>1</Days></Expiration>",
    noncurrent && "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>",
    markers && expired,
    aborts &&
      "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>",
  ].filter((text) => typeof text === "string");
  if (wanted.length === 0) return undefined;
  const filter = `<Filter><Prefix>${escapeXml(prefix)}</Prefix></Filter><Status>Enabled</Status>`;
  const rules = wanted.map((text, at) => `<Rule><ID>${at}</ID>${filter}${text}</Rule>`);
  return `<LifecycleConfiguration>${rules.join("")}</LifecycleConfiguration>`;
}

/** Undefined: the bucket has no default. */
export function encryptionText(mode: "plain" | "s3" | "default"): string | undefined {
  if (mode === "plain") return undefined;
  const algorithm = mode === "s3" ? "AES256" : "aws:kms";
  const rule = `<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>${algorithm}</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>`;
  return `<ServerSideEncryptionConfiguration>${rule}</ServerSideEncryptionConfiguration>`;
}

// ---- What is answered ----

const statusOf: Readonly<Record<string, number>> = {
  AccessDenied: 403,
  BadDigest: 400,
  EntityTooSmall: 400,
  InvalidArgument: 400,
  InvalidBucketState: 409,
  InvalidPart: 400,
  InvalidPartOrder: 400,
  InvalidRange: 416,
  InvalidRequest: 400,
  InvalidWriteOffset: 400,
  MethodNotAllowed: 405,
  NoSuchKey: 404,
  NoSuchUpload: 404,
  NoSuchVersion: 404,
  NotModified: 304,
  PreconditionFailed: 412,
  QuotaExceeded: 403,
};

/** What has no body says it by its status alone. */
export function assertRefused({ status, text }: RawAnswer, refused: readonly string[], shown: string): void {
  const codes = refused.filter((code) => statusOf[code] === status);
  const code = text === "" ? codes[0] : /<Code>(\w+)</.exec(text)?.[1];
  assert.ok(code !== undefined && codes.includes(code), `${refused.join(" or ")} was expected of ${shown}`);
}

export function toldBy({ headers, text }: RawAnswer): { id: string | undefined; etag: string | undefined } {
  const inBody = /<ETag>(?:&quot;|")([0-9a-f]+(?:-\d+)?)(?:&quot;|")/.exec(text)?.[1];
  const id = headers["x-amz-version-id"] ?? /<UploadId>([^<]+)</.exec(text)?.[1];
  return { id: typeof id === "string" ? id : undefined, etag: headers.etag?.slice(1, -1) ?? inBody };
}

export function partsText(parts: readonly { number: number; etag: string; sum: Sum | undefined }[]): string {
  const texts = parts.map(({ number, etag, sum }) => {
    const name = sum && `Checksum${sum.algorithm.toUpperCase()}`;
    const summed = sum === undefined ? "" : `<${name}>${sum.text}</${name}>`;
    return `<Part><PartNumber>${number}</PartNumber><ETag>"${etag}"</ETag>${summed}</Part>`;
  });
  return `<CompleteMultipartUpload>${texts.join("")}</CompleteMultipartUpload>`;
}

export const uploadAt = ({ uploads }: Model, at: number): Upload | undefined => uploads[uploads.length - 1 - at];
