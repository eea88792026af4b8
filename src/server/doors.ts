/**
 * Which door a request takes: on the host name of a website all of it is that website's; else everything below `/_/` is the file API's or the operator's, forms that are posted to `/` are IAM's and
 * STS's, the rest is S3's. (On a bucket's own host name all of it is S3's, for there `/_/x` is an object key.)
 *
 * Promises for the doors below `/_/`: every request gets one answer; what a door throws becomes its JSON error; at most
 * requestsInFlightMax run at once. The gateway promises the same for itself, and the door for other nodes has bounds of its own.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AdminDoor } from "../admin/admin.ts";
import type { Activity } from "../core/activity.ts";
import type { Clock } from "../core/clock.ts";
import { errorReply, HttpRefusal, noSuchAddress, type DoorReply, type DoorRequest } from "../core/door.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { AnsweredCall } from "../files/access_line.ts";
import type { FilesDoor } from "../files/files.ts";
import { expectsContinue } from "../gateway/exchange.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { send, type Reply } from "../gateway/respond.ts";
import { decodeKey, parseQuery, splitTarget } from "../gateway/route.ts";
import type { QueryDoor } from "../iam/iam.ts";
import type { NodeDoor, PeerReply } from "../node/peer_door.ts";
import type { WebsiteDoor } from "../website/website.ts";
import type { Door } from "./http.ts";

export type DoorsOptions = {
  readonly gateway: Gateway;
  /** Undefined: there are no domains of websites. */
  readonly website: WebsiteDoor | undefined;
  /** IAM and STS. */
  readonly query: QueryDoor;
  readonly files: FilesDoor;
  readonly admin: AdminDoor;
  /** For the other nodes of a cluster. */
  readonly node: NodeDoor | undefined;
  /** Requests of clients are counted there: S3's, websites' and the file API's, not the operator's or other nodes'. */
  readonly activity: Activity;
  /** Lower-case. */
  readonly domains: readonly string[];
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Log;
};

const ownPrefix = "/_/";

export function createDoors(options: DoorsOptions): Door {
  const own = new OwnDoors(options);
  const { gateway, website, query, activity, domains } = options;
  return async (request, response) => {
    const site = website?.isFor(request) === true ? website : undefined;
    if (site === undefined && isOwn(request, domains)) return own.handle(request, response);
    if (site === undefined && query.isFor(request)) return query.handle(request, response);
    const end = activity.begin();
    try {
      await (site === undefined ? gateway(request, response) : site.handle(request, response));
    } finally {
      end();
    }
  };
}

function isOwn({ url = "", headers }: IncomingMessage, domains: readonly string[]): boolean {
  const isBelow = url.startsWith(ownPrefix) || /^https?:\/\/[^/?]*\/_\//i.test(url);
  if (!isBelow || domains.length === 0) return isBelow;
  const host = (headers.host ?? "").toLowerCase().replace(/:\d*$/, "");
  return !domains.some((domain) => host.endsWith(`.${domain}`));
}

/** One request on its way through a door. */
class Visit implements DoorRequest {
  readonly method: string;
  readonly segments: readonly string[];
  readonly query: ReadonlyMap<string, string>;
  readonly headers: IncomingMessage["headers"];
  readonly remoteAddress: string | undefined;
  readonly connection: object;
  readonly signal: AbortSignal;
  readonly #incoming: IncomingMessage;
  readonly #response: ServerResponse;
  #awaitsContinue: boolean;

  constructor(incoming: IncomingMessage, response: ServerResponse) {
    const { path, rawQuery } = splitTarget(incoming.url ?? "");
    const parts = path.slice(ownPrefix.length).split("/");
    if (parts.at(-1) === "") parts.pop();
    this.segments = parts.map((part) => decodeKey(part).toString());
    this.query = rawQuery === "" ? new Map() : parseQuery(rawQuery);
    this.method = incoming.method ?? "";
    this.headers = incoming.headers;
    this.remoteAddress = incoming.socket.remoteAddress;
    this.connection = incoming.socket;
    this.#incoming = incoming;
    this.#response = response;
    this.#awaitsContinue = expectsContinue(incoming);
    const left = new AbortController();
    this.signal = left.signal;
    response.once("close", () => {
      if (!response.writableFinished) left.abort(new HoldfastError("cancelled", "The client left."));
    });
  }

  get awaitsContinue(): boolean {
    return this.#awaitsContinue;
  }

  /** The same request as the door sees it that owns the segments before `segments`. */
  behind(segments: readonly string[]): DoorRequest {
    const { method, query, headers, remoteAddress, connection, signal } = this;
    return { method, segments, query, headers, remoteAddress, connection, signal, body: () => this.body() };
  }

  body(): IncomingMessage {
    if (this.#awaitsContinue) this.#response.writeContinue();
    this.#awaitsContinue = false;
    return this.#incoming;
  }
}

type Served = { readonly door: "admin" | "files" | "node"; readonly operation: string };

type Chosen = Served & {
  readonly run: () => Promise<DoorReply | Reply | PeerReply>;
  /** Told when the answer has been sent. */
  readonly answered?: (call: Omit<AnsweredCall, "operation">) => void;
};

class OwnDoors {
  readonly #options: DoorsOptions;
  #inFlight = 0;

  constructor(options: DoorsOptions) {
    this.#options = options;
  }

  async handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { metrics, clock, log } = this.#options;
    const startedMs = clock.monotonicMs();
    let visit: Visit | undefined;
    let served: Served = { door: "admin", operation: "Other" };
    let reply: DoorReply | Reply | PeerReply;
    let leave = (): void => undefined;
    let failure: unknown;
    let tell: Chosen["answered"];
    const refusal = (error: unknown): DoorReply => {
      failure = error;
      const failed = errorReply(error);
      if (failed.isOurs) log.error({ err: error, ...served }, "A request failed.");
      return failed.reply;
    };
    try {
      visit = open(req, res);
      const { run, answered, ...names } = this.#choose(visit);
      served = names;
      tell = answered;
      if (served.door !== "node") leave = this.#enter(served.door);
      reply = await run();
    } catch (error) {
      reply = refusal(error);
    }
    try {
      const waits = visit === undefined ? expectsContinue(req) : visit.awaitsContinue;
      // What is answered to other nodes is sealed: they get all of it, or the end of the connection.
      const sent = await send({
        req,
        res,
        reply,
        common: [],
        awaitsContinue: waits,
        ...(served.door !== "node" && { refusal }),
      });
      reply = sent.instead ?? reply;
      const isLeft = sent.cut !== undefined && visit?.signal.aborted === true;
      if (sent.cut !== undefined && visit?.signal.aborted === false)
        log.warn({ err: sent.cut, ...served }, "An answer was cut.");
      // Where the client is gone, what we would have answered says nothing about us; 499 is what proxies call it.
      const status = isLeft ? 499 : reply.status;
      const durationMs = clock.monotonicMs() - startedMs;
      metrics.request({ ...served, status, durationMs });
      const timeMs = clock.nowMs() - durationMs;
      tell?.({ req, reply, sent, status, error: failure, timeMs, totalMs: durationMs });
    } finally {
      leave();
    }
  }

  #enter(door: "admin" | "files"): () => void {
    if (this.#inFlight >= limits.requestsInFlightMax) throw tooBusy();
    this.#inFlight += 1;
    const end = door === "files" ? this.#options.activity.begin() : undefined;
    return () => {
      this.#inFlight -= 1;
      end?.();
    };
  }

  #choose(visit: Visit): Chosen {
    const { files, admin, node } = this.#options;
    const [name, ...behind] = visit.segments;
    if (name === "node" && node !== undefined) {
      const request = visit.behind(behind);
      return { door: "node", operation: node.operation(request), run: () => node.handle(request) };
    }
    if (name === "files") {
      const request = visit.behind(behind);
      const answered: Chosen["answered"] = (call) => files.answered(request, call);
      return { door: "files", operation: files.operation(request), run: () => files.handle(request), answered };
    }
    if (name !== "health" && name !== "metrics" && name !== "admin") throw noSuchAddress();
    return { door: "admin", operation: admin.operation(visit), run: () => admin.handle(visit) };
  }
}

function open(req: IncomingMessage, res: ServerResponse): Visit {
  try {
    return new Visit(req, res);
  } catch (error) {
    throw new HttpRefusal(400, "invalid_address", (error as Error).message);
  }
}

function tooBusy(): HoldfastError {
  return new HoldfastError("slow_down", "Too many requests are running; try again in a moment.");
}
