/**
 * Calls of the file API in the access log of the bucket that its files lie in: with the names of the S3 operations that do the same,
 * and the address that was really asked for. An upload has a line for each of its files.
 */
import type { IncomingMessage } from "node:http";
import { TLSSocket } from "node:tls";
import type { DoorReply } from "../core/door.ts";
import { HoldfastError } from "../core/errors.ts";
import { requesterOf, wholeBytes } from "../gateway/access_line.ts";
import type { Access } from "../gateway/authorize.ts";
import { toS3Error } from "../gateway/errors.ts";
import type { Reply, Sent } from "../gateway/respond.ts";
import type { AccessFacts, RequestLog } from "../logging/logging.ts";
import type { FilesOperation } from "./files.ts";

/** What becomes known of a call while it runs. */
export type FileVisit = { access?: Access; readonly files: { readonly key: Buffer; readonly sizeBytes?: number }[] };

export type AnsweredCall = {
  readonly req: IncomingMessage;
  readonly operation: FilesOperation;
  readonly status: number;
  readonly reply: DoorReply | Reply;
  readonly sent: Sent;
  /** What the call failed with. */
  readonly error: unknown;
  /** When it came. */
  readonly timeMs: number;
  readonly totalMs: number;
};

const names: Readonly<Record<FilesOperation, string>> = {
  Upload: "REST.PUT.OBJECT",
  Download: "REST.GET.OBJECT",
  Head: "REST.HEAD.OBJECT",
  Chunks: "REST.GET.OBJECT_ATTRIBUTES",
  Delete: "REST.DELETE.OBJECT",
  List: "REST.GET.BUCKET",
  Other: "REST.UNKNOWN.OBJECT",
};

type Logging = { readonly log: RequestLog; readonly bucket: string; readonly requestId: () => string };

export function logCall({ log, bucket, requestId }: Logging, call: AnsweredCall, visit: FileVisit): void {
  // The bucket's row was not read for whom nobody knows.
  if (visit.access === undefined) return log.takeUnseen(bucket, () => factsOf(call, visit, requestId(), undefined));
  if (!log.isLogged(bucket)) return;
  const id = requestId();
  const [first, ...more] = visit.files;
  for (const file of [first, ...more]) log.take(bucket, () => factsOf(call, visit, id, file));
}

function factsOf(
  call: AnsweredCall,
  { access }: FileVisit,
  requestId: string,
  file: FileVisit["files"][number] | undefined,
): AccessFacts {
  const { req, operation, reply, sent, status, timeMs, totalMs } = call;
  const { method = "", url: target = "/", httpVersion, headers, socket } = req;
  const tls = socket instanceof TLSSocket ? socket : undefined;
  return {
    timeMs,
    remoteAddress: socket.remoteAddress,
    requester: requesterOf(access),
    requestId,
    operation: names[operation],
    key: file?.key,
    request: { method, target, httpVersion },
    status,
    code: codeOf(call),
    bytesSent: method === "HEAD" ? undefined : sent.bytes,
    objectBytes: status >= 300 ? undefined : (file?.sizeBytes ?? sizeIn(operation, reply)),
    totalMs,
    // When the body had come is not known here.
    turnAroundMs: undefined,
    referer: headers.referer,
    userAgent: headers["user-agent"],
    versionId: undefined,
    hostId: undefined,
    signatureVersion: undefined,
    authType: access === undefined ? undefined : "Basic",
    cipher: tls?.getCipher()?.name,
    tlsVersion: tls?.getProtocol() ?? undefined,
    host: headers.host,
    isByAcl: false,
  };
}

function sizeIn(operation: FilesOperation, reply: DoorReply | Reply): number | undefined {
  return operation === "Download" || operation === "Head" ? wholeBytes(reply) : undefined;
}

/** S3's word for it: logs have only those. */
function codeOf({ error, status }: AnsweredCall): string | undefined {
  if (error === undefined) return undefined;
  if (error instanceof HoldfastError) return toS3Error(error).code;
  if (status === 401) return "AccessDenied";
  return status >= 500 ? "InternalError" : "InvalidRequest";
}
