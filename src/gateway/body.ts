/**
 * A request body as the object layer wants it. Promises: the bytes are exactly what the client announced (`incomplete_body`
 * when it leaves early), aws-chunked coding is undone and its signatures verified, a body that stands still for
 * bodyIdleTimeoutMs fails with `request_timeout` while we wait for it, and nothing is read before the object layer asks
 * (only then is `Expect: 100-continue` answered).
 */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { BodySource } from "../blob/blob.ts";
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { BodyVerifier } from "../object/object.ts";
import { ChunkedDecoder, isChunked } from "./aws_chunked.ts";
import type { Trailers } from "./aws_chunked.ts";
import { planChecksums } from "./checksums.ts";
import { S3Error } from "./errors.ts";
import type { ChunkSigning, Payload } from "./sigv4.ts";

/** `verifier` is asked after `source` has ended. */
export type RequestBody = { readonly source: BodySource; readonly verifier: BodyVerifier };

export type OpenBodyOptions = {
  readonly req: IncomingMessage;
  /** What verifyRequest said. */
  readonly payload: Payload;
  /** The authenticated result; needed for signed chunks. */
  readonly signing?: ChunkSigning | undefined;
  /** Refuses a body whose length nobody announced (MissingContentLength), as S3 does for PutObject and UploadPart. */
  readonly lengthRequired?: boolean;
  /** CompleteMultipartUpload: x-amz-checksum-* speak of the object and not of this body. */
  readonly ignoreChecksumHeaders?: boolean;
  /** Called once, before the first byte is read: the place for writeContinue. */
  readonly onFirstRead?: (() => void) | undefined;
  /** Tests shorten it. */
  readonly idleTimeoutMs?: number;
};

/**
 * Checksums are taken from real headers only, never from a presigned URL's query: one SDK writes the checksum of an empty
 * body into every URL it presigns for an upload, and AWS ignores it there.
 */
export function openBody(options: OpenBodyOptions): RequestBody {
  const { payload, lengthRequired } = options;
  const { headers } = options.req;
  // Taking a piece for the whole would lose the rest (RFC 9110, section 14.5).
  if (lengthRequired && headers["content-range"] !== undefined)
    throw new S3Error("NotImplemented", "A Content-Range in an upload is not implemented.");
  const plan = planChecksums(options.ignoreChecksumHeaders ? withoutChecksums(headers) : headers, payload);
  return { source: new HttpBody(options, plan.onTrailers), verifier: plan.verifier };
}

function withoutChecksums(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const kept: IncomingHttpHeaders = {};
  for (const name in headers)
    if (!name.startsWith("x-amz-checksum-") && name !== "x-amz-sdk-checksum-algorithm") kept[name] = headers[name];
  return kept;
}

function announcedLength({ req, payload, lengthRequired }: OpenBodyOptions): number | undefined {
  const { headers } = req;
  const chunked = isChunked(payload);
  const text = chunked ? headers["x-amz-decoded-content-length"] : headers["content-length"];
  if (text !== undefined) return lengthOf(String(text));
  if (!chunked && headers["transfer-encoding"] !== undefined) return undefined;
  if (chunked || lengthRequired) throw missingLength();
  return 0;
}

/** A length beyond all bounds is a number too, though not an exact one. What is none counts as missing, as with AWS. */
function lengthOf(text: string): number {
  if (/^\d{1,20}$/.test(text)) return Number(text);
  throw missingLength();
}

function missingLength(): S3Error {
  return new S3Error("MissingContentLength", "You must provide the Content-Length HTTP header.");
}

class HttpBody implements BodySource {
  readonly sizeBytes: number | undefined;
  readonly #options: OpenBodyOptions;
  readonly #decoder: ChunkedDecoder | undefined;
  #opened = false;

  constructor(options: OpenBodyOptions, onTrailers: (trailers: Trailers) => void) {
    this.#options = options;
    this.sizeBytes = announcedLength(options);
    const { payload, signing } = options;
    if (isChunked(payload))
      this.#decoder = new ChunkedDecoder({ mode: payload, signing, decodedLength: this.sizeBytes ?? 0, onTrailers });
  }

  #open(): IncomingMessage {
    assert(!this.#opened, "a body is consumed once");
    this.#opened = true;
    this.#options.onFirstRead?.();
    return this.#options.req;
  }

  async collect(bytesMax: number): Promise<Buffer> {
    if (this.sizeBytes !== undefined && this.sizeBytes > bytesMax) throw tooLarge();
    const gathered = new Gathered(bytesMax, this.sizeBytes);
    const take = (piece: Uint8Array): void => gathered.take(piece);
    const decoder = this.#decoder;
    const onData = decoder === undefined ? take : (bytes: Buffer): void => decodeInto(decoder, bytes, take);
    await readWhole(this.#open(), onData, this.#options.idleTimeoutMs ?? limits.bodyIdleTimeoutMs);
    decoder?.finish();
    return gathered.whole();
  }

  async *stream(): AsyncGenerator<Uint8Array, void, undefined> {
    const decoder = this.#decoder;
    const source = readPieces(this.#open(), this.#options.idleTimeoutMs ?? limits.bodyIdleTimeoutMs);
    if (decoder === undefined) {
      yield* source;
      return;
    }
    for await (const bytes of source) yield* decoder.push(bytes);
    decoder.finish();
  }
}

/** Pieces below this are copied together: each one kept would cost more than its bytes, and hold a whole read's buffer. */
const keptPieceBytesMin = 4 * 1024;

/** A small body as it comes in, however finely its sender cut it. */
class Gathered {
  readonly #bytesMax: number;
  readonly #expectedBytes: number | undefined;
  readonly #pieces: Uint8Array[] = [];
  #length = 0;
  #small: Buffer | undefined;
  #smallBytes = 0;

  constructor(bytesMax: number, expectedBytes: number | undefined) {
    this.#bytesMax = bytesMax;
    this.#expectedBytes = expectedBytes;
  }

  take(piece: Uint8Array): void {
    this.#length += piece.length;
    if (this.#length > this.#bytesMax) throw tooLarge();
    if (piece.length >= keptPieceBytesMin || piece.length === this.#expectedBytes) {
      this.#flush();
      this.#pieces.push(piece);
      return;
    }
    if (this.#smallBytes + piece.length > (this.#small?.length ?? 0)) this.#flush();
    this.#small ??= Buffer.allocUnsafe(4 * keptPieceBytesMin);
    this.#small.set(piece, this.#smallBytes);
    this.#smallBytes += piece.length;
  }

  #flush(): void {
    if (this.#small !== undefined) this.#pieces.push(this.#small.subarray(0, this.#smallBytes));
    this.#small = undefined;
    this.#smallBytes = 0;
  }

  whole(): Buffer {
    this.#flush();
    const [only] = this.#pieces;
    if (this.#pieces.length === 1 && Buffer.isBuffer(only)) return only;
    return Buffer.concat(this.#pieces, this.#length);
  }
}

function decodeInto(decoder: ChunkedDecoder, bytes: Buffer, take: (piece: Uint8Array) => void): void {
  for (const piece of decoder.push(bytes)) take(piece);
}

function tooLarge(): HoldfastError {
  return new HoldfastError("entity_too_large", "Your proposed upload exceeds the maximum allowed size");
}

function clientLeft(cause?: unknown): HoldfastError {
  return new HoldfastError(
    "incomplete_body",
    "You did not provide the number of bytes specified by the Content-Length HTTP header.",
    { cause },
  );
}

function stoodStill(): HoldfastError {
  return new HoldfastError(
    "request_timeout",
    "Your socket connection to the server was not read from or written to within the timeout period.",
  );
}

/** An error after we have stopped reading concerns nobody, but without a listener it would end the process. */
const ignore = (): void => undefined;

/** Reads to the end in one go: what small bodies take. An error of `onData` stops it. */
function readWhole(req: IncomingMessage, onData: (bytes: Buffer) => void, idleMs: number): Promise<void> {
  if (req.readableEnded) return Promise.resolve();
  if (req.destroyed) return Promise.reject(clientLeft());
  return new Promise((resolve, reject) => {
    const settle = (error?: Error): void => {
      clearTimeout(timer);
      req.off("data", data).off("end", end).off("error", fail).off("close", fail).on("error", ignore);
      if (error === undefined) return resolve();
      req.pause();
      reject(error);
    };
    const data = (bytes: Buffer): void => {
      timer.refresh();
      try {
        onData(bytes);
      } catch (error) {
        settle(error instanceof Error ? error : new Error(String(error)));
      }
    };
    const end = (): void => settle();
    const fail = (cause?: Error): void => settle(clientLeft(cause));
    const timer = setTimeout(() => settle(stoodStill()), idleMs);
    req.on("data", data).on("end", end).on("error", fail).on("close", fail);
  });
}

/** Reads piece by piece; what the reader does not ask for stays in the socket. */
async function* readPieces(req: IncomingMessage, idleMs: number): AsyncGenerator<Buffer, void, undefined> {
  let wake: (() => void) | undefined;
  let failure: HoldfastError | undefined;
  const woken = (): void => wake?.();
  const fail = (cause?: Error): void => {
    if (!req.readableEnded) failure ??= clientLeft(cause);
    wake?.();
  };
  if (req.destroyed && !req.readableEnded) throw clientLeft();
  req.on("readable", woken).on("end", woken).on("error", fail).on("close", fail);
  try {
    for (;;) {
      const piece = req.read() as Buffer | null;
      if (piece !== null) yield piece;
      else if (req.readableEnded) return;
      else if (failure !== undefined) throw failure;
      else {
        const { promise, resolve } = Promise.withResolvers<void>();
        wake = resolve;
        const timer = setTimeout(() => {
          failure ??= stoodStill();
          resolve();
        }, idleMs);
        await promise;
        clearTimeout(timer);
        wake = undefined;
      }
    }
  } finally {
    req.off("readable", woken).off("end", woken).off("error", fail).off("close", fail).on("error", ignore);
  }
}
