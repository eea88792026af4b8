/**
 * The port: a node:http(s) server with every bound set, and what is around all requests whatever door they take: counting,
 * idle connections, and a stop that lets running requests finish.
 *
 * Bodies have no total time limit (a 5 TiB upload may take days) but a limit on silence: a connection on which a body
 * should move, and no byte has for bodyIdleTimeoutMs, is closed, and one on which it hardly moves too (slow_clients.ts). A
 * connection whose request waits for us is left alone.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { Clock } from "../core/clock.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { expectsContinue } from "../gateway/exchange.ts";
import { send } from "../gateway/respond.ts";
import { listenError } from "./listen_error.ts";
import { endMalformed, refusalOf, type Exchange } from "./malformed.ts";
import type { Listen } from "./settings.ts";
import type { Tls } from "./tls.ts";
import { tlsOptions } from "./tls_options.ts";
import { SlowClients } from "./slow_clients.ts";

/** Answers one request. Resolves when the answer is finished or given up; does not reject. */
export type Door = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

export type ListenerOptions = {
  readonly tls?: Tls | undefined;
  readonly door: Door;
  readonly metrics: Metrics;
  /** Silence on a connection after which it is closed; a little over bodyIdleTimeoutMs by default. */
  readonly silenceMsMax?: number;
  /** Tests shorten them, and make it fewer. */
  readonly paceWindowMs?: number;
  readonly headersTimeoutMs?: number;
  readonly connectionsMax?: number;
  readonly clock: Clock;
  readonly log: Log;
};

/** Longer than the bound itself, so that a door that watches its own body gets to answer first. */
const idleGraceMs = 5_000;

export class Listener {
  readonly #server: Server;
  readonly #options: ListenerOptions;
  readonly #silenceMsMax: number;
  /** What each busy connection is running, in the order of its requests: a pipelining client does not wait for answers. */
  readonly #running = new Map<Socket, Exchange[]>();
  readonly #slowClients: SlowClients;
  readonly #sockets = new Set<Socket>();
  /** Those on which requests come: with TLS they lie above the sockets. */
  readonly #channels = new Set<Socket>();
  #isStopping = false;
  #isRefusing = false;

  constructor(options: ListenerOptions) {
    this.#options = options;
    const { paceWindowMs: windowMs } = options;
    this.#slowClients = new SlowClients({ running: this.#running, ...(windowMs !== undefined && { windowMs }) });
    this.#silenceMsMax = options.silenceMsMax ?? limits.bodyIdleTimeoutMs + idleGraceMs;
    const bounds = {
      headersTimeout: options.headersTimeoutMs ?? limits.headersTimeoutMs,
      requestTimeout: 0,
      keepAliveTimeout: limits.keepAliveTimeoutMs,
      maxHeaderSize: limits.headersBytesMax + limits.requestTargetBytesMax,
      connectionsCheckingInterval: Math.min(5_000, options.headersTimeoutMs ?? limits.headersTimeoutMs),
      requireHostHeader: true,
      insecureHTTPParser: false,
      noDelay: true,
    };
    const { tls } = options;
    const handshakeTimeout = options.headersTimeoutMs ?? limits.headersTimeoutMs;
    this.#server =
      tls === undefined ? createServer(bounds) : createTlsServer({ ...bounds, ...tlsOptions(tls), handshakeTimeout });
    // One more than are taken: node drops what is beyond, and then nobody could tell that there were more.
    this.#server.maxHeadersCount = limits.headersMax + 1;
    this.#server.maxConnections = options.connectionsMax ?? limits.connectionsMax;
    this.#server.timeout = this.#silenceMsMax;
    this.#connect();
  }

  get isStopping(): boolean {
    return this.#isStopping;
  }

  get openConnections(): number {
    return this.#sockets.size;
  }

  #connect(): void {
    const server = this.#server;
    const take = (request: IncomingMessage, response: ServerResponse): void => void this.#run(request, response);
    server.on("request", take);
    // The door decides whether the client may send its body: it writes the 100 when it opens the body.
    server.on("checkContinue", take);
    // RFC 9110 lets a server ignore what else is expected of it, as AWS does; node by itself would answer 417.
    server.on("checkExpectation", take);
    server.on("connection", (socket: Socket) => this.#watch(socket));
    server.on(this.#options.tls === undefined ? "connection" : "secureConnection", (channel: Socket) => {
      this.#channels.add(channel);
      channel.once("close", () => this.#channels.delete(channel));
    });
    server.on("timeout", (socket: Socket) => this.#onSilence(socket));
    server.on("clientError", (error: Error, socket: Socket) => this.#onMalformed(error, socket));
    server.on("tlsClientError", (_error: Error, socket: Socket) => socket.destroy());
  }

  #watch(socket: Socket): void {
    const { metrics } = this.#options;
    metrics.connections(this.#sockets.add(socket).size);
    socket.once("close", () => {
      this.#sockets.delete(socket);
      metrics.connections(this.#sockets.size);
      metrics.traffic(socket.bytesRead, socket.bytesWritten);
    });
  }

  #onMalformed(error: Error, socket: Socket): void {
    endMalformed(error, socket, this.#running.get(socket) ?? []);
  }

  /** No byte has moved for the bound's time. */
  #onSilence(socket: Socket): void {
    const [first] = this.#running.get(socket) ?? [];
    const isOurTurn = first !== undefined && first.request.complete && !first.response.headersSent;
    if (!isOurTurn) return void socket.destroy();
    socket.setTimeout(this.#silenceMsMax);
  }

  async #run(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.#isStopping) response.shouldKeepAlive = false;
    this.#begin({ request, response });
    try {
      const refusal = this.#isRefusing ? 503 : refusalOf(request);
      if (refusal === undefined) await this.#options.door(request, response);
      else await refuseWith(refusal, request, response);
    } catch (error) {
      this.#options.log.error({ error }, "A request ended in an error that no door handled.");
      response.destroy();
    }
  }

  #begin(exchange: Exchange): void {
    const { socket } = exchange.request;
    const running = this.#running.get(socket);
    if (running === undefined) this.#running.set(socket, [exchange]);
    else running.push(exchange);
    exchange.response.once("close", () => this.#end(socket, exchange));
  }

  #end(socket: Socket, exchange: Exchange): void {
    const running = this.#running.get(socket) ?? [];
    const index = running.indexOf(exchange);
    if (index >= 0) running.splice(index, 1);
    if (running.length > 0) return;
    this.#running.delete(socket);
    if (this.#isStopping) socket.destroySoon();
  }

  /**
   * The port it really has. `isShared`: with other sockets that say so too (port.ts).
   *
   * So the workers share the port where the kernel can do it: each has a socket of its own, and the kernel resets the connections of
   * one that dies, so that their clients try again. Handing connections out from the supervisor, the way of node:cluster that is
   * left for other systems, loses those that are on their way to a worker that has just died: their clients would wait for ever.
   *
   * Errors: `unavailable` with a sentence for the operator.
   */
  async listen(listen: Listen, isShared = false): Promise<AddressInfo> {
    const server = this.#server;
    const shared = isShared ? { exclusive: true, reusePort: true } : {};
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error) => reject(listenError(error, listen)));
      server.listen({ host: listen.host, port: listen.port, backlog: 1_024, ...shared }, resolve);
    });
    server.on("error", (error) => this.#options.log.error({ error }, "The listening socket failed."));
    return server.address() as AddressInfo;
  }

  /** From now on every request is answered with 503. Those that run are let finish. */
  refuse(): void {
    this.#isRefusing = true;
  }

  /** Takes no new connection, lets running requests finish for gracefulStopMsMax at most, then closes what is left. */
  async stop(graceMs: number = limits.gracefulStopMsMax): Promise<void> {
    if (this.#isStopping || !this.#server.listening) return;
    this.#isStopping = true;
    const closed = new Promise<void>((resolve) => void this.#server.close(() => resolve()));
    for (const running of this.#running.values()) running.at(-1)!.response.shouldKeepAlive = false;
    for (const channel of this.#channels) if (!this.#running.has(channel)) channel.destroySoon();
    const given = new AbortController();
    await Promise.race([closed, this.#options.clock.sleep(graceMs, given.signal)]);
    given.abort();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
    this.#slowClients.stop();
  }
}

/** A refusal that ends the connection: what follows on it could be the doubtful part. */
async function refuseWith(status: number, req: IncomingMessage, res: ServerResponse): Promise<void> {
  res.shouldKeepAlive = false;
  await send({ req, res, reply: { status, headers: [] }, common: [], awaitsContinue: expectsContinue(req) });
}
