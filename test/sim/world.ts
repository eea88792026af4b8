/**
 * The whole store in one process from one seed: objects, blobs, the chunk node and its recovery run for real, over a disk
 * that forgets what was not synced and a metadata store whose commits happen at a moment nobody can foresee. Calls across
 * a seam go through a machine's power (power.ts). The store has one drive, or several and redundancy (drives.ts).
 *
 * Not simulated: LMDB itself (its syncs are pinned by a test of its own), digest threads (bodies are small), the network.
 */
import { IdSource } from "../../src/core/ids.ts";
import type { Clock } from "../../src/core/clock.ts";
import type { DriveId } from "../../src/core/ids.ts";
import type { Log, LogFields } from "../../src/core/log.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Random } from "../../src/core/random.ts";
import { oneCopy, parseRedundancy, shardsOf, type Redundancy } from "../../src/core/redundancy.ts";
import { createNodePlacement, type Placement } from "../../src/blob/node_placement.ts";
import { createBlobStore } from "../../src/blob/store.ts";
import { createDigestPool } from "../../src/digest/pool.ts";
import { DamageNotes, LandedNotes, sweepSuspects, type LocalDrives } from "../../src/jobs/jobs.ts";
import type { Kv } from "../../src/kv/kv.ts";
import { openMemoryKv } from "../../src/kv/memory.ts";
import { changeDriveState, readDrives, recordDrives, type Drive } from "../../src/meta/drives.ts";
import { Session, fenceSession, readSessions } from "../../src/meta/sessions.ts";
import { FakeDisk } from "../../src/node/disk.fake.ts";
import { markDriveSwept, prepareDrive, type OpenIndex } from "../../src/node/drive.ts";
import { openLocalNode } from "../../src/node/local_node.ts";
import type { ChunkNode } from "../../src/node/node.ts";
import type { Objects } from "../../src/object/object.ts";
import { ObjectStore } from "../../src/object/object_store.ts";
import { SimDrives } from "./drives.ts";
import { guardedDisk, guardedKv, Power } from "./power.ts";
import { slowedNode } from "./slow.ts";

export const bucket = "sim";

/** Of the class REDUCED_REDUNDANCY: one loss, which is what faults are kept within, where the other class bears two. */
export const reducedRedundancy = parseRedundancy("replica:2");

const diskBytes = 1 << 30;
/** Small, so that small objects have several chunks; of codes large enough that whole chunks are coded. */
const copiedChunkBytes = 24 * 1024;
const codedChunkBytes = 80 * 1024;

/** Time passes when somebody has slept, so many turns or up to three times as many; a call to a drive takes some of them. */
const sleepMsPerTurn = 100;

/** One process and what it holds. */
export type Running = {
  readonly name: string;
  /** It was fenced while it lives: what it reads may go. */
  isSilent: boolean;
  readonly objects: Objects;
  readonly node: ChunkNode;
  readonly session: Session;
  readonly kv: Kv;
  readonly power: Power;
  readonly placement: Placement;
  readonly blobs: ReturnType<typeof createBlobStore>;
  readonly damage: DamageNotes;
  readonly landed: LandedNotes;
  readonly log: Log;
  /** Every drive that the store ever had. */
  knownDrives(): Promise<Drive[]>;
  onDrained(drive: DriveId): Promise<void>;
  close(): Promise<void>;
};

/** All drives are of one machine. */
export function localOf({ node }: Running): LocalDrives {
  return { name: "", drives: node.drives };
}

/** A machine that was started: its first process, and what the start found. */
export type Started = {
  readonly machine: Power;
  readonly first: Running;
  /** Removed shards may be there again until a sweep was finished. */
  readonly sweepDue: boolean;
};

/** One drive for a third of the seeds, copies on two or three for another, codes on up to eight for the rest. */
function shapeOf(seed: number, random: Random): { readonly redundancy: Redundancy; readonly drives: number } {
  if (seed % 3 === 0) return { redundancy: oneCopy, drives: 1 };
  const texts = seed % 3 === 1 ? ["replica:2"] : ["ec:2+1", "ec:3+2", "ec:4+2"];
  const redundancy = parseRedundancy(texts[random.below(texts.length)]!);
  return { redundancy, drives: shardsOf(redundancy) + random.below(3) };
}

/** What a bucket may be told on so many drives, so that it bears a loss. */
export function choicesFor(drives: number): Redundancy[] {
  const all = ["replica:2", "ec:2+1", "replica:3", "ec:3+1", "ec:3+2", "ec:4+2"].map(parseRedundancy);
  return all.filter((redundancy) => shardsOf(redundancy) <= drives);
}

export class World {
  readonly random: Random;
  readonly disk: FakeDisk;
  readonly kv: Kv;
  readonly clock: Clock;
  readonly redundancy: Redundancy;
  /** What the bucket may be told meanwhile; nothing for a store that bears no loss. */
  readonly choices: readonly Redundancy[];
  readonly drives: SimDrives;
  /** Half of the stores with several drives are only killed: the sweep after a loss of power would hide what leaked. */
  readonly losesPower: boolean;
  /** Broken invariants that were caught and logged. */
  readonly alarms: string[] = [];
  /** The drive that is slow now. */
  slow: DriveId | undefined;
  #processes = 0;
  /** Processes of this machine's current run, by their tokens. */
  #alive = new Map<string, Power>();
  #nowMs = 1_700_000_000_000;

  constructor(seed: number) {
    this.random = seededRandom(seed);
    this.disk = new FakeDisk(this.random, diskBytes);
    const { redundancy, drives } = shapeOf(seed, this.random);
    this.redundancy = redundancy;
    this.choices = choicesFor(drives);
    this.losesPower = drives === 1 || this.random.below(2) === 0;
    this.drives = new SimDrives(this.disk, drives);
    this.clock = {
      nowMs: () => (this.#nowMs += 1),
      monotonicMs: () => this.#nowMs,
      sleep: async (ms, signal) => {
        const turns = Math.floor(ms / sleepMsPerTurn);
        for (let left = turns + this.random.below(2 * turns + 2); left >= 0 && signal?.aborted !== true; left--)
          await new Promise((resolve) => setImmediate(resolve));
        if (signal?.aborted !== true) this.#nowMs += ms;
      },
    };
    this.kv = openMemoryKv({ clock: this.clock, random: this.random });
  }

  /** Drives it takes to place every chunk whole. */
  get shardsMax(): number {
    return Math.max(...[this.redundancy, ...this.choices].map(shardsOf));
  }

  /** Time in which nothing else happens. */
  pass(ms: number): void {
    this.#nowMs += ms;
  }

  /** Starts the machine with the drives that are there; it stops after `callsUntilCut` calls across a seam. */
  async start(callsUntilCut: number): Promise<Started> {
    const machine = new Power(this.random, callsUntilCut);
    this.#alive = new Map();
    const disk = guardedDisk(this.disk, machine);
    const { random, clock } = this;
    const log = this.#log(machine);
    const openIndex = this.#openIndex(machine);
    let sweepDue = false;
    const present: {
      readonly id: DriveId;
      readonly path: string;
      readonly sizeBytes: number;
      readonly node: string;
    }[] = [];
    for (const path of this.drives.paths()) {
      await this.disk.makeDirectory(path);
      const prepared = await prepareDrive({ path, disk, openIndex, random, log });
      present.push({ id: prepared.id, path, sizeBytes: diskBytes, node: "" });
      sweepDue ||= prepared.sweepDue;
    }
    const kv = guardedKv(this.kv, machine);
    await recordDrives(kv, present, clock.nowMs());
    // The locks on the drives say that no earlier process lives.
    for (const earlier of await readSessions(kv)) await fenceSession(kv, earlier);
    await sweepSuspects(kv);
    return { machine, first: await this.join(machine, Infinity), sweepDue };
  }

  /** Starts one more process on the machine; it dies after `callsUntilDeath` calls. */
  async join(machine: Power, callsUntilDeath: number): Promise<Running> {
    const power = new Power(this.random, callsUntilDeath, machine);
    const disk = guardedDisk(this.disk, power);
    const kv = guardedKv(this.kv, power);
    const { clock, random, redundancy } = this;
    const log = this.#log(power);
    this.#processes += 1;
    const self = `process ${this.#processes}`;
    this.#alive.set(self, power);
    const session = await Session.start({ kv, clock, random, node: self });
    const processes = { self, isAlive: async (token: string) => this.#alive.get(token)?.on === true };
    const paths = this.drives.paths();
    const openIndex = this.#openIndex(power);
    const local = await openLocalNode({ drives: paths, disk, openIndex, processes, clock, random, log });
    const node = slowedNode(local, () => this.slow, random, power);
    const digests = createDigestPool({ threads: 0 });
    const knownDrives = (): Promise<Drive[]> => readDrives(kv);
    const leaving = async (): Promise<ReadonlySet<DriveId>> =>
      new Set((await knownDrives()).filter(({ state }) => state !== "active").map(({ id }) => id));
    const placement = await createNodePlacement({ node, leaving, clock, log });
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
    const close = async () => {
      await session.close();
      await node.close();
    };
    const onDrained = async (drive: DriveId): Promise<void> =>
      void (await changeDriveState(kv, drive, ["draining"], "drained"));
    const parts = { name: self, isSilent: false, objects, node, session, kv, power, blobs, placement };
    return { ...parts, damage, landed, log, knownDrives, onDrained, close };
  }

  #openIndex(power: Power): OpenIndex {
    return async ({ drivePath, wipe }) => guardedKv(this.drives.index(drivePath, wipe), power);
  }

  /** Nothing is written; an assertion that fails in a process that lives is kept. */
  #log(power: Power): Log {
    const look = (fields: LogFields, message: string): void => {
      const error = fields["error"] ?? fields["err"];
      if (power.on && error instanceof Error && error.name === "AssertionError")
        this.alarms.push(`${message} ${error.message}`);
    };
    return { debug: look, info: look, warn: look, error: look };
  }

  /** To be called when a full sweep of a drive has ended. */
  async swept(power: Power, drive: DriveId): Promise<void> {
    await markDriveSwept(guardedDisk(this.disk, power), await this.drives.pathOf(drive));
  }

  /** What a loss of power leaves. Without it a machine's processes were only killed. */
  loseUnsynced(): void {
    this.disk.crash();
  }
}
