/**
 * A load generator: a fixed number of connections, each with one request under way, over raw sockets, so that it takes as
 * little of the machine as it can from the server it measures. Latencies are from the first byte out to the last byte in.
 */
import net from "node:net";
import tls from "node:tls";
import { assert } from "../core/assert.ts";
import { ResponseParser } from "./http_parser.ts";
import type { ParsedResponse } from "./http_parser.ts";

export type LoadRequest = {
  readonly method: string;
  /** Path and query as they go on the wire. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Buffer;
  readonly keepBody?: boolean;
};

export type LoadOptions = {
  readonly url: URL;
  readonly connections: number;
  /** Stops after this many requests or this long, whichever is first. */
  readonly requestsMax: number;
  readonly durationMsMax: number;
  /** The nth request of the run (0-based), already signed; undefined ends that connection's part. */
  next(index: number): LoadRequest | undefined;
  /** Called with each answer; the default counts every status from 400 on as an error. */
  check?(response: ParsedResponse, index: number): boolean;
};

export type LoadResult = {
  readonly requests: number;
  readonly errors: number;
  readonly firstError: string | undefined;
  readonly seconds: number;
  readonly requestsPerSecond: number;
  readonly bytesOut: number;
  readonly bytesIn: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
};

export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  assert(options.connections > 0 && options.requestsMax > 0, "a load has connections and requests");
  const run = new Run(options);
  await Promise.all(Array.from({ length: options.connections }, () => new Connection(run).finished));
  return run.result();
}

function percentile(sorted: Float64Array, share: number): number {
  return sorted.length === 0 ? 0 : sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}

class Run {
  readonly options: LoadOptions;
  readonly #startedMs = performance.now();
  #endedMs = this.#startedMs;
  #issued = 0;
  #latencies: number[] = [];
  #errors = 0;
  #firstError: string | undefined;
  bytesOut = 0;
  bytesIn = 0;

  constructor(options: LoadOptions) {
    this.options = options;
  }

  next(): { index: number; request: LoadRequest } | undefined {
    if (this.#issued >= this.options.requestsMax) return undefined;
    if (performance.now() - this.#startedMs > this.options.durationMsMax) return undefined;
    const index = this.#issued++;
    const request = this.options.next(index);
    return request && { index, request };
  }

  answered(index: number, response: ParsedResponse, latencyMs: number): void {
    const good = this.options.check ? this.options.check(response, index) : response.status < 400;
    if (!good) this.failed(`${response.status} ${response.body?.toString() ?? response.headers}`);
    this.bytesIn += response.bodyBytes;
    this.#latencies.push(latencyMs);
    this.#endedMs = performance.now();
  }

  failed(why: string): void {
    this.#errors += 1;
    this.#firstError ??= why;
  }

  result(): LoadResult {
    const seconds = (this.#endedMs - this.#startedMs) / 1000;
    const sorted = Float64Array.from(this.#latencies).sort();
    return {
      requests: sorted.length,
      errors: this.#errors,
      firstError: this.#firstError,
      seconds,
      requestsPerSecond: seconds > 0 ? sorted.length / seconds : 0,
      bytesOut: this.bytesOut,
      bytesIn: this.bytesIn,
      p50Ms: percentile(sorted, 0.5),
      p99Ms: percentile(sorted, 0.99),
    };
  }
}

class Connection {
  readonly #run: Run;
  readonly #socket: net.Socket;
  readonly #parser: ResponseParser;
  readonly finished: Promise<void>;
  #current = -1;
  #sentMs = 0;
  #end: () => void = () => undefined;

  constructor(run: Run) {
    this.#run = run;
    const { hostname, port, protocol } = run.options.url;
    const secure = protocol === "https:";
    const where = { host: hostname, port: Number(port || (secure ? 443 : 80)) };
    this.#socket = secure ? tls.connect({ ...where, rejectUnauthorized: false }) : net.connect(where);
    this.#socket.setNoDelay(true);
    this.#parser = new ResponseParser((response) => this.#answered(response));
    this.finished = new Promise((resolve) => (this.#end = resolve));
    this.#socket.on("data", (bytes) => this.#parser.feed(bytes));
    this.#socket.on("error", (error) => run.failed(error.message));
    this.#socket.on("close", () => {
      if (this.#current >= 0) run.failed("the server closed the connection in the middle of a request");
      this.#end();
    });
    this.#send();
  }

  #send(): void {
    const next = this.#run.next();
    if (!next) {
      this.#current = -1;
      this.#socket.destroy();
      return;
    }
    const { method, target, headers, body, keepBody } = next.request;
    this.#current = next.index;
    this.#parser.expectNoBody = method === "HEAD";
    this.#parser.keepBody = keepBody ?? false;
    let head = `${method} ${target} HTTP/1.1\r\n`;
    for (const name in headers) head += `${name}: ${headers[name]}\r\n`;
    if (body) head += `content-length: ${body.length}\r\n`;
    this.#sentMs = performance.now();
    this.#socket.cork();
    this.#socket.write(`${head}\r\n`, "latin1");
    if (body) this.#socket.write(body);
    this.#socket.uncork();
    this.#run.bytesOut += body?.length ?? 0;
  }

  #answered(response: ParsedResponse): void {
    this.#run.answered(this.#current, response, performance.now() - this.#sentMs);
    this.#send();
  }
}
