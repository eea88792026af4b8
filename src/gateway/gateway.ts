/**
 * The S3 door as one request handler: detect → authenticate → authorize → screen → run → respond.
 *
 * Promises: every request gets exactly one answer or a destroyed connection; errors, metrics and the access log are made
 * in one place (`handle`); no byte of a client can make the handler throw; at most requestsInFlightMax requests run at
 * once, the next ones are told SlowDown before anything is read.
 *
 * Register it for both `request` and `checkContinue` of a node:http server: it sends 100 Continue itself, once a handler
 * reads the body, so that a refused upload is refused before its bytes travel.
 *
 * Known gaps: anonymous requests, POST form uploads, versioning, tagging, ACLs other than private, encryption, object lock.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Clock } from "../core/clock.ts";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { DigestPool } from "../digest/digest.ts";
import type { Objects } from "../object/object.ts";
import { errorDocument, S3Error, toS3Error } from "./errors.ts";
import { expectsContinue, S3Request } from "./exchange.ts";
import type { Owner, Services } from "./exchange.ts";
import { handlers } from "./handlers/handlers.ts";
import { operations } from "./operations.ts";
import type { Operation } from "./operations.ts";
import { send } from "./respond.ts";
import type { Reply, Sent } from "./respond.ts";
import { detect } from "./route.ts";
import type { Route } from "./route.ts";
import { screen } from "./screen.ts";
import { verifyRequest } from "./sigv4.ts";
import type { AuthResult } from "./sigv4.ts";

/** Who may come in. Undefined: no such key, or not any more. */
export type GatewayIdentity = { secretFor(accessKey: string): Promise<string | undefined> };

/** One finished request, for metrics. Durations in milliseconds, sizes in bytes. */
export type RequestEvent = {
  readonly operation: Operation | "Unknown";
  readonly method: string;
  readonly status: number;
  /** S3's error code; undefined when all went well. */
  readonly code: string | undefined;
  readonly durationMs: number;
  /** As announced by Content-Length, the encoding of the transfer included. */
  readonly requestBytes: number;
  readonly responseBytes: number;
  /** The answer could not be sent whole. */
  readonly cut: boolean;
};

export type GatewayOptions = {
  readonly objects: Objects;
  readonly identity: GatewayIdentity;
  readonly digests: Pick<DigestPool, "whole">;
  readonly region: string;
  /** Virtual-host style: `bucket.<domain>`. Lower-case, without port. Empty: path style only. */
  readonly domains: readonly string[];
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Logs every request with `info`; without it only failures are logged. */
  readonly accessLog?: boolean;
  readonly onRequest?: (event: RequestEvent) => void;
  /** Who everything belongs to, as ListBuckets and the ACL answers say. */
  readonly owner?: Owner;
};

export type Gateway = (req: IncomingMessage, res: ServerResponse) => Promise<void>;

const defaultOwner: Owner = { id: "holdfast", displayName: "holdfast" };

export function createGateway(options: GatewayOptions): Gateway {
  const gateway = new S3Gateway(options);
  return (req, res) => gateway.handle(req, res);
}

/** What is known of a request while it is being answered. */
type Exchange = {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly requestId: string;
  readonly startedMs: number;
  /** 100 Continue was asked for and has not been sent. */
  awaitsContinue: boolean;
  operation: Operation | undefined;
  accessKey: string | undefined;
  failure: unknown;
};

class S3Gateway {
  readonly #options: GatewayOptions;
  readonly #services: Services;
  readonly #hostId: string;
  readonly #idPrefix: string;
  #requests = 0;
  #inFlight = 0;

  constructor(options: GatewayOptions) {
    const { objects, digests, region, random, owner = defaultOwner } = options;
    this.#options = options;
    this.#services = { objects, digests, region, owner };
    this.#hostId = Buffer.from(random.bytes(24)).toString("base64");
    this.#idPrefix = Buffer.from(random.bytes(4)).toString("hex").toUpperCase();
  }

  async handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const exchange: Exchange = {
      req,
      res,
      requestId: this.#nextRequestId(),
      startedMs: this.#options.clock.monotonicMs(),
      awaitsContinue: expectsContinue(req),
      operation: undefined,
      accessKey: undefined,
      failure: undefined,
    };
    this.#inFlight += 1;
    try {
      const reply = await this.#reply(exchange);
      const common = ["x-amz-request-id", exchange.requestId, "x-amz-id-2", this.#hostId];
      const sent = await send({ req, res, reply, common, awaitsContinue: exchange.awaitsContinue });
      this.#record(exchange, reply, sent);
    } catch (error) {
      this.#options.log.error({ err: error, requestId: exchange.requestId }, "the gateway failed to answer");
      res.destroy();
    } finally {
      this.#inFlight -= 1;
    }
  }

  /** Unique per process and start. */
  #nextRequestId(): string {
    this.#requests = (this.#requests + 1) % 0x1_0000_0000;
    return this.#idPrefix + this.#requests.toString(16).toUpperCase().padStart(8, "0");
  }

  async #reply(exchange: Exchange): Promise<Reply> {
    try {
      return await this.#run(exchange);
    } catch (error) {
      exchange.failure = error;
      return errorReply(exchange, toS3Error(error));
    }
  }

  async #run(exchange: Exchange): Promise<Reply> {
    const { req, res } = exchange;
    if (this.#inFlight > limits.requestsInFlightMax) throw new S3Error("SlowDown", "Please reduce your request rate.");
    const route = detect({
      method: req.method ?? "",
      host: req.headers.host,
      target: req.url ?? "/",
      hasCopySource: req.headers["x-amz-copy-source"] !== undefined,
      domains: this.#options.domains,
    });
    exchange.operation = route.operation;
    const auth = await this.#authenticate(req, route);
    authorize(auth, route);
    exchange.accessKey = auth.kind === "authenticated" ? auth.accessKey : undefined;
    const onContinue = (): void => {
      exchange.awaitsContinue = false;
      res.writeContinue();
    };
    const { digests, owner } = this.#services;
    const request = new S3Request({ req, res, route, auth, digests, onContinue });
    screen(request.headers, owner);
    return handlers[route.operation](request, this.#services);
  }

  #authenticate(req: IncomingMessage, { rawPath, rawQuery }: Route): Promise<AuthResult> {
    const { clock, region, identity } = this.#options;
    return verifyRequest({
      method: req.method ?? "",
      rawPath,
      rawQuery,
      headers: req.headers,
      rawHeaders: req.rawHeaders,
      nowMs: clock.nowMs(),
      region,
      secretFor: (accessKey) => identity.secretFor(accessKey),
    });
  }

  #record(exchange: Exchange, reply: Reply, sent: Sent): void {
    const { onRequest, log, accessLog, clock } = this.#options;
    const { req, failure } = exchange;
    // Where the client is gone, what we would have answered says nothing about us; 499 is what proxies call it.
    const isLeft = sent.cut !== undefined && hasReason(failure, "cancelled", "incomplete_body");
    const event: RequestEvent = {
      operation: exchange.operation ?? "Unknown",
      method: req.method ?? "",
      status: isLeft ? 499 : reply.status,
      code: reply.code,
      durationMs: clock.monotonicMs() - exchange.startedMs,
      requestBytes: Number(req.headers["content-length"] ?? 0),
      responseBytes: sent.bytes,
      cut: sent.cut !== undefined,
    };
    onRequest?.(event);
    if (isLeft) log.info(logFields(exchange, event), "the client left before the answer");
    else if (isOurFault(reply)) log.error({ ...logFields(exchange, event), err: failure }, "request failed");
    else if (sent.cut !== undefined) log.warn({ ...logFields(exchange, event), err: sent.cut }, "answer cut short");
    else if (accessLog === true) log.info(logFields(exchange, event), "request");
  }
}

/** Any valid key may do anything; the one place where policies will be asked. */
function authorize(auth: AuthResult, route: Route): void {
  if (auth.kind === "authenticated") return;
  const { action } = operations[route.operation];
  throw new S3Error("AccessDenied", `Anonymous requests are not allowed to perform ${action}.`);
}

function isOurFault({ status, code }: Reply): boolean {
  return status >= 500 && code !== "NotImplemented" && code !== "SlowDown";
}

/** The path and nothing of the query: a presigned URL's query is a credential. */
function pathOf(req: IncomingMessage): string {
  return (req.url ?? "/").split("?", 1)[0]!;
}

function logFields(exchange: Exchange, event: RequestEvent): Record<string, unknown> {
  const { req, requestId, accessKey } = exchange;
  return { ...event, requestId, accessKey, path: pathOf(req), remoteAddress: req.socket.remoteAddress };
}

function errorReply({ req, requestId }: Exchange, error: S3Error): Reply {
  const { code, status, message, details } = error;
  const headers = ["content-type", "application/xml"];
  if (code === "InvalidRange" && details["ActualObjectSize"] !== undefined)
    headers.push("content-range", `bytes */${details["ActualObjectSize"]}`);
  if (status === 503) headers.push("retry-after", "1");
  const body = errorDocument({ code, message, resource: pathOf(req), requestId, details });
  return { status, headers, body, code };
}
