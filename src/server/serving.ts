/** A store and its doors on a port, in one process: what a worker runs, and what `createServer` runs in a program. */
import { createAdmin } from "../admin/admin.ts";
import type { Clock } from "../core/clock.ts";
import type { Log } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { Random } from "../core/random.ts";
import { formatRedundancy, type Redundancy } from "../core/redundancy.ts";
import { createFiles } from "../files/files.ts";
import { createGateway } from "../gateway/gateway.ts";
import { createDoors } from "./doors.ts";
import { Listener } from "./http.ts";
import type { Listen } from "./settings.ts";
import type { Store } from "./store.ts";
import type { Tls } from "./tls.ts";
import { packageVersion } from "./version.ts";

export type ServeOptions = {
  readonly store: Store;
  readonly listen: Listen;
  readonly tls: Tls | undefined;
  readonly domains: readonly string[];
  readonly region: string;
  readonly filesBucket: string;
  readonly redundancy: Redundancy;
  readonly workers: number;
  readonly metrics: Metrics;
  /** The metrics of all workers, as text. */
  allMetrics(): Promise<string>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

export type Serving = {
  /** The port it really listens on. */
  readonly port: number;
  /** Lets running requests finish, within `graceMs`. The store stays open. */
  stop(graceMs?: number): Promise<void>;
};

/** Errors: `unavailable` with a sentence for the operator when the port cannot be had. */
export async function serve(options: ServeOptions): Promise<Serving> {
  const { store, tls, metrics, clock, random, log, region } = options;
  const { objects, identity } = store;
  const domains = options.domains.map((domain) => domain.toLowerCase());
  const gateway = createGateway({
    objects,
    identity,
    digests: store.digests,
    region,
    domains,
    clock,
    random,
    log,
    onRequest: ({ operation, status, durationMs }) => metrics.request({ door: "s3", operation, status, durationMs }),
  });
  const files = createFiles({ objects, identity, bucket: options.filesBucket, region, clock, random });
  const admin = createAdmin({
    objects,
    identity,
    redundancy: options.redundancy,
    ready: async () => (listener.isStopping ? ["The server is stopping."] : store.obstacles()),
    metrics: async () => {
      metrics.drives(await store.drives());
      metrics.connections(listener.openConnections);
      return options.allMetrics();
    },
    status: statusOf(options),
    changeDrive: (id, membership) => store.storeDrives.change(id, membership),
  });
  const door = createDoors({ gateway, files, admin, domains, metrics, clock, log });
  const listener: Listener = new Listener({ door, tls, metrics, clock, log });
  const { port } = await listener.listen(options.listen);
  return { port, stop: (graceMs) => listener.stop(graceMs) };
}

function statusOf({ store, workers, redundancy, clock }: ServeOptions) {
  const startedMs = clock.nowMs();
  return async () => ({
    version: packageVersion(),
    startedMs,
    workers,
    redundancy: formatRedundancy(redundancy),
    drives: await store.storeDrives.list(),
    jobs: store.jobs(),
    work: await store.work(),
  });
}
