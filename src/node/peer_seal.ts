/**
 * How two nodes prove the cluster secret to each other and seal what they send (docs/formats/node-protocol.md).
 *
 * Promises: the secret itself never travels. The keys of a connection come from nonces of both sides, so nothing that
 * was said on one connection means anything on another. A call and its reply are bound to their place on the connection
 * by a number, to their direction, and to every byte of their bodies.
 *
 * A body is sealed with GMAC (NIST SP 800-38D: AES-256-GCM that only authenticates) and the head, which bears the body's
 * tag, with HMAC-SHA-256: 1 MiB takes 0.07 ms, where SHA-256 takes 1.5 ms (docs/decisions/0009). GMAC is broken by two
 * bodies sealed under one key and one number, so a number is taken once and for good, and the keys die with the connection.
 *
 * Known gap: who only listens to a connection without TLS can try secrets against what it heard; a secret drawn at
 * random has too many. And it reads the bodies: only TLS hides them.
 */
import {
  createCipheriv,
  createHmac,
  createSecretKey,
  timingSafeEqual,
  type CipherGCM,
  type KeyObject,
} from "node:crypto";
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";

/** Part of everything that is sealed: peers of another version never take it for theirs. */
const label = "holdfast node 2";
export const nonceBytes = 32;
const tagBytes = 16;
const noTag = "-";

/** What a node calls itself to others; it stands in their logs. */
export const peerNamePattern = new RegExp(`^[A-Za-z0-9._:[\\]-]{1,${limits.peerNameCharsMax}}$`);

/** Errors: `invalid_argument`. */
export function clusterKey(secret: string): KeyObject {
  const { clusterSecretCharsMin: min, clusterSecretCharsMax: max } = limits;
  if (secret.length < min || secret.length > max) {
    const why = `has ${min} to ${max} characters, drawn at random (openssl rand -hex 32)`;
    throw new HoldfastError("invalid_argument", `The cluster secret ${why}.`);
  }
  return createSecretKey(Buffer.from(secret));
}

/** Numbers and names in these lines hold no line break, so that no two lists of them make the same text. */
function mac(key: KeyObject, ...lines: readonly (string | number)[]): string {
  return createHmac("sha256", key)
    .update([label, ...lines].join("\n"))
    .digest("hex");
}

/** Both in lower-case hex, as everything that is compared here. */
export function isSame(given: string, right: string): boolean {
  return given.length === right.length && timingSafeEqual(Buffer.from(given), Buffer.from(right));
}

export type ClientHello = { readonly from: string; readonly nonce: string; readonly proof: string };
export type ServerHello = { readonly nonce: string; readonly proof: string };

export function clientProof(key: KeyObject, { from, nonce }: Omit<ClientHello, "proof">): string {
  return mac(key, "client", from, nonce);
}

export function serverProof(key: KeyObject, client: ClientHello, serverNonce: string): string {
  return mac(key, "server", client.from, client.nonce, serverNonce);
}

/** The heads' and the bodies' key of one connection. */
export type ConnectionKeys = { readonly head: KeyObject; readonly body: KeyObject };

export function connectionKeys(key: KeyObject, client: ClientHello, serverNonce: string): ConnectionKeys {
  const derive = (what: string): KeyObject =>
    createSecretKey(Buffer.from(mac(key, what, client.from, client.nonce, serverNonce), "hex"));
  return { head: derive("heads"), body: derive("bodies") };
}

export type Direction = "request" | "reply";

/** Computes the tag of a body that comes in pieces. */
export class BodySeal {
  readonly #cipher: CipherGCM;
  #lengthBytes = 0;

  constructor({ body }: ConnectionKeys, direction: Direction, number: number) {
    assert(Number.isSafeInteger(number) && number >= 1, "calls are numbered from 1");
    const iv = Buffer.alloc(12);
    iv.writeUInt32BE(direction === "request" ? 1 : 2, 0);
    iv.writeBigUInt64BE(BigInt(number), 4);
    this.#cipher = createCipheriv("aes-256-gcm", body, iv, { authTagLength: tagBytes });
  }

  add(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#lengthBytes += piece.length;
    this.#cipher.setAAD(piece);
  }

  /** The length is part of the head, so an empty body needs no tag. */
  tag(): string {
    this.#cipher.final();
    return this.#lengthBytes === 0 ? noTag : this.#cipher.getAuthTag().toString("hex");
  }
}

export function bodyTag(
  keys: ConnectionKeys,
  direction: Direction,
  number: number,
  pieces: readonly Uint8Array[],
): string {
  if (pieces.every(({ length }) => length === 0)) return noTag;
  const seal = new BodySeal(keys, direction, number);
  for (const piece of pieces) seal.add(piece);
  return seal.tag();
}

export type RequestHead = {
  readonly number: number;
  readonly call: string;
  readonly args: Uint8Array;
  readonly bodyBytes: number;
  readonly tag: string;
};

export type ReplyHead = {
  readonly number: number;
  readonly status: number;
  readonly bodyBytes: number;
  readonly tag: string;
};

function requestMac({ head }: ConnectionKeys, { number, call, args, bodyBytes, tag }: RequestHead): string {
  return mac(head, "request", number, call, Buffer.from(args).toString("hex"), bodyBytes, tag);
}

function replyMac({ head }: ConnectionKeys, { number, status, bodyBytes, tag }: ReplyHead): string {
  return mac(head, "reply", number, status, bodyBytes, tag);
}

/** The headers that bear hellos and seals. */
export const helloHeader = "holdfast-hello";
export const sealHeader = "holdfast-seal";

export function clientHelloText({ from, nonce, proof }: ClientHello): string {
  return `${from} ${nonce} ${proof}`;
}

export function parseClientHello(text: unknown): ClientHello | undefined {
  const match = typeof text === "string" ? /^([!-~]+) ([0-9a-f]{64}) ([0-9a-f]{64})$/.exec(text) : null;
  if (match === null || !peerNamePattern.test(match[1]!)) return undefined;
  return { from: match[1]!, nonce: match[2]!, proof: match[3]! };
}

export function serverHelloText({ nonce, proof }: ServerHello): string {
  return `${nonce} ${proof}`;
}

export function parseServerHello(text: unknown): ServerHello | undefined {
  const match = typeof text === "string" ? /^([0-9a-f]{64}) ([0-9a-f]{64})$/.exec(text) : null;
  return match === null ? undefined : { nonce: match[1]!, proof: match[2]! };
}

/** `number args tag mac` */
export function sealRequest(keys: ConnectionKeys, head: RequestHead): string {
  const args = head.args.length === 0 ? "-" : Buffer.from(head.args).toString("hex");
  return `${head.number} ${args} ${head.tag} ${requestMac(keys, head)}`;
}

const requestPattern = /^([1-9][0-9]{0,14}) (-|(?:[0-9a-f]{2}){1,256}) (-|[0-9a-f]{32}) ([0-9a-f]{64})$/;

/** Undefined: not sealed by the other side of this connection, for this call and this body length. */
export function openRequest(
  keys: ConnectionKeys,
  text: unknown,
  { call, bodyBytes }: { readonly call: string; readonly bodyBytes: number },
): RequestHead | undefined {
  const match = typeof text === "string" ? requestPattern.exec(text) : null;
  if (match === null) return undefined;
  const args = Buffer.from(match[2] === "-" ? "" : match[2]!, "hex");
  const head = { number: Number(match[1]), call, args, bodyBytes, tag: match[3]! };
  return isSame(match[4]!, requestMac(keys, head)) ? head : undefined;
}

/** `number tag mac` */
export function sealReply(keys: ConnectionKeys, head: ReplyHead): string {
  return `${head.number} ${head.tag} ${replyMac(keys, head)}`;
}

/** Undefined: not the other side's reply to the call of this number. */
export function openReply(
  keys: ConnectionKeys,
  text: unknown,
  expected: { readonly number: number; readonly status: number; readonly bodyBytes: number },
): ReplyHead | undefined {
  const match = typeof text === "string" ? /^([1-9][0-9]{0,14}) (-|[0-9a-f]{32}) ([0-9a-f]{64})$/.exec(text) : null;
  if (match === null || Number(match[1]) !== expected.number) return undefined;
  const head = { ...expected, tag: match[2]! };
  return isSame(match[3]!, replyMac(keys, head)) ? head : undefined;
}
