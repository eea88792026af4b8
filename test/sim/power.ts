/**
 * The power of a machine and of its processes. Every call across a seam first waits a random number of turns, so that
 * concurrent requests interleave in every way, and counts down to the power cut, or to the death of its process. After that
 * nothing that ran before can touch disk or metadata again.
 */
import { HoldfastError } from "../../src/core/errors.ts";
import type { Random } from "../../src/core/random.ts";
import type { Kv } from "../../src/kv/kv.ts";
import type { Disk, DiskFile } from "../../src/node/disk.ts";

/** What keeps a machine, or one process on it, going: a machine that stops takes its processes along. */
export class Power {
  readonly #random: Random;
  readonly #machine: Power | undefined;
  #on = true;
  /** Calls across a seam until the cut. */
  #callsLeft: number;
  /** While it stands still: what everybody waits for, and what ends that. */
  #pause: { readonly over: Promise<void>; readonly end: () => void } | undefined;

  constructor(random: Random, callsLeft: number, machine?: Power) {
    this.#random = random;
    this.#callsLeft = callsLeft;
    this.#machine = machine;
  }

  get on(): boolean {
    return this.#on && (this.#machine?.on ?? true);
  }

  cut(): void {
    this.#on = false;
    this.resume();
  }

  /** At the call that many from now. */
  cutAfter(calls: number): void {
    this.#callsLeft = Math.min(this.#callsLeft, calls);
  }

  get isPaused(): boolean {
    return this.#pause !== undefined || this.#machine?.isPaused === true;
  }

  /** As a stopped process does: no call begins or is answered, and nothing is lost. */
  pause(): void {
    if (this.#pause !== undefined || !this.on) return;
    const { promise: over, resolve: end } = Promise.withResolvers<void>();
    this.#pause = { over, end };
  }

  resume(): void {
    this.#pause?.end();
    this.#pause = undefined;
  }

  /** At once, unless it stands still. */
  async moving(): Promise<void> {
    while (this.#pause !== undefined) await this.#pause.over;
    if (this.#machine?.isPaused === true) await this.#machine.moving();
  }

  /** Before a call takes effect. */
  async before(): Promise<void> {
    await this.#turns();
    if (this.isPaused) await this.moving();
    this.#count();
    this.#assertOn();
  }

  /** After it took effect: the answer may never arrive. */
  async after(): Promise<void> {
    await this.#turns();
    if (this.isPaused) await this.moving();
    this.#assertOn();
  }

  #count(): void {
    if (this.#machine !== undefined) this.#machine.#count();
    this.#callsLeft -= 1;
    if (this.#callsLeft <= 0) this.cut();
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

export function guardedDisk(disk: Disk, power: Power): Disk {
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
export function guardedKv(kv: Kv, power: Power): Kv {
  return {
    name: "simulated",
    ...(kv.seams && { seams: kv.seams }),
    get: (keys) => across(power, () => kv.get(keys)),
    scan: (range, options) => across(power, () => kv.scan(range, options)),
    commit: (commit) => across(power, () => kv.commit(commit)),
    close: async () => undefined,
  };
}
