/** One seed of the power-loss simulation: several lives of a store, each ended by a cut at a random call. */
import { createHash } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { HoldfastError, hasReason } from "../../src/core/errors.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Random } from "../../src/core/random.ts";
import { bodyOf } from "./bodies.ts";
import { balanceBooks } from "./books.ts";
import { World } from "./world.ts";
import type { Running } from "./world.ts";

const bucket = "sim";
const lanes = 4;
const keysPerLane = 4;
const sizes = [0, 40, 3_000, 20_000, 60_000, 130_000];

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
  readonly cuts: number;
};

export async function runSeed(seed: number, lives = 4): Promise<SeedReport> {
  const world = new World(seed);
  const expected: Expected = new Map();
  const wrong: string[] = [];
  const counts = { acknowledged: 0, cuts: 0 };
  for (let life = 0; life < lives && wrong.length === 0; life++) {
    const last = life === lives - 1;
    const running = await startAgain(world, counts, last ? Number.POSITIVE_INFINITY : 100 + world.random.below(900));
    if (!running) continue;
    if (life > 0) wrong.push(...(await verifyAll(running, expected)).map((each) => `life ${life}: ${each}`));
    if (last) {
      wrong.push(...(await balanceBooks(world, running)));
      await running.close();
    } else {
      if (running.power.on) await live(world, running, expected, counts);
      world.crash();
      counts.cuts += 1;
      await turn();
    }
  }
  return { seed, wrong, ...counts };
}

/** The cut may come while the store starts. */
async function startAgain(world: World, counts: { cuts: number }, callsUntilCut: number): Promise<Running | undefined> {
  try {
    const running = await world.start(callsUntilCut);
    await running.objects.createBucket(bucket, { region: "us-east-1" });
    return running;
  } catch (error) {
    if (!hasReason(error, "unavailable")) throw error;
    world.crash();
    counts.cuts += 1;
    return undefined;
  }
}

async function live(
  world: World,
  running: Running,
  expected: Expected,
  counts: { acknowledged: number },
): Promise<void> {
  if (world.random.below(4) === 0) world.disk.failNext("sync", "EIO", /segments/);
  await Promise.all(
    Array.from({ length: lanes }, async (_, lane) => {
      while (running.power.on) await step(world, running, { lane, expected, counts });
    }),
  );
}

type Lane = { readonly lane: number; readonly expected: Expected; readonly counts: { acknowledged: number } };

async function step(world: World, running: Running, { lane, expected, counts }: Lane): Promise<void> {
  const { random } = world;
  const name = `lane${lane}/${random.below(keysPerLane)}`;
  const key = Buffer.from(name);
  const dice = random.below(10);
  const change = async (content: Content, work: () => Promise<unknown>): Promise<void> => {
    expected.set(name, new Set([...(expected.get(name) ?? [undefined]), content]));
    try {
      await work();
      expected.set(name, new Set([content]));
      counts.acknowledged += 1;
    } catch (error) {
      if (!(error instanceof HoldfastError) || !["unavailable", "full"].includes(error.kind)) throw error;
      // A drive that failed answers at once: let the others go on.
      await running.power.before().catch(() => undefined);
    }
  };
  if (dice < 6) {
    const body = freshBody(random);
    await change(hashOf(body), () => running.objects.put({ bucket, key, body: bodyOf(body), metadata, verifier }));
  } else if (dice < 8) {
    await change(undefined, () => running.objects.delete({ bucket, key }));
  } else if (dice < 9) {
    await running.session.heartbeat().catch(() => undefined);
  } else {
    const from = `lane${lane}/${random.below(keysPerLane)}`;
    const contents = expected.get(from);
    const [content] = contents ?? [];
    if (from === name || contents?.size !== 1 || content === undefined) return;
    await change(content, () =>
      running.objects.copy({ source: { bucket, key: Buffer.from(from) }, bucket, key, metadata: undefined }),
    );
  }
}

async function readContent(running: Running, name: string): Promise<Content> {
  try {
    const got = await running.objects.get({ bucket, key: Buffer.from(name) });
    if (got.outcome !== "found") throw new Error("a read without conditions is found or fails");
    const hash = createHash("sha256");
    for await (const piece of got.body()) hash.update(piece);
    got.release();
    return hash.digest("hex");
  } catch (error) {
    if (hasReason(error, "no_such_key")) return undefined;
    throw error;
  }
}

async function verifyAll(running: Running, expected: Expected): Promise<string[]> {
  const wrong: string[] = [];
  for (const [name, contents] of expected) {
    try {
      const actual = await readContent(running, name);
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
