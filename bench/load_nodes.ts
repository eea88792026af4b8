/** One load on all nodes of a cluster at once: its connections are shared out among them, each talks to one node. */
import { runLoad } from "../src/client/load.ts";
import type { LoadResult } from "../src/client/load.ts";
import { createSigner } from "../src/client/signer.ts";
import type { Keys } from "./launch.ts";
import { share } from "./statistics.ts";

export type NodeRequest = { readonly method: "GET" | "PUT"; readonly target: string; readonly body?: Buffer };

export type NodesLoad = {
  readonly urls: readonly URL[];
  readonly keys: Keys;
  /** Of all nodes together. */
  readonly connections: number;
  /** Ends after this long, after so many requests, or when the signal says so, whichever is first. */
  readonly durationMsMax?: number;
  readonly requestsMax?: number;
  readonly until?: AbortSignal;
  /** Index: no two requests of the load have the same. */
  readonly next: (index: number) => NodeRequest;
};

export type NodesResult = {
  readonly requests: number;
  readonly perSecond: number;
  /** In milliseconds, by method. */
  readonly p99Ms: Readonly<Record<NodeRequest["method"], number>>;
};

/** Errors: the first that a request met. */
export async function loadNodes(load: NodesLoad): Promise<NodesResult> {
  const latencies = { GET: [] as number[], PUT: [] as number[] };
  const results = await Promise.all(load.urls.map((_, at) => loadOne(load, at, latencies)));
  const failed = results.find(({ errors }) => errors > 0);
  if (failed !== undefined) throw new Error(`${failed.errors} requests to a node failed: ${failed.firstError}`);
  return {
    requests: results.reduce((sum, { requests }) => sum + requests, 0),
    perSecond: results.reduce((sum, { requestsPerSecond }) => sum + requestsPerSecond, 0),
    p99Ms: { GET: percentile99(latencies.GET), PUT: percentile99(latencies.PUT) },
  };
}

function loadOne(load: NodesLoad, at: number, latencies: Record<NodeRequest["method"], number[]>): Promise<LoadResult> {
  const { urls, keys, connections, requestsMax, durationMsMax, until, next } = load;
  const url = urls[at]!;
  const signer = createSigner({ ...keys, region: "us-east-1", host: url.host });
  const begun = new Map<number, { readonly method: NodeRequest["method"]; readonly atMs: number }>();
  return runLoad({
    url,
    connections: share(connections, urls.length, at),
    requestsMax: requestsMax === undefined ? Number.MAX_SAFE_INTEGER : share(requestsMax, urls.length, at),
    durationMsMax: durationMsMax ?? 600_000,
    next: (index) => {
      if (until?.aborted === true) return undefined;
      const { method, target, body } = next(index * urls.length + at);
      const headers = signer.sign({ method, path: target, query: "" });
      begun.set(index, { method, atMs: performance.now() });
      return { method, target, headers, ...(body && { body }) };
    },
    check: ({ status }, index) => {
      const { method, atMs } = begun.get(index)!;
      begun.delete(index);
      latencies[method].push(performance.now() - atMs);
      return status < 400;
    },
  });
}

function percentile99(latencies: readonly number[]): number {
  const sorted = Float64Array.from(latencies).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.99))] ?? Number.NaN;
}
