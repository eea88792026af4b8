/**
 * The S3 door as one request handler: detect → authenticate → authorize → screen → run → respond.
 *
 * Promises: every request gets exactly one answer or a destroyed connection; errors, metrics and the access log are made
 * in one place (`handle`); no byte of a client can make the handler throw; at most requestsInFlightMax requests run at
 * once, the next ones are told SlowDown before anything is read.
 *
 * Register it for both `request` and `checkContinue` of a node:http server: it sends 100 Continue itself, once a handler
 * reads the body, so that a refused upload is refused before its bytes travel.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { DigestPool } from "../digest/digest.ts";
import type { Destinations } from "../events/events.ts";
import type { Objects, RequestOrigin } from "../object/object.ts";
import type { RequestLog } from "../logging/logging.ts";
import { isLogWanted, logAnswered, type Answered } from "./access_line.ts";
import { newObjectAcl } from "./acls.ts";
import { anonymousAccess, Authority, authorityOf, authorize, shownTo } from "./authorize.ts";
import { begunUpload } from "./begun_upload.ts";
import type { Access, AuthorityParts } from "./authorize.ts";
import { answerPreflight, corsOfAnswer } from "./cors.ts";
import { errorDocument, headersOf as errorHeaders, S3Error, toS3Error } from "./errors.ts";
import { checkExpectedOwner } from "./expected_owner.ts";
import { expectsContinue, headersOf, S3Request } from "./exchange.ts";
import type { Services } from "./exchange.ts";
import { handlers } from "./handlers/handlers.ts";
import { operations, type Operation } from "./operations.ts";
import type { Accounts } from "./owners.ts";
import { judgedHeaders, judgePosted, openForm, postedObject, storePosted } from "./post.ts";
import { RequestIds } from "./request_ids.ts";
import { send } from "./respond.ts";
import type { Reply, Sent } from "./respond.ts";
import { addressOf, detect } from "./route.ts";
import type { Route } from "./route.ts";
import type { ReadAhead } from "./rules.ts";
import { screen } from "./screen.ts";
import { verifyRequest } from "./sigv4.ts";
import type { AuthResult } from "./sigv4.ts";
import { verifyForm } from "./sigv4_form.ts";

export type GatewayKey = { readonly secretKey: string; readonly access: Access };

/** Who may come in, and what applies to them now. Undefined: no such key, or not any more. */
export type GatewayIdentity = {
  /** `ahead`: rows that are read with those of the key, where any are. */
  find(accessKey: string, token?: string, ahead?: ReadAhead): Promise<GatewayKey | undefined>;
  readonly accounts: Accounts;
};

/** One finished request, for metrics. Durations in milliseconds, sizes in bytes. */
export type RequestEvent = {
  readonly operation: Operation | "Preflight" | "Unknown";
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
  readonly destinations: Pick<Destinations, "test">;
  readonly identity: GatewayIdentity;
  readonly digests: Pick<DigestPool, "whole">;
  readonly region: string;
  /** Virtual-host style: `bucket.<domain>`. Lower-case, without port. Empty: path style only. */
  readonly domains: readonly string[];
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Takes clients' keys on connections without TLS, which a proxy before this server has; from this machine they always may come so. */
  readonly plainCustomerKeys?: boolean;
  /** Logs every request with `info`; without it only failures are logged. */
  readonly accessLog?: boolean;
  readonly onRequest?: (event: RequestEvent) => void;
  /** Told of requests to buckets that are logged; without it none is. */
  readonly bucketLogs?: RequestLog;
};

export type Gateway = (req: IncomingMessage, res: ServerResponse) => Promise<void>;

export function createGateway(options: GatewayOptions): Gateway {
  const gateway = new S3Gateway(options);
  return (req, res) => gateway.handle(req, res);
}

type Authenticated = { readonly auth: AuthResult; readonly access: Access };

/** What is known of a request while it is being answered. */
type Exchange = {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly requestId: string;
  readonly startedMs: number;
  /** 100 Continue was asked for and has not been sent. */
  awaitsContinue: boolean;
  operation: Operation | "Preflight" | undefined;
  /** Headers of the answer that let a page of another origin see it. */
  cors: readonly string[];
  accessKey: string | undefined;
  failure: unknown;
  /** For the bucket's log. */
  readonly logged: { -readonly [N in LoggedName]?: Answered[N] } & { bodyEndedMs?: number };
};

type LoggedName = "route" | "access" | "signed" | "authority";

class S3Gateway {
  readonly #options: GatewayOptions;
  readonly #services: Services;
  /** The same with objects of buckets that requests were judged by. */
  readonly #judgedServices = new WeakMap<Objects, Services>();
  readonly #ids: RequestIds;
  #inFlight = 0;

  constructor(options: GatewayOptions) {
    const { objects, destinations, digests, region, clock, random, identity } = options;
    this.#options = options;
    this.#services = { objects, destinations, digests, region, clock, accounts: identity.accounts };
    this.#ids = new RequestIds(random);
  }

  async handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const exchange: Exchange = {
      req,
      res,
      requestId: this.#ids.next(),
      startedMs: this.#options.clock.monotonicMs(),
      awaitsContinue: expectsContinue(req),
      operation: undefined,
      cors: [],
      accessKey: undefined,
      failure: undefined,
      logged: {},
    };
    // Asked now, it is known after the client has left, too.
    void req.socket.remoteAddress;
    this.#inFlight += 1;
    try {
      const reply = await this.#reply(exchange);
      const repliedMs = this.#options.clock.monotonicMs();
      const common = ["x-amz-request-id", exchange.requestId, "x-amz-id-2", this.#ids.hostId, ...exchange.cors];
      const refusal = (error: Error): Reply => refused(exchange, error);
      const sent = await send({ req, res, reply, common, awaitsContinue: exchange.awaitsContinue, refusal });
      this.#record(exchange, { reply: sent.instead ?? reply, sent, repliedMs });
    } catch (error) {
      this.#options.log.error({ err: error, requestId: exchange.requestId }, "the gateway failed to answer");
      res.destroy();
    } finally {
      this.#inFlight -= 1;
    }
  }

  async #reply(exchange: Exchange): Promise<Reply> {
    try {
      return await this.#run(exchange);
    } catch (error) {
      return refused(exchange, error);
    }
  }

  async #run(exchange: Exchange): Promise<Reply> {
    const { req } = exchange;
    if (this.#inFlight > limits.requestsInFlightMax) throw new S3Error("SlowDown", "Please reduce your request rate.");
    const { method = "", url: target = "/", headers } = req;
    const asked = { host: headers.host, target, domains: this.#options.domains };
    if (method === "OPTIONS") return this.#preflight(exchange, addressOf(asked));
    const route = detect({ ...asked, method, hasCopySource: headers["x-amz-copy-source"] !== undefined });
    exchange.operation = route.operation;
    exchange.logged.route = route;
    if (headers.origin !== undefined)
      exchange.cors = await corsOfAnswer(this.#services.objects, { method, headers, bucket: route.bucket });
    if (route.operation === "PostObject") return this.#post(exchange, route);
    const ahead = this.#services.objects.readAhead(route.bucket);
    const { auth, access } = await this.#authenticate(req, route, ahead);
    exchange.logged.access = access;
    if (auth.kind === "authenticated") {
      exchange.accessKey = auth.accessKey;
      exchange.logged.signed = route.query.has("X-Amz-Signature") ? "query" : "header";
    }
    const asks = { ...route, headers: headersOf(req, route) };
    const authority = await this.#judge(exchange, { access, asked: asks }, ahead);
    screen(asks);
    const request = this.#request(exchange, { route, auth, authority });
    const reply = await handlers[route.operation](request, this.#servicesFor(authority)).catch((error: unknown) => {
      throw shownTo(authority, request, error);
    });
    assert(request.admission.isDone, "what a request has found was judged");
    return reply;
  }

  /** Throws where the caller may not do it. */
  async #judge(
    { req, logged }: Exchange,
    { asked, ...parts }: Pick<AuthorityParts, "access" | "asked" | "authType">,
    ahead?: ReadAhead,
  ): Promise<Authority> {
    const { clock, region } = this.#options;
    const begun = parts.access === "full" ? undefined : begunUpload(asked, this.#services.objects);
    const upload = begun && (await begun);
    const authority = await authorityOf(
      { ...parts, peer: peerOf(req), asked, upload, nowMs: clock.nowMs(), region },
      this.#services,
      ahead,
    );
    logged.authority = authority;
    authorize(authority, asked);
    await checkExpectedOwner(authority, asked, this.#services);
    return authority;
  }

  #servicesFor(authority: Authority): Services {
    const objects = authority.judged(this.#services.objects);
    if (objects === this.#services.objects) return this.#services;
    let services = this.#judgedServices.get(objects);
    if (services === undefined) this.#judgedServices.set(objects, (services = { ...this.#services, objects }));
    return services;
  }

  #request(
    exchange: Exchange,
    parts: { readonly route: Route; readonly auth: AuthResult; readonly authority: Authority },
  ): S3Request {
    const { req, res } = exchange;
    const onContinue = (): void => {
      exchange.awaitsContinue = false;
      res.writeContinue();
    };
    const { bucketLogs, clock } = this.#options;
    if (bucketLogs?.isLogged(parts.route.bucket) === true && operations[parts.route.operation].body !== "none")
      req.once("end", () => (exchange.logged.bodyEndedMs = clock.monotonicMs()));
    const { digests } = this.#services;
    const { plainCustomerKeys = false } = this.#options;
    const origin = (): RequestOrigin => this.#originOf(exchange);
    const headers = headersOf(req, parts.route);
    return new S3Request({ ...parts, headers, req, res, origin, digests, plainCustomerKeys, onContinue });
  }

  /** A form says in its body who asks, and for what: it is judged between its fields and its file. */
  async #post(exchange: Exchange, route: Route): Promise<Reply> {
    const { clock, region, identity } = this.#options;
    const auth = { kind: "anonymous", payload: "unsigned" } as const;
    const { req } = exchange;
    const unjudged = {
      access: anonymousAccess,
      peer: peerOf(req),
      asked: { ...route, headers: req.headers },
      nowMs: 0,
      region,
    };
    // Until it has said whose it is, it may do nothing.
    const request = this.#request(exchange, { route, auth, authority: new Authority(unjudged, new Map()) });
    screen({ operation: route.operation, headers: request.headers });
    const form = openForm(request);
    try {
      const posted = postedObject(request, await form.head());
      let access = anonymousAccess;
      const secretFor = async (accessKey: string, token?: string): Promise<string | undefined> => {
        const found = await identity.find(accessKey, token);
        if (found !== undefined) access = found.access;
        return found?.secretKey;
      };
      const caller = await verifyForm({ fields: posted.fields, region, secretFor });
      const { key, headers } = posted;
      const isSigned = caller.kind === "authenticated";
      exchange.logged.access = access;
      if (isSigned) {
        exchange.accessKey = caller.accessKey;
        exchange.logged.signed = posted.fields.has("awsaccesskeyid") ? "form v2" : "form v4";
      }
      const asked = { ...route, key, headers: judgedHeaders(request, posted) };
      exchange.logged.route = asked;
      screen({ operation: route.operation, headers });
      const authority = await this.#judge(exchange, { access, asked, authType: isSigned ? "POST" : undefined });
      const range = judgePosted(posted, clock.nowMs());
      const services = this.#servicesFor(authority);
      const { objects } = services;
      const acl = await newObjectAcl({ ...asked, authority }, services);
      return await storePosted({ request, form, posted, range, acl, objects });
    } finally {
      await form.close();
    }
  }

  #originOf({ req, requestId, accessKey = "anonymous" }: Exchange): RequestOrigin {
    return { principal: accessKey, sourceAddress: req.socket.remoteAddress ?? "", requestId, hostId: this.#ids.hostId };
  }

  #preflight(exchange: Exchange, { bucket, key }: Pick<Route, "bucket" | "key">): Promise<Reply> {
    exchange.operation = "Preflight";
    const { headers } = exchange.req;
    return answerPreflight(this.#services.objects, { headers, bucket, isObject: key.length > 0 });
  }

  async #authenticate(
    req: IncomingMessage,
    { rawPath, rawQuery }: Route,
    ahead: ReadAhead | undefined,
  ): Promise<Authenticated> {
    const { clock, region, identity } = this.#options;
    let found: GatewayKey | undefined;
    const auth = await verifyRequest({
      method: req.method ?? "",
      rawPath,
      rawQuery,
      headers: req.headers,
      rawHeaders: req.rawHeaders,
      nowMs: clock.nowMs(),
      region,
      secretFor: async (accessKey, token) => {
        found = await identity.find(accessKey, token, ahead);
        return found?.secretKey;
      },
    });
    if (auth.kind === "anonymous") return { auth, access: anonymousAccess };
    assert(found !== undefined, "a key that signed was found");
    return { auth, access: found.access };
  }

  #record(exchange: Exchange, answer: Answer): void {
    const { reply, sent } = answer;
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
    this.#logForBucket(exchange, answer, event);
    if (isLeft) log.info(logFields(exchange, event), "the client left before the answer");
    else if (isOurFault(reply)) log.error({ ...logFields(exchange, event), err: failure }, "request failed");
    else if (sent.cut !== undefined) log.warn({ ...logFields(exchange, event), err: sent.cut }, "answer cut short");
    else if (accessLog === true) log.info(logFields(exchange, event), "request");
  }

  /** Where its bucket has a log: after the answer, and never instead of it. */
  #logForBucket(exchange: Exchange, { reply, sent, repliedMs }: Answer, { status, durationMs }: RequestEvent): void {
    const { bucketLogs, clock, domains } = this.#options;
    if (bucketLogs === undefined) return;
    const { req, requestId, operation, startedMs, logged } = exchange;
    const { route, access, signed, authority, bodyEndedMs = startedMs } = logged;
    const address = route ?? addressIfAny({ host: req.headers.host, target: req.url ?? "/", domains });
    if (address === undefined || address.bucket === "") return;
    if (!isLogWanted(bucketLogs, { operation, route, authority, address })) return;
    logAnswered(bucketLogs, {
      req,
      requestId,
      hostId: this.#ids.hostId,
      access,
      signed,
      authority,
      operation,
      route,
      address,
      timeMs: clock.nowMs() - durationMs,
      totalMs: durationMs,
      turnAroundMs: repliedMs - Math.max(startedMs, Math.min(bodyEndedMs, repliedMs)),
      status,
      reply,
      sent,
    });
  }
}

type Answer = { readonly reply: Reply; readonly sent: Sent; readonly repliedMs: number };

function isOurFault({ status, code }: Reply): boolean {
  return status >= 500 && code !== "NotImplemented" && code !== "SlowDown";
}

/** Undefined: there is none that could be understood. */
function addressIfAny(asked: Parameters<typeof addressOf>[0]): ReturnType<typeof addressOf> | undefined {
  try {
    return addressOf(asked);
  } catch {
    return undefined;
  }
}

export function peerOf({ socket }: IncomingMessage): AuthorityParts["peer"] {
  return { remoteAddress: socket.remoteAddress, connection: socket };
}

/** The path and nothing of the query: a presigned URL's query is a credential. */
function pathOf(req: IncomingMessage): string {
  return (req.url ?? "/").split("?", 1)[0]!;
}

function logFields(exchange: Exchange, event: RequestEvent): Record<string, unknown> {
  const { req, requestId, accessKey } = exchange;
  return { ...event, requestId, accessKey, path: pathOf(req), remoteAddress: req.socket.remoteAddress };
}

function refused(exchange: Exchange, error: unknown): Reply {
  exchange.failure = error;
  return errorReply(exchange, toS3Error(error));
}

function errorReply({ req, requestId }: Exchange, error: S3Error): Reply {
  const { code, status, message, details } = error;
  const headers = ["content-type", "application/xml", ...errorHeaders(error, req.method)];
  const body = errorDocument({ code, message, resource: pathOf(req), requestId, details });
  return { status, headers, body, code };
}
