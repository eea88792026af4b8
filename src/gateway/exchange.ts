/**
 * What a handler gets and gives: one authenticated, authorized request, the services it may use, and its reply.
 */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { Clock } from "../core/clock.ts";
import { limits } from "../core/limits.ts";
import type { DigestPool } from "../digest/digest.ts";
import type { Destinations } from "../events/events.ts";
import type { Admit, Objects, RequestOrigin } from "../object/object.ts";
import { hasReason } from "../core/errors.ts";
import type { BucketRules } from "../access/access.ts";
import { Admission, type Authority } from "./authorize.ts";
import { openBody } from "./body.ts";
import type { RequestBody } from "./body.ts";
import { S3Error } from "./errors.ts";
import type { Accounts } from "./owners.ts";
import { operations } from "./operations.ts";
import type { Operation } from "./operations.ts";
import { invalidArgument } from "./params.ts";
import type { Reply } from "./respond.ts";
import type { Query, Route } from "./route.ts";
import { readRules, type RulesSource } from "./rules.ts";
import type { AuthResult } from "./sigv4.ts";

export type Services = {
  readonly objects: Objects;
  readonly clock: Pick<Clock, "nowMs">;
  readonly digests: Pick<DigestPool, "whole">;
  readonly region: string;
  readonly accounts: Accounts;
  /** Where events are sent. */
  readonly destinations: Pick<Destinations, "test">;
};

export type Handler = (request: S3Request, services: Services) => Promise<Reply>;

export type S3RequestParts = {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly route: Route;
  readonly auth: AuthResult;
  readonly authority: Authority;
  /** Those that count; not always all that came. */
  readonly headers: IncomingHttpHeaders;
  /** Called with what is found, once it has been judged; what it throws is the answer. */
  readonly onFound?: Admit;
  /** Asked when it is known who the request is from. */
  readonly origin: () => RequestOrigin;
  readonly digests: Pick<DigestPool, "whole">;
  /** See GatewayOptions. */
  readonly plainCustomerKeys: boolean;
  /** Called before the first byte of the body is read, if the client waits for 100 Continue. */
  readonly onContinue: () => void;
};

export class S3Request {
  readonly operation: Operation;
  readonly bucket: string;
  readonly key: Buffer;
  readonly query: Query;
  /** With those that a presigned URL carries in its query. */
  readonly headers: IncomingHttpHeaders;
  /** For handlers that find out only in the body what is asked for. */
  readonly authority: Authority;
  /** Judges what the handler finds; part of the options of its first call. */
  readonly admission: Admission;
  readonly #parts: S3RequestParts;
  #abort: AbortController | undefined;

  constructor(parts: S3RequestParts) {
    const { route, headers } = parts;
    this.operation = route.operation;
    this.bucket = route.bucket;
    this.key = route.key;
    this.query = route.query;
    this.headers = headers;
    this.#parts = parts;
    this.authority = parts.authority;
    this.admission = new Admission(this.authority, this, parts.onFound);
  }

  /** What the bucket says about who may use it; read now where it was not read to judge the request. */
  async rules(source: RulesSource): Promise<BucketRules> {
    return this.authority.rules(this.bucket) ?? readRules(source, this.bucket);
  }

  /** What the bucket is reached at, as this client did; no slash at its end. */
  get address(): string {
    const { req, route } = this.#parts;
    const scheme = "encrypted" in req.socket ? "https" : "http";
    return `${scheme}://${this.headers.host ?? ""}${route.rawPath.replace(/\/$/, "")}`;
  }

  /** Nobody listens: TLS, or the client is on this machine, or a proxy is trusted to have TLS. */
  get isPrivate(): boolean {
    const { req, plainCustomerKeys } = this.#parts;
    const { socket } = req;
    const isEncrypted = "encrypted" in socket && socket.encrypted === true;
    return isEncrypted || plainCustomerKeys || /^(127\.|::1$|::ffff:127\.)/.test(socket.remoteAddress ?? "");
  }

  /** Who asks, as it is told to those who hear of a change. */
  get origin(): RequestOrigin {
    return this.#parts.origin();
  }

  /** Aborted when the client leaves before it has its answer. */
  get signal(): AbortSignal {
    if (this.#abort !== undefined) return this.#abort.signal;
    const { res } = this.#parts;
    const abort = new AbortController();
    this.#abort = abort;
    if (res.destroyed) abort.abort();
    else
      res.once("close", () => {
        if (!res.writableFinished) abort.abort();
      });
    return abort.signal;
  }

  /** Opens the request body; at most once, and not together with `xml`. */
  body(): RequestBody {
    const { req, auth, onContinue } = this.#parts;
    const { body } = operations[this.operation];
    return openBody({
      req,
      payload: auth.payload,
      signing: auth.kind === "authenticated" ? auth : undefined,
      lengthRequired: body === "stream",
      // These speak of the finished object and not of this request's body.
      ignoreChecksumHeaders: this.operation === "CompleteMultipartUpload",
      onFirstRead: expectsContinue(req) ? onContinue : undefined,
    });
  }

  /** The whole body of an operation whose body is XML, verified; empty when there is none. */
  async xml(): Promise<Buffer> {
    const { source, verifier } = this.body();
    const bytes = await source.collect(limits.xmlBodyBytesMax).catch(asTooLong);
    verifier.verify(this.#parts.digests.whole(verifier.digests, bytes));
    return bytes;
  }
}

function asTooLong(error: unknown): never {
  if (!hasReason(error, "entity_too_large")) throw error;
  throw new S3Error("MaxMessageLengthExceeded", "Your request was too big.", { cause: error });
}

/** HTTP/1.0 does not know the expectation: there it is ignored (RFC 9110, section 10.1.1). */
export function expectsContinue({ headers, httpVersionMinor }: IncomingMessage): boolean {
  return headers.expect?.toLowerCase() === "100-continue" && httpVersionMinor > 0;
}

/** Those of the request, with those that a presigned URL carries in its query. */
export function headersOf(req: IncomingMessage, { query }: Route): IncomingHttpHeaders {
  return query.has("X-Amz-Signature") ? withHoisted(req.headers, query) : req.headers;
}

/**
 * SDKs move x-amz-* headers into the query of a presigned URL; there they mean the same. But a query can spell what no
 * header can: some of it is kept and sent as a header again, so it is held to what a header may be.
 */
function withHoisted(headers: IncomingHttpHeaders, query: Query): IncomingHttpHeaders {
  const merged: IncomingHttpHeaders = { ...headers };
  for (const [name, value] of query) {
    const lower = name.toLowerCase();
    if (lower.startsWith("x-amz-") && !signatureNames.has(lower)) merged[lower] ??= asHeader(lower, value);
  }
  return merged;
}

/** A header's value that did not come as one. Errors: InvalidArgument for what no header could have brought. */
export function asHeader(name: string, value: string): string {
  if (!/^[a-z0-9!#$%&'*+.^_`|~-]+$/.test(name) || /[\0-\x08\x0a-\x1f\x7f]/.test(value))
    throw invalidArgument(name, value, "It could not have been sent as a header, which it stands for.");
  // Header bytes are latin1 in node: this is what the header would have been.
  return Buffer.from(value).toString("latin1");
}

const signatureNames = new Set([
  "x-amz-algorithm",
  "x-amz-credential",
  "x-amz-date",
  "x-amz-expires",
  "x-amz-signedheaders",
  "x-amz-signature",
  "x-amz-security-token",
]);
