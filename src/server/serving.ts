/** A store and its doors on a port, in one process: what a worker runs, and what `createServer` runs in a program. */
import { createAdmin, type AdminOptions } from "../admin/admin.ts";
import type { Clock } from "../core/clock.ts";
import type { Log } from "../core/log.ts";
import { mergeSnapshots, type Metrics, type MetricsSnapshot } from "../core/metrics.ts";
import type { Random } from "../core/random.ts";
import { formatRedundancy } from "../core/redundancy.ts";
import { createFiles } from "../files/files.ts";
import { loggingSetting } from "../gateway/documents/logging.ts";
import { createGateway } from "../gateway/gateway.ts";
import { admitLogs } from "../gateway/log_delivery.ts";
import { createQueryDoor } from "../iam/iam.ts";
import { AccessLogs } from "../logging/logging.ts";
import { clusterStatus } from "./cluster_status.ts";
import { createDoors } from "./doors.ts";
import { Listener } from "./http.ts";
import { createNodeDoor, type NodeDoorOptions } from "../node/peer_door.ts";
import type { Listen } from "./settings.ts";
import { createWebsiteDoor, type WebsiteDoor } from "../website/website.ts";
import { standingOf } from "./standing.ts";
import type { Store } from "./store.ts";
import type { Tls } from "./tls.ts";
import { packageVersion } from "./version.ts";

export type ServeOptions = {
  readonly store: Store;
  readonly listen: Listen;
  /** With other workers, or with what holds it (port.ts). */
  readonly portIsShared: boolean;
  readonly tls: Tls | undefined;
  readonly domains: readonly string[];
  /** Whose subdomains are websites. */
  readonly websiteDomains: readonly string[];
  readonly region: string;
  readonly filesBucket: string;
  readonly workers: number;
  /** See GatewayOptions. */
  readonly plainCustomerKeys: boolean;
  /** See QueryDoorOptions. */
  readonly plainOidc: boolean;
  /** How long lines of access logs wait at most; by default what the limits say. */
  readonly accessLogIntervalMs?: number;
  /** What the other nodes of the cluster prove; undefined: there are none, and no door for them. */
  readonly clusterSecret?: string;
  readonly metrics: Metrics;
  /** What all workers counted, this one among them. */
  snapshots(): Promise<readonly MetricsSnapshot[]>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

export type Serving = {
  /** The port it really listens on. */
  readonly port: number;
  /** There is no store behind it any more: what comes from now on is answered with 503. */
  refuse(): void;
  /** Lets running requests finish, within `graceMs`. The store stays open. */
  stop(graceMs?: number): Promise<void>;
};

/** Errors: `unavailable` with a sentence for the operator when the port cannot be had. */
export async function serve(options: ServeOptions): Promise<Serving> {
  const { store, tls, metrics, clock, random, log, region } = options;
  const { objects, identity } = store;
  const startedMs = clock.nowMs();
  const domains = options.domains.map((domain) => domain.toLowerCase());
  const bucketLogs = accessLogs(options);
  const website = websiteOf(options, bucketLogs);
  const gateway = createGateway({
    objects,
    bucketLogs,
    destinations: store.destinations,
    identity,
    digests: store.digests,
    region,
    domains,
    plainCustomerKeys: options.plainCustomerKeys,
    clock,
    random,
    log,
    onRequest: ({ operation, status, durationMs }) => metrics.request({ door: "s3", operation, status, durationMs }),
  });
  const query = createQueryDoor({
    identity,
    region,
    domains,
    allowsPlainLoopback: options.plainOidc,
    clock,
    random,
    log,
    onRequest: (event) => metrics.request({ door: "iam", ...event }),
  });
  const files = createFiles({ objects, identity, bucket: options.filesBucket, region, clock, random, bucketLogs });
  const admin = createAdmin({
    objects,
    identity,
    encryptionKeys: store.encryptionKeys,
    destinations: store.destinations,
    clock,
    redundancy: () => store.redundancy(),
    reducedRedundancy: store.reducedRedundancy,
    ready: async () => (listener.isStopping ? ["The server is stopping."] : store.obstacles()),
    metrics: async () => {
      const standing = await standingOf({ store, startedMs, clock, log });
      return mergeSnapshots([...(await options.snapshots()), await metrics.describe(standing)]);
    },
    status: statusOf(options, startedMs),
    cluster: () => clusterStatus({ store, workers: options.workers, startedMs }),
    ...driveChanges(store),
  });
  const { clusterSecret: secret } = options;
  const node = secret === undefined ? undefined : createNodeDoor({ ...ownDrives(store), secret, clock, random, log });
  const door = createDoors({
    gateway,
    website,
    query,
    files,
    admin,
    node,
    activity: store.activity,
    domains,
    metrics,
    clock,
    log,
  });
  const listener: Listener = new Listener({ door, tls, metrics, clock, log });
  const { port } = await listener.listen(options.listen, options.portIsShared);
  const stop = async (graceMs?: number): Promise<void> => {
    await listener.stop(graceMs);
    await bucketLogs.close();
  };
  return { port, refuse: () => listener.refuse(), stop };
}

function driveChanges({ storeDrives }: Store): Pick<AdminOptions, "changeDrive" | "changeNode"> {
  return {
    changeDrive: (id, change) => storeDrives.change(id, change),
    changeNode: (url, change) => storeDrives.changeNode(url, change),
  };
}

function accessLogs({ store, region, metrics, clock, random, log, accessLogIntervalMs }: ServeOptions): AccessLogs {
  const { objects, identity, loggedBuckets } = store;
  const { accounts } = identity;
  return new AccessLogs({
    objects,
    logged: loggedBuckets,
    accounts,
    settingOf: loggingSetting,
    admit: admitLogs({ objects, accounts }, { clock, region }),
    counts: metrics,
    ...(accessLogIntervalMs !== undefined && { intervalMs: accessLogIntervalMs }),
    clock,
    random,
    log,
  });
}

/** Undefined where there is no domain of them. */
function websiteOf(options: ServeOptions, bucketLogs: AccessLogs): WebsiteDoor | undefined {
  const { store, region, metrics, clock, random, log } = options;
  const { objects, destinations, digests, identity } = store;
  const [s3, website] = [options.domains, options.websiteDomains].map((names) =>
    names.map((name) => name.toLowerCase()),
  );
  if (website!.length === 0) return undefined;
  return createWebsiteDoor({
    services: { objects, destinations, digests, region, clock, accounts: identity.accounts },
    bucketLogs,
    domains: { s3: s3!, website: website! },
    clock,
    random,
    log,
    onRequest: ({ operation, status, durationMs }) =>
      metrics.request({ door: "website", operation, status, durationMs }),
  });
}

/** What other nodes may use: this machine's drives, and what is copied to them from any. */
function ownDrives({ local, copy }: Store): Pick<NodeDoorOptions, "node" | "copy"> {
  return { node: local, copy };
}

function statusOf({ store, workers }: ServeOptions, startedMs: number) {
  return async () => ({
    version: packageVersion(),
    startedMs,
    workers,
    redundancy: formatRedundancy(store.redundancy()),
    drives: await store.storeDrives.list(),
    jobs: store.jobs(),
    work: await store.work(),
  });
}
