/**
 * Buckets as websites: what a browser gets from `http://BUCKET.DOMAIN/`, by the bucket's WebsiteConfiguration (gateway/documents/website.ts).
 *
 * Promises: only GET, HEAD and preflights; whoever asks is anonymous, whatever they sign; a request names a key and nothing else of
 * S3 (its query and its x-amz-* headers ask nothing); errors are pages of HTML, or the bucket's own page with the error's status; every
 * request gets one answer or a destroyed connection; at most requestsInFlightMax run at once.
 *
 * An object is read by the very handlers of S3's GetObject and HeadObject, so ranges, conditions, access and encryption are theirs: what
 * is encrypted by a client's key cannot be shown. At most three objects are looked for to answer one request: the page, the index of the
 * folder that was perhaps meant, and the page for errors.
 *
 * Source: "Hosting a static website using Amazon S3" of the S3 user guide; where it is silent, what AWS answers.
 */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { Clock } from "../core/clock.ts";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import { logAnswered } from "../gateway/access_line.ts";
import { anonymousAccess, type Authority, authorityOf, shownTo } from "../gateway/authorize.ts";
import { answerPreflight, corsOfAnswer } from "../gateway/cors.ts";
import { contentOf } from "../gateway/documents/document.ts";
import { noSuchWebsite, website, type Website } from "../gateway/documents/website.ts";
import { S3Error, toS3Error } from "../gateway/errors.ts";
import { expectsContinue, S3Request, type Services } from "../gateway/exchange.ts";
import { peerOf, type RequestEvent } from "../gateway/gateway.ts";
import { getObject, headObject } from "../gateway/handlers/get.ts";
import { redirectHeader } from "../gateway/headers.ts";
import { RequestIds } from "../gateway/request_ids.ts";
import { send, type Reply, type Sent } from "../gateway/respond.ts";
import { decodeKey, splitTarget, type Route } from "../gateway/route.ts";
import type { RequestLog } from "../logging/logging.ts";
import type { Admit } from "../object/object.ts";
import { bucketsOfHost, type Domains } from "./host.ts";
import { errorHeaders, errorPage, type Failure } from "./page.ts";
import { folderLocation, locationElsewhere, redirectedBy, ruleFor, type Visited } from "./routing.ts";

export type WebsiteDoorOptions = {
  readonly services: Services;
  readonly domains: Domains;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Every request that was answered, once. */
  readonly onRequest?: (event: RequestEvent) => void;
  /** Told of requests to buckets that are logged; without it none is. */
  readonly bucketLogs?: RequestLog;
};

export type WebsiteDoor = {
  /** Whether the request's host is a website's. */
  isFor(request: Pick<IncomingMessage, "headers">): boolean;
  handle(request: IncomingMessage, response: ServerResponse): Promise<void>;
};

export function createWebsiteDoor(options: WebsiteDoorOptions): WebsiteDoor {
  const door = new Door(options);
  return {
    isFor: ({ headers }) => bucketsOfHost(headers.host, options.domains) !== undefined,
    handle: (request, response) => door.handle(request, response),
  };
}

/** What is known of a request while it is being answered. */
type Exchange = {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly requestId: string;
  readonly startedMs: number;
  operation: RequestEvent["operation"];
  /** Headers of the answer that let a page of another origin see it. */
  cors: readonly string[];
  failure: unknown;
  /** What it is for, once that is known; for the bucket's log. */
  address: Pick<Route, "bucket" | "key"> | undefined;
  authority: Authority | undefined;
  /** The bucket's own page that is shown, and for which failure. */
  errorDocument: { readonly failure: Failure; readonly key: string } | undefined;
};

type Pages = Extract<Website, { kind: "pages" }>;

/** A request for a page of a website that there is. */
type Visit = {
  readonly exchange: Exchange;
  readonly bucket: string;
  readonly site: Pages;
  readonly visited: Visited;
  readonly authority: Authority;
};

/** Thrown by the look at an object that only says where to go: nothing of it is read then. */
class SentElsewhere extends Error {
  readonly location: string;

  constructor(location: string) {
    super("The object redirects.");
    this.location = location;
  }
}

const followRedirect: Admit = ({ metadata }) => {
  const location = metadata.headers[redirectHeader];
  if (location !== undefined) throw new SentElsewhere(location);
};

class Door {
  readonly #options: WebsiteDoorOptions;
  readonly #ids: RequestIds;
  #inFlight = 0;

  constructor(options: WebsiteDoorOptions) {
    const { random } = options;
    this.#options = options;
    this.#ids = new RequestIds(random);
  }

  async handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { clock, log } = this.#options;
    const requestId = this.#ids.next();
    const startedMs = clock.monotonicMs();
    const unknown = {
      operation: "Unknown",
      cors: [],
      failure: undefined,
      address: undefined,
      authority: undefined,
      errorDocument: undefined,
    } as const;
    const exchange: Exchange = { req, res, requestId, startedMs, ...unknown };
    this.#inFlight += 1;
    try {
      const reply = await this.#reply(exchange);
      const repliedMs = clock.monotonicMs();
      const common = ["x-amz-request-id", requestId, "x-amz-id-2", this.#ids.hostId, ...exchange.cors];
      const refusal = (error: Error): Reply => this.#unreadable(exchange, error);
      const sent = await send({ req, res, reply, common, awaitsContinue: expectsContinue(req), refusal });
      this.#record(exchange, { reply: sent.instead ?? reply, sent, repliedMs });
    } catch (error) {
      log.error({ err: error, requestId }, "the door of websites failed to answer");
      res.destroy();
    } finally {
      this.#inFlight -= 1;
    }
  }

  async #reply(exchange: Exchange): Promise<Reply> {
    try {
      return await this.#run(exchange);
    } catch (error) {
      return this.#page(exchange, { error: this.#failed(exchange, error) });
    }
  }

  /** What is thrown as S3 would say it. The first failure of a request is the one that counts. */
  #failed(exchange: Exchange, error: unknown): S3Error {
    exchange.failure ??= error;
    return toS3Error(error);
  }

  /** In the place of a page of which nothing could be read. */
  #unreadable(exchange: Exchange, error: unknown): Reply {
    const { errorDocument } = exchange;
    if (errorDocument !== undefined) {
      const { failure, key } = errorDocument;
      return this.#page(exchange, failure, { error: toS3Error(error), key });
    }
    return this.#page(exchange, { error: this.#failed(exchange, error) });
  }

  #page({ requestId }: Exchange, failure: Failure, document?: Failure): Reply {
    return errorPage(failure, document, { requestId, hostId: this.#ids.hostId });
  }

  async #run(exchange: Exchange): Promise<Reply> {
    const { req } = exchange;
    if (this.#inFlight > limits.requestsInFlightMax) throw new S3Error("SlowDown", "Please reduce your request rate.");
    const { method = "", url = "/", headers } = req;
    const { path: rawPath, rawQuery } = splitTarget(url);
    if (method === "OPTIONS") return this.#preflight(exchange, rawPath !== "/");
    if (method !== "GET" && method !== "HEAD") return this.#refuseMethod(exchange, method);
    exchange.operation = method === "GET" ? "GetObject" : "HeadObject";
    const { bucket, site } = await this.#siteOf(headers.host);
    exchange.address = { bucket, key: Buffer.alloc(0) };
    const { objects } = this.#options.services;
    exchange.cors = await corsOfAnswer(objects, { method, headers, bucket });
    const key = decodeKey(rawPath.slice(1)).toString();
    exchange.address = { bucket, key: Buffer.from(key) };
    const protocol = "encrypted" in req.socket ? "https" : "http";
    const visited: Visited = { protocol, host: headers.host ?? "", key, rawPath, rawQuery };
    if (site.kind === "elsewhere") return redirect({ status: 301, location: locationElsewhere(site, visited) });
    const rule = ruleFor(site.rules, key, undefined);
    if (rule !== undefined) return redirect(redirectedBy(rule, visited));
    const authority = await this.#authority(exchange, bucket);
    exchange.authority = authority;
    return this.#show({ exchange, bucket, site, visited, authority });
  }

  #refuseMethod(exchange: Exchange, method: string): Reply {
    const details = { Method: method, ResourceType: "OBJECT" };
    const message = "The specified method is not allowed against this resource.";
    const page = this.#page(exchange, { error: new S3Error("MethodNotAllowed", message, { details }) });
    return { ...page, headers: [...page.headers, "allow", "GET, HEAD, OPTIONS"] };
  }

  async #preflight(exchange: Exchange, isObject: boolean): Promise<Reply> {
    exchange.operation = "Preflight";
    const { headers } = exchange.req;
    const { bucket } = await this.#siteOf(headers.host);
    return answerPreflight(this.#options.services.objects, { headers, bucket, isObject });
  }

  /** Errors: `no_such_bucket`, NoSuchWebsiteConfiguration. */
  async #siteOf(host: string | undefined): Promise<{ readonly bucket: string; readonly site: Website }> {
    const { domains, services } = this.#options;
    let failure: unknown = new S3Error("NoSuchBucket", "The specified bucket does not exist");
    for (const bucket of bucketsOfHost(host, domains) ?? []) {
      try {
        const document = await services.objects.configuration(bucket, "website");
        if (document !== undefined) return { bucket, site: contentOf(website, document) };
      } catch (error) {
        if (!hasReason(error, "no_such_bucket")) throw error;
        failure = error;
        continue;
      }
      const { code, message } = noSuchWebsite;
      throw new S3Error(code, message, { details: { BucketName: bucket } });
    }
    throw failure;
  }

  /** What nobody in particular may do with the bucket. */
  #authority(exchange: Exchange, bucket: string): Promise<Authority> {
    const { clock, services } = this.#options;
    const { req } = exchange;
    const asked = { ...routeTo(exchange, bucket, ""), headers: plainHeaders(req.headers) };
    const parts = { access: anonymousAccess, peer: peerOf(req), asked, nowMs: clock.nowMs(), region: services.region };
    return authorityOf(parts, services);
  }

  async #show(visit: Visit): Promise<Reply> {
    const { exchange, bucket, site, visited, authority } = visit;
    const isFolder = visited.key === "" || visited.key.endsWith("/");
    const key = isFolder ? visited.key + site.indexSuffix : visited.key;
    exchange.address = { bucket, key: Buffer.from(key) };
    try {
      return await this.#read(visit, key, { onFound: followRedirect });
    } catch (error) {
      if (error instanceof SentElsewhere) return redirect({ status: 301, location: error.location });
      if (!isFolder && hasReason(error, "no_such_key") && (await this.#isThere(visit, `${key}/${site.indexSuffix}`)))
        return redirect({ status: 302, location: folderLocation(key) });
      const asked = { ...routeTo(exchange, bucket, key), headers: {} };
      return this.#showFailure(visit, { error: this.#failed(exchange, shownTo(authority, asked, error)), key });
    }
  }

  /** The object as S3 answers it. `headers`: of the request, unless others are given. */
  async #read(
    { exchange, bucket, authority }: Visit,
    key: string,
    { onFound, headers }: { readonly onFound?: Admit; readonly headers?: IncomingHttpHeaders },
  ): Promise<Reply> {
    const { services: all } = this.#options;
    const services = { ...all, objects: authority.judged(all.objects) };
    const { req, res, requestId } = exchange;
    const route = routeTo(exchange, bucket, key);
    const sourceAddress = req.socket.remoteAddress ?? "";
    const request = new S3Request({
      req,
      res,
      route,
      auth: { kind: "anonymous", payload: "unsigned" },
      authority,
      headers: headers ?? plainHeaders(req.headers),
      origin: () => ({ principal: "anonymous", sourceAddress, requestId, hostId: this.#ids.hostId }),
      digests: services.digests,
      plainCustomerKeys: false,
      onContinue: () => undefined,
      ...(onFound && { onFound }),
    });
    return route.operation === "HeadObject" ? headObject(request, services) : getObject(request, services);
  }

  /** And may be shown. */
  async #isThere(visit: Visit, key: string): Promise<boolean> {
    try {
      const head = { ...visit, exchange: { ...visit.exchange, operation: "HeadObject" as const } };
      await this.#read(head, key, { headers: {} });
      return true;
    } catch (error) {
      if (toS3Error(error).status >= 500) throw error;
      return false;
    }
  }

  /** A rule may know where to go from here, and the bucket may have a page for errors that are the client's. */
  async #showFailure(visit: Visit, failure: Failure): Promise<Reply> {
    const { exchange, site, visited, bucket, authority } = visit;
    const { status, code } = failure.error;
    const rule = ruleFor(site.rules, visited.key, status);
    if (rule !== undefined) return { ...redirect(redirectedBy(rule, visited)), code };
    const { errorKey } = site;
    if (errorKey === undefined || status >= 500) return this.#page(exchange, failure);
    try {
      const page = await this.#read(visit, errorKey, { headers: {} });
      exchange.errorDocument = { failure, key: errorKey };
      return { ...page, status, headers: [...page.headers, ...errorHeaders(failure.error)], code };
    } catch (error) {
      const asked = { ...routeTo(exchange, bucket, errorKey), headers: {} };
      return this.#page(exchange, failure, { error: toS3Error(shownTo(authority, asked, error)), key: errorKey });
    }
  }

  #record(exchange: Exchange, answer: Answer): void {
    const { req, requestId, startedMs, operation, failure } = exchange;
    const { reply, sent } = answer;
    const { onRequest, log, clock } = this.#options;
    const { status, code } = reply;
    // Where the client is gone, what we would have answered says nothing about us; 499 is what proxies call it.
    const isLeft = sent.cut !== undefined && hasReason(failure, "cancelled");
    const event: RequestEvent = {
      operation,
      method: req.method ?? "",
      status: isLeft ? 499 : status,
      code,
      durationMs: clock.monotonicMs() - startedMs,
      requestBytes: Number(req.headers["content-length"] ?? 0),
      responseBytes: sent.bytes,
      cut: sent.cut !== undefined,
    };
    onRequest?.(event);
    this.#logForBucket(exchange, answer, event);
    const fields = { ...event, requestId, host: req.headers.host, remoteAddress: req.socket.remoteAddress };
    if (status >= 500 && code !== "SlowDown") log.error({ ...fields, err: failure }, "request of a website failed");
    else if (sent.cut !== undefined && !isLeft) log.warn({ ...fields, err: sent.cut }, "answer cut short");
  }

  /** Where its bucket has a log: after the answer, and never instead of it. */
  #logForBucket(exchange: Exchange, { reply, sent, repliedMs }: Answer, { status, durationMs }: RequestEvent): void {
    const { bucketLogs, clock } = this.#options;
    const { req, requestId, startedMs, address, authority, operation } = exchange;
    if (bucketLogs === undefined || address === undefined || !bucketLogs.isLogged(address.bucket)) return;
    logAnswered(bucketLogs, {
      req,
      requestId,
      hostId: this.#ids.hostId,
      isWebsite: true,
      operation: operation === "Unknown" ? undefined : operation,
      // What it was refused for, if it was, came after the bucket's row was read.
      route: undefined,
      address,
      access: undefined,
      signed: undefined,
      authority,
      timeMs: clock.nowMs() - durationMs,
      totalMs: durationMs,
      turnAroundMs: repliedMs - startedMs,
      status,
      reply,
      sent,
    });
  }
}

type Answer = { readonly reply: Reply; readonly sent: Sent; readonly repliedMs: number };

function redirect({ status, location }: { readonly status: number; readonly location: string }): Reply {
  return { status, headers: ["location", location] };
}

const noQuery: Route["query"] = new Map();

function routeTo({ operation }: Exchange, bucket: string, key: string): Route {
  const read = operation === "HeadObject" ? "HeadObject" : "GetObject";
  return { operation: read, bucket, key: Buffer.from(key), query: noQuery, rawPath: "/", rawQuery: "" };
}

/** Without what only S3 understands: a signature, a client's key, and all else that would ask for more than a page. */
function plainHeaders(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const kept = Object.entries(headers).filter(([name]) => name !== "authorization" && !name.startsWith("x-amz-"));
  return Object.fromEntries(kept);
}
