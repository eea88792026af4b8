/** One seed of the power-loss simulation: several lives of a store, each ended by a cut or a kill at a random call. */
import { createHash } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { hasReason } from "../../src/core/errors.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Random } from "../../src/core/random.ts";
import { bodyOf } from "./bodies.ts";
import { balanceBooks } from "./books.ts";
import type { Objects } from "../../src/object/object.ts";
import { Crew, isRefusal } from "./crew.ts";
import { befall, beginTrouble, chooseTrouble, rot, type Trouble } from "./losses.ts";
import { bucket, World } from "./world.ts";
import type { Running, Started } from "./world.ts";

const lanes = 4;
const keysPerLane = 4;
const sizes = [0, 40, 3_000, 20_000, 60_000, 100_000, 130_000];

type Content = string | undefined;
type Expected = Map<string, Set<Content>>;

/** Bytes that don't compress; a body is a stretch of them behind eight bytes of its own. */
const noise = Buffer.from(seededRandom(1).bytes(256 * 1024));

function freshBody(random: Random): Buffer {
  const length = sizes[random.below(sizes.length)]!;
  return Buffer.concat([random.bytes(8), noise.subarray(random.below(1024)).subarray(0, length)]).subarray(0, length);
}

const hashOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const metadata = { headers: {}, user: {} };
const verifier = { digests: [], verify: () => undefined };

export type SeedReport = {
  readonly seed: number;
  readonly wrong: string[];
  readonly acknowledged: number;
  readonly reads: number;
  readonly cuts: number;
};

/** What the lanes of one life share. */
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
    if (life > 0) wrong.push(...(await verifyAll(first, expected)).map((each) => `life ${life}: ${each}`));
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

/** For the last life every chunk finds drives enough; those that are away come back now or never. */
function makeWhole({ drives, random, shardsMax }: World): void {
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
  const lane = async (number: number): Promise<void> => {
    const reads: Promise<void>[] = [];
    while (crew.on) await step(life, number, reads);
    await Promise.all(reads);
  };
  const isOn = (): boolean => crew.on;
  await Promise.all([
    crew.work(),
    rot(world, trouble, isOn),
    ...Array.from({ length: lanes }, (_, number) => lane(number)),
  ]);
  endTrouble();
}

async function step(life: Life, lane: number, reads: Promise<void>[]): Promise<void> {
  const { expected, counts } = life;
  const { random } = life.world;
  const running = life.crew.any();
  if (!running) return turn();
  const { objects } = running;
  const name = `lane${lane}/${random.below(keysPerLane)}`;
  const key = Buffer.from(name);
  const dice = random.below(11);
  const change = async (content: Content, work: () => Promise<unknown>): Promise<void> => {
    expected.set(name, new Set([...(expected.get(name) ?? [undefined]), content]));
    try {
      await work();
      expected.set(name, new Set([content]));
      counts.acknowledged += 1;
    } catch (error) {
      if (!isRefusal(error)) throw error;
      // A drive that failed answers at once: let the others go on.
      await running.power.before().catch(() => undefined);
    }
  };
  if (dice < 5) {
    const body = freshBody(random);
    await change(hashOf(body), () => objects.put({ bucket, key, body: bodyOf(body), metadata, verifier }));
  } else if (dice < 7) {
    await change(undefined, () => objects.delete({ bucket, key }));
  } else if (dice < 9) {
    const read = await beginRead(life, running, name);
    if (read) reads.push(read());
  } else if (dice < 10) {
    const from = `lane${lane}/${random.below(keysPerLane)}`;
    const contents = expected.get(from);
    const [content] = contents ?? [];
    if (from === name || contents?.size !== 1 || content === undefined) return;
    const source = { bucket, key: Buffer.from(from) };
    await change(content, () => objects.copy({ source, bucket, key, metadata: undefined }));
  } else {
    const body = freshBody(random);
    await change(hashOf(body), () => upload(objects, key, body, random));
  }
}

/** Two parts at most, one of which becomes the object: any but the last would have to be larger than bodies are here. */
async function upload(objects: Objects, key: Buffer, body: Buffer, random: Random): Promise<void> {
  const { id: uploadId } = await objects.createUpload({ bucket, key, metadata });
  const ref = { bucket, key, uploadId, verifier };
  if (random.below(2) === 0) await objects.uploadPart({ ...ref, partNumber: 7, body: bodyOf(freshBody(random)) });
  const part = await objects.uploadPart({ ...ref, partNumber: 3, body: bodyOf(body) });
  await objects.completeUpload({ bucket, key, uploadId, parts: [{ partNumber: 3, etag: part.etag }] });
}

/** A GET whose version is decided here and whose body is read much later, whatever happens to the key meanwhile. */
async function beginRead(life: Life, running: Running, name: string): Promise<(() => Promise<void>) | undefined> {
  const { wrong, counts } = life;
  const { random } = life.world;
  const contents = life.expected.get(name) ?? new Set([undefined]);
  const found = await openContent(running, name).catch((error: unknown) => {
    if (running.power.on && !running.isSilent) wrong.push(`${name} cannot be opened: ${String(error)}`);
  });
  if (!found) return undefined;
  const turns = random.below(200);
  return async () => {
    for (let left = turns; left > 0 && running.power.on; left--) await turn();
    try {
      const content = await found();
      counts.reads += 1;
      if (!contents.has(content)) wrong.push(`${name} was read as ${content ?? "absent"}`);
    } catch (error) {
      if (running.power.on && !running.isSilent)
        wrong.push(`${name} broke off in the middle of a read: ${String(error)}`);
    }
  };
}

/** Decides the version; the result reads its bytes. */
async function openContent(running: Running, name: string): Promise<() => Promise<Content>> {
  try {
    const got = await running.objects.get({ bucket, key: Buffer.from(name) });
    if (got.outcome !== "found") throw new Error("a read without conditions is found or fails");
    return async () => {
      const hash = createHash("sha256");
      try {
        for await (const piece of got.body()) hash.update(piece);
      } finally {
        got.release();
      }
      return hash.digest("hex");
    };
  } catch (error) {
    if (hasReason(error, "no_such_key")) return async () => undefined;
    throw error;
  }
}

async function verifyAll(running: Running, expected: Expected): Promise<string[]> {
  const wrong: string[] = [];
  for (const [name, contents] of expected) {
    try {
      const actual = await (await openContent(running, name))();
      if (!contents.has(actual))
        wrong.push(
          `${name} is ${actual ?? "absent"} and should be ${[...contents].map((each) => each ?? "absent").join(" or ")}`,
        );
      expected.set(name, new Set([actual]));
    } catch (error) {
      if (!running.power.on) return wrong;
      wrong.push(`${name} cannot be read: ${String(error)}`);
    }
  }
  return wrong;
}
