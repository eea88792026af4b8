/**
 * One process of a simulated node: the parts that server/store.ts puts together, over simulated seams, with its heartbeat, its
 * watch over other sessions, and its background jobs, which run here one step at a time and without their leases.
 */
import { createNodePlacement } from "../../../src/blob/node_placement.ts";
import { createBlobStore } from "../../../src/blob/store.ts";
import { ClusterNode } from "../../../src/cluster/cluster_node.ts";
import { keepPublished } from "../../../src/cluster/publish.ts";
import { Topology } from "../../../src/cluster/topology.ts";
import { IdSource, type DriveId } from "../../../src/core/ids.ts";
import { createDigestPool } from "../../../src/digest/pool.ts";
import { DamageNotes, LandedNotes, takeLease } from "../../../src/jobs/jobs.ts";
import type { Kv } from "../../../src/kv/kv.ts";
import { changeDriveState, readDrives } from "../../../src/meta/drives.ts";
import { Session } from "../../../src/meta/sessions.ts";
import { openLocalNode } from "../../../src/node/local_node.ts";
import type { ChunkNode } from "../../../src/node/node.ts";
import { ObjectStore } from "../../../src/object/object_store.ts";
import { sessionName } from "../../../src/server/run.ts";
import { jobsOf, type Job } from "../jobs.ts";
import { guardedDisk, Power } from "../power.ts";
import { reducedRedundancy, type Running } from "../world.ts";
import type { ClusterWorld } from "./world.ts";
import type { SimMachine } from "./machine.ts";
import { SimPeer } from "./peer.ts";

const copiedChunkBytes = 24 * 1024;
const codedChunkBytes = 80 * 1024;

export type Member = Running & {
  readonly machine: SimMachine;
  /** Of its machine. */
  readonly local: ChunkNode & { readonly name: string };
  readonly jobs: readonly Job[];
  readonly clock: ReturnType<ClusterWorld["time"]["clockOf"]>;
};

/** Starts one more process on a machine that was started. Errors: `unavailable`. */
export async function joinMachine(world: ClusterWorld, machine: SimMachine): Promise<Member> {
  const { random, time, engine } = world;
  const power = new Power(random, Infinity, machine.power);
  const clock = time.clockOf(power, machine.parts.skewMs);
  const log = world.logOf(power);
  const token = world.nextName();
  const name = sessionName(machine.own!.run, token);
  const kv = engine.doorOf({ machine: machine.url, process: token, power });
  machine.alive.set(token, power);
  const session = await Session.start({ kv, clock, random, node: name });
  const opened = await openLocalNode({
    drives: machine.drives.paths(),
    disk: guardedDisk(machine.disk, power),
    openIndex: machine.openIndex(power),
    processes: { self: token, isAlive: async (other) => machine.alive.get(other)?.on === true },
    clock,
    random,
    log,
  });
  const local = Object.assign(opened, { name: machine.url });
  const joining = { machine, power, kv, session, local, clock, log };
  const cluster = await joinCluster(world, joining);
  try {
    return await assemble(world, { ...joining, name, cluster });
  } catch (error) {
    power.cut();
    world.leave(cluster.close());
    throw error;
  }
}

type Joining = {
  readonly machine: SimMachine;
  readonly power: Power;
  readonly kv: Kv;
  readonly session: Session;
  readonly local: Member["local"];
  readonly clock: Member["clock"];
  readonly log: Running["log"];
};

type Joined = Joining & { readonly name: string; readonly cluster: Awaited<ReturnType<typeof joinCluster>> };

async function assemble(world: ClusterWorld, joined: Joined): Promise<Member> {
  const { random, redundancy } = world;
  const { name, machine, power, kv, session, local, clock, log, cluster } = joined;
  const { node, where } = cluster;
  const digests = createDigestPool({ threads: 0 });
  const knownDrives = (): ReturnType<typeof readDrives> => readDrives(kv);
  const leaving = async (): Promise<ReadonlySet<DriveId>> =>
    new Set((await knownDrives()).filter(({ state }) => state !== "active").map(({ id }) => id));
  const placement = await createNodePlacement({ node, leaving, where, clock, log });
  const damage = new DamageNotes({ kv, clock, log, onNoted: () => undefined });
  const landed = new LandedNotes({ kv, session, clock, log });
  const blobs = createBlobStore({
    node,
    ids: new IdSource(session.id),
    digests,
    placement,
    log,
    chunkBytes: redundancy.dataShards === 1 ? copiedChunkBytes : codedChunkBytes,
    redundancy: () => redundancy,
    onDamage: (source, chunkIndex) => damage.note(source, chunkIndex),
    onLanded: (shard) => landed.note(shard),
  });
  const redundancies = { redundancy: () => redundancy, reducedRedundancy };
  const objects = new ObjectStore({ kv, blobs, digests, session, clock, random, log, ...redundancies });
  const onDrained = async (drive: DriveId): Promise<void> =>
    void (await changeDriveState(kv, drive, ["draining"], "drained"));
  const parts = { name, isSilent: false, objects, node, session, kv, power, blobs, placement, local };
  const rest = { damage, landed, log, knownDrives, onDrained };
  const jobs = jobsOf({
    ...parts,
    ...rest,
    ...redundancies,
    clock,
    random,
    awayMsMax: world.awayMsMax,
  });
  const close = async (): Promise<void> => {
    await damage.close();
    await landed.close();
    await session.close(local.drives).catch(() => undefined);
    await cluster.close();
  };
  return { ...parts, ...rest, machine, jobs, clock, close };
}

/** As server/membership.ts does, with simulated peers. */
async function joinCluster(world: ClusterWorld, { machine, power, kv, session, local, clock, log }: Joining) {
  const { network, time, random } = world;
  const own = machine.own!;
  const { url, zone } = own;
  const topology = await Topology.open({ kv, clock, log });
  const node = new ClusterNode({
    local,
    topology,
    url,
    zone,
    connect: (to, onHealth) =>
      new SimPeer({
        from: url,
        to,
        power,
        network,
        serverOf: (at) => world.serverOf(at),
        isOn: (at) => world.machineAt(at)?.isOn === true,
        onHealth,
        time,
        clock,
        random,
      }),
    clock,
  });
  const mayPublish = (): Promise<boolean> => takeLease(kv, `publish@${url}`, session.id);
  const unpublish = keepPublished({ kv, own, local, check: session.check, mayPublish, clock, log });
  return {
    node,
    where: (drive: DriveId) => {
      const { url: at, zone: zoneAt } = topology.nodeOf(drive) ?? own;
      return { node: at, zone: zoneAt };
    },
    close: async (): Promise<void> => {
      await unpublish();
      await topology.close();
      await node.close();
    },
  };
}
