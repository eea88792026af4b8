/**
 * One process as a part of its node, and the node as a part of the cluster: who else is there (cluster/topology.ts), the chunk
 * node over all drives (cluster/cluster_node.ts), and the word to the others that this node is there.
 */
import { ClusterNode } from "../cluster/cluster_node.ts";
import { DefaultRedundancy } from "../cluster/default_redundancy.ts";
import { whyNotOwn } from "../cluster/own_place.ts";
import { keepPublished, type OwnNode } from "../cluster/publish.ts";
import { Topology } from "../cluster/topology.ts";
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import type { Log } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { Random } from "../core/random.ts";
import type { Redundancy } from "../core/redundancy.ts";
import { takeLease } from "../jobs/jobs.ts";
import type { Kv } from "../kv/kv.ts";
import { readRaised } from "../meta/raised.ts";
import type { Session } from "../meta/sessions.ts";
import type { ChunkNode } from "../node/node.ts";
import { connectPeer } from "../node/peer_node.ts";
import { meteredPeer } from "./metered.ts";

export type ClusterOptions = {
  readonly own: OwnNode;
  readonly secret: string;
  /** PEM of the authorities that signed the other nodes' certificates; the system's by default. */
  readonly ca: string | Buffer | undefined;
};

export type MembershipParts = {
  readonly cluster: ClusterOptions;
  readonly kv: Kv;
  readonly session: Session;
  readonly local: ChunkNode;
  /** Told, once or more often, when another server has taken this one's address or one of its drives. */
  readonly onOvertaken: (why: string) => void;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

export type SeenDrives = Pick<ChunkNode, "drives" | "status">;

export type Membership = {
  readonly node: ClusterNode;
  readonly topology: Topology;
  /** The drives that can be asked, and how they are as far as it is known here: no other node is asked. */
  readonly seen: SeenDrives;
  /** For placement. */
  where(drive: DriveId): { readonly node: string; readonly zone: string };
  /** Of buckets that say nothing else. */
  redundancy(): Redundancy;
  /** For placement: what it gives is called whenever there may be other drives. */
  onDrives(look: () => Promise<void>): void;
  /** The chunk node is closed too, and with it the local one. */
  close(): Promise<void>;
};

export async function joinCluster(parts: MembershipParts): Promise<Membership> {
  const { cluster, kv, session, local, metrics, clock, random, log } = parts;
  const { own, secret, ca } = cluster;
  const topology = await Topology.open({ kv, clock, log });
  const look = (): void => {
    const why = whyNotOwn(topology, { ...own, local });
    if (why !== undefined) parts.onOvertaken(why);
  };
  look();
  topology.onLook(look);
  const from = new URL(own.url).host;
  const node = new ClusterNode({
    local,
    topology,
    url: own.url,
    zone: own.zone,
    connect: (url, onHealth) => {
      const tls = ca !== undefined && url.startsWith("https:") ? { tls: { ca } } : {};
      const peer = connectPeer({ url, from, secret, ...tls, drives: [], onHealth, clock, random, log });
      return meteredPeer(peer, metrics, clock);
    },
    clock,
  });
  const lookers: (() => Promise<void>)[] = [];
  const redundancy = new DefaultRedundancy({
    topology,
    reach: async (url) => {
      const isThere = await node.hasDrives(url);
      if (isThere) await Promise.all(lookers.map((look) => look()));
      return isThere;
    },
    raised: async () => (await readRaised(kv)).standard,
  });
  const mayPublish = (): Promise<boolean> => takeLease(kv, `publish@${own.url}`, session.id);
  const unpublish = keepPublished({ kv, own, local, check: session.check, mayPublish, clock, log });
  return {
    node,
    topology,
    seen: {
      get drives() {
        return node.drives;
      },
      status: (drive) => node.lastStatus(drive),
    },
    where: (drive) => {
      const { url, zone } = topology.nodeOf(drive) ?? own;
      return { node: url, zone };
    },
    redundancy: () => redundancy.now,
    onDrives: (look) => {
      lookers.push(look);
      topology.onLook(() => void look());
    },
    close: async () => {
      await unpublish();
      await topology.close();
      await node.close();
      await redundancy.close();
    },
  };
}
