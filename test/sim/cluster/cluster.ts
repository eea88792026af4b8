/** One seed of the cluster simulation, requests through every node: faults, and then upkeep while all is well; again; and rest. */
import { step, verifyAll, type Expected, type Lanes } from "../lanes.ts";
import { bucket } from "../world.ts";
import { Chaos, upkeep, type Fault } from "./chaos.ts";
import { Race } from "./race.ts";
import { becomeCalm, settle } from "./settling.ts";
import { Tending } from "./tending.ts";
import { ClusterWorld } from "./world.ts";

const lanesAtOnce = 3;
const racersAtOnce = 3;
const phases = 2;
const phaseMsMin = 40_000;
const phaseMsMax = 100_000;
const upkeepMs = 40_000;
/** Between two requests of a client. */
const restMsMax = 1_500;

export type ClusterReport = {
  readonly seed: number;
  readonly wrong: string[];
  readonly acknowledged: number;
  readonly reads: number;
  readonly faults: ReadonlyMap<Fault, number>;
  /** The same for the same seed. */
  readonly trace: string;
};

/** Errors: what was not foreseen, with the seed. */
export async function runClusterSeed(seed: number): Promise<ClusterReport> {
  const world = new ClusterWorld(seed);
  try {
    return await world.time.during(live(world, seed), world.random, world.turnMs);
  } catch (error) {
    throw new Error(`seed ${seed} broke off`, { cause: error });
  }
}

async function live(world: ClusterWorld, seed: number): Promise<ClusterReport> {
  const tending = new Tending(world);
  const chaos = new Chaos(world, tending);
  const clients = new Clients(world);
  tending.begin();
  const wrong = await becomeCalm(world);
  await world.any()?.objects.createBucket(bucket, { region: "us-east-1" });
  for (let phase = 0; phase < phases && wrong.length === 0 && !tending.hasFailed; phase++) {
    clients.begin();
    await chaos.during(phaseMsMin + world.random.below(phaseMsMax - phaseMsMin));
    wrong.push(...(await becomeCalm(world)));
    if (wrong.length === 0) await chaos.during(upkeepMs, upkeep);
    await clients.end();
    wrong.push(...(await clients.verify(phase)));
  }
  if (wrong.length === 0) wrong.push(...(await settle(world, tending)));
  if (wrong.length === 0) wrong.push(...(await clients.verify(phases)));
  await tending.end();
  for (const { power } of world.members) power.cut();
  for (const { members } of world.machines) for (const member of members) world.leave(member.close());
  await world.allLeft();
  const { acknowledged, reads } = clients.counts;
  const trace = `${world.random.below(2 ** 32)} ${world.time.nowMs}`;
  return { seed, wrong, acknowledged: acknowledged + clients.answered, reads, faults: chaos.counts, trace };
}

class Clients {
  readonly #world: ClusterWorld;
  readonly #lanes: Lanes;
  readonly #race: Race;
  readonly #expected: Expected = new Map();
  readonly #wrong: string[] = [];
  readonly counts = { acknowledged: 0, reads: 0 };
  #moments = 0;
  #isOver = false;
  #under: Promise<unknown> = Promise.resolve();

  constructor(world: ClusterWorld) {
    this.#world = world;
    const { random } = world;
    const any = (): ReturnType<ClusterWorld["any"]> => world.any();
    this.#lanes = {
      random,
      any,
      expected: this.#expected,
      wrong: this.#wrong,
      counts: this.counts,
      mayLinger: () => world.engine.late > 0,
      expectRead: (running) => world.expectRead(running),
    };
    this.#race = new Race({ random, any, nextMoment: () => (this.#moments += 1) });
  }

  /** Changes of contended keys that were answered. */
  get answered(): number {
    return this.#race.answered;
  }

  begin(): void {
    this.#isOver = false;
    this.#under = Promise.all([
      ...Array.from({ length: lanesAtOnce }, (_, number) => this.#lane(number)),
      ...Array.from({ length: racersAtOnce }, () => this.#repeat(() => this.#race.step())),
    ]);
    this.#under.catch(() => undefined);
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#under;
  }

  async #lane(number: number): Promise<void> {
    const reads: Promise<void>[] = [];
    await this.#repeat(() => step(this.#lanes, number, reads));
    await Promise.all(reads);
  }

  async #repeat(work: () => Promise<void>): Promise<void> {
    const { time, random, underWay } = this.#world;
    while (!this.#isOver) {
      const token = {};
      underWay.add(token);
      try {
        await work();
      } finally {
        underWay.delete(token);
      }
      await time.sleep(random.below(restMsMax));
    }
  }

  /** At rest: what was given up has been carried out or never will be, and every key can be read through any node. */
  async verify(phase: number): Promise<string[]> {
    while (this.#world.engine.late > 0) await this.#world.time.sleep(1_000);
    const wrong = [...this.#wrong, ...this.#race.check()];
    const member = this.#world.any();
    if (member === undefined) return [...wrong, "there is no process"];
    wrong.push(...(await verifyAll(this.#lanes, member)));
    return wrong.map((each) => `phase ${phase}: ${each}`);
  }
}
