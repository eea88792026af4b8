/**
 * One connection to a peer, with one call at a time. Made when it is needed, and made again after it ended.
 *
 * Promises: `exchange` never throws: its answer says what is known. `answered` bears the peer's seal. Of `lost` with
 * `isSent: false` the peer cannot have seen the call. When it resolves nothing points to the bytes of the call any more.
 */
import { Agent as HttpAgent, request as httpRequest, type ClientRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import type { KeyObject } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import { giveBack } from "../core/give_back.ts";
import type { Random } from "../core/random.ts";
import { within } from "./peer_deadline.ts";
import {
  bodyTag,
  BodySeal,
  clientHelloText,
  clientProof,
  connectionKeys,
  helloHeader,
  isSame,
  nonceBytes,
  openReply,
  parseServerHello,
  sealHeader,
  sealRequest,
  serverProof,
  type ConnectionKeys,
} from "./peer_seal.ts";
import { replyBytesMax } from "./peer_wire.ts";

export type LaneCall = { readonly name: string; readonly args: Uint8Array; readonly body: readonly Uint8Array[] };

export type Answer = { readonly kind: "answered"; readonly status: number; readonly body: Buffer } | Lost;

export type Lost = {
  readonly kind: "lost";
  readonly isSent: boolean;
  /** `connection`: one that had been good before has ended; another may do. `peer`: it is of no use at this moment. */
  readonly blame: "peer" | "connection";
  /** Goes on after "Node x". */
  readonly why: string;
  readonly cause?: unknown;
};

export type LaneOptions = {
  readonly url: URL;
  /** PEM of the authorities that may have signed the peer's certificate; the system's by default. */
  readonly ca?: string | Buffer | undefined;
  readonly key: KeyObject;
  /** What this node calls itself. */
  readonly from: string;
  readonly connectMsMax: number;
  readonly clock: Clock;
  readonly random: Random;
};

type Session = { readonly socket: Socket; readonly keys: ConnectionKeys; number: number };

/** A reply as it came, from whomever. */
type RawReply = {
  readonly response: IncomingMessage;
  readonly status: number;
  readonly body: Buffer;
  readonly socket: Socket;
};

type Sending = {
  readonly path: string;
  readonly headers: Readonly<Record<string, string | number>>;
  readonly body: readonly Uint8Array[];
  /** The connection to use; undefined for a new one. */
  readonly socket: Socket | undefined;
  readonly onSent: () => void;
  readonly onPiece: (response: IncomingMessage, piece: Buffer) => void;
};

const basePath = "/_/node/v1/";
const nothing = (): void => undefined;

/** The connection was closed before a byte of the call was sent on it. */
class ConnectionGone extends Error {}

export class Lane {
  readonly #options: LaneOptions;
  readonly #agent: HttpAgent;
  #session: Session | undefined;

  constructor(options: LaneOptions) {
    this.#options = options;
    const { url, ca } = options;
    const common = { keepAlive: true, maxSockets: 1, maxFreeSockets: 1 };
    this.#agent = url.protocol === "https:" ? new HttpsAgent({ ...common, ca }) : new HttpAgent(common);
  }

  /** Ends the connection. */
  close(): void {
    this.#session = undefined;
    this.#agent.destroy();
  }

  async exchange(call: LaneCall, signal: AbortSignal): Promise<Answer> {
    const before = this.#session;
    if (before !== undefined && !before.socket.destroyed && before.socket.writable) {
      const answer = await this.#call(before, call, signal, "connection");
      if (answer.kind === "answered" || !(answer.cause instanceof ConnectionGone)) return answer;
    }
    const session = await this.#greet(signal);
    return "kind" in session ? session : this.#call(session, call, signal, "peer");
  }

  async #greet(signal: AbortSignal): Promise<Session | Lost> {
    const { key, from, random, clock, connectMsMax } = this.#options;
    this.#session = undefined;
    const nonce = Buffer.from(random.bytes(nonceBytes)).toString("hex");
    const hello = { from, nonce, proof: clientProof(key, { from, nonce }) };
    const headers = { [helloHeader]: clientHelloText(hello) };
    const sending = { path: "hello", headers, body: [], socket: undefined, onSent: nothing, onPiece: nothing };
    let reply: RawReply;
    try {
      reply = await within(clock, connectMsMax, signal, (inner) => this.#send(sending, inner));
    } catch (cause) {
      return lost("peer", false, `cannot be reached (${messageOf(cause)})`, cause);
    }
    const answer = parseServerHello(reply.response.headers[helloHeader]);
    if (reply.status !== 200 || answer === undefined) {
      reply.socket.destroy();
      return lost("peer", false, `does not let this one in: it answered ${saidBy(reply)}`);
    }
    if (!isSame(answer.proof, serverProof(key, hello, answer.nonce))) {
      reply.socket.destroy();
      return lost("peer", false, "does not know the cluster secret");
    }
    this.#session = { socket: reply.socket, keys: connectionKeys(key, hello, answer.nonce), number: 0 };
    return this.#session;
  }

  async #call(session: Session, call: LaneCall, signal: AbortSignal, blame: Lost["blame"]): Promise<Answer> {
    session.number += 1;
    const { keys, number, socket } = session;
    const bodyBytes = call.body.reduce((sum, { length }) => sum + length, 0);
    const tag = bodyTag(keys, "request", number, call.body);
    const seal = sealRequest(keys, { number, call: call.name, args: call.args, bodyBytes, tag });
    const headers = { [sealHeader]: seal, "content-length": bodyBytes };
    const replySeal = new BodySeal(keys, "reply", number);
    let isSent = false;
    let reply: RawReply;
    try {
      const onSent = (): void => void (isSent = true);
      const onPiece = (_: IncomingMessage, piece: Buffer): void => replySeal.add(piece);
      reply = await this.#send({ path: call.name, headers, body: call.body, socket, onSent, onPiece }, signal);
    } catch (cause) {
      this.#end(session);
      return lost(blame, isSent, `ended the connection (${messageOf(cause)})`, cause);
    }
    const { status, body } = reply;
    const head = openReply(keys, reply.response.headers[sealHeader], { number, status, bodyBytes: body.length });
    if (head !== undefined && isSame(replySeal.tag(), head.tag)) return { kind: "answered", status, body };
    this.#end(session);
    return lost("peer", true, `answered without the seal of this connection: ${saidBy(reply)}`);
  }

  #end(session: Session): void {
    session.socket.destroy();
    if (this.#session === session) this.#session = undefined;
  }

  /** Rejects when there is no whole reply; then the connection has ended, and so it has where the body was not taken whole. */
  #send(sending: Sending, signal: AbortSignal): Promise<RawReply> {
    const { url } = this.#options;
    const make = url.protocol === "https:" ? httpsRequest : httpRequest;
    const { hostname, port } = url;
    const path = basePath + sending.path;
    return new Promise((resolve, reject) => {
      const request = make({
        method: "POST",
        // A URL's host of IPv6 has brackets.
        hostname: hostname.replace(/^\[|\]$/g, ""),
        port,
        path,
        headers: sending.headers,
        agent: this.#agent,
        signal,
      });
      request.once("socket", (socket: Socket) => {
        if (sending.socket === undefined || socket === sending.socket) return write(request, sending);
        request.destroy(new ConnectionGone("it was closed"));
      });
      const fail = (error: unknown): void => {
        request.destroy();
        reject(error instanceof Error ? error : new Error(String(error)));
      };
      request.on("error", (error) => fail(signal.aborted ? (signal.reason ?? error) : error));
      const onClose = (): void => fail(new Error("it ended without an answer"));
      request.once("close", onClose);
      request.once("response", (response) => {
        // From here on the response tells of its end itself.
        request.off("close", onClose);
        const { socket } = response;
        receive(response, sending.onPiece).then((body) => {
          // A destroyed socket takes no more of the caller's bytes.
          if (!request.writableFinished) request.destroy();
          resolve({ response, status: response.statusCode ?? 0, body, socket });
        }, fail);
      });
    });
  }
}

function write(request: ClientRequest, { body, onSent }: Sending): void {
  onSent();
  request.cork();
  for (const piece of body) if (piece.length > 0) request.write(piece);
  request.uncork();
  request.end();
}

/** The body in one buffer that is nobody else's. */
function receive(response: IncomingMessage, onPiece: Sending["onPiece"]): Promise<Buffer> {
  const length = Number(response.headers["content-length"] ?? Number.NaN);
  if (!Number.isSafeInteger(length) || length > replyBytesMax)
    return Promise.reject(new Error("its answer has no length, or is too long"));
  const body = Buffer.allocUnsafeSlow(length);
  let filled = 0;
  return new Promise((resolve, reject) => {
    response.on("data", (piece: Buffer) => {
      onPiece(response, piece);
      filled += piece.copy(body, filled);
      giveBack(piece);
    });
    response.once("end", () => {
      if (filled === length && response.complete) resolve(body);
      else reject(new Error("its answer ended too early"));
    });
    response.once("error", reject);
    response.once("close", () => reject(new Error("its answer ended too early")));
  });
}

function lost(blame: Lost["blame"], isSent: boolean, why: string, cause?: unknown): Lost {
  return { kind: "lost", isSent, blame, why, cause };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? clippedWords(error.message) : "for no known reason";
}

/** Whoever answered has proven nothing: only a code of its document is passed on. */
function saidBy({ status, body }: RawReply): string {
  const code = /"code":"([a-z_]{1,40})"/.exec(body.toString("latin1", 0, 1_024))?.[1];
  return code === undefined ? `${status}` : `${status} ${code}`;
}

function clippedWords(text: string): string {
  return text.replace(/[^ -~]/g, "?").slice(0, 200);
}
