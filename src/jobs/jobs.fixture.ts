/** A whole store with jobs run by hand, on a memory node and store that outlive the "process", which can be made to fail. */
import { createNodePlacement } from "../blob/node_placement.ts";
import { createBlobStore } from "../blob/store.ts";
import { systemClock, type Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { IdSource, newDriveId, type DriveId } from "../core/ids.ts";
import { silentLog } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import { oneCopy, parseRedundancy, shardsOf, type Redundancy } from "../core/redundancy.ts";
import { createDigestPool } from "../digest/pool.ts";
import type { Entry, Kv } from "../kv/kv.ts";
import { openMemoryKv } from "../kv/memory.ts";
import type { DriveState } from "../meta/drives.ts";
import { tagRange, type Tag } from "../meta/keys.ts";
import { Session } from "../meta/sessions.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import type { ChunkNode } from "../node/node.ts";
import { ObjectStore } from "../object/object_store.ts";
import { DamageNotes } from "./damage.ts";
import { runDoctor, type Finding } from "./doctor.ts";
import { createJobs } from "./jobs.ts";
import type { Job } from "./runner.ts";

export type World = {
  readonly kv: Kv;
  readonly node: ChunkNode;
  /** Of everything that is written; one copy if left out. */
  readonly redundancy?: Redundancy;
  /** Every drive of the store; those of the node if left out. */
  readonly known?: readonly DriveId[];
  /** `active` where there is none. */
  readonly states?: Map<DriveId, DriveState>;
};

export type Process = {
  readonly store: ObjectStore;
  readonly session: Session;
  readonly damage: DamageNotes;
  /** Drives of which the repair job said that nothing names them. */
  readonly drained: readonly DriveId[];
  readonly jobs: readonly Job[];
};

export function newWorld(): World {
  return { kv: openMemoryKv(), node: createMemoryNode() };
}

/** With as many drives as the redundancy needs, and `spare` more. */
export function worldWith(text: string, spare: number): World {
  const redundancy = parseRedundancy(text);
  const known = Array.from({ length: shardsOf(redundancy) + spare }, () => newDriveId(systemRandom));
  return { kv: openMemoryKv(), node: createMemoryNode({ drives: known }), redundancy, known };
}

/** Drives that are away are given up at once. */
export async function startProcess(world: World, clock: Clock = systemClock): Promise<Process> {
  const { kv, node, redundancy = oneCopy, known = node.drives } = world;
  const parts = { kv, node, clock, random: systemRandom, log: silentLog };
  const digests = createDigestPool({ threads: 0 });
  const session = await Session.start({ ...parts, node: "test" });
  const placement = await createNodePlacement({ ...parts, leaving: async () => new Set(world.states?.keys()) });
  const damage = new DamageNotes({ ...parts, onNoted: () => undefined });
  const onDamage: DamageNotes["note"] = (source, chunkIndex) => damage.note(source, chunkIndex);
  const ids = new IdSource(session.id);
  const blobs = createBlobStore({ ...parts, ids, digests, placement, redundancy, onDamage });
  const store = new ObjectStore({ ...parts, blobs, digests, session });
  const drained: DriveId[] = [];
  return {
    store,
    session,
    damage,
    drained,
    jobs: createJobs({
      ...parts,
      blobs,
      session,
      placement,
      knownDrives: async () => known.map((id) => ({ id, state: world.states?.get(id) ?? ("active" as const) })),
      onDrained: async (drive) => void drained.push(drive),
      awayMsMax: 0,
    }),
  };
}

const roundsMax = 60;

/** Runs every job until none finds anything to do. */
export async function drain({ jobs, session }: Process, signal = new AbortController().signal): Promise<void> {
  for (let round = 0, idle = 0; idle < 3; round++) {
    if (round > roundsMax) throw new Error("the jobs find no end");
    await session.heartbeat();
    let busy = false;
    for (const job of jobs) {
      let result;
      do {
        result = await job.run(signal);
        busy ||= result.done > 0 || result.againMs !== undefined;
      } while (result.more);
    }
    idle = busy ? 0 : idle + 1;
  }
}

export async function rowsOf(kv: Kv, tag: Tag): Promise<Entry[]> {
  return kv.scan(tagRange(tag), { limit: 2_000 });
}

export async function findingsOf({ kv, node }: World, deep = true): Promise<Finding[]> {
  const findings: Finding[] = [];
  for await (const finding of runDoctor({ kv, node, deep })) findings.push(finding);
  return findings;
}

export class Crash extends Error {}

/**
 * What happens at call `step` on store and node. "dies": the call is not made, nor is any after it. "fails before" and
 * "fails after": only this call fails, not made or made, and nobody can tell which; the process goes on.
 */
export type Fate = "dies" | "fails before" | "fails after";

export class Fuse {
  calls = 0;
  readonly #step: number;
  readonly #fate: Fate;

  constructor(step: number, fate: Fate) {
    this.#step = step;
    this.#fate = fate;
  }

  get burnt(): boolean {
    return this.calls >= this.#step;
  }

  async #call<T>(run: () => Promise<T>): Promise<T> {
    this.calls += 1;
    if (this.#fate === "dies" && this.burnt) throw new Crash("crash");
    if (this.calls !== this.#step) return run();
    if (this.#fate === "fails after") await run();
    throw new HoldfastError("unavailable", "The call failed, and it is not known what it did.");
  }

  wrap({ kv, node, ...others }: World): World {
    return {
      ...others,
      kv: {
        name: kv.name,
        get: (keys) => this.#call(() => kv.get(keys)),
        scan: (range, options) => this.#call(() => kv.scan(range, options)),
        commit: (commit) => this.#call(() => kv.commit(commit)),
        close: () => kv.close(),
      },
      node: {
        drives: node.drives,
        append: (drive, shard, signal) => this.#call(() => node.append(drive, shard, signal)),
        read: (drive, ref, range, signal) => this.#call(() => node.read(drive, ref, range, signal)),
        remove: (drive, refs) => this.#call(() => node.remove(drive, refs)),
        list: (drive, options) => this.#call(() => node.list(drive, options)),
        verify: (drive, ref) => this.#call(() => node.verify(drive, ref)),
        compact: (drive, signal) => this.#call(() => node.compact(drive, signal)),
        status: (drive) => node.status(drive),
        close: () => node.close(),
      },
    };
  }
}
