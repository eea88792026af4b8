/**
 * Several nodes in one process, from one seed: each a machine of its own with disk, power and drives (machine.ts), one or two
 * processes on each (member.ts), one metadata store that can be out of reach (engine.ts), and the network between
 * them (network.ts, peer.ts). Topology, the cluster's chunk node, the node rows and everything above run for real.
 */
import type { Log, LogFields } from "../../../src/core/log.ts";
import { seededRandom, type Random } from "../../../src/core/random.ts";
import { parseRedundancy, shardsOf, type Redundancy } from "../../../src/core/redundancy.ts";
import type { Entry } from "../../../src/kv/kv.ts";
import { isHaunted, sessionKey, suspectKey } from "../../../src/meta/keys.ts";
import { decodeRelocation } from "../../../src/meta/repairs.ts";
import { decodeSuspect } from "../../../src/meta/sessions.ts";
import { isOfRun } from "../../../src/server/run.ts";
import { remainsOf, type Look, type Remains } from "../drives.ts";
import type { Power } from "../power.ts";
import { choicesFor, type Running } from "../world.ts";
import type { DriveId } from "../../../src/core/ids.ts";
import { SimEngine } from "./engine.ts";
import { SimMachine } from "./machine.ts";
import type { Member } from "./member.ts";
import { Network } from "./network.ts";
import type { Server } from "./peer.ts";
import { SimTime } from "./time.ts";

/** After so long without a fault every process knows again who is there, and every read succeeds. */
const calmMs = 30_000;
const machinesMax = 7;
/** Work is shared by turns of a few minutes of the wall clock (jobs/shares.ts): that is what clocks may be off by. */
const skewMsMax = 30_000;

export class ClusterWorld {
  readonly random: Random;
  readonly time = new SimTime();
  readonly engine: SimEngine;
  readonly network: Network;
  readonly redundancy: Redundancy;
  readonly choices: readonly Redundancy[];
  /** Milliseconds of a turn of the event loop, about. */
  readonly turnMs: number;
  /** How long a drive may be away until it is given up. */
  readonly awayMsMax: number;
  /** Half of the clusters never lose power: the sweep after it would hide what leaked. */
  readonly losesPower: boolean;
  readonly machines: SimMachine[] = [];
  /** Broken invariants that were caught and logged. */
  readonly alarms: string[] = [];
  /** Changes and jobs that are under way. */
  readonly underWay = new Set<object>();
  /** Ends of processes that are under way. */
  readonly #leaving = new Set<Promise<void>>();
  readonly #zones: number;
  #names = 0;
  #disturbedMs = 0;

  constructor(seed: number) {
    this.random = seededRandom(seed);
    const { random, time } = this;
    this.engine = new SimEngine({ random, time, isLate: random.below(2) === 0 });
    this.network = new Network(random);
    const nodes = 3 + random.below(4);
    const shapes = ["replica:1", "replica:2", "replica:3", "ec:2+1", "ec:3+2", "ec:4+2"].map(parseRedundancy);
    const fitting = shapes.filter((shape) => shardsOf(shape) <= nodes);
    this.redundancy = fitting[random.below(fitting.length)]!;
    this.choices = choicesFor(nodes);
    this.turnMs = [50, 100, 150][random.below(3)]!;
    this.awayMsMax = [2_000, 20_000, 60_000][random.below(3)]!;
    this.losesPower = random.below(2) === 0;
    this.#zones = 1 + random.below(3);
    for (let left = nodes; left > 0; left--) this.addMachine();
  }

  addMachine(): SimMachine | undefined {
    if (this.machines.length >= machinesMax) return undefined;
    const { random, engine, time } = this;
    const number = this.machines.length + 1;
    const machine = new SimMachine({
      url: `http://node${number}:9000`,
      zone: `zone${random.below(this.#zones)}`,
      drives: 1 + random.below(3),
      workers: 1 + random.below(2),
      skewMs: random.below(2 * skewMsMax) - skewMsMax,
      engine,
      time,
      random,
    });
    this.machines.push(machine);
    return machine;
  }

  get here(): readonly SimMachine[] {
    return this.machines.filter(({ isGone }) => !isGone);
  }

  get members(): readonly Member[] {
    return this.machines.flatMap(({ members }) => members).filter(({ power }) => power.on);
  }

  /** Drives it takes to place every chunk whole. */
  get shardsMax(): number {
    return Math.max(...[this.redundancy, ...this.choices].map(shardsOf));
  }

  nextName(): string {
    this.#names += 1;
    return `process ${this.#names}`;
  }

  /** A process that takes requests, if there is one. */
  any(): Member | undefined {
    const { members, random } = this;
    return members[random.below(Math.max(1, members.length))];
  }

  machineAt(url: string): SimMachine | undefined {
    return this.machines.find((machine) => machine.url === url);
  }

  serverOf(url: string): Server | undefined {
    const machine = this.machineAt(url);
    const living = machine?.members.filter(({ power }) => power.on) ?? [];
    return living[this.random.below(Math.max(1, living.length))];
  }

  /** Something happened that others have to notice. */
  disturb(): void {
    this.#disturbedMs = this.time.nowMs;
  }

  /** To be called often. */
  watch(): void {
    const { network, engine, here } = this;
    const isWell = ({ isOn, members, parts }: SimMachine): boolean =>
      isOn && members.length >= parts.workers && members.every(({ power }) => power.on && !power.isPaused);
    const isQuiet = network.isWhole && engine.cut.size === 0 && engine.breaksOneIn === 0;
    if (!isQuiet || !here.every(isWell)) this.disturb();
  }

  get isCalm(): boolean {
    return this.time.nowMs - this.#disturbedMs >= calmMs;
  }

  /** For a read that begins now: it has to succeed where all was well for a while and nothing has happened since. */
  expectRead({ power, session, isSilent }: Running): () => Promise<boolean> {
    const wasCalm = this.isCalm;
    return async () => {
      if (!wasCalm || !this.isCalm || !power.on || isSilent) return false;
      const [row] = await this.engine.kv.get([sessionKey(session.id)]);
      return row !== undefined;
    };
  }

  /** An end that nobody waits for now. */
  leave(end: Promise<void>): void {
    const ended = end.catch(() => undefined).finally(() => this.#leaving.delete(ended));
    this.#leaving.add(ended);
  }

  async allLeft(): Promise<void> {
    while (this.#leaving.size > 0) await Promise.all(this.#leaving);
  }

  /** An assertion that fails in a process that lives is kept. */
  logOf(power: Power): Log {
    const look = (fields: LogFields, message: string): void => {
      const error = fields["error"] ?? fields["err"];
      if (power.on && error instanceof Error && error.name === "AssertionError")
        this.alarms.push(`${message} ${error.message}`);
    };
    return { debug: look, info: look, warn: look, error: look };
  }

  /** What of the published chunks can still be read from the machines that are there, whatever any process believes. */
  async remains(): Promise<Remains[]> {
    return remainsOf(this.engine.kv, await this.looks());
  }

  /** Of a run of which nothing is left: its machine is gone, or all its drives are, and a start cannot know it any more. */
  async mayWake({ key, value }: Entry): Promise<boolean> {
    const { session } = decodeRelocation(value);
    const [row] = await this.engine.kv.get([suspectKey(session)]);
    if (row === undefined || !isHaunted(key)) return false;
    const { node } = decodeSuspect(row.value);
    return !this.here.some(({ own }) => own !== undefined && isOfRun(node, own.run));
  }

  /** Every drive that is not lost, and what is on it. */
  async looks(): Promise<Map<DriveId, Look>> {
    const looks = new Map<DriveId, Look>();
    for (const { drives } of this.here) for (const [id, look] of await drives.looks()) looks.set(id, look);
    return looks;
  }
}
