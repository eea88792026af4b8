/**
 * A simulated machine for tests: a fake disk, an index in memory, and processes that can be killed at any operation.
 * `kill` ends the processes only: the disk's contents and the index stay. `crash` is a loss of power: what was not
 * synced is at the disk's mercy, and the index has lost rows.
 */
import type { Clock } from "../core/clock.ts";
import { silentLog } from "../core/log.ts";
import { seededRandom, type Random } from "../core/random.ts";
import type { Kv } from "../kv/kv.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { FakeDisk } from "./disk.fake.ts";
import type { Disk, DiskFile } from "./disk.ts";
import { prepareDrive, type OpenIndex, type PreparedDrive } from "./drive.ts";
import { openLocalNode, type LocalNode } from "./local_node.ts";
import type { Processes } from "./processes.ts";

export class Stopped extends Error {
  override name = "Stopped";
}

/** Time stands still. */
export const stoppedClock: Clock = {
  nowMs: () => 1_700_000_000_000,
  monotonicMs: () => 0,
  sleep: async () => undefined,
};

export class FakeMachine {
  readonly path: string;
  readonly random: Random;
  readonly disk: FakeDisk;
  #kv: Kv = openMemoryKv();
  #indexLost = false;
  #epoch = 0;
  #processes = 0;
  /** Operations of the disk and commits of the index left until `#stop` is run. */
  #operationsLeft = Infinity;
  #stop: (() => void) | undefined;
  operations = 0;

  constructor(seed: number, capacityBytes = 2 ** 40, path = "/drive") {
    this.path = path;
    this.random = seededRandom(seed);
    this.disk = new FakeDisk(this.random, capacityBytes);
  }

  /** Ends all processes, at once or before the operation that many from now. */
  kill(): void {
    this.#epoch += 1;
    this.#operationsLeft = Infinity;
  }

  crash(): void {
    this.kill();
    this.disk.crash();
    this.#indexLost = true;
  }

  /** What a loss of power does to an index that was not synced: rows of any age are missing, the newest and the oldest. */
  async #loseRows(): Promise<void> {
    const range = { start: Buffer.from("c"), end: Buffer.from("d") };
    const entries = await this.#kv.scan(range, { limit: 2_000 });
    for (const { key } of entries) {
      if (this.random.below(2) === 0) await this.#kv.commit({ checks: [], writes: [{ kind: "delete", key }] });
    }
    this.#indexLost = false;
  }

  stopAfter(operations: number, how: "kill" | "crash"): void {
    this.#operationsLeft = operations;
    this.#stop = () => (how === "kill" ? this.kill() : this.crash());
  }

  step(epoch: number): void {
    if (epoch !== this.#epoch) throw new Stopped("the process has ended");
    this.operations += 1;
    this.#operationsLeft -= 1;
    if (this.#operationsLeft >= 0) return;
    this.#stop?.();
    throw new Stopped("the process has ended");
  }

  #disk(): Disk {
    return new ProcessDisk(this, this.disk, this.#epoch);
  }

  #openIndex(): OpenIndex {
    const epoch = this.#epoch;
    return async ({ wipe }) => {
      this.step(epoch);
      if (this.#indexLost) await this.#loseRows();
      if (wipe) this.#kv = openMemoryKv();
      const kv = this.#kv;
      return {
        name: kv.name,
        get: (keys) => kv.get(keys),
        scan: (range, options) => kv.scan(range, options),
        commit: (commit) => {
          this.step(epoch);
          return kv.commit(commit);
        },
        // The store is shared by all processes, as a file is.
        close: async () => undefined,
      };
    };
  }

  get kv(): Kv {
    return this.#kv;
  }

  prepare(): Promise<PreparedDrive> {
    const { path, random } = this;
    return prepareDrive({ path, disk: this.#disk(), openIndex: this.#openIndex(), random, log: silentLog });
  }

  /** A node in a process of its own. `alive` says which other processes still run. */
  openNode(alive: (token: string) => boolean = () => true): Promise<LocalNode> {
    this.#processes += 1;
    const processes: Processes = { self: `process-${this.#processes}`, isAlive: async (token) => alive(token) };
    return openLocalNode({
      drives: [this.path],
      disk: this.#disk(),
      openIndex: this.#openIndex(),
      processes,
      clock: stoppedClock,
      random: this.random,
      log: silentLog,
    });
  }

  async start(): Promise<LocalNode> {
    await this.prepare();
    return this.openNode();
  }
}

/** The disk as the processes of one epoch see it: after their end every call fails. */
class ProcessDisk implements Disk {
  readonly #machine: FakeMachine;
  readonly #disk: Disk;
  readonly #epoch: number;

  constructor(machine: FakeMachine, disk: Disk, epoch: number) {
    this.#machine = machine;
    this.#disk = disk;
    this.#epoch = epoch;
  }

  async #run<T>(operation: () => Promise<T>): Promise<T> {
    this.#machine.step(this.#epoch);
    return operation();
  }

  async open(path: string, mode: "read" | "create" | "write"): Promise<DiskFile> {
    const file = await this.#run(() => this.#disk.open(path, mode));
    return {
      writev: async (pieces, offset) => {
        let position = offset;
        for (const piece of pieces) {
          await this.#run(() => file.writev([piece], position));
          position += piece.length;
        }
      },
      read: (into, offset) => this.#run(() => file.read(into, offset)),
      sync: () => this.#run(() => file.sync()),
      truncate: (lengthBytes) => this.#run(() => file.truncate(lengthBytes)),
      sizeBytes: () => this.#run(() => file.sizeBytes()),
      close: () => file.close(),
    };
  }

  list(path: string): Promise<string[]> {
    return this.#run(() => this.#disk.list(path));
  }

  makeDirectory(path: string): Promise<void> {
    return this.#run(() => this.#disk.makeDirectory(path));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#run(() => this.#disk.rename(from, to));
  }

  remove(path: string): Promise<void> {
    return this.#run(() => this.#disk.remove(path));
  }

  syncDirectory(path: string): Promise<void> {
    return this.#run(() => this.#disk.syncDirectory(path));
  }

  space(path: string): ReturnType<Disk["space"]> {
    return this.#disk.space(path);
  }

  bootId(): Promise<string> {
    return this.#disk.bootId();
  }
}
