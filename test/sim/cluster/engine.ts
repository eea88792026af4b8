/**
 * The metadata store of a simulated cluster, as each process reaches it. The fault model:
 *
 *  - A process, or a whole machine, is cut off: its calls fail with `unavailable`, at once or after some seconds. What was on its
 *    way at that moment was carried out or not; who asked is told nothing of that.
 *  - Now and then a connection breaks under a commit: it is lost, or its answer is.
 *  - Either way the store may also carry a commit out some seconds after it was given up: it had arrived and was waiting
 *    (for a lock, for a majority).
 *
 * Each call itself is one step in the order of all calls, as the contract says (kv/kv.ts); the store loses nothing.
 */
import { HoldfastError } from "../../../src/core/errors.ts";
import type { Random } from "../../../src/core/random.ts";
import type { Commit, Kv } from "../../../src/kv/kv.ts";
import { openMemoryKv } from "../../../src/kv/memory.ts";
import type { Power } from "../power.ts";
import type { SimTime } from "./time.ts";

const lateMsMax = 10_000;

export type Caller = { readonly machine: string; readonly process: string; readonly power: Power };

export class SimEngine {
  /** Without any guard, for whoever looks from outside. */
  readonly kv: Kv;
  /** Machines and processes that do not reach it. */
  readonly cut = new Set<string>();
  /** Told of each commit before it begins. */
  onCommit: (caller: Caller, commit: Commit) => void = () => undefined;
  /** Of so many commits one is broken off; none at 0. */
  breaksOneIn = 0;
  readonly #random: Random;
  readonly #time: SimTime;
  /** Whether what was given up may be carried out later. */
  readonly #isLate: boolean;
  #late = 0;

  constructor({ random, time, isLate }: { random: Random; time: SimTime; isLate: boolean }) {
    this.#random = random;
    this.kv = openMemoryKv({ clock: time.clock(), random });
    this.#time = time;
    this.#isLate = isLate;
  }

  /** Commits that were given up and are still to be carried out. */
  get late(): number {
    return this.#late;
  }

  doorOf(caller: Caller): Kv {
    const { kv } = this;
    return {
      name: "simulated",
      ...(kv.seams && { seams: kv.seams }),
      get: (keys) => this.#ask(caller, () => kv.get(keys)),
      scan: (range, options) => this.#ask(caller, () => kv.scan(range, options)),
      commit: async (commit) => {
        this.onCommit(caller, commit);
        await caller.power.before();
        if (this.#isCut(caller) || this.#breaks()) return this.#giveUp(caller, commit);
        const result = await kv.commit(commit);
        await caller.power.after();
        if (this.#isCut(caller) || this.#breaks()) await this.#fail(caller);
        return result;
      },
      close: async () => undefined,
    };
  }

  async #ask<T>(caller: Caller, call: () => Promise<T>): Promise<T> {
    await caller.power.before();
    if (this.#isCut(caller)) await this.#fail(caller);
    const found = await call();
    await caller.power.after();
    if (this.#isCut(caller)) await this.#fail(caller);
    return found;
  }

  #isCut({ machine, process }: Caller): boolean {
    return this.cut.has(machine) || this.cut.has(process);
  }

  #breaks(): boolean {
    return this.breaksOneIn > 0 && this.#random.below(this.breaksOneIn) === 0;
  }

  async #giveUp(caller: Caller, commit: Commit): Promise<never> {
    if (this.#isLate && this.#random.below(3) === 0) void this.#carryOutLater(commit);
    return this.#fail(caller);
  }

  async #carryOutLater(commit: Commit): Promise<void> {
    this.#late += 1;
    await this.#time.sleep(this.#random.below(lateMsMax));
    await this.kv.commit(commit);
    this.#late -= 1;
  }

  async #fail({ power }: Caller): Promise<never> {
    if (this.#random.below(2) === 0) await this.#time.sleep(this.#random.below(5_000));
    await power.after();
    throw new HoldfastError("unavailable", "The metadata store does not answer.");
  }
}
