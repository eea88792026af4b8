/** Answers of the doors that speak JSON (file API, admin): bodies, and the one shape of an error. */
import type { ServerResponse } from "node:http";
import { HoldfastError, type ErrorKind, type ErrorReason } from "./errors.ts";

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

/** A refusal that is about HTTP and not about the store (401, 404 of a path, 405, 415 …). */
export class HttpRefusal extends Error {
  override name = "HttpRefusal";
  readonly status: number;
  readonly code: string;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, code: string, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

export function methodNotAllowed(allowed: string): HttpRefusal {
  return new HttpRefusal(405, "method_not_allowed", `This address takes ${allowed}.`, { allow: allowed });
}

export function unauthorized(): HttpRefusal {
  return new HttpRefusal(401, "unauthorized", "Give an access key and its secret key with HTTP Basic authentication.", {
    "www-authenticate": 'Basic realm="holdfast", charset="UTF-8"',
  });
}

export function sendJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  const text = Buffer.from(JSON.stringify(body) + "\n");
  response.writeHead(status, {
    "cache-control": "no-store",
    ...headers,
    "content-type": "application/json; charset=utf-8",
    "content-length": text.length,
  });
  // Node itself keeps the body of an answer to HEAD off the wire.
  response.end(text);
}

/** Returns whether the error was one that a client or operator is meant to read; any other wants logging. */
export function sendError(response: ServerResponse, error: unknown): boolean {
  if (response.headersSent) {
    // The length was promised already: a broken connection is the only honest end.
    response.destroy();
    return error instanceof HoldfastError && error.kind !== "internal" && error.kind !== "corrupt";
  }
  if (error instanceof HttpRefusal) {
    sendJson(response, error.status, { error: { code: error.code, message: error.message } }, error.headers);
    return true;
  }
  if (error instanceof HoldfastError) {
    const status = statusOfReason[error.reason] ?? statusOfKind[error.kind];
    const headers: Record<string, string> = status === 503 ? { "retry-after": "1" } : {};
    if (error.reason === "invalid_range") headers["content-range"] = `bytes */${error.details["sizeBytes"] ?? "*"}`;
    sendJson(response, status, { error: { code: error.reason, message: error.message } }, headers);
    return status < 500 || status === 503 || status === 507;
  }
  sendJson(response, 500, { error: { code: "internal", message: "Something went wrong inside. The log says what." } });
  return false;
}
