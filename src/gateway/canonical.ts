/**
 * What AWS Signature Version 4 hashes and signs, for both sides: the server that verifies and the client that signs use
 * this one canonicalization. Source: "Authenticating Requests: AWS Signature Version 4" of the S3 API reference.
 *
 * S3's own rules: the path is not normalised (`a//b` and `a/../b` are keys) and is encoded once, not twice.
 */
import { createHmac, hash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { assert } from "../core/assert.ts";
import { limits } from "../core/limits.ts";

export const algorithm = "AWS4-HMAC-SHA256";
export const emptySha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
export const unsignedPayload = "UNSIGNED-PAYLOAD";

/** `date` is YYYYMMDD. */
export type Scope = { readonly date: string; readonly region: string; readonly service: string };

export const scopeText = ({ date, region, service }: Scope): string => `${date}/${region}/${service}/aws4_request`;

/** Unix milliseconds as YYYYMMDDTHHMMSSZ. */
export function amzDate(ms: number): string {
  return new Date(ms).toISOString().replace(/[-:]|\.\d{3}/g, "");
}

/** Requests come many in a second, and most say the same one. */
let lastParsed: { readonly text: string; readonly ms: number } | undefined;

const basicIso = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/;

/** Unix milliseconds of YYYYMMDDTHHMMSSZ; undefined when it is not such a date. */
export function parseAmzDate(text: string): number | undefined {
  if (lastParsed?.text === text) return lastParsed.ms;
  const found = basicIso.exec(text);
  if (found === null) return undefined;
  const [, year, month, day, hour, minute, second] = found;
  const ms = Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second));
  if (amzDate(ms) !== text) return undefined;
  lastParsed = { text, ms };
  return ms;
}

const plainPath = /^[A-Za-z0-9\-._~/]*$/;
const plainPart = /^[A-Za-z0-9\-._~]*$/;

/** RFC 3986: everything but unreserved characters as %XX. `text` holds one byte a character (latin1). */
function encodeBytes(text: string, keepSlash: boolean): string {
  let out = "";
  for (const char of text) {
    if (plainPart.test(char) || (keepSlash && char === "/")) out += char;
    else out += `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return out;
}

/** Decodes %XX to bytes, one a character; what is not an escape stays. */
function decodeBytes(text: string): string {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** A path as any client would have encoded it, however this one sent it. */
export function canonicalPath(rawPath: string): string {
  return plainPath.test(rawPath) ? rawPath : encodeBytes(decodeBytes(rawPath), true);
}

/** A name or value of a query, encoded as the signature has it. */
export function canonicalPart(raw: string): string {
  return plainPart.test(raw) ? raw : encodeBytes(decodeBytes(raw.replaceAll("+", " ")), false);
}

/** Encoded name and value of every parameter except X-Amz-Signature, sorted. */
export function canonicalQuery(rawQuery: string): string {
  if (rawQuery === "") return "";
  const pairs: [string, string][] = [];
  for (const pair of rawQuery.split("&")) {
    if (pair === "") continue;
    const equals = pair.indexOf("=");
    const name = canonicalPart(equals < 0 ? pair : pair.slice(0, equals));
    if (name !== "X-Amz-Signature") pairs.push([name, equals < 0 ? "" : canonicalPart(pair.slice(equals + 1))]);
  }
  pairs.sort(([nameA, valueA], [nameB, valueB]) => compare(nameA, nameB) || compare(valueA, valueB));
  return pairs.map(([name, value]) => `${name}=${value}`).join("&");
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function canonicalValue(value: string): string {
  const trimmed = value.trim();
  return trimmed.includes("  ") || trimmed.includes("\t") ? trimmed.replace(/[ \t]+/g, " ") : trimmed;
}

/**
 * The signed headers as lines. Node joins repeated headers with ", " where the signature has ","; when `rawHeaders` shows
 * that any name is repeated, values are taken from there.
 */
export function canonicalHeaders(
  names: readonly string[],
  headers: IncomingHttpHeaders,
  rawHeaders?: readonly string[],
): string {
  const repeated = rawHeaders !== undefined && rawHeaders.length / 2 !== Object.keys(headers).length;
  let lines = "";
  for (const name of names) {
    const value = repeated ? joinedRaw(name, rawHeaders) : headers[name];
    lines += `${name}:${value === undefined ? "" : canonicalValue(typeof value === "string" ? value : value.join(","))}\n`;
  }
  return lines;
}

function joinedRaw(name: string, rawHeaders: readonly string[]): string {
  const values: string[] = [];
  for (let index = 0; index + 1 < rawHeaders.length; index += 2)
    if (rawHeaders[index]!.toLowerCase() === name) values.push(canonicalValue(rawHeaders[index + 1]!));
  return values.join(",");
}

export type CanonicalParts = {
  readonly method: string;
  /** Canonical already. */
  readonly path: string;
  readonly query: string;
  /** canonicalHeaders of the signed names. */
  readonly headerLines: string;
  /** Names joined with ";". */
  readonly signedHeaders: string;
  readonly payloadHash: string;
};

export function canonicalRequest(parts: CanonicalParts): string {
  const { method, path, query, headerLines, signedHeaders, payloadHash } = parts;
  return `${method}\n${path}\n${query}\n${headerLines}\n${signedHeaders}\n${payloadHash}`;
}

export function stringToSign(timestamp: string, scope: string, canonical: string | Buffer): string {
  return `${algorithm}\n${timestamp}\n${scope}\n${hash("sha256", canonical, "hex")}`;
}

/** SHA-256 works on blocks of 64 bytes and gives 32. */
const blockBytes = 64;
const digestBytes = 32;
/** Filled and hashed in one go, so that one serves all keys. */
const innerScratch = Buffer.allocUnsafe(1_024);
const outerScratch = Buffer.allocUnsafe(blockBytes + digestBytes);

/**
 * A derived key, ready for HMAC-SHA256 (RFC 2104). Two one-shot hashes take as long as node's Hmac, and leave no native
 * object behind that the garbage collector has to take down: one for each request was a noticeable part of a GET.
 */
export class SigningKey {
  readonly #inner = Buffer.alloc(blockBytes, 0x36);
  readonly #outer = Buffer.alloc(blockBytes, 0x5c);

  /** `key` has 32 bytes. */
  constructor(key: Buffer) {
    assert(key.length === digestBytes, "a signing key is a SHA-256 digest");
    for (const [index, byte] of key.entries()) {
      this.#inner[index]! ^= byte;
      this.#outer[index]! ^= byte;
    }
  }

  hmacHex(text: string): string {
    const bytes = blockBytes + Buffer.byteLength(text);
    const inner = bytes <= innerScratch.length ? innerScratch : Buffer.allocUnsafe(bytes);
    this.#inner.copy(inner);
    inner.write(text, blockBytes);
    this.#outer.copy(outerScratch);
    hash("sha256", inner.subarray(0, bytes), "buffer").copy(outerScratch, blockBytes);
    return hash("sha256", outerScratch, "hex");
  }
}

export function signatureOf(key: SigningKey, text: string): string {
  return key.hmacHex(text);
}

const hmac = (key: string | Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest();

function deriveKey(secret: string, { date, region, service }: Scope): SigningKey {
  const regional = hmac(hmac(`AWS4${secret}`, date), region);
  return new SigningKey(hmac(hmac(regional, service), "aws4_request"));
}

/**
 * Signing keys derived lately, least recently used first. An entry holds the secret it was derived from, so that a key
 * whose secret was changed is derived anew.
 */
const derived = new Map<string, { readonly secret: string; readonly key: SigningKey }>();

export function signingKey(accessKey: string, secret: string, scope: Scope): SigningKey {
  const name = `${scope.date}/${scope.region}/${scope.service}/${accessKey}`;
  const found = derived.get(name);
  if (found !== undefined) derived.delete(name);
  const entry = found?.secret === secret ? found : { secret, key: deriveKey(secret, scope) };
  derived.set(name, entry);
  if (derived.size > limits.signingKeysMax) derived.delete(derived.keys().next().value!);
  return entry.key;
}
