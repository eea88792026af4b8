/** A whole store with jobs run by hand, on a memory node and store that outlive the "process", which can be made to fail. */
import { stillClock } from "../blob/blob.fixture.ts";
import { createNodePlacement } from "../blob/node_placement.ts";
import { createBlobStore } from "../blob/store.ts";
import { systemClock, type Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { IdSource, newDriveId, type DriveId } from "../core/ids.ts";
import { silentLog } from "../core/log.ts";
import type { JobCounts } from "../core/metrics.ts";
import { systemRandom } from "../core/random.ts";
import { oneCopy, parseRedundancy, shardsOf, type Redundancy } from "../core/redundancy.ts";
import { createDigestPool } from "../digest/pool.ts";
import { lifecycleRules } from "../gateway/documents/lifecycle.ts";
import type { Entry, Kv } from "../kv/kv.ts";
import { openMemoryKv } from "../kv/memory.ts";
import type { DriveState } from "../meta/drives.ts";
import { tagRange, type Tag } from "../meta/keys.ts";
import { Session } from "../meta/sessions.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import { driveMissing, type ChunkNode } from "../node/node.ts";
import { ObjectStore } from "../object/object_store.ts";
import { DamageNotes } from "./damage.ts";
import { runDoctor, type Finding } from "./doctor.ts";
import { createJobs, type LocalDrives } from "./jobs.ts";
import { LandedNotes } from "./landed.ts";
import type { Job } from "./runner.ts";

export type World = {
  readonly kv: Kv;
  readonly node: ChunkNode;
  /** Of background work of each process; that of the limits if left out. */
  readonly backgroundBytesPerSecond?: number;
  /** Processes share what is to be mended; without it each tries all of it, so that they meet. */
  readonly isShared?: boolean;
  /** All drives of the node if left out. */
  readonly local?: LocalDrives;
  /** Of everything that is written; one copy if left out. */
  readonly redundancy?: Redundancy;
  /** Of the reduced class; what follows from the other if left out. */
  readonly reducedRedundancy?: Redundancy;
  /** Every drive of the store; those of the node if left out. */
  readonly known?: readonly DriveId[];
  /** `active` where there is none. */
  readonly states?: Map<DriveId, DriveState>;
  readonly counts?: JobCounts;
};

export type Process = {
  readonly store: ObjectStore;
  readonly session: Session;
  readonly damage: DamageNotes;
  readonly landed: LandedNotes;
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

/**
 * Drives that are away are given up at once. Without a clock of its own placement has the drives as they are now, and none is ever
 * late: where shards go, and which drives can be asked, must not follow from how long a test takes or where it was held up.
 */
export async function startProcess(world: World, ownClock?: Clock): Promise<Process> {
  const { kv, node, redundancy = oneCopy, reducedRedundancy, known = node.drives } = world;
  const clock = ownClock ?? systemClock;
  const parts = { kv, node, clock, random: systemRandom, log: silentLog };
  const digests = createDigestPool({ threads: 0 });
  const session = await Session.start({ ...parts, node: "test" });
  const placement = await createNodePlacement({
    ...parts,
    clock: ownClock ?? stillClock,
    leaving: async () => new Set(world.states?.keys()),
  });
  const damage = new DamageNotes({ ...parts, onNoted: () => undefined });
  const onDamage: DamageNotes["note"] = (source, chunkIndex) => damage.note(source, chunkIndex);
  const landed = new LandedNotes({ ...parts, session });
  const onLanded: LandedNotes["note"] = (shard) => landed.note(shard);
  const ids = new IdSource(session.id);
  const blobs = createBlobStore({
    ...parts,
    ids,
    digests,
    placement,
    redundancy: () => redundancy,
    onDamage,
    onLanded,
  });
  const redundancies = { redundancy: () => redundancy, reducedRedundancy };
  const store = new ObjectStore({ ...parts, ...redundancies, blobs, digests, session, lifecycleRules });
  const drained: DriveId[] = [];
  return {
    store,
    session,
    damage,
    landed,
    drained,
    jobs: createJobs({
      ...parts,
      local: world.local ?? { name: "", drives: node.drives },
      blobs,
      session,
      placement,
      lifecycle: store.lifecycle,
      knownDrives: async () => known.map((id) => ({ id, state: world.states?.get(id) ?? ("active" as const) })),
      onDrained: async (drive) => void drained.push(drive),
      awayMsMax: 0,
      ...(world.backgroundBytesPerSecond && { backgroundBytesPerSecond: world.backgroundBytesPerSecond }),
      ...(world.isShared !== true && { menders: async () => [session.id] }),
      ...(world.counts && { counts: world.counts }),
    }),
  };
}

/** The node as it is without the drives that are in `lost` at the time of a call. */
export function nodeWithout(node: ChunkNode, lost: ReadonlySet<DriveId>): ChunkNode {
  const there = (drive: DriveId): ChunkNode => {
    if (lost.has(drive)) throw driveMissing(drive);
    return node;
  };
  return {
    get drives() {
      return node.drives.filter((drive) => !lost.has(drive));
    },
    append: async (drive, ...rest) => there(drive).append(drive, ...rest),
    read: async (drive, ...rest) => there(drive).read(drive, ...rest),
    remove: async (drive, ...rest) => there(drive).remove(drive, ...rest),
    list: async (drive, ...rest) => there(drive).list(drive, ...rest),
    verify: async (drive, ...rest) => there(drive).verify(drive, ...rest),
    discard: async (drive, ...rest) => there(drive).discard(drive, ...rest),
    compact: async (drive, ...rest) => there(drive).compact(drive, ...rest),
    status: async (drive) => there(drive).status(drive),
    close: () => node.close(),
  };
}

/** Those that bring redundancy back, and clear up after it. */
export function repairJobs({ jobs }: Process): Job[] {
  return jobs.filter(({ name }) => ["repair", "mend", "strays"].includes(name));
}

const roundsMax = 60;

/**
 * Runs jobs until none finds anything to do: all but the one that looks for what is missing, which would hide what was done wrong.
 */
export async function drain({ jobs, session }: Process, signal = new AbortController().signal): Promise<void> {
  for (let round = 0, idle = 0; idle < 3; round++) {
    if (round > roundsMax) throw new Error("the jobs find no end");
    await session.heartbeat();
    let busy = false;
    for (const job of jobs.filter(({ name }) => name !== "missing")) {
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
  #step: number;
  readonly #fate: Fate;

  constructor(step: number, fate: Fate) {
    this.#step = step;
    this.#fate = fate;
  }

  /** From now on it counts, to this step. */
  arm(step: number): void {
    this.calls = 0;
    this.#step = step;
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
        discard: (drive, ref) => this.#call(() => node.discard(drive, ref)),
        compact: (drive, signal, pause) => this.#call(() => node.compact(drive, signal, pause)),
        status: (drive) => node.status(drive),
        close: () => node.close(),
      },
    };
  }
}
