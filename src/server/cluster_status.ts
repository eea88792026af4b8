/** What `/_/admin/cluster` tells, put together from what this process sees and what the metadata store has. */
import type { ClusterFacts, NodeFacts } from "../admin/cluster.ts";
import { formatRedundancy, reducedFrom } from "../core/redundancy.ts";
import type { Store, StoreNode } from "./store.ts";
import { packageVersion } from "./version.ts";

export type ClusterStatusParts = {
  readonly store: Store;
  readonly workers: number;
  readonly startedMs: number;
};

export async function clusterStatus({ store, workers, startedMs }: ClusterStatusParts): Promise<ClusterFacts> {
  const [drives, usage, backlog, work, eventTargets] = await Promise.all([
    store.storeDrives.list(),
    store.objects.storeUsage(),
    store.backlog(),
    store.work(),
    store.destinations.list(),
  ]);
  const redundancy = formatRedundancy(store.redundancy());
  const reducedRedundancy = formatRedundancy(reducedFrom(store.redundancy(), store.reducedRedundancy));
  const nodes = store.nodes().map(nodeFacts);
  return {
    version: packageVersion(),
    startedMs,
    workers,
    redundancy,
    reducedRedundancy,
    nodes,
    drives,
    usage,
    backlog,
    work,
    eventTargets,
  };
}

function nodeFacts({ url, zone, isUp, isWell, isOwn, version, startedMs, workers, drives }: StoreNode): NodeFacts {
  const state = !isUp ? "away" : isWell ? "up" : "unreachable";
  return { url, zone, state, isOwn, version, startedMs, workers, drives: drives.length };
}
