/**
 * Unary gRPC calls to one member of an etcd cluster over HTTP/2 (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md), with what
 * Node.js brings. One connection, made when it is needed and made again after it ended.
 *
 * A call never throws: its answer says what is known. `lost` with `sent: false` means that the member cannot have seen
 * the request. Every call has a deadline, and after one that passed no other call begins on the same connection: it may
 * be dead without anybody having said so.
 */
import { connect, constants } from "node:http2";
import type {
  ClientHttp2Session,
  ClientHttp2Stream,
  IncomingHttpHeaders,
  SecureClientSessionOptions,
} from "node:http2";
import { assert } from "../core/assert.ts";
import { limits } from "../core/limits.ts";

export type Answer =
  | { readonly kind: "answered"; readonly message: Buffer }
  /** The member's own words: a gRPC status other than OK. */
  | { readonly kind: "refused"; readonly code: number; readonly text: string }
  | { readonly kind: "lost"; readonly sent: boolean; readonly cause: unknown };

export type Call = {
  /** `/etcdserverpb.KV/Txn` … */
  readonly path: string;
  /** The message behind frameHeadBytes bytes, which are filled in here. */
  readonly frame: Buffer;
  readonly token: string | undefined;
  readonly timeoutMs: number;
};

export type MemberOptions = {
  /** `host:port`, for a person to read as well. */
  readonly endpoint: string;
  /** Left out for a connection without TLS. */
  readonly tls?: Pick<SecureClientSessionOptions, "ca" | "cert" | "key">;
};

/** Not compressed (1 byte), length of the message (4 bytes). */
export const frameHeadBytes = 5;

const connectMsMax = 2_000;
/** What a member may send before it hears that it was read: a large scan should not wait for that. */
const windowBytes = 8 * 2 ** 20;
/** Node.js counts what is under way in a connection, and its default of 10 is less than a few answers. */
const sessionMegabytesMax = 1_024;
const statusOk = "0";

export class EtcdMember {
  readonly endpoint: string;
  readonly #options: MemberOptions;
  #connecting: Promise<ClientHttp2Session> | undefined;

  constructor(options: MemberOptions) {
    this.endpoint = options.endpoint;
    this.#options = options;
  }

  async call(call: Call): Promise<Answer> {
    assert(call.frame.length >= frameHeadBytes, "a frame has room for its head");
    this.#connecting ??= this.#connect(Math.min(call.timeoutMs, connectMsMax));
    const connecting = this.#connecting;
    let session: ClientHttp2Session;
    try {
      session = await connecting;
    } catch (cause) {
      this.#forget(connecting);
      return { kind: "lost", sent: false, cause };
    }
    const answer = await exchange(session, call);
    if (answer.kind === "lost") {
      this.#forget(connecting);
      endLater(session);
    }
    return answer;
  }

  /** Ends the connection; calls under way are lost. */
  close(): void {
    const connecting = this.#connecting;
    this.#connecting = undefined;
    connecting?.then(
      (session) => session.destroy(),
      () => undefined,
    );
  }

  /** Whoever asks next connects anew. */
  #forget(connecting: Promise<ClientHttp2Session>): void {
    if (this.#connecting === connecting) this.#connecting = undefined;
  }

  #connect(timeoutMs: number): Promise<ClientHttp2Session> {
    const { endpoint, tls } = this.#options;
    return new Promise((resolve, reject) => {
      const scheme = tls === undefined ? "http" : "https";
      const session = connect(`${scheme}://${endpoint}`, {
        ...tls,
        maxSessionMemory: sessionMegabytesMax,
        settings: { initialWindowSize: windowBytes },
      });
      const fail = (error: Error): void => {
        clearTimeout(timer);
        session.destroy();
        reject(error);
      };
      const timer = setTimeout(() => fail(new Error(`no connection after ${timeoutMs} ms`)), timeoutMs);
      session.once("error", fail).once("close", () => fail(new Error("the connection was closed")));
      session.once("connect", () => {
        clearTimeout(timer);
        session.setLocalWindowSize(2 * windowBytes);
        // Later errors end the streams, which tell.
        session.off("error", fail).on("error", () => undefined);
        resolve(session);
      });
    });
  }
}

/** What else is under way on a connection may still be answered, or meets its own deadline. */
function endLater(session: ClientHttp2Session): void {
  if (session.closed || session.destroyed) return;
  session.close();
  session.unref();
  setTimeout(() => session.destroy(), limits.etcdWriteMsMax).unref();
}

function exchange(session: ClientHttp2Session, call: Call): Promise<Answer> {
  let stream: ClientHttp2Stream;
  try {
    stream = session.request(headersOf(call));
  } catch (cause) {
    return Promise.resolve({ kind: "lost", sent: false, cause });
  }
  call.frame.writeUInt8(0, 0);
  call.frame.writeUInt32BE(call.frame.length - frameHeadBytes, 1);
  stream.end(call.frame);
  return answerOf(stream, call.timeoutMs);
}

function headersOf({ path, token, timeoutMs }: Call): Record<string, string> {
  return {
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
    "grpc-timeout": `${Math.ceil(timeoutMs)}m`,
    // A member that knows no leader says so at once, and has not begun anything then.
    hasleader: "true",
    ...(token === undefined ? {} : { token }),
  };
}

function answerOf(stream: ClientHttp2Stream, timeoutMs: number): Promise<Answer> {
  return new Promise((resolve) => {
    const pieces: Buffer[] = [];
    let status: IncomingHttpHeaders | undefined;
    let cause: unknown = new Error("the connection ended before the answer");
    const end = (): void => {
      clearTimeout(timer);
      const sent = stream.rstCode !== constants.NGHTTP2_REFUSED_STREAM;
      resolve(status === undefined ? { kind: "lost", sent, cause } : judged(status, pieces));
    };
    const timer = setTimeout(() => {
      cause = new Error(`no answer after ${Math.ceil(timeoutMs)} ms`);
      stream.close(constants.NGHTTP2_CANCEL);
      // It closes when that has been written, and on a connection whose other end takes nothing any more nothing is.
      end();
    }, timeoutMs);
    const look = (headers: IncomingHttpHeaders): void => {
      if (headers["grpc-status"] !== undefined) status = headers;
    };
    stream.on("response", look).on("trailers", look);
    stream.on("data", (piece: Buffer) => pieces.push(piece));
    stream.on("error", (error) => (cause = error));
    stream.on("close", end);
  });
}

function judged(status: IncomingHttpHeaders, pieces: readonly Buffer[]): Answer {
  if (status["grpc-status"] !== statusOk) {
    const text = String(status["grpc-message"] ?? "no reason given");
    return { kind: "refused", code: Number(status["grpc-status"]), text: percentDecoded(text) };
  }
  const all = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  const isWhole = all.length >= frameHeadBytes && all[0] === 0 && all.readUInt32BE(1) === all.length - frameHeadBytes;
  if (!isWhole) return { kind: "lost", sent: true, cause: new Error("the answer is not one gRPC message") };
  return { kind: "answered", message: all.subarray(frameHeadBytes) };
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
