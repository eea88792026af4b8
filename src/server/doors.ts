/**
 * Which door a request takes: everything below `/_/` is the file API's or the operator's, the rest is S3's. (On a bucket's
 * own host name all of it is S3's, for there `/_/x` is an object key.)
 *
 * Promises for the doors below `/_/`: every request gets one answer; what a door throws becomes its JSON error; at most
 * requestsInFlightMax run at once. The gateway promises the same for itself.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AdminDoor } from "../admin/admin.ts";
import type { Clock } from "../core/clock.ts";
import { errorReply, HttpRefusal, noSuchAddress, type DoorReply, type DoorRequest } from "../core/door.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { FilesDoor } from "../files/files.ts";
import { expectsContinue } from "../gateway/exchange.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { send, type Reply } from "../gateway/respond.ts";
import { decodeKey, parseQuery, splitTarget } from "../gateway/route.ts";
import type { Door } from "./http.ts";

export type DoorsOptions = {
  readonly gateway: Gateway;
  readonly files: FilesDoor;
  readonly admin: AdminDoor;
  /** Lower-case. */
  readonly domains: readonly string[];
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Log;
};

const ownPrefix = "/_/";

export function createDoors(options: DoorsOptions): Door {
  const own = new OwnDoors(options);
  return (request, response) =>
    isOwn(request, options.domains) ? own.handle(request, response) : options.gateway(request, response);
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

class OwnDoors {
  readonly #options: DoorsOptions;
  #inFlight = 0;

  constructor(options: DoorsOptions) {
    this.#options = options;
  }

  async handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { metrics, clock, log } = this.#options;
    const startedMs = clock.monotonicMs();
    this.#inFlight += 1;
    let visit: Visit | undefined;
    let served = { door: "admin" as "admin" | "files", operation: "Other" };
    let reply: DoorReply | Reply;
    try {
      if (this.#inFlight > limits.requestsInFlightMax) throw tooBusy();
      visit = open(req, res);
      const { run, ...names } = this.#choose(visit);
      served = names;
      reply = await run();
    } catch (error) {
      const failed = errorReply(error);
      reply = failed.reply;
      if (failed.isOurs) log.error({ err: error, ...served }, "A request failed.");
    }
    try {
      const waits = visit === undefined ? expectsContinue(req) : visit.awaitsContinue;
      const sent = await send({ req, res, reply, common: [], awaitsContinue: waits });
      const isLeft = sent.cut !== undefined && visit?.signal.aborted === true;
      if (sent.cut !== undefined && visit?.signal.aborted === false)
        log.warn({ err: sent.cut, ...served }, "An answer was cut.");
      // Where the client is gone, what we would have answered says nothing about us; 499 is what proxies call it.
      metrics.request({ ...served, status: isLeft ? 499 : reply.status, durationMs: clock.monotonicMs() - startedMs });
    } finally {
      this.#inFlight -= 1;
    }
  }

  #choose(visit: Visit): {
    readonly door: "admin" | "files";
    readonly operation: string;
    readonly run: () => Promise<DoorReply | Reply>;
  } {
    const { files, admin } = this.#options;
    const [name, ...behind] = visit.segments;
    if (name === "files") {
      const request = visit.behind(behind);
      return { door: "files", operation: files.operation(request), run: () => files.handle(request) };
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
