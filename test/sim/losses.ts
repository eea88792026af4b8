/**
 * What befalls drives, from one seed, and never more at once than the redundancy bears: one is added, loses everything, is away for
 * some runs of the machine, has bits flipped or a segment cut short. Each loss between two runs is tried and taken back
 * where a chunk that could be read could not be read any more.
 *
 * While the machine runs, bits flip and reads fail on one drive only, its victim, which the store could do without when the
 * run began; others may refuse writes, which takes nothing from what is stored already.
 */
import type { Random } from "../../src/core/random.ts";
import { isBearable, type SimDrive } from "./drives.ts";
import type { World } from "./world.ts";

const addedOneIn = 4;
const drivesMax = 10;
const lossesMax = 3;
const flipsMax = 6;

export async function befall(world: World): Promise<void> {
  if (world.random.below(addedOneIn) === 0 && world.drives.all.length < drivesMax) world.drives.add();
  if (world.redundancy.parityShards === 0) return;
  for (let left = world.random.below(lossesMax + 1); left > 0; left--) await loss(world);
}

async function loss(world: World): Promise<void> {
  const { drives, random } = world;
  const { all } = drives;
  const drive = all[random.below(all.length)]!;
  const instead = (other: SimDrive): SimDrive[] => all.map((each) => (each === drive ? other : each));
  const dice = random.below(7);
  if (!drive.isHere && dice < 5) drives.set(instead({ ...drive, isHere: true }));
  else if (dice < 2) await change(world, instead(drives.fresh()));
  else if (dice < 4) await change(world, instead({ ...drive, isHere: false }));
  else if (drive.isHere && dice < 6) await flipSome(world, drive.path);
  else if (drive.isHere && (await isSpare(world, drive.path))) await cut(world, drive.path);
}

async function change({ drives, kv }: World, to: readonly SimDrive[]): Promise<void> {
  const from = drives.all;
  const before = await drives.remains(kv);
  drives.set(to);
  if (drives.paths().length === 0 || !isBearable(before, await drives.remains(kv))) drives.set(from);
}

/** Whether nothing is lost without the drive. */
async function isSpare({ drives, kv }: World, path: string): Promise<boolean> {
  const others = drives.paths().filter((each) => each !== path);
  return isBearable(await drives.remains(kv), await drives.remains(kv, others));
}

async function segmentOf({ drives, random }: World, path: string): Promise<string | undefined> {
  const segments = (await drives.segments(path)).toSorted();
  return segments[random.below(Math.max(1, segments.length))];
}

type Flip = { readonly path: string; readonly bit: number };

async function flip(world: World, drive: string): Promise<Flip | undefined> {
  const path = await segmentOf(world, drive);
  if (path === undefined) return undefined;
  const bits = world.disk.fileBytes(path).length * 8;
  if (bits === 0) return undefined;
  const flipped = { path, bit: world.random.below(bits) };
  world.disk.flipBit(path, flipped.bit);
  return flipped;
}

async function flipSome(world: World, drive: string): Promise<void> {
  const { drives, disk, kv } = world;
  const before = await drives.remains(kv);
  const flips: Flip[] = [];
  for (let left = 1 + world.random.below(flipsMax); left > 0; left--) {
    const flipped = await flip(world, drive);
    if (flipped) flips.push(flipped);
  }
  if (isBearable(before, await drives.remains(kv))) return;
  for (const { path, bit } of flips) disk.flipBit(path, bit);
}

async function cut(world: World, drive: string): Promise<void> {
  const path = await segmentOf(world, drive);
  if (path === undefined) return;
  const file = await world.disk.open(path, "write");
  await file.truncate(world.random.below((await file.sizeBytes()) + 1));
  await file.sync();
  await file.close();
}

/** What goes wrong during one run. */
export type Trouble = {
  /** The drive whose bits flip and whose reads fail. */
  readonly victim: string | undefined;
  /** Drives that take no writes after so many of them. */
  readonly failing: Map<string, number>;
};

export async function chooseTrouble(world: World): Promise<Trouble> {
  const { drives, random, redundancy } = world;
  const paths = drives.paths();
  const failing = new Map<string, number>();
  if (redundancy.parityShards === 0) return { victim: undefined, failing };
  for (let left = random.below(3); left > 0; left--) failing.set(pick(random, paths), 1 + random.below(100));
  const victim = pick(random, paths);
  return { victim: (await isSpare(world, victim)) ? victim : undefined, failing };
}

function pick(random: Random, paths: readonly string[]): string {
  return paths[random.below(paths.length)]!;
}

const readFailuresOneIn = 20;

/** Makes the disk behave so, until the result is called. */
export function beginTrouble({ disk, random }: World, { victim, failing }: Trouble): () => void {
  disk.onOperation = (operation, path) => {
    if (!path.includes("/segments")) return;
    const drive = path.slice(0, path.indexOf("/segments"));
    const fails = operation === "read" && drive === victim && random.below(readFailuresOneIn) === 0;
    const left = failing.get(drive);
    const isWrite = operation === "write" || operation === "sync";
    if (left !== undefined && isWrite) failing.set(drive, left - 1);
    if (fails || (isWrite && left !== undefined && left <= 0))
      throw Object.assign(new Error(`EIO: ${path}`), { code: "EIO" });
  };
  return () => {
    disk.onOperation = () => undefined;
  };
}

/** Flips bits of the victim now and then, as long as the machine is on. */
export async function rot(world: World, { victim }: Trouble, isOn: () => boolean): Promise<void> {
  if (victim === undefined) return;
  while (isOn()) {
    for (let left = world.random.below(400); left > 0 && isOn(); left--)
      await new Promise((resolve) => setImmediate(resolve));
    if (isOn()) await flip(world, victim);
  }
}
