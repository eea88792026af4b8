/**
 * What the doors below `/_/` (file API, admin) get and give, and the one shape of their errors:
 * `{"error": {"code": …, "message": …}}`. They return replies as data; the server sends them.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import { HoldfastError, type ErrorKind, type ErrorReason } from "./errors.ts";

export type DoorRequest = {
  readonly method: string;
  /** Path segments behind the door's own name, percent-decoded: `/_/files/ID/chunks` is ["ID", "chunks"] for `files`. */
  readonly segments: readonly string[];
  readonly query: ReadonlyMap<string, string>;
  readonly headers: IncomingHttpHeaders;
  readonly remoteAddress: string | undefined;
  /** The same object for all requests of one connection: what is known of the connection is kept by it. */
  readonly connection: object;
  /** Aborted when the client leaves before it has its answer. */
  readonly signal: AbortSignal;
  /** Opens the request body (and tells a client that waits for it to go on); at most once. */
  body(): Readable;
};

/** Headers are flat: name, value, name, value; Content-Length is added when it is sent. */
export type DoorReply = {
  readonly status: number;
  readonly headers: readonly string[];
  readonly body?: string | Buffer;
};

/** A refusal that is about HTTP and not about the store (401, 404 of an address, 405 …). */
export class HttpRefusal extends Error {
  override name = "HttpRefusal";
  readonly status: number;
  readonly code: string;
  readonly headers: readonly string[];

  constructor(status: number, code: string, message: string, headers: readonly string[] = []) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

export function noSuchAddress(): HttpRefusal {
  return new HttpRefusal(404, "no_such_address", "There is nothing at this address.");
}

export function methodNotAllowed(allowed: string): HttpRefusal {
  return new HttpRefusal(405, "method_not_allowed", `This address takes ${allowed}.`, ["allow", allowed]);
}

export function unauthorized(): HttpRefusal {
  const message = "Give an access key and its secret key with HTTP Basic authentication.";
  return new HttpRefusal(401, "unauthorized", message, ["www-authenticate", 'Basic realm="holdfast", charset="UTF-8"']);
}

export function jsonReply(status: number, body: unknown, headers: readonly string[] = []): DoorReply {
  const common = ["content-type", "application/json; charset=utf-8", "cache-control", "no-store"];
  return { status, headers: [...common, ...headers], body: JSON.stringify(body) + "\n" };
}

const statusOfKind: Readonly<Record<ErrorKind, number>> = {
  not_found: 404,
  conflict: 409,
  precondition_failed: 412,
  invalid: 400,
  denied: 403,
  unavailable: 503,
  full: 507,
  corrupt: 500,
  internal: 500,
};

const statusOfReason: { readonly [R in ErrorReason]?: number } = {
  entity_too_large: 413,
  invalid_range: 416,
  request_timeout: 408,
};

/** `isOurs`: something is wrong inside, which the client is not told and the log should be. */
export function errorReply(error: unknown): { readonly reply: DoorReply; readonly isOurs: boolean } {
  if (error instanceof HttpRefusal) {
    const { status, code, message, headers } = error;
    return { reply: jsonReply(status, { error: { code, message } }, headers), isOurs: false };
  }
  if (!(error instanceof HoldfastError) || error.kind === "internal" || error.kind === "corrupt") {
    const code = error instanceof HoldfastError ? error.reason : "internal";
    const message = "Something went wrong inside; the server's log says what.";
    return { reply: jsonReply(500, { error: { code, message } }), isOurs: true };
  }
  const status = statusOfReason[error.reason] ?? statusOfKind[error.kind];
  const headers = status === 503 ? ["retry-after", "1"] : [];
  if (error.reason === "invalid_range") headers.push("content-range", `bytes */${error.details["sizeBytes"] ?? "*"}`);
  return {
    reply: jsonReply(status, { error: { code: error.reason, message: error.message } }, headers),
    isOurs: false,
  };
}
