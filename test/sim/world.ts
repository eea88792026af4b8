/**
 * The whole store in one process from one seed: objects, blobs, the chunk node and its recovery run for real, over a disk
 * that forgets what was not synced and a metadata store whose commits happen at a moment nobody can foresee.
 *
 * Every call across a seam first waits a random number of turns, so that concurrent requests interleave in every way, and
 * counts down to the power cut, or to the death of its process. After that nothing that ran before can touch disk or
 * metadata again.
 *
 * Not simulated: LMDB itself (its syncs are pinned by a test of its own), digest threads (bodies are small), the network.
 */
import { HoldfastError } from "../../src/core/errors.ts";
import type { Clock } from "../../src/core/clock.ts";
import { IdSource } from "../../src/core/ids.ts";
import { silentLog } from "../../src/core/log.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Random } from "../../src/core/random.ts";
import { createNodePlacement, type Placement } from "../../src/blob/node_placement.ts";
import { createBlobStore } from "../../src/blob/store.ts";
import { createDigestPool } from "../../src/digest/pool.ts";
import type { Kv } from "../../src/kv/kv.ts";
import { openMemoryKv } from "../../src/kv/memory.ts";
import { Session, fenceSession, readSessions } from "../../src/meta/sessions.ts";
import type { Disk, DiskFile } from "../../src/node/disk.ts";
import { FakeDisk } from "../../src/node/disk.fake.ts";
import { markDriveSwept, prepareDrive, type OpenIndex } from "../../src/node/drive.ts";
import { openLocalNode } from "../../src/node/local_node.ts";
import type { ChunkNode } from "../../src/node/node.ts";
import type { Objects } from "../../src/object/object.ts";
import { ObjectStore } from "../../src/object/object_store.ts";

const drivePath = "/drive";
const chunkBytes = 24 * 1024;

/** What keeps a machine, or one process on it, going: a machine that stops takes its processes along. */
export class Power {
  readonly #random: Random;
  readonly #machine: Power | undefined;
  #on = true;
  /** Calls across a seam until the cut. */
  #callsLeft: number;

  constructor(random: Random, callsLeft: number, machine?: Power) {
    this.#random = random;
    this.#callsLeft = callsLeft;
    this.#machine = machine;
  }

  get on(): boolean {
    return this.#on && (this.#machine?.on ?? true);
  }

  /** Before a call takes effect. */
  async before(): Promise<void> {
    await this.#turns();
    this.#count();
    this.#assertOn();
  }

  /** After it took effect: the answer may never arrive. */
  async after(): Promise<void> {
    await this.#turns();
    this.#assertOn();
  }

  #count(): void {
    if (this.#machine !== undefined) this.#machine.#count();
    this.#callsLeft -= 1;
    if (this.#callsLeft <= 0) this.#on = false;
  }

  #assertOn(): void {
    if (!this.on) throw new HoldfastError("unavailable", "The power is off.");
  }

  async #turns(): Promise<void> {
    for (let left = this.#random.below(4); left > 0; left--) await Promise.resolve();
    if (this.#random.below(8) === 0) await new Promise((resolve) => setImmediate(resolve));
  }
}

async function across<T>(power: Power, call: () => Promise<T>): Promise<T> {
  await power.before();
  const result = await call();
  await power.after();
  return result;
}

function guardedFile(file: DiskFile, power: Power): DiskFile {
  return {
    writev: (pieces, offset) => across(power, () => file.writev(pieces, offset)),
    read: (into, offset) => across(power, () => file.read(into, offset)),
    sync: () => across(power, () => file.sync()),
    truncate: (lengthBytes) => across(power, () => file.truncate(lengthBytes)),
    sizeBytes: () => across(power, () => file.sizeBytes()),
    close: () => file.close(),
  };
}

function guardedDisk(disk: Disk, power: Power): Disk {
  return {
    open: async (path, mode) => guardedFile(await across(power, () => disk.open(path, mode)), power),
    list: (path) => across(power, () => disk.list(path)),
    makeDirectory: (path) => across(power, () => disk.makeDirectory(path)),
    rename: (from, to) => across(power, () => disk.rename(from, to)),
    remove: (path) => across(power, () => disk.remove(path)),
    syncDirectory: (path) => across(power, () => disk.syncDirectory(path)),
    space: (path) => across(power, () => disk.space(path)),
    bootId: () => disk.bootId(),
  };
}

/** The same rows for every process; closing one process's door does not close the store. */
function guardedKv(kv: Kv, power: Power): Kv {
  return {
    name: "simulated",
    get: (keys) => across(power, () => kv.get(keys)),
    scan: (range, options) => across(power, () => kv.scan(range, options)),
    commit: (commit) => across(power, () => kv.commit(commit)),
    close: async () => undefined,
  };
}

/** One process and what it holds. */
export type Running = {
  readonly objects: Objects;
  readonly node: ChunkNode;
  readonly session: Session;
  readonly kv: Kv;
  readonly power: Power;
  readonly placement: Placement;
  readonly blobs: ReturnType<typeof createBlobStore>;
  close(): Promise<void>;
};

/** A machine that was started: its first process, and what the start found. */
export type Started = {
  readonly machine: Power;
  readonly first: Running;
  /** Removed shards may be there again until a sweep was finished. */
  readonly sweepDue: boolean;
};

export class World {
  readonly random: Random;
  readonly disk: FakeDisk;
  readonly kv: Kv = openMemoryKv();
  readonly clock: Clock;
  #index: Kv = openMemoryKv();
  #processes = 0;
  /** Processes of this machine's current run, by their tokens. */
  #alive = new Map<string, Power>();
  #nowMs = 1_700_000_000_000;

  constructor(seed: number) {
    this.random = seededRandom(seed);
    this.disk = new FakeDisk(this.random, 1 << 30);
    this.clock = {
      nowMs: () => (this.#nowMs += 1),
      monotonicMs: () => this.#nowMs,
      sleep: async (ms) => {
        this.#nowMs += ms;
        await new Promise((resolve) => setImmediate(resolve));
      },
    };
  }

  /** Starts the machine; it stops after `callsUntilCut` calls across a seam. */
  async start(callsUntilCut: number): Promise<Started> {
    const machine = new Power(this.random, callsUntilCut);
    this.#alive = new Map();
    const disk = guardedDisk(this.disk, machine);
    const { random } = this;
    await this.disk.makeDirectory(drivePath);
    const openIndex = this.#openIndex(machine);
    const prepared = await prepareDrive({ path: drivePath, disk, openIndex, random, log: silentLog });
    const kv = guardedKv(this.kv, machine);
    // The lock on the drive says that no earlier process lives.
    for (const earlier of await readSessions(kv)) await fenceSession(kv, earlier);
    return { machine, first: await this.join(machine, Infinity), sweepDue: prepared.sweepDue };
  }

  /** Starts one more process on the machine; it dies after `callsUntilDeath` calls. */
  async join(machine: Power, callsUntilDeath: number): Promise<Running> {
    const power = new Power(this.random, callsUntilDeath, machine);
    const disk = guardedDisk(this.disk, power);
    const kv = guardedKv(this.kv, power);
    const { clock, random } = this;
    const log = silentLog;
    this.#processes += 1;
    const self = `process ${this.#processes}`;
    this.#alive.set(self, power);
    const session = await Session.start({ kv, clock, random, node: self });
    const processes = { self, isAlive: async (token: string) => this.#alive.get(token)?.on === true };
    const openIndex = this.#openIndex(power);
    const node = await openLocalNode({ drives: [drivePath], disk, openIndex, processes, clock, random, log });
    const digests = createDigestPool({ threads: 0 });
    const placement = await createNodePlacement({ node, clock, log });
    const blobs = createBlobStore({ node, ids: new IdSource(session.id), digests, placement, log, chunkBytes });
    const objects = new ObjectStore({ kv, blobs, digests, session, clock, random, log });
    const close = async () => {
      await session.close();
      await node.close();
    };
    return { objects, node, session, kv, power, blobs, placement, close };
  }

  #openIndex(power: Power): OpenIndex {
    return async ({ wipe }) => {
      if (wipe) this.#index = openMemoryKv();
      return guardedKv(this.#index, power);
    };
  }

  /** To be called when a full sweep has ended. */
  async swept(power: Power): Promise<void> {
    await markDriveSwept(guardedDisk(this.disk, power), drivePath);
  }

  /** What a loss of power leaves. Without it a machine's processes were only killed. */
  loseUnsynced(): void {
    this.disk.crash();
  }
}
