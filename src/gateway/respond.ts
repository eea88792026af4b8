/**
 * Writes a reply. Promises: Content-Length is always set and always met; a body that fails before its first byte is answered as
 * any failure is, and one that fails half-way destroys the connection, so that the client sees a short body and never a silent end;
 * a stream's `release` is called exactly once;
 * a client that reads nothing for bodyIdleTimeoutMs is given up; a request body that nobody read is drained within bounds
 * before its connection is closed, so that the client gets to read the refusal.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { giveBack } from "../core/give_back.ts";
import { limits } from "../core/limits.ts";
import { unsentBytes } from "../core/unsent.ts";

/**
 * Bytes to send, in pieces; together exactly `lengthBytes`. A piece belongs to whoever takes it, and one that fills its
 * ArrayBuffer shares it with nobody: its memory is given back once it is sent.
 */
export type StreamBody = {
  readonly lengthBytes: number;
  pieces(): AsyncIterable<Buffer>;
  release(): void;
};

export type Reply = {
  readonly status: number;
  /** Flat: name, value, name, value. Content-Length is added here, except for HEAD, where the handler knows it. */
  readonly headers: readonly string[];
  readonly body?: string | Buffer | StreamBody;
  /** What went wrong, for metrics and log. */
  readonly code?: string;
  /** What became of each key of a request that is about several, for access logs. */
  readonly parts?: readonly ReplyPart[];
};

export type ReplyPart = {
  /** As access logs name it. */
  readonly operation: string;
  readonly key: Buffer;
  readonly versionId: string | undefined;
  readonly status: number;
  readonly code: string | undefined;
};

export type Sent = {
  readonly bytes: number;
  /** Why the reply could not be sent whole; `undefined` when it was. */
  readonly cut: Error | undefined;
  /** What was sent in the place of a reply whose body failed before anything of it was sent. */
  readonly instead?: Reply;
};

export const noContent: Reply = { status: 204, headers: [] };

export function xmlReply(xml: string, headers: readonly string[] = []): Reply {
  return { status: 200, headers: ["content-type", "application/xml", ...headers], body: xml };
}

const whole = (bytes: number): Sent => ({ bytes, cut: undefined });

export type SendOptions = {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly reply: Reply;
  /** Headers of every reply (request id), put first. */
  readonly common: readonly string[];
  /** The client waits for `100 Continue`, which it never got: its body will hardly come. */
  readonly awaitsContinue: boolean;
  /** What is answered when the body fails before its first byte; left out: the connection ends. */
  readonly refusal?: (error: Error) => Reply;
};

export async function send(options: SendOptions): Promise<Sent> {
  const { req, res, reply, common, awaitsContinue } = options;
  if (res.destroyed) {
    if (isStream(reply.body)) reply.body.release();
    return { bytes: 0, cut: new Error("The client left before the answer.") };
  }
  const lingers = hasUnreadBody(req);
  const headers = headersOf(req, reply, common);
  if (lingers) headers.push("connection", "close");
  if (isStream(reply.body)) {
    const sent = await sendStream(res, reply.status, headers, reply.body);
    return sent.cut === undefined ? sent : failed(options, sent.bytes, sent.cut);
  }
  res.writeHead(reply.status, headers);
  const body = req.method === "HEAD" ? undefined : reply.body;
  if (lingers) return sendThenDrain(req, res, { body, awaitsContinue });
  if (body === undefined) res.end();
  else res.end(body);
  return whole(lengthOf(body));
}

function isStream(body: Reply["body"]): body is StreamBody {
  return typeof body === "object" && !Buffer.isBuffer(body);
}

function lengthOf(body: string | Buffer | undefined): number {
  if (body === undefined) return 0;
  return typeof body === "string" ? Buffer.byteLength(body) : body.length;
}

function headersOf(req: IncomingMessage, reply: Reply, common: readonly string[]): string[] {
  const headers = [...common, ...reply.headers];
  if (req.method === "HEAD" || reply.status === 204 || reply.status === 304) return headers;
  const { body } = reply;
  headers.push("content-length", String(isStream(body) ? body.lengthBytes : lengthOf(body)));
  return headers;
}

/** After an error the socket may still point to the piece. */
function giveBackWhenSent(piece: Buffer): (error?: Error | null) => void {
  return (error) => {
    if (!error) giveBack(piece);
  };
}

/** The stream of the reply has ended with this error. */
async function failed({ refusal, ...options }: SendOptions, bytes: number, cut: Error): Promise<Sent> {
  const { res } = options;
  if (refusal === undefined || res.headersSent || res.destroyed) {
    res.destroy();
    return { bytes, cut };
  }
  const instead = refusal(cut);
  return { ...(await send({ ...options, reply: instead })), instead };
}

/** The head waits for the first piece. */
async function sendStream(res: ServerResponse, status: number, headers: string[], body: StreamBody): Promise<Sent> {
  let bytes = 0;
  try {
    for await (const piece of body.pieces()) {
      bytes += piece.length;
      if (bytes > body.lengthBytes) throw new Error("The body is longer than announced.");
      if (!res.headersSent) res.writeHead(status, headers);
      const isTaken = res.write(piece, giveBackWhenSent(piece));
      // What is there at once leaves in one write: pieces that come one by one, as decrypted blocks do, would cost a call each.
      if (!isTaken && res.writableLength >= limits.unsentBytesMax) await drained(res);
      if (res.destroyed) throw new Error("The client left while the body was being sent.");
    }
    if (bytes !== body.lengthBytes) throw new Error("The body is shorter than announced.");
    if (!res.headersSent) res.writeHead(status, headers);
    if (res.writableNeedDrain) await drained(res);
    if (res.destroyed) throw new Error("The client left while the end of the body was being sent.");
    res.end();
    return whole(bytes);
  } catch (error) {
    return { bytes, cut: error instanceof Error ? error : new Error(String(error)) };
  } finally {
    body.release();
  }
}

/** Resolves when more may be written, or when the response is over; destroys it when the client reads nothing for long. */
function drained(res: ServerResponse): Promise<void> {
  if (res.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      res.off("drain", done).off("close", done);
      resolve();
    };
    // The write begins only after this turn: what it leaves of itself then has moved.
    const { bytes } = unsent(res);
    let before = { bytes, underWayBytes: bytes };
    const look = (): void => {
      const now = unsent(res);
      if (now.bytes >= before.bytes && now.underWayBytes >= before.underWayBytes) return void res.destroy();
      before = now;
      timer = setTimeout(look, limits.bodyIdleTimeoutMs).unref();
    };
    let timer = setTimeout(look, limits.bodyIdleTimeoutMs).unref();
    res.on("drain", done).on("close", done);
  });
}

/** What waits to be sent, in whole writes, and what is left of the one under way: while nothing is added one of them falls. */
function unsent({ socket }: ServerResponse): { readonly bytes: number; readonly underWayBytes: number } {
  return { bytes: socket?.writableLength ?? 0, underWayBytes: unsentBytes(socket) };
}

/**
 * A request body that has not arrived whole although its answer is ready. (What has arrived and was not read is dropped
 * by node, which keeps the connection.)
 */
function hasUnreadBody(req: IncomingMessage): boolean {
  if (req.complete) return false;
  const length = req.headers["content-length"];
  if (length === undefined) return req.headers["transfer-encoding"] !== undefined;
  return Number(length) > 0;
}

/**
 * The request is over for us: who goes on sending holds a connection for a while, and no place among the running ones. A client
 * that waits for `100 Continue` may send its body all the same (RFC 9110, section 10.1.1), most do so after a second: its answer must
 * not be cut off either, and our side of the connection ends at once for those that send nothing and read to its end.
 */
function sendThenDrain(
  req: IncomingMessage,
  res: ServerResponse,
  { body, awaitsContinue }: { readonly body: string | Buffer | undefined; readonly awaitsContinue: boolean },
): Sent {
  if (body === undefined || body.length === 0) res.flushHeaders();
  else res.write(body);
  const { socket } = res;
  const isEnded = awaitsContinue && socket !== null;
  if (isEnded) socket.end();
  void drainRequest(req, res).then(() => (isEnded ? res.destroy() : res.end()));
  return whole(lengthOf(body));
}

/** Reads and drops the rest of the request body, within lingerBytesMax and lingerMsMax. */
function drainRequest(req: IncomingMessage, res: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    let bytes = 0;
    const done = (): void => {
      clearTimeout(timer);
      req.off("data", onData).off("end", done).off("error", done).off("close", done);
      res.off("close", done);
      req.on("error", () => undefined);
      resolve();
    };
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (bytes > limits.lingerBytesMax) done();
    };
    const timer = setTimeout(done, limits.lingerMsMax);
    timer.unref();
    req.on("data", onData).on("end", done).on("error", done).on("close", done);
    res.on("close", done);
    req.resume();
    if (req.complete && req.readableEnded) done();
  });
}
