/**
 * HTTP/1.1 as a node speaks it to another: a connection with one exchange at a time, bodies of known length both ways. What comes is read
 * into the reply's own buffer, in as few pieces as the kernel gives, where node:http's client makes a buffer for every 64 KiB
 * and hands it through its streams (docs/decisions/0009). The other side is an ordinary HTTP server.
 *
 * Promises: `exchange` rejects when there is no whole reply; then the connection has ended. It has ended too where the request was not
 * taken whole, or the reply says so: `isOpen` tells. When `exchange` is over nothing points to the request's bytes any more.
 *
 * Whoever answers has proven nothing yet: a head is bounded, a body has the length that was told and at most `replyBytesMax`, and
 * what nobody asked for ends the connection.
 */
import { connect, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { assert } from "../core/assert.ts";

export type WireOptions = {
  readonly url: URL;
  /** PEM of the authorities that may have signed the peer's certificate; the system's by default. */
  readonly ca?: string | Buffer | undefined;
  readonly replyBytesMax: number;
};

export type WireRequest = {
  readonly path: string;
  readonly headers: Readonly<Record<string, string | number>>;
  readonly body: readonly Uint8Array[];
  /** Told of each piece of the reply's body, in order, when it has come. */
  readonly onPiece?: (piece: Buffer) => void;
  /** A buffer of so many bytes for the reply's body; one of its own by default. */
  readonly room?: ((bytes: number) => Buffer) | undefined;
};

export type WireReply = {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
};

/** What is under way. */
type Exchange = {
  readonly request: WireRequest;
  readonly resolve: (reply: WireReply) => void;
  readonly reject: (error: unknown) => void;
  isWritten: boolean;
  /** From when its head was read. */
  reply: WireReply | undefined;
  filledBytes: number;
};

/** Of a reply's head; a node's has some 200. */
const headBytesMax = 4 * 1024;
const headEnd = "\r\n\r\n";
/**
 * Of a body, given to the kernel at a time. Where many connections send at once, whole bodies made single turns of the event loop last for
 * seconds on a busy machine, and new connections waited behind them until they were given up.
 */
const stepBytesMax = 64 * 1024;
/** When the kernel begins to ask whether the other side of a silent connection is still there. */
const keepAliveMs = 1_000;

export class Wire {
  readonly #options: WireOptions;
  readonly #socket: Socket;
  readonly #head = Buffer.allocUnsafeSlow(headBytesMax);
  #headBytes = 0;
  #exchange: Exchange | undefined;

  constructor(options: WireOptions) {
    this.#options = options;
    this.#socket = this.#connect();
    this.#socket.on("error", (error) => this.#fail(error));
    this.#socket.on("end", () => this.#socket.destroy());
    this.#socket.on("close", () => this.#fail(new Error("it ended without a whole answer")));
  }

  get isOpen(): boolean {
    return !this.#socket.destroyed && this.#socket.writable;
  }

  close(): void {
    this.#socket.destroy();
  }

  exchange(request: WireRequest, signal: AbortSignal): Promise<WireReply> {
    assert(this.#exchange === undefined, "a connection has one exchange at a time");
    return new Promise((resolve, reject) => {
      const onAbort = (): void => this.#fail(signal.reason);
      const over = (): void => signal.removeEventListener("abort", onAbort);
      this.#exchange = {
        request,
        resolve: (reply) => {
          over();
          resolve(reply);
        },
        reject: (error) => {
          over();
          reject(error instanceof Error ? error : new Error(String(error)));
        },
        isWritten: false,
        reply: undefined,
        filledBytes: 0,
      };
      if (signal.aborted) return onAbort();
      if (!this.isOpen) return this.#fail(new Error("it was closed"));
      signal.addEventListener("abort", onAbort, { once: true });
      this.#write(this.#exchange);
    });
  }

  #connect(): Socket {
    const { url, ca } = this.#options;
    const isTls = url.protocol === "https:";
    // A URL's host of IPv6 has brackets.
    const host = url.hostname.replace(/^\[|\]$/g, "");
    const port = url.port === "" ? (isTls ? 443 : 80) : Number(url.port);
    const onread = {
      buffer: (): Uint8Array => this.#room(),
      callback: (bytes: number): boolean => {
        this.#took(bytes);
        return true;
      },
    };
    const options = { host, port, onread, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveMs };
    if (!isTls) return connect(options);
    const names = isIP(host) === 0 ? { servername: host } : {};
    return connectTls({ ...options, ...names, ...(ca !== undefined && { ca }), ALPNProtocols: ["http/1.1"] });
  }

  #write(exchange: Exchange): void {
    const { path, headers, body } = exchange.request;
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    const bodyBytes = body.reduce((sum, { length }) => sum + length, 0);
    const fixed = `host: ${this.#options.url.host}\r\ncontent-length: ${bodyBytes}\r\n`;
    const socket = this.#socket;
    socket.ref();
    socket.cork();
    socket.write(`POST ${path} HTTP/1.1\r\n${fixed}${lines.join("")}\r\n`, "latin1");
    this.#writeStep(exchange, steps(body));
    socket.uncork();
  }

  /** The next step goes when the kernel has taken this one. */
  #writeStep(exchange: Exchange, rest: Iterator<Uint8Array, undefined>): void {
    const { value } = rest.next();
    if (value === undefined) {
      exchange.isWritten = true;
      return;
    }
    this.#socket.write(value, (error) => {
      if (!error && this.#exchange === exchange) this.#writeStep(exchange, rest);
    });
  }

  /** Where the next bytes go. */
  #room(): Buffer {
    const { reply, filledBytes } = this.#exchange ?? {};
    return reply === undefined ? this.#head.subarray(this.#headBytes) : reply.body.subarray(filledBytes);
  }

  #took(bytes: number): void {
    const exchange = this.#exchange;
    if (exchange === undefined) return void this.#socket.destroy();
    if (exchange.reply !== undefined) return this.#filled(exchange, exchange.reply, bytes);
    this.#headBytes += bytes;
    const end = this.#head.subarray(0, this.#headBytes).indexOf(headEnd);
    if (end >= 0) return this.#begin(exchange, end);
    if (this.#headBytes === headBytesMax) this.#fail(new Error("the head of its answer is too long"));
  }

  /** The head has come, and with it the first of the body. */
  #begin(exchange: Exchange, end: number): void {
    const head = parseHead(this.#head.toString("latin1", 0, end));
    const first = this.#head.subarray(end + headEnd.length, this.#headBytes);
    this.#headBytes = 0;
    if (head === undefined) return this.#fail(new Error("its answer is none of HTTP"));
    const { bodyBytes } = head;
    if (bodyBytes === undefined || bodyBytes > this.#options.replyBytesMax)
      return this.#fail(new Error("its answer has no length, or is too long"));
    if (first.length > bodyBytes) return this.#fail(new Error("its answer is longer than it says"));
    const body = exchange.request.room?.(bodyBytes) ?? Buffer.allocUnsafeSlow(bodyBytes);
    assert(body.length === bodyBytes, "a body fills its room");
    const reply = { status: head.status, headers: head.headers, body };
    exchange.reply = reply;
    first.copy(body);
    this.#filled(exchange, reply, first.length);
  }

  #filled(exchange: Exchange, reply: WireReply, bytes: number): void {
    const { body } = reply;
    if (bytes > 0) exchange.request.onPiece?.(body.subarray(exchange.filledBytes, exchange.filledBytes + bytes));
    exchange.filledBytes += bytes;
    if (exchange.filledBytes < body.length) return;
    this.#exchange = undefined;
    const goesOn = exchange.isWritten && reply.headers.get("connection")?.toLowerCase() !== "close";
    // A destroyed socket takes no more of the caller's bytes.
    if (goesOn) this.#socket.unref();
    else this.#socket.destroy();
    exchange.resolve(reply);
  }

  #fail(error: unknown): void {
    this.#socket.destroy();
    const exchange = this.#exchange;
    this.#exchange = undefined;
    exchange?.reject(error);
  }
}

function* steps(body: readonly Uint8Array[]): Generator<Uint8Array, undefined> {
  for (const piece of body)
    for (let at = 0; at < piece.length; at += stepBytesMax) yield piece.subarray(at, at + stepBytesMax);
  return undefined;
}

type Head = {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  /** Undefined: it is not told before the body. */
  readonly bodyBytes: number | undefined;
};

/** Names in lower case. One that comes twice is no header that anybody looks for. */
function parseHead(text: string): Head | undefined {
  const [first = "", ...lines] = text.split("\r\n");
  const status = /^HTTP\/1\.1 ([2-5]\d\d)(?: |$)/.exec(first)?.[1];
  if (status === undefined) return undefined;
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon < 1) return undefined;
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    headers.set(name, headers.has(name) ? `${headers.get(name)}, ${value}` : value);
  }
  const length = headers.get("content-length");
  const isTold = length !== undefined && /^\d{1,10}$/.test(length) && !headers.has("transfer-encoding");
  return { status: Number(status), headers, bodyBytes: isTold ? Number(length) : undefined };
}
