/**
 * What befalls a cluster, from one seed: processes and machines die, stop and come back, networks part in one direction or both,
 * the metadata store is out of reach, drives and whole nodes are lost, join, drain, restart one after the other.
 *
 * Several faults may be on at once; each ends by itself after a while. What is lost for good is kept within what the redundancy
 * bears: a loss is tried, and taken back where a chunk that could be read could not be read any more; and no second one comes
 * while work goes on that began before the last one, for what that is about to publish cannot be seen.
 */
import { setImmediate as turn } from "node:timers/promises";
import { changeDriveState, readDrives } from "../../../src/meta/drives.ts";
import { tags } from "../../../src/meta/keys.ts";
import { fenceSession, readSessions } from "../../../src/meta/sessions.ts";
import { isBearable, type SimDrive } from "../drives.ts";
import { bucket } from "../world.ts";
import type { SimMachine } from "./machine.ts";
import type { Member } from "./member.ts";
import type { Tending } from "./tending.ts";
import type { ClusterWorld } from "./world.ts";

const pauseMsMax = 12_000;
const downMsMax = 40_000;
const faultMsMax = 45_000;
const publisherMsMin = 40_000;

export const faults = [
  "kill a process",
  "kill a machine",
  "power loss",
  "lose drives",
  "leave for good",
  "cut a link",
  "isolate a machine",
  "rough network",
  "cut a process from the metadata",
  "cut a machine from the metadata",
  "break commits",
  "pause a process",
  "pause a process before it publishes",
  "pause a machine",
  "fence a live session",
  "join",
  "drain a drive",
  "drain a machine",
  "keep what was draining",
  "restart one after the other",
  "change the redundancy",
] as const;

export type Fault = (typeof faults)[number];

/** Who stands still in the middle of a write and is fenced meanwhile is what fencing is for: it comes to pass more often. */
const rough: readonly Fault[] = [
  ...faults,
  "pause a process",
  "pause a process before it publishes",
  "pause a process before it publishes",
  "fence a live session",
];

/** What an operator does while all is well: no read may fail by it. */
export const upkeep: readonly Fault[] = [
  "drain a drive",
  "drain a machine",
  "keep what was draining",
  "change the redundancy",
];

export class Chaos {
  readonly #world: ClusterWorld;
  readonly #tending: Tending;
  /** How often each fault came to pass. */
  readonly counts = new Map<Fault, number>();
  /** Faults that are on, with what ends them. */
  readonly #on = new Set<() => void>();
  #restarting: Promise<void> | undefined;
  /** Work that was under way when something was lost last. */
  #before: readonly object[] = [];
  #isOver = false;

  constructor(world: ClusterWorld, tending: Tending) {
    this.#world = world;
    this.#tending = tending;
  }

  async during(ms: number, from: readonly Fault[] = rough): Promise<void> {
    const { time, random } = this.#world;
    this.#isOver = false;
    for (const endsMs = time.nowMs + ms; time.nowMs < endsMs && !this.#tending.hasFailed;) {
      await time.sleep(random.below(pauseMsMax));
      const fault = from[random.below(from.length)]!;
      if (await this.#befall(fault)) this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1);
    }
    this.#isOver = true;
    this.#world.engine.onCommit = () => undefined;
    for (const end of this.#on) end();
    await this.#restarting;
    for (const machine of this.#world.here) machine.startsAtMs = 0;
  }

  /** Resolves to whether it could be. */
  async #befall(fault: Fault): Promise<boolean> {
    const { random, here } = this.#world;
    const machine = here[random.below(here.length)]!;
    const member = this.#world.any();
    switch (fault) {
      case "kill a process":
        return this.#kill(member);
      case "kill a machine":
        return this.#stop(machine, async () => undefined);
      case "power loss":
        return this.#world.losesPower && this.#stop(machine, async () => machine.disk.crash());
      case "lose drives":
        return this.#stop(machine, () => this.#loseDrives(machine));
      case "leave for good":
        return this.#leaveForGood(machine);
      case "cut a link":
      case "isolate a machine":
      case "rough network":
        return this.#part(fault, machine);
      case "cut a process from the metadata":
      case "cut a machine from the metadata":
      case "break commits":
        return this.#partFromMetadata(fault, machine);
      case "pause a process before it publishes":
        return this.#pausePublisher();
      case "pause a process":
      case "pause a machine":
        return this.#pause(fault === "pause a process" ? member?.power : machine.power);
      case "fence a live session":
        return this.#fence(member);
      case "join":
        return this.#join();
      case "drain a drive":
      case "drain a machine":
      case "keep what was draining":
        return this.#drain(fault, machine);
      case "restart one after the other":
        return this.#restart();
      case "change the redundancy":
        return this.#changeRedundancy(member);
    }
  }

  /** Something that is on for a while. */
  #lasts(end: () => void, msMax = faultMsMax, msMin = 0): true {
    const { time, random } = this.#world;
    const once = (): void => {
      if (this.#on.delete(once)) end();
    };
    this.#on.add(once);
    void time.sleep(msMin + random.below(msMax)).then(once);
    return true;
  }

  #kill(member: Member | undefined): boolean {
    const { random } = this.#world;
    member?.power.cutAfter(1 + random.below(200));
    return member !== undefined;
  }

  /** At one of its next calls; `then` happens before it starts again. */
  async #stop(machine: SimMachine, then: () => Promise<unknown>): Promise<boolean> {
    const { time, random } = this.#world;
    if (!machine.isOn || machine.isStopping) return false;
    machine.startsAtMs = Infinity;
    const { power } = machine;
    power.cutAfter(1 + random.below(300));
    for (let left = 50; left > 0 && power.on; left--) await time.sleep(20);
    power.cut();
    // What its calls have begun comes to an end, or to nothing.
    for (let left = 5; left > 0; left--) await turn();
    await then();
    machine.startsAtMs = time.nowMs + random.below(downMsMax);
    return true;
  }

  /** Whether nothing is about to be published that began before the last loss. */
  #mayLose(): boolean {
    const { underWay, engine } = this.#world;
    return engine.late === 0 && !this.#before.some((work) => underWay.has(work));
  }

  async #isBearable(change: () => () => void): Promise<boolean> {
    const world = this.#world;
    if (!this.#mayLose()) return false;
    const before = await world.remains();
    const undo = change();
    const isBorne = isBearable(before, await world.remains());
    if (isBorne) this.#before = [...world.underWay];
    else undo();
    return isBorne;
  }

  async #loseDrives({ drives }: SimMachine): Promise<boolean> {
    const { random } = this.#world;
    const { all } = drives;
    const lost = random.below(2) === 0 ? all : [all[random.below(all.length)]!];
    const left: SimDrive[] = all.map((drive) => (lost.includes(drive) ? drives.fresh() : drive));
    return this.#isBearable(() => {
      drives.set(left);
      return () => drives.set(all);
    });
  }

  async #leaveForGood(machine: SimMachine): Promise<boolean> {
    const world = this.#world;
    const rest = world.here.filter((each) => each !== machine).flatMap(({ drives }) => drives.paths());
    if (rest.length < world.shardsMax || world.here.length <= 3 || !machine.isOn) return false;
    let isGone = false;
    await this.#stop(machine, async () => {
      isGone = await this.#isBearable(() => {
        machine.isGone = true;
        return () => (machine.isGone = false);
      });
    });
    return isGone;
  }

  #part(fault: "cut a link" | "isolate a machine" | "rough network", machine: SimMachine): boolean {
    const { network, random, here } = this.#world;
    if (fault === "rough network") {
      network.roughOneIn = 10 + random.below(40);
      return this.#lasts(() => (network.roughOneIn = 0));
    }
    const others = here.filter((each) => each !== machine);
    const from = fault === "cut a link" ? [others[random.below(others.length)]!] : others;
    const ways = random.below(3);
    const ends = from.flatMap(({ url }) => [
      ...(ways === 1 ? [] : [network.cut(url, machine.url)]),
      ...(ways === 2 ? [] : [network.cut(machine.url, url)]),
    ]);
    return this.#lasts(() => {
      for (const end of ends) end();
    });
  }

  #partFromMetadata(fault: Fault, { url, alive }: SimMachine): boolean {
    const { engine, random } = this.#world;
    if (fault === "break commits") {
      engine.breaksOneIn = 5 + random.below(40);
      return this.#lasts(() => (engine.breaksOneIn = 0));
    }
    const tokens = [...alive.keys()];
    const who = fault === "cut a machine from the metadata" ? url : tokens[random.below(Math.max(1, tokens.length))];
    if (who === undefined || engine.cut.has(who)) return false;
    engine.cut.add(who);
    return this.#lasts(() => engine.cut.delete(who));
  }

  /** Mostly for longer than it takes to be fenced. */
  #pause(power: Member["power"] | undefined): boolean {
    if (power === undefined || !power.on || power.isPaused) return false;
    power.pause();
    return this.#lasts(() => power.resume(), 3 * faultMsMax);
  }

  /** The next that has stored chunks and is about to publish them, for longer than it takes to be fenced and swept. */
  #pausePublisher(): boolean {
    const { engine } = this.#world;
    engine.onCommit = ({ power }, { writes }) => {
      if (!writes.some(({ kind, key }) => kind === "put" && key[0] === tags.blob)) return;
      engine.onCommit = () => undefined;
      power.pause();
      this.#lasts(() => power.resume(), faultMsMax, publisherMsMin);
    };
    return true;
  }

  /** As if its heartbeat had stood still, and the process lives on until it finds out. */
  async #fence(member: Member | undefined): Promise<boolean> {
    const { kv } = this.#world.engine;
    const seen = (await readSessions(kv)).find(({ id }) => id === member?.session.id);
    if (seen === undefined) return false;
    this.#world.disturb();
    return fenceSession(kv, seen, { mayStillRun: true });
  }

  #join(): boolean {
    const machine = this.#world.addMachine();
    if (machine !== undefined) this.#tending.begin();
    return machine !== undefined;
  }

  async #drain(fault: Fault, { url }: SimMachine): Promise<boolean> {
    const { kv } = this.#world.engine;
    const { random } = this.#world;
    const known = (await readDrives(kv)).filter(({ node }) => node === url);
    const some = fault === "drain a drive" ? known.slice(random.below(Math.max(1, known.length))).slice(0, 1) : known;
    for (const { id } of some)
      if (fault === "keep what was draining") await changeDriveState(kv, id, ["draining", "drained"], "active");
      else await changeDriveState(kv, id, ["active"], "draining");
    return some.length > 0;
  }

  #restart(): boolean {
    const isNew = this.#restarting === undefined;
    this.#restarting ??= this.#restartAll().finally(() => (this.#restarting = undefined));
    return isNew;
  }

  /** By themselves, as for an update. */
  async #restartAll(): Promise<void> {
    const { here, time, random } = this.#world;
    for (const machine of here) {
      if (!machine.isOn || machine.isGone || this.#isOver) continue;
      machine.isStopping = true;
      const { members, power } = machine;
      machine.members = [];
      const ends = Promise.allSettled(members.map((member) => member.close()));
      await Promise.race([ends, time.sleep(10_000)]);
      power.cut();
      machine.isStopping = false;
      // Who has stopped it meanwhile says when it may start again.
      if (machine.startsAtMs !== Infinity) machine.startsAtMs = 0;
      await time.sleep(random.below(8_000));
    }
  }

  async #changeRedundancy(member: Member | undefined): Promise<boolean> {
    const { choices, random } = this.#world;
    if (member === undefined || choices.length === 0) return false;
    const choice = choices[random.below(choices.length)]!;
    return member.objects.setRedundancy(bucket, { redundancy: choice }).then(
      () => true,
      () => false,
    );
  }
}
