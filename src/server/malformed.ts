/**
 * Requests that no door gets to see: what node's parser refuses, and what it lets pass although its meaning is not
 * certain. Two readers of one connection must never differ about where a request ends or who sent it, so what is doubtful
 * is refused and the connection ends. (RFC 9112, sections 2.3, 3.2, 6.1 and 11.2.)
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { systemCode } from "../core/errors.ts";
import { limits } from "../core/limits.ts";

/** One request and its answer; a pipelining client has several under way on one connection. */
export type Exchange = { readonly request: IncomingMessage; readonly response: ServerResponse };

/** The status to refuse a request with before any door sees it; undefined when it is well-formed. */
export function refusalOf(request: IncomingMessage): number | undefined {
  const { rawHeaders, headers, httpVersionMajor, httpVersionMinor } = request;
  if (httpVersionMajor !== 1) return 505;
  if ((request.url ?? "").length > limits.requestTargetBytesMax) return 414;
  // Behind the last header that it keeps node drops the others in silence, conditions and all.
  if (rawHeaders.length > 2 * limits.headersMax) return 431;
  if (repeatsIdentity(rawHeaders)) return 400;
  const coding = headers["transfer-encoding"];
  if (coding === undefined) return undefined;
  if (httpVersionMinor === 0) return 400;
  return coding.toLowerCase() === "chunked" ? undefined : 501;
}

/** Host or Authorization twice: node would keep the first and say nothing. */
function repeatsIdentity(rawHeaders: readonly string[]): boolean {
  let hosts = 0;
  let authorizations = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!;
    if (name.length === 4 && name.toLowerCase() === "host") hosts += 1;
    else if (name.length === 13 && name.toLowerCase() === "authorization") authorizations += 1;
  }
  return hosts > 1 || authorizations > 1;
}

const malformed = new WeakSet<Socket>();

/**
 * Ends a connection whose bytes are no HTTP. An answer that is under way is never disturbed: a refusal written into the
 * middle of it would be taken for its body, and one written before it for the answer to another request.
 */
export function endMalformed(error: Error, socket: Socket, running: readonly Exchange[]): void {
  const last = running.at(-1);
  if (systemCode(error) === "ECONNRESET" || !socket.writable) return void socket.destroy();
  if (last === undefined) return refuse(error, socket);
  if (last.request.complete) return endAfter(last, socket);
  if (running.length > 1 || last.response.headersSent) return void socket.destroy();
  refuse(error, socket);
}

/** The request behind `last` is the bad one. */
function endAfter({ response }: Exchange, socket: Socket): void {
  if (malformed.has(socket)) return;
  malformed.add(socket);
  response.shouldKeepAlive = false;
  response.once("close", () => socket.destroySoon());
}

function refuse(error: Error, socket: Socket): void {
  if (malformed.has(socket)) return;
  malformed.add(socket);
  socket.end(`HTTP/1.1 ${statusLine(systemCode(error))}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
  setTimeout(() => socket.destroy(), limits.lingerMsMax).unref();
}

function statusLine(code: string | undefined): string {
  if (code === "HPE_HEADER_OVERFLOW") return "431 Request Header Fields Too Large";
  if (code === "HPE_CHUNK_EXTENSIONS_OVERFLOW") return "413 Content Too Large";
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return "408 Request Timeout";
  return "400 Bad Request";
}
