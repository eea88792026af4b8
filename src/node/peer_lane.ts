/**
 * One connection to a peer, with one call at a time. Made when it is needed, and made again after it ended.
 *
 * Promises: `exchange` never throws: its answer says what is known. `answered` bears the peer's seal. Of `lost` with
 * `isSent: false` the peer cannot have seen the call. When it resolves nothing points to the bytes of the call any more.
 */
import type { KeyObject } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import { withinAttended } from "./peer_deadline.ts";
import { Wire, type WireReply } from "./peer_http.ts";
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

export type LaneCall = {
  readonly name: string;
  readonly args: Uint8Array;
  readonly body: readonly Uint8Array[];
  /** A buffer of so many bytes for the reply's body; one of its own by default. */
  readonly room?: ((bytes: number) => Buffer) | undefined;
};

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

/**
 * Hellos under way to one peer. A server takes one new connection in each turn of its event loop: with the bodies of those that
 * greeted first in between, the last of many that begin at once were not greeted in time. So what a new connection sends first waits for
 * the others' hellos, where it is large; they end within their own deadline. One that is open already does not wait.
 */
export class Greetings {
  readonly #underWay = new Set<Promise<unknown>>();

  async during<T>(greeting: Promise<T>): Promise<T> {
    this.#underWay.add(greeting);
    try {
      return await greeting;
    } finally {
      this.#underWay.delete(greeting);
    }
  }

  async over(): Promise<void> {
    await Promise.allSettled(this.#underWay);
  }
}

/** Of a body that waits for hellos. */
const largeBytesMin = 64 * 1024;

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
  readonly greetings: Greetings;
};

type Session = { readonly wire: Wire; readonly keys: ConnectionKeys; number: number };

const basePath = "/_/node/v2/";

export class Lane {
  readonly #options: LaneOptions;
  #session: Session | undefined;

  constructor(options: LaneOptions) {
    this.#options = options;
  }

  /** Ends the connection. */
  close(): void {
    this.#session?.wire.close();
    this.#session = undefined;
  }

  async exchange(call: LaneCall, signal: AbortSignal): Promise<Answer> {
    const before = this.#session;
    if (before?.wire.isOpen) return this.#call(before, call, signal, "connection");
    const { greetings } = this.#options;
    const session = await greetings.during(this.#greet(signal));
    if ("kind" in session) return session;
    if (call.body.reduce((sum, { length }) => sum + length, 0) >= largeBytesMin) await greetings.over();
    return this.#call(session, call, signal, "peer");
  }

  async #greet(signal: AbortSignal): Promise<Session | Lost> {
    const { url, ca, key, from, random, clock, connectMsMax } = this.#options;
    this.#session = undefined;
    const nonce = Buffer.from(random.bytes(nonceBytes)).toString("hex");
    const hello = { from, nonce, proof: clientProof(key, { from, nonce }) };
    const headers = { [helloHeader]: clientHelloText(hello) };
    const wire = new Wire({ url, ca, replyBytesMax });
    let reply: WireReply;
    try {
      const sending = { path: `${basePath}hello`, headers, body: [] };
      reply = await withinAttended(clock, connectMsMax, signal, (inner) => wire.exchange(sending, inner));
    } catch (cause) {
      return lost("peer", false, `cannot be reached (${messageOf(cause)})`, cause);
    }
    const answer = parseServerHello(reply.headers.get(helloHeader));
    if (reply.status !== 200 || answer === undefined) {
      wire.close();
      return lost("peer", false, `does not let this one in: it answered ${saidBy(reply)}`);
    }
    if (!isSame(answer.proof, serverProof(key, hello, answer.nonce))) {
      wire.close();
      return lost("peer", false, "does not know the cluster secret");
    }
    this.#session = { wire, keys: connectionKeys(key, hello, answer.nonce), number: 0 };
    return this.#session;
  }

  async #call(session: Session, call: LaneCall, signal: AbortSignal, blame: Lost["blame"]): Promise<Answer> {
    session.number += 1;
    const { keys, number, wire } = session;
    const { body, room } = call;
    const bodyBytes = body.reduce((sum, { length }) => sum + length, 0);
    const tag = bodyTag(keys, "request", number, body);
    const seal = sealRequest(keys, { number, call: call.name, args: call.args, bodyBytes, tag });
    const replySeal = new BodySeal(keys, "reply", number);
    const onPiece = (piece: Buffer): void => replySeal.add(piece);
    const isSent = wire.isOpen && !signal.aborted;
    let reply: WireReply;
    try {
      const request = { path: basePath + call.name, headers: { [sealHeader]: seal }, body, onPiece, room };
      reply = await wire.exchange(request, signal);
    } catch (cause) {
      this.#end(session);
      return lost(blame, isSent, `ended the connection (${messageOf(cause)})`, cause);
    }
    const { status } = reply;
    const expected = { number, status, bodyBytes: reply.body.length };
    const head = openReply(keys, reply.headers.get(sealHeader), expected);
    if (head !== undefined && isSame(replySeal.tag(), head.tag)) return { kind: "answered", status, body: reply.body };
    this.#end(session);
    return lost("peer", true, `answered without the seal of this connection: ${saidBy(reply)}`);
  }

  #end(session: Session): void {
    session.wire.close();
    if (this.#session === session) this.#session = undefined;
  }
}

function lost(blame: Lost["blame"], isSent: boolean, why: string, cause?: unknown): Lost {
  return { kind: "lost", isSent, blame, why, cause };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? clippedWords(error.message) : "for no known reason";
}

/** Whoever answered has proven nothing: only a code of its document is passed on. */
function saidBy({ status, body }: WireReply): string {
  const code = /"code":"([a-z_]{1,40})"/.exec(body.toString("latin1", 0, 1_024))?.[1];
  return code === undefined ? `${status}` : `${status} ${code}`;
}

function clippedWords(text: string): string {
  return text.replace(/[^ -~]/g, "?").slice(0, 200);
}
