/**
 * Bodies in the `aws-chunked` coding: chunks with or without signatures, with or without trailers. Promises: the decoded
 * bytes are exactly x-amz-decoded-content-length long, every signature holds, and trailers are well-formed; otherwise the
 * stream fails before its end. Bytes of a chunk are passed on before its signature is known, so that a chunk may be large
 * (one SDK sends a whole body as one chunk): readers must publish nothing before the stream has ended.
 *
 * A chunk may be as small as one byte, where AWS wants 8 KiB of all but the last: some SDKs send what they are given.
 * Which coding a body has is said by x-amz-content-sha256 alone: some clients (restic) do not name it in Content-Encoding.
 * Source: "Signature calculations: transferring payload in multiple chunks" and "… with trailing headers" (S3 API).
 */
import { createHash, hash } from "node:crypto";
import type { Hash } from "node:crypto";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { emptySha256, signatureOf } from "./canonical.ts";
import { S3Error } from "./errors.ts";
import { sameSignature } from "./sigv4.ts";
import type { ChunkSigning, Payload } from "./sigv4.ts";

export type ChunkedMode = Extract<Payload, `streaming-${string}`>;

export type Trailers = ReadonlyMap<string, string>;

export type DecodeOptions = {
  readonly mode: ChunkedMode;
  /** Needed in the signed modes. */
  readonly signing?: ChunkSigning | undefined;
  readonly decodedLength: number;
  /** Called once, at the end, with lower-case names; may throw. */
  readonly onTrailers?: ((trailers: Trailers) => void) | undefined;
};

export function isChunked(payload: Payload): payload is ChunkedMode {
  return typeof payload === "string" && payload !== "unsigned";
}

const empty: Trailers = new Map();
/** IncompleteBody is what AWS answers to any framing it cannot follow. */
const malformedChunk = (why: string): S3Error =>
  new S3Error("IncompleteBody", `The request body terminated unexpectedly: ${why}.`);
const malformedTrailer = (): S3Error =>
  new S3Error(
    "MalformedTrailerError",
    "The request contained trailing data that was not well-formed or did not conform to our published schema.",
  );
const badSignature = (): S3Error =>
  new S3Error(
    "SignatureDoesNotMatch",
    "The signature of a part of the body does not match the signature you provided. Check your key and signing method.",
  );

/** Signatures of chunks and trailers, each over the one before. */
export class ChunkSigner {
  readonly #signing: ChunkSigning;
  #previous: string;

  constructor(signing: ChunkSigning) {
    this.#signing = signing;
    this.#previous = signing.seedSignature;
  }

  chunk(sha256Hex: string): string {
    return this.#next("PAYLOAD", `${emptySha256}\n${sha256Hex}`);
  }

  trailer(lines: string): string {
    return this.#next("TRAILER", hash("sha256", Buffer.from(lines, "latin1"), "hex"));
  }

  #next(what: "PAYLOAD" | "TRAILER", rest: string): string {
    const { signingKey, timestamp, scope } = this.#signing;
    const text = `AWS4-HMAC-SHA256-${what}\n${timestamp}\n${scope}\n${this.#previous}\n${rest}`;
    return (this.#previous = signatureOf(signingKey, text));
  }
}

type State = "header" | "data" | "data-end" | "trailers" | "done";

const header = /^([0-9A-Fa-f]{1,12})(?:;chunk-signature=([0-9a-f]{64}))?$/;
const trailerLine = /^([A-Za-z0-9-]+):[ \t]*([\x21-\x7e]*)[ \t]*$/;

/** Push parser: bytes in, decoded pieces out (views of the input). */
export class ChunkedDecoder {
  readonly #options: DecodeOptions;
  readonly #signer: ChunkSigner | undefined;
  #state: State = "header";
  /** The unfinished line. */
  #line = "";
  #chunkLeft = 0;
  #chunkHash: Hash | undefined;
  #chunkSignature = "";
  #decoded = 0;
  #trailers = new Map<string, string>();
  #trailerText = "";
  #trailerBytes = 0;
  #trailerSigned = false;

  constructor(options: DecodeOptions) {
    this.#options = options;
    const { mode, signing } = options;
    if (mode === "streaming-unsigned-trailer") return;
    if (signing === undefined) throw new S3Error("InvalidRequest", "A body of signed chunks needs a signed request.");
    this.#signer = new ChunkSigner(signing);
  }

  *push(bytes: Uint8Array): Generator<Uint8Array, void, undefined> {
    let at = 0;
    while (at < bytes.length) {
      if (this.#state === "data") {
        const piece = bytes.subarray(at, at + this.#chunkLeft);
        at += piece.length;
        this.#take(piece);
        yield piece;
      } else at = this.#readLine(bytes, at);
    }
  }

  #take(piece: Uint8Array): void {
    this.#chunkHash?.update(piece);
    this.#chunkLeft -= piece.length;
    if (this.#chunkLeft === 0) this.#state = "data-end";
  }

  /** Takes bytes up to the end of the line; returns where it stopped. */
  #readLine(bytes: Uint8Array, start: number): number {
    const max = this.#state === "trailers" ? limits.trailersBytesMax : limits.awsChunkHeaderBytesMax;
    const newline = bytes.indexOf(0x0a, start);
    const end = newline < 0 ? bytes.length : newline;
    if (this.#line.length + end - start > max) throw malformedChunk("a line is too long");
    this.#line += Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("latin1");
    if (newline < 0) return end;
    const line = this.#line;
    this.#line = "";
    this.#onLine(line.endsWith("\r") ? line.slice(0, -1) : line, line.endsWith("\r"));
    return newline + 1;
  }

  #onLine(line: string, whole: boolean): void {
    if (this.#state === "trailers") return this.#onTrailer(line);
    if (!whole) throw malformedChunk("a line must end with CR LF");
    if (this.#state === "header") return this.#onHeader(line);
    if (line !== "" || this.#state === "done") throw malformedChunk("there are bytes behind a chunk or the last line");
    this.#endChunk();
    this.#state = "header";
  }

  #onHeader(line: string): void {
    const found = header.exec(line);
    if (found === null || (found[2] !== undefined) !== (this.#signer !== undefined))
      throw malformedChunk("a chunk's first line is not what it should be");
    const size = Number.parseInt(found[1]!, 16);
    this.#chunkSignature = found[2] ?? "";
    this.#decoded += size;
    if (this.#decoded > this.#options.decodedLength) throw malformedChunk("it is longer than announced");
    this.#chunkLeft = size;
    this.#chunkHash = this.#signer && createHash("sha256");
    if (size > 0) {
      this.#state = "data";
      return;
    }
    this.#endChunk();
    if (this.#decoded !== this.#options.decodedLength) throw incomplete();
    this.#state = "trailers";
  }

  #endChunk(): void {
    if (this.#signer === undefined) return;
    const expected = this.#signer.chunk(this.#chunkHash!.digest("hex"));
    if (!sameSignature(expected, this.#chunkSignature)) throw badSignature();
  }

  #onTrailer(line: string): void {
    const { mode } = this.#options;
    this.#trailerBytes += line.length + 2;
    if (this.#trailerBytes > limits.trailersBytesMax) throw malformedTrailer();
    if (line === "") {
      // AWS's own example has an empty line before the trailer's signature.
      if (mode === "streaming-signed-trailer" && !this.#trailerSigned) return;
      this.#state = "done";
      return;
    }
    const found = trailerLine.exec(line);
    if (found === null || mode === "streaming-signed" || this.#trailerSigned) throw malformedTrailer();
    const name = found[1]!.toLowerCase();
    const value = found[2]!;
    if (name === "x-amz-trailer-signature") return this.#checkTrailers(value);
    if (this.#trailers.has(name)) throw malformedTrailer();
    this.#trailers.set(name, value);
    this.#trailerText += `${name}:${value}\n`;
  }

  #checkTrailers(signature: string): void {
    if (this.#signer === undefined) throw malformedTrailer();
    if (!sameSignature(this.#signer.trailer(this.#trailerText), signature)) throw badSignature();
    this.#trailerSigned = true;
  }

  /** The source has ended. */
  finish(): void {
    if (this.#state !== "done" || this.#line !== "") throw incomplete();
    this.#options.onTrailers?.(this.#trailers.size === 0 ? empty : this.#trailers);
  }
}

function incomplete(): HoldfastError {
  return new HoldfastError(
    "incomplete_body",
    "You did not provide the number of bytes specified by the Content-Length HTTP header.",
  );
}

export async function* decodeAwsChunked(
  source: AsyncIterable<Uint8Array>,
  options: DecodeOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const decoder = new ChunkedDecoder(options);
  for await (const bytes of source) yield* decoder.push(bytes);
  decoder.finish();
}

export type EncodeOptions = {
  readonly mode: ChunkedMode;
  readonly signing?: ChunkSigning | undefined;
  /** Asked after the last byte; lower-case names. */
  readonly trailers?: (() => Readonly<Record<string, string>>) | undefined;
};

/** The other way, for clients: one chunk for each piece of the source. */
export async function* encodeAwsChunked(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { mode, signing, trailers }: EncodeOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const signer = mode === "streaming-unsigned-trailer" || signing === undefined ? undefined : new ChunkSigner(signing);
  const head = (bytes: Uint8Array): string =>
    bytes.length.toString(16) +
    (signer === undefined ? "\r\n" : `;chunk-signature=${signer.chunk(hash("sha256", bytes, "hex"))}\r\n`);
  for await (const piece of source) {
    if (piece.length === 0) continue;
    yield Buffer.from(head(piece));
    yield piece;
    yield Buffer.from("\r\n");
  }
  let end = head(new Uint8Array());
  const lines = Object.entries(trailers?.() ?? {}).map(([name, value]) => `${name}:${value}`);
  for (const line of lines) end += `${line}\r\n`;
  if (mode === "streaming-signed-trailer" && signer !== undefined)
    end += `x-amz-trailer-signature:${signer.trailer(lines.map((line) => `${line}\n`).join(""))}\r\n`;
  yield Buffer.from(`${end}\r\n`);
}
