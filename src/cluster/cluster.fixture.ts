/** Nodes of a cluster over one metadata store in memory: real doors over loopback, real connections, memory nodes behind. */
import { stillClock } from "../blob/blob.fixture.ts";
import { systemClock, type Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { newDriveId } from "../core/ids.ts";
import { silentLog } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import type { Kv } from "../kv/kv.ts";
import { recordDrives } from "../meta/drives.ts";
import { nodeKey } from "../meta/keys.ts";
import { encodeNode } from "../meta/nodes.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import type { ChunkNode } from "../node/node.ts";
import { patient, secret, serveNode, type Served } from "../node/peer.fixture.ts";
import { connectPeer } from "../node/peer_node.ts";
import { ClusterNode } from "./cluster_node.ts";
import { DriveReports } from "./drive_reports.ts";
import { Topology } from "./topology.ts";

export type Machine = {
  readonly url: string;
  readonly zone: string;
  readonly local: ChunkNode;
  readonly served: Served;
  /** As one of its processes sees the cluster: what copies to its drives when another node asks for it. */
  joined?: ClusterNode;
};

/** A machine with drives of its own, whose row says that it is there. */
export async function startMachine(kv: Kv, zone: string, drives: number): Promise<Machine> {
  const ids: DriveId[] = Array.from({ length: drives }, () => newDriveId(systemRandom));
  const local = createMemoryNode({ drives: ids });
  const copy: ChunkNode["copy"] = (...given) => machine.joined!.copy(...given);
  const served = await serveNode(local, { copy });
  const machine: Machine = { url: `http://127.0.0.1:${served.port}`, zone, local, served };
  const present = ids.map((id) => ({ id, path: `/${id}`, sizeBytes: 1, node: machine.url }));
  await recordDrives(kv, present, 1);
  await publishMachine(kv, machine);
  return machine;
}

/** Its row changes, as it does every few seconds while it is up. */
export async function publishMachine(kv: Kv, { url, zone, local }: Machine, run = "00000000000000aa"): Promise<void> {
  const drives = await new DriveReports({ local, clock: systemClock, log: silentLog }).look();
  const facts = { run, zone, version: "1", startedMs: 1, workers: 1 };
  const value = encodeNode({ ...facts, drives });
  await kv.commit({ checks: [], writes: [{ kind: "put", key: nodeKey(url), value }] });
}

/** The cluster as one process of the machine sees it, which looks when it joins and when `topology.look` is called. */
export async function joinAs(
  kv: Kv,
  machine: Machine,
  clock: Clock = systemClock,
): Promise<{ readonly node: ClusterNode; readonly topology: Topology; readonly close: () => Promise<void> }> {
  const { url, zone, local } = machine;
  const seams = { clock: systemClock, log: silentLog };
  // Who looks by it looks only when told to: a test that is slow sees nothing earlier, and takes nobody for silent.
  const topology = await Topology.open({ kv, clock: stillClock, log: silentLog });
  const from = new URL(url).host;
  const node = new ClusterNode({
    local,
    topology,
    url,
    zone,
    connect: (to, onHealth) =>
      connectPeer({ url: to, from, secret, drives: [], onHealth, random: systemRandom, ...seams, ...patient }),
    clock,
  });
  machine.joined = node;
  const close = async (): Promise<void> => {
    await topology.close();
    await node.close();
  };
  return { node, topology, close };
}
