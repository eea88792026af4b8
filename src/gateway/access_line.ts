/**
 * What a line of an access log says of a request at this door (logging/line.ts), and which lines there are: one for the request, one
 * for the bucket that a copy reads from, and one for each key that a request is about besides (reply_parts.ts).
 *
 * Source: "Amazon S3 server access log format" of the S3 User Guide. It lists no operations; those here have the names that AWS's logs
 * are known to bear, and where there is none a name made in the same way.
 */
import type { IncomingMessage } from "node:http";
import { TLSSocket } from "node:tls";
import { ownAccount, type AccessFacts, type RequestLog } from "../logging/logging.ts";
import type { Caller } from "../policy/principals.ts";
import type { Access, Authority } from "./authorize.ts";
import { copySource } from "./copy_source.ts";
import { headersOf } from "./exchange.ts";
import { operations, type Operation } from "./operations.ts";
import type { Reply, ReplyPart, Sent } from "./respond.ts";
import type { Route } from "./route.ts";

/** One request that has been answered. */
export type Answered = {
  readonly req: IncomingMessage;
  readonly requestId: string;
  readonly hostId: string;
  /** It was for the website of the bucket, not for S3. */
  readonly isWebsite?: true;
  /** Undefined: it was refused before it was known what it asks for. */
  readonly operation: Operation | "Preflight" | undefined;
  readonly route: Route | undefined;
  /** Where it was refused before that was known. */
  readonly address: Pick<Route, "bucket" | "key">;
  /** Undefined: nobody that was known. */
  readonly access: Access | undefined;
  readonly signed: "header" | "query" | "form v2" | "form v4" | undefined;
  readonly authority: Authority | undefined;
  readonly timeMs: number;
  readonly totalMs: number;
  readonly turnAroundMs: number;
  readonly status: number;
  readonly reply: Reply;
  readonly sent: Sent;
};

export function logAnswered(log: RequestLog, answered: Answered): void {
  const { bucket } = answered.address;
  if (isUnseen(answered)) log.takeUnseen(bucket, () => factsOf(answered));
  else log.take(bucket, () => factsOf(answered));
  for (const part of answered.reply.parts ?? []) log.take(bucket, () => factsOfPart(answered, part));
  logCopySource(log, answered);
}

/** Whether there is anything to log, as far as is known; of a copy another bucket may be logged. */
export function isLogWanted(
  log: RequestLog,
  asked: Pick<Answered, "operation" | "route" | "authority" | "address">,
): boolean {
  return log.isLogged(asked.address.bucket) || isUnseen(asked) || isCopy(asked.operation);
}

/** It was refused for whose it is, which is found out before the bucket is looked at. */
function isUnseen({ operation, route, authority }: Pick<Answered, "operation" | "route" | "authority">): boolean {
  return route !== undefined && authority === undefined && operation !== "Preflight";
}

function isCopy(operation: Answered["operation"]): operation is "CopyObject" | "UploadPartCopy" {
  return operation === "CopyObject" || operation === "UploadPartCopy";
}

function logCopySource(log: RequestLog, answered: Answered): void {
  const { operation, route, authority, req } = answered;
  if (!isCopy(operation) || route === undefined || authority === undefined) return;
  const source = sourceOf(req, route);
  if (source === undefined || !log.isLogged(source.bucket)) return;
  const { key, versionId } = source;
  log.take(source.bucket, () => ({
    ...factsOf(answered),
    operation: `${operationName(operation, "", key)}_GET`,
    key,
    versionId,
    bytesSent: undefined,
  }));
}

function sourceOf(req: IncomingMessage, route: Route): ReturnType<typeof copySource> | undefined {
  try {
    return copySource(headersOf(req, route));
  } catch {
    // That is what the request was refused for.
    return undefined;
  }
}

function factsOf(answered: Answered): AccessFacts {
  const { req, route, operation, reply, sent, address, signed, authority } = answered;
  const { method = "", url: target = "/", httpVersion, headers, socket } = req;
  const tls = socket instanceof TLSSocket ? socket : undefined;
  return {
    timeMs: answered.timeMs,
    remoteAddress: socket.remoteAddress,
    requester: requesterOf(answered.access),
    requestId: answered.requestId,
    operation: answered.isWebsite ? `WEBSITE.${verbOf(method)}.OBJECT` : operationName(operation, method, address.key),
    key: address.key,
    request: { method, target, httpVersion },
    status: answered.status,
    code: reply.code,
    bytesSent: method === "HEAD" ? undefined : sent.bytes,
    objectBytes: objectBytes(answered),
    totalMs: answered.totalMs,
    turnAroundMs: answered.turnAroundMs,
    referer: headers.referer,
    userAgent: headers["user-agent"],
    versionId: route?.query.get("versionId"),
    hostId: answered.hostId,
    signatureVersion: signed && (signed === "form v2" ? "SigV2" : "SigV4"),
    authType: signed && authTypes[signed],
    cipher: tls?.getCipher()?.name,
    tlsVersion: tls?.getProtocol() ?? undefined,
    host: headers.host,
    isByAcl: authority?.isByAcl === true,
  };
}

const authTypes = { header: "AuthHeader", query: "QueryString", "form v2": "POST", "form v4": "POST" } as const;

function factsOfPart(answered: Answered, { operation, key, versionId, status, code }: ReplyPart): AccessFacts {
  return {
    ...factsOf(answered),
    operation,
    key,
    versionId,
    status,
    code,
    request: undefined,
    bytesSent: undefined,
    totalMs: undefined,
    turnAroundMs: undefined,
    referer: undefined,
    userAgent: undefined,
  };
}

/** A user and a session are named by their ARNs, an account by its canonical id. */
export function requesterOf(access: Access | undefined): AccessFacts["requester"] {
  if (access === undefined) return undefined;
  return access === "full" ? ownAccount : nameOf(access.caller);
}

function nameOf(caller: Caller): string | undefined {
  if (caller.kind === "root") return caller.canonicalId;
  if (caller.kind === "user" || caller.kind === "session") return caller.arn;
  if (caller.kind === "federated") return caller.provider;
  return caller.kind === "service" ? `svc:${caller.name}` : undefined;
}

const reads: readonly unknown[] = ["GetObject", "HeadObject"] satisfies Operation[];
const writes: readonly unknown[] = ["PutObject", "UploadPart"] satisfies Operation[];

/** Of the object that was read or written, whole. */
function objectBytes({ operation, reply, req, status }: Answered): number | undefined {
  if (status >= 300) return undefined;
  if (writes.includes(operation)) {
    const decoded = req.headers["x-amz-decoded-content-length"] ?? req.headers["content-length"];
    return decoded === undefined ? undefined : Number(decoded);
  }
  return reads.includes(operation) ? wholeBytes(reply) : undefined;
}

/** Of what an answer to GET or HEAD is a part of, or all. */
export function wholeBytes({ headers, body }: Reply): number {
  const range = headerOf(headers, "content-range");
  if (range !== undefined) return Number(range.slice(range.lastIndexOf("/") + 1));
  if (body === undefined) return Number(headerOf(headers, "content-length") ?? 0);
  if (typeof body === "string") return Buffer.byteLength(body);
  return Buffer.isBuffer(body) ? body.length : body.lengthBytes;
}

function headerOf(headers: readonly string[], name: string): string | undefined {
  for (let at = 0; at < headers.length; at += 2) if (headers[at] === name) return headers[at + 1];
  return undefined;
}

function operationName(operation: Answered["operation"], method: string, key: Uint8Array): string {
  if (operation === "Preflight") return "REST.OPTIONS.PREFLIGHT";
  const known = operation && operationNames.get(operation);
  if (known !== undefined) return known;
  return `REST.${verbOf(method)}.${key.length === 0 ? "BUCKET" : "OBJECT"}`;
}

function verbOf(method: string): string {
  return /^[A-Z]{1,10}$/.test(method) ? method : "UNKNOWN";
}

/** What the sub-resource is called where that is not its name in capitals. */
const resources: { readonly [O in Operation]?: string } = {
  ListObjectVersions: "BUCKETVERSIONS",
  DeleteObjects: "MULTI_OBJECT_DELETE",
  CommitObjects: "COMMIT",
  GetBucketPolicy: "BUCKETPOLICY",
  PutBucketPolicy: "BUCKETPOLICY",
  DeleteBucketPolicy: "BUCKETPOLICY",
  GetBucketPolicyStatus: "POLICY_STATUS",
  GetBucketLogging: "LOGGING_STATUS",
  PutBucketLogging: "LOGGING_STATUS",
  GetPublicAccessBlock: "PUBLIC_ACCESS_BLOCK",
  PutPublicAccessBlock: "PUBLIC_ACCESS_BLOCK",
  DeletePublicAccessBlock: "PUBLIC_ACCESS_BLOCK",
  GetBucketOwnershipControls: "OWNERSHIP_CONTROLS",
  PutBucketOwnershipControls: "OWNERSHIP_CONTROLS",
  DeleteBucketOwnershipControls: "OWNERSHIP_CONTROLS",
  GetBucketRequestPayment: "REQUEST_PAYMENT",
  PutBucketRequestPayment: "REQUEST_PAYMENT",
  GetObjectLockConfiguration: "OBJECT_LOCK_CONFIGURATION",
  PutObjectLockConfiguration: "OBJECT_LOCK_CONFIGURATION",
  GetObjectTagging: "OBJECT_TAGGING",
  PutObjectTagging: "OBJECT_TAGGING",
  DeleteObjectTagging: "OBJECT_TAGGING",
  GetObjectRetention: "OBJECT_LOCK_RETENTION",
  PutObjectRetention: "OBJECT_LOCK_RETENTION",
  GetObjectLegalHold: "OBJECT_LOCK_LEGALHOLD",
  PutObjectLegalHold: "OBJECT_LOCK_LEGALHOLD",
  GetObjectAttributes: "OBJECT_ATTRIBUTES",
  RenameObject: "OBJECT_RENAME",
  UploadPart: "PART",
  UploadPartCopy: "PART",
  ListObjectsV2: "BUCKET",
  CompleteMultipartUpload: "UPLOAD",
  AbortMultipartUpload: "UPLOAD",
  ListParts: "UPLOAD",
};

function nameOfOperation(operation: Operation): string {
  const { level, method, sub, copy } = operations[operation];
  const plain = { service: "SERVICE", bucket: "BUCKET", object: "OBJECT" }[level];
  const resource = resources[operation] ?? (sub === "" ? plain : sub.toUpperCase().replaceAll("-", "_"));
  return `REST.${copy === true ? "COPY" : method}.${resource}`;
}

const operationNames: ReadonlyMap<string, string> = new Map(
  (Object.keys(operations) as Operation[]).map((operation) => [operation, nameOfOperation(operation)]),
);
