/**
 * The processes of one run of the machine: two at a time, a new one for each that dies, and their background work. Jobs run
 * here one step at a time and without their leases, so that every order of them meets every order of requests.
 */
import { HoldfastError, systemCode } from "../../src/core/errors.ts";
import { fenceDead, sweepAll } from "../../src/jobs/jobs.ts";
import { changeDriveState } from "../../src/meta/drives.ts";
import { fenceSession, readSessions } from "../../src/meta/sessions.ts";
import { jobsOf, type Job } from "./jobs.ts";
import { bucket, localOf, type Running, type Started, type World } from "./world.ts";

type Member = { readonly running: Running; readonly jobs: readonly Job[] };

const size = 2;
const jobsAtOnce = 2;
const fencedOneIn = 60;
const silentBeats = 8;
const operatedOneIn = 40;

/** What may be refused or cut off at any time; anything else is a finding. */
export function isRefusal(error: unknown): boolean {
  return error instanceof HoldfastError && ["unavailable", "full"].includes(error.kind);
}

export class Crew {
  readonly #world: World;
  readonly #started: Started;
  #members: Member[] = [];
  #sweepDue: boolean;
  readonly #busy = new Set<Job>();
  /** Some runs give a drive up at once. */
  readonly #awayMsMax: number;

  constructor(world: World, started: Started) {
    this.#world = world;
    this.#started = started;
    this.#sweepDue = started.sweepDue;
    this.#awayMsMax = world.random.below(3) * 500;
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
    return {
      running,
      jobs: jobsOf({ ...running, local: localOf(running), clock, random, awayMsMax: this.#awayMsMax }),
    };
  }

  /** Heartbeats, jobs, compactions and new processes, until the machine stops. */
  async work(): Promise<void> {
    const members = this.#repeat(async () => {
      await this.#replaceDead();
      for (const { running } of this.#members) if (running.power.on) await this.#beat(running);
    });
    const jobs = Array.from({ length: jobsAtOnce }, () => this.#repeat(() => this.#workOnce()));
    const compactions = this.#repeat(async () => {
      const running = this.any();
      const { random } = this.#world;
      if (running === undefined || random.below(4) > 0) return;
      const { drives } = running.node;
      await running.node.compact(drives[random.below(drives.length)]!);
    });
    await Promise.all([members, ...jobs, compactions]);
  }

  async #repeat(work: () => Promise<void>): Promise<void> {
    while (this.on) {
      try {
        await work();
      } catch (error) {
        // A process that cannot read a file when it starts ends, and another one is started.
        if (!isRefusal(error) && systemCode(error) !== "EIO") throw error;
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
    const names = dead.map(({ running }) => running.name);
    if (survivor !== undefined && names.length > 0)
      await fenceDead(survivor.running.kv, (name) => names.includes(name), { log: survivor.running.log });
  }

  /** A process that was fenced finds it out when it beats, some time later, and ends. */
  async #beat(running: Running): Promise<void> {
    const { random } = this.#world;
    if (running.isSilent) {
      if (random.below(silentBeats) === 0) running.power.cut();
      return;
    }
    if (random.below(fencedOneIn) === 0) await this.#fence(running);
    else await running.session.heartbeat();
  }

  /** As if the heartbeat had stood still, and the process lived on. */
  async #fence(running: Running): Promise<void> {
    const { kv, session } = running;
    const seen = (await readSessions(kv)).find(({ id }) => id === session.id);
    running.isSilent = true;
    if (seen !== undefined) await fenceSession(kv, seen, { mayStillRun: true });
  }

  /** An operator changes his mind about a drive, or about the bucket. */
  async #operate({ kv, knownDrives, objects }: Running): Promise<void> {
    const { random, choices } = this.#world;
    if (choices.length === 0) return;
    if (random.below(3) === 0)
      return void (await objects.setRedundancy(bucket, { redundancy: choices[random.below(choices.length)] }));
    // Those that are lost are taken out of the store like others.
    const known = await knownDrives();
    const { id } = known[random.below(known.length)]!;
    if (random.below(2) === 0) await changeDriveState(kv, id, ["active"], "draining");
    else await changeDriveState(kv, id, ["draining", "drained"], "active");
  }

  /** One at a time, as the first worker of a server does it; one that is cut off is due again. */
  async #sweep(running: Running): Promise<void> {
    this.#sweepDue = false;
    try {
      await sweepAll({ ...running, drives: running.node.drives }, undefined, (drive) =>
        this.#world.swept(running.power, drive),
      );
    } catch (error) {
      this.#sweepDue = true;
      throw error;
    }
  }

  async #workOnce(): Promise<void> {
    const { random } = this.#world;
    const member = this.#members[random.below(this.#members.length)];
    if (member === undefined) return;
    const { running, jobs } = member;
    if (random.below(operatedOneIn) === 0) await this.#operate(running);
    if (this.#sweepDue && random.below(8) === 0) await this.#sweep(running);
    await this.#runJob(jobs[random.below(jobs.length)]!);
    // Trash is what races with readers, repair with everything: they get their chance more often than their share.
    for (const often of jobs.filter(({ name }) => ["trash", "repair", "mend", "rebalance"].includes(name)))
      await this.#runJob(often);
  }

  /** A process runs a job once at a time. */
  async #runJob(job: Job): Promise<void> {
    if (this.#busy.has(job)) return;
    this.#busy.add(job);
    try {
      await job.run(new AbortController().signal);
    } finally {
      this.#busy.delete(job);
    }
  }
}
