/** One seed of the power-loss simulation: several lives of a store, each ended by a cut or a kill at a random call. */
import { setImmediate as turn } from "node:timers/promises";
import { hasReason } from "../../src/core/errors.ts";
import { balanceBooks } from "./books.ts";
import { Crew } from "./crew.ts";
import { settledAtOnce, step, verifyAll, type Expected, type Lanes } from "./lanes.ts";
import { befall, beginTrouble, chooseTrouble, rot, type Trouble } from "./losses.ts";
import { bucket, World } from "./world.ts";
import type { Started } from "./world.ts";

const lanesAtOnce = 4;

export type SeedReport = {
  readonly seed: number;
  readonly wrong: string[];
  readonly acknowledged: number;
  readonly reads: number;
  readonly cuts: number;
};

type Life = {
  readonly world: World;
  readonly crew: Crew;
  readonly expected: Expected;
  readonly wrong: string[];
  readonly counts: { acknowledged: number; reads: number; cuts: number };
};

/** Errors: what was not foreseen, with the seed. */
export async function runSeed(seed: number): Promise<SeedReport> {
  try {
    return await runLives(seed, 5);
  } catch (error) {
    throw new Error(`seed ${seed} broke off`, { cause: error });
  }
}

async function runLives(seed: number, lives: number): Promise<SeedReport> {
  const world = new World(seed);
  const expected: Expected = new Map();
  const wrong: string[] = [];
  const counts = { acknowledged: 0, reads: 0, cuts: 0 };
  for (let life = 0; life < lives && wrong.length === 0; life++) {
    const last = life === lives - 1;
    if (last) makeWhole(world);
    const started = await startAgain(world, counts, last ? Number.POSITIVE_INFINITY : 100 + world.random.below(1_500));
    if (!started) continue;
    const { first } = started;
    if (life > 0)
      wrong.push(...(await verifyAll({ expected, ...settledAtOnce }, first)).map((each) => `life ${life}: ${each}`));
    if (last) {
      wrong.push(...(await balanceBooks(world, started)));
      await first.close();
    } else {
      if (first.power.on) await live({ world, crew: new Crew(world, started), expected, wrong, counts });
      await stop(world, counts);
      wrong.push(...world.alarms.map((each) => `life ${life}: ${each}`));
    }
  }
  return { seed, wrong, ...counts };
}

/** The power goes, or somebody kills every process: then what was written stays, synced or not. */
async function stop(world: World, counts: { cuts: number }): Promise<void> {
  if (world.losesPower && world.random.below(3) > 0) world.loseUnsynced();
  counts.cuts += 1;
  await turn();
  await befall(world);
}

/** For the last life every chunk finds drives enough, and none of them fails; those that are away come back now or never. */
function makeWhole({ disk, drives, random, shardsMax }: World): void {
  disk.failNoMore();
  drives.set(drives.all.map((drive) => (drive.isHere || random.below(2) === 0 ? { ...drive, isHere: true } : drive)));
  while (drives.paths().length < shardsMax) drives.add();
}

/** The cut may come while the store starts. */
async function startAgain(world: World, counts: { cuts: number }, callsUntilCut: number): Promise<Started | undefined> {
  try {
    const started = await world.start(callsUntilCut);
    await started.first.objects.createBucket(bucket, { region: "us-east-1" });
    return started;
  } catch (error) {
    if (!hasReason(error, "unavailable")) throw error;
    await stop(world, counts);
    return undefined;
  }
}

async function live(life: Life): Promise<void> {
  const { world, crew } = life;
  const trouble: Trouble = await chooseTrouble(world);
  if (world.redundancy.parityShards === 0 && world.random.below(4) === 0)
    world.disk.failNext("sync", "EIO", /segments/);
  const endTrouble = beginTrouble(world, trouble);
  const ids = crew.any()?.node.drives ?? [];
  if (world.random.below(2) === 0) world.slow = ids[world.random.below(ids.length)];
  const lanes: Lanes = { ...life, random: world.random, any: () => crew.any(), ...settledAtOnce };
  const lane = async (number: number): Promise<void> => {
    const reads: Promise<void>[] = [];
    while (crew.on) await step(lanes, number, reads);
    await Promise.all(reads);
  };
  const isOn = (): boolean => crew.on;
  await Promise.all([
    crew.work(),
    rot(world, trouble, isOn),
    ...Array.from({ length: lanesAtOnce }, (_, number) => lane(number)),
  ]);
  endTrouble();
  world.slow = undefined;
}
