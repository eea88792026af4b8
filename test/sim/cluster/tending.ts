/**
 * What keeps a simulated cluster going: each machine is started again after it stopped, each dead process replaced and its session
 * fenced by whoever learns of the death, and every process does its background work.
 */
import { systemCode, hasReason, HoldfastError } from "../../../src/core/errors.ts";
import { limits } from "../../../src/core/limits.ts";
import { fenceDead, sweepAll } from "../../../src/jobs/jobs.ts";
import { markDriveSwept } from "../../../src/node/drive.ts";
import { guardedDisk } from "../power.ts";
import type { SimMachine } from "./machine.ts";
import type { Job } from "../jobs.ts";
import { joinMachine, type Member } from "./member.ts";
import type { ClusterWorld } from "./world.ts";

const lookMs = 200;
const jobPauseMs = 600;
const endMsMax = 5_000;
const runsAtOnceMax = 20;
/** What races with requests and with itself gets its chance more often. */
const raced = new Set(["trash", "mend", "repair", "strays", "sweep"]);
const { signal } = new AbortController();

/** What any work of a process may end with at any time; anything else is a finding. */
export function isAccident(error: unknown): boolean {
  if (error instanceof HoldfastError) return error.kind !== "internal" && error.kind !== "invalid";
  return systemCode(error) === "EIO";
}

/** A process runs a job once at a time: undefined where it is at it. */
export async function runJob(
  { underWay }: ClusterWorld,
  job: Job,
): Promise<Awaited<ReturnType<Job["run"]>> | undefined> {
  if (underWay.has(job)) return undefined;
  underWay.add(job);
  try {
    return await job.run(signal);
  } finally {
    underWay.delete(job);
  }
}

export class Tending {
  readonly #world: ClusterWorld;
  readonly #loops = new Set<Promise<void>>();
  readonly #tended = new Set<SimMachine>();
  /** Names of processes that died and whose sessions nobody has fenced yet. */
  readonly #dead = new Map<SimMachine, string[]>();
  #isOver = false;
  /** What nobody foresaw, thrown by `end`. */
  readonly #failures: unknown[] = [];

  constructor(world: ClusterWorld) {
    this.#world = world;
  }

  /** Begins with every machine that there is; to be called again when there are more. */
  begin(): void {
    for (const machine of this.#world.machines) {
      if (this.#tended.has(machine)) continue;
      this.#tended.add(machine);
      this.#repeat(() => this.#tend(machine), lookMs);
    }
  }

  /** The processes live on without it. */
  async end(): Promise<void> {
    this.#isOver = true;
    while (this.#loops.size > 0) await Promise.all(this.#loops);
    if (this.#failures.length > 0) throw this.#failures[0];
  }

  get hasFailed(): boolean {
    return this.#failures.length > 0;
  }

  #repeat(work: () => Promise<void>, pauseMs: number, isOver = (): boolean => false): void {
    const loop = (async () => {
      const { time, random } = this.#world;
      while (!this.#isOver && !isOver()) {
        try {
          await work();
        } catch (error) {
          if (!isAccident(error)) this.#failures.push(error);
        }
        await time.sleep(1 + random.below(2 * pauseMs));
      }
    })();
    this.#loops.add(loop);
    void loop.finally(() => this.#loops.delete(loop));
  }

  async #tend(machine: SimMachine): Promise<void> {
    const world = this.#world;
    world.watch();
    if (machine.isGone || machine.isStopping) return;
    if (!machine.isOn) await this.#start(machine);
    if (!machine.isOn) return;
    this.#bury(machine);
    while (machine.members.length < machine.parts.workers && machine.isOn)
      this.#employ(await joinMachine(world, machine));
    await this.#fenceDead(machine);
  }

  async #start(machine: SimMachine): Promise<void> {
    const { time, random } = this.#world;
    if (time.nowMs < machine.startsAtMs) return;
    this.#bury(machine);
    // What its new run says of the drives tells which sessions are dead.
    this.#dead.delete(machine);
    try {
      await machine.start();
    } catch (error) {
      machine.power.cut();
      // Whoever stopped it says when it may start again.
      machine.startsAtMs = Math.max(machine.startsAtMs, time.nowMs + random.below(3_000));
      throw error;
    }
  }

  #bury(machine: SimMachine): void {
    const dead = machine.members.filter(({ power }) => !power.on);
    if (dead.length === 0) return;
    machine.members = machine.members.filter(({ power }) => power.on);
    this.#dead.set(machine, [...(this.#dead.get(machine) ?? []), ...dead.map(({ name }) => name)]);
    for (const member of dead) this.#world.leave(member.close());
  }

  async #fenceDead(machine: SimMachine): Promise<void> {
    const names = this.#dead.get(machine);
    const [survivor] = machine.members;
    if (names === undefined || survivor === undefined) return;
    const { log, local } = survivor;
    await fenceDead(survivor.kv, (name) => names.includes(name), { log, served: local.drives });
    if (this.#dead.get(machine) === names) this.#dead.delete(machine);
  }

  #employ(member: Member): void {
    const { machine, power, clock, jobs } = member;
    machine.members.push(member);
    const isOver = (): boolean => !power.on;
    this.#repeat(() => this.#beat(member), limits.heartbeatIntervalMs / 2, isOver);
    const fence = jobs.find(({ name }) => name === "fence")!;
    this.#repeat(
      async () => {
        await clock.sleep(fence.idleMsMin);
        await fence.run(signal);
      },
      1,
      isOver,
    );
    for (let left = 2; left > 0; left--) this.#repeat(() => this.#workOnce(member), jobPauseMs, isOver);
  }

  /** A process that was fenced ends some time after it has found out. */
  async #beat({ session, power, clock }: Member): Promise<void> {
    try {
      await session.heartbeat();
    } catch (error) {
      if (!hasReason(error, "session_fenced")) throw error;
      await clock.sleep(this.#world.random.below(endMsMax));
      power.cut();
    }
  }

  async #workOnce(member: Member): Promise<void> {
    const { random } = this.#world;
    const { machine, jobs, local, power } = member;
    const dice = random.below(10);
    const others = jobs.filter(({ name }) => name !== "fence");
    if (machine.sweepDue && dice < 2) return this.#sweep(member);
    if (dice === 2) return void (await local.compact(local.drives[random.below(local.drives.length)]!));
    const often = jobs.filter(({ name }) => raced.has(name));
    const from = dice < 7 ? often : others;
    const job = from[random.below(from.length)]!;
    // Like the runner of a server, and with an end.
    for (let left = runsAtOnceMax; left > 0 && power.on; left--) {
      const result = await runJob(this.#world, job);
      if (result?.more !== true) return;
    }
  }

  /** One at a time, as the first worker of a server does it; one that is cut off is due again. */
  async #sweep({ machine, kv, local, log, power }: Member): Promise<void> {
    machine.sweepDue = false;
    const disk = guardedDisk(machine.disk, power);
    const parts = { kv, node: local, log, drives: local.drives };
    try {
      await sweepAll(parts, undefined, async (drive) => markDriveSwept(disk, await machine.drives.pathOf(drive)));
    } catch (error) {
      machine.sweepDue = true;
      throw error;
    }
  }
}
