/**
 * The processes of one run of the machine: two at a time, a new one for each that dies, and their background work. Jobs run
 * here one step at a time and without their leases, so that every order of them meets every order of requests.
 */
import { HoldfastError } from "../../src/core/errors.ts";
import { silentLog } from "../../src/core/log.ts";
import { createJobs, sweepAll } from "../../src/jobs/jobs.ts";
import { fenceSession, readSessions } from "../../src/meta/sessions.ts";
import type { Running, Started, World } from "./world.ts";

type Job = ReturnType<typeof createJobs>[number];
type Member = { readonly running: Running; readonly jobs: readonly Job[] };

const size = 2;

/** What may be refused or cut off at any time; anything else is a finding. */
export function isRefusal(error: unknown): boolean {
  return error instanceof HoldfastError && ["unavailable", "full"].includes(error.kind);
}

export class Crew {
  readonly #world: World;
  readonly #started: Started;
  #members: Member[] = [];
  #sweepDue: boolean;

  constructor(world: World, started: Started) {
    this.#world = world;
    this.#started = started;
    this.#sweepDue = started.sweepDue;
    this.#members.push(this.#member(started.first));
  }

  get on(): boolean {
    return this.#started.machine.on;
  }

  /** A process that lives, if there is one right now. */
  any(): Running | undefined {
    const living = this.#members.filter(({ running }) => running.power.on);
    return living[this.#world.random.below(living.length)]?.running;
  }

  #member(running: Running): Member {
    const { clock, random } = this.#world;
    const { kv, node, blobs, session, placement } = running;
    const parts = {
      kv,
      node,
      blobs,
      session,
      placement,
      knownDrives: async () => node.drives.map((id) => ({ id, state: "active" as const })),
      onDrained: async () => undefined,
    };
    return { running, jobs: createJobs({ ...parts, clock, random, log: silentLog }) };
  }

  /** Heartbeats, jobs, compactions and new processes, until the machine stops. */
  async work(): Promise<void> {
    const jobs = this.#repeat(async () => {
      await this.#replaceDead();
      await this.#workOnce();
    });
    const compactions = this.#repeat(async () => {
      const running = this.any();
      if (running && this.#world.random.below(4) === 0) await running.node.compact(running.node.drives[0]!);
    });
    await Promise.all([jobs, compactions]);
  }

  async #repeat(work: () => Promise<void>): Promise<void> {
    while (this.on) {
      try {
        await work();
      } catch (error) {
        if (!isRefusal(error)) throw error;
      }
      // A drive that failed answers at once: let the others go on.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async #replaceDead(): Promise<void> {
    const dead = this.#members.filter(({ running }) => !running.power.on);
    this.#members = this.#members.filter(({ running }) => running.power.on);
    while (this.#members.length < size && this.on) {
      const calls = this.#world.random.below(3) === 0 ? this.#world.random.below(400) : Infinity;
      this.#members.push(this.#member(await this.#world.join(this.#started.machine, calls)));
    }
    const [survivor] = this.#members;
    // What the fence job does when a heartbeat has stood still for long enough.
    for (const { running } of survivor === undefined ? [] : dead) {
      const silent = (await readSessions(survivor!.running.kv)).find(({ id }) => id === running.session.id);
      if (silent !== undefined) await fenceSession(survivor!.running.kv, silent);
    }
  }

  async #sweep({ kv, node, power }: Running): Promise<void> {
    await sweepAll({ kv, node, log: silentLog }, undefined, () => this.#world.swept(power));
    this.#sweepDue = false;
  }

  async #workOnce(): Promise<void> {
    const { random } = this.#world;
    for (const { running } of this.#members) if (running.power.on) await running.session.heartbeat();
    const { running, jobs } = this.#members[random.below(this.#members.length)]!;
    if (this.#sweepDue && random.below(8) === 0) await this.#sweep(running);
    const signal = new AbortController().signal;
    await jobs[random.below(jobs.length)]!.run(signal);
    // Trash is what races with readers: it gets its chance more often than its share.
    await jobs.find(({ name }) => name === "trash")!.run(signal);
  }
}
