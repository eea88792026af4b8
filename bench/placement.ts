/**
 * Simulates the placement of chunks (src/blob/placement.ts) in stores of 10 to 1,000 drives: how evenly drives fill, against
 * what the spread allows, what chance adds, and what rates without correction would give; how much moves when a drive or a
 * node joins or leaves, against the least that could; how long it takes. Prints the table of docs/operations/placement.md
 * and writes its plot.
 *
 * Run: node bench/placement.ts [shards per drive] [file of the plot]. With 10,000, the default, it takes a quarter of an hour.
 */
import { writeFileSync } from "node:fs";
import { placeChunk, planPlacement, type PlacementDrive } from "../src/blob/placement.ts";
import { chancesAt, fairShares } from "../src/blob/placement_rates.ts";
import { domainsOf } from "../src/blob/placement_tree.ts";
import { IdSource, newDriveId, type ChunkId, type SessionId } from "../src/core/ids.ts";
import { seededRandom } from "../src/core/random.ts";
import { parseRedundancy, shardsOf } from "../src/core/redundancy.ts";
import { plotOf, type Line } from "./placement_plot.ts";

const shardsPerDrive = Number(process.argv[2] ?? 10_000);
const plotFile = process.argv[3];
/** In the largest stores drives get fewer: what chance adds is given beside. */
const shardsMax = 1_000_000;
/** Chunks that are looked at for what moves: enough for a hundred shards of one drive in 1,000. */
const movedChunksMax = 20_000;
/** The time of a chunk is that of the fastest so many: other processes of the machine disturb less. */
const timedChunks = 500;

/** Drives in all and in each node. */
const stores = [
  [10, 2],
  [30, 3],
  [100, 5],
  [300, 10],
  [1_000, 10],
] as const;
const redundancies = ["replica:3", "ec:4+2", "ec:8+3"] as const;
/** Sizes in TB: all alike; or of three generations of nodes, each in every zone; or of one generation in each zone. */
const sizesTb = {
  equal: () => 4,
  mixed: (round: number, zone: number) => [1, 2, 4][(round + zone) % 3]!,
  "by zone": (_: number, zone: number) => [1, 2, 4][zone % 3]!,
} as const;
type Sizes = keyof typeof sizesTb;

type Config = {
  readonly drives: number;
  readonly perNode: number;
  readonly zones: number;
  readonly sizes: Sizes;
  readonly redundancy: string;
};

const ids = new IdSource("0123456789abcdef" as SessionId);

/** Nodes are dealt out over the zones in turn. One node more than asked for stands at the end. */
function storeOf({ drives, perNode, zones, sizes }: Config): PlacementDrive[] {
  const random = seededRandom(drives);
  return Array.from({ length: drives + perNode }, (_, index): PlacementDrive => {
    const node = Math.floor(index / perNode);
    const zone = node % zones;
    const weightBytes = sizesTb[sizes](Math.floor(node / zones), zone) * 1e12;
    return { id: newDriveId(random), weightBytes, state: "up", node: `n${node}`, zone: `z${zone}` };
  });
}

type Spread = { readonly deviation: number; readonly most: number };

/** Of fills, which are 1 where a drive has its share by size. */
function spreadOf(fills: readonly number[]): Spread {
  const mean = fills.reduce((sum, fill) => sum + (fill - 1) ** 2, 0) / fills.length;
  return { deviation: Math.sqrt(mean), most: fills.reduce((most, fill) => Math.max(most, fill), 0) };
}

function fillsOf(drives: readonly PlacementDrive[], shardsOn: (drive: PlacementDrive) => number): number[] {
  const bytes = drives.reduce((sum, { weightBytes }) => sum + weightBytes, 0);
  const counts = drives.map(shardsOn);
  const shards = counts.reduce((sum, count) => sum + count, 0);
  return counts.map((count, index) => count / shards / (drives[index]!.weightBytes / bytes));
}

/** Fills on average: of the fair shares, and were rates in proportion to sizes. */
function expected(drives: readonly PlacementDrive[], shards: number): { readonly fair: Spread; readonly raw: Spread } {
  const { root } = domainsOf(drives, drives.length, shards);
  const weights = drives.map(({ weightBytes }) => weightBytes);
  const bytes = weights.reduce((sum, weight) => sum + weight, 0);
  const rates = Float64Array.from(weights, (weight) => (weight / bytes) * shards);
  const spread = (shares: Float64Array): Spread => spreadOf(fillsOf(drives, (drive) => shares[drives.indexOf(drive)]!));
  return { fair: spread(fairShares(root, weights)), raw: spread(chancesAt(root, rates)) };
}

type Moves = { readonly part: number; readonly ofLeast: number };

/** Shards that lie elsewhere in the larger store, as a part of all, and in relation to what its additional drives hold. */
function movesOf(
  chunks: readonly ChunkId[],
  fewer: readonly PlacementDrive[],
  more: PlacementDrive[],
  n: number,
): Moves {
  const old = new Set(fewer.map(({ id }) => id));
  let moved = 0;
  let least = 0;
  for (const chunk of chunks) {
    const before = new Set(placeChunk(chunk, fewer, n));
    for (const id of placeChunk(chunk, more, n)) {
      if (!before.has(id)) moved += 1;
      if (!old.has(id)) least += 1;
    }
  }
  return { part: moved / chunks.length / n, ofLeast: moved / least };
}

type Result = {
  readonly caps: string;
  readonly fill: Spread;
  readonly chance: number;
  readonly fair: Spread;
  readonly raw: Spread;
  readonly drive: Moves;
  readonly node: Moves;
  readonly placeUs: number;
  readonly planMs: number;
};

function planMsOf(drives: readonly PlacementDrive[], shards: number): number {
  const times = Array.from({ length: 3 }, () => {
    const startedMs = performance.now();
    // Plans are kept by the list of drives: a copy is planned anew.
    planPlacement([...drives], shards);
    return performance.now() - startedMs;
  });
  return Math.min(...times);
}

function simulate(config: Config): Result | undefined {
  const shards = shardsOf(parseRedundancy(config.redundancy));
  if (shards >= config.drives) return undefined;
  const all = storeOf(config);
  const drives = all.slice(0, config.drives);
  const chunkCount = Math.ceil(Math.min(shardsMax, config.drives * shardsPerDrive) / shards);
  const { domains } = planPlacement(drives, shards);
  const counts = new Map<string, number>(drives.map(({ id }) => [id, 0]));
  const chunks: ChunkId[] = [];
  let placeUs = Infinity;
  let startedMs = performance.now();
  for (let count = 0; count < chunkCount; count++) {
    if (count % timedChunks === 0) {
      if (count > 0) placeUs = Math.min(placeUs, ((performance.now() - startedMs) / timedChunks) * 1_000);
      startedMs = performance.now();
    }
    const chunk = ids.chunk();
    if (count < movedChunksMax) chunks.push(chunk);
    for (const id of placeChunk(chunk, drives, shards)) counts.set(id, counts.get(id)! + 1);
  }
  const fills = fillsOf(drives, ({ id }) => counts.get(id)!);
  const byChance = drives.map(({ id }) => {
    const part = counts.get(id)! / chunkCount;
    return (1 - part) / counts.get(id)!;
  });
  return {
    caps: `${domains.zoneCap}/${domains.nodeCap}`,
    fill: spreadOf(fills),
    chance: Math.sqrt(byChance.reduce((sum, variance) => sum + variance, 0) / drives.length),
    ...expected(drives, shards),
    drive: movesOf(chunks, drives.slice(0, -1), drives, shards),
    node: movesOf(chunks, drives, all, shards),
    placeUs,
    planMs: planMsOf(drives, shards),
  };
}

const percent = (part: number): string => (part * 100).toFixed(part < 0.0995 ? 1 : 0);
const moved = ({ part, ofLeast }: Moves): string => `${percent(part)} (${ofLeast.toFixed(2)})`;

function row({ drives, zones, sizes, redundancy }: Config, result: Result): string {
  const { caps, fill, fair, chance, raw, drive, node, placeUs, planMs } = result;
  const store = [drives, sizes, zones, redundancy, caps];
  const deviations = [fill.deviation, fair.deviation, chance, raw.deviation].map(percent);
  const fullest = [fill.most, fair.most, raw.most].map(percent);
  const times = [placeUs, planMs].map((time) => time.toFixed(time < 10 ? 1 : 0));
  return `| ${[...store, ...deviations, ...fullest, moved(drive), moved(node), ...times].join(" | ")} |`;
}

const columns =
  "drives, sizes, zones, redundancy, most in a zone/node, deviation %, fair, chance, uncorrected, fullest %, fair, uncorrected, " +
  "moved by a drive %, by a node %, µs a chunk, ms a plan";
console.log(`| ${columns.replaceAll(", ", " | ")} |\n|${columns.replaceAll(/[^,]+,?/g, "---|")}`);
const results: { readonly config: Config; readonly result: Result }[] = [];
for (const [drives, perNode] of stores) {
  for (const sizes of Object.keys(sizesTb) as Sizes[]) {
    for (const zones of sizes === "by zone" ? [3] : [1, 3, 5]) {
      for (const redundancy of redundancies) {
        const config = { drives, perNode, zones, sizes, redundancy };
        const result = simulate(config);
        if (result === undefined) continue;
        results.push({ config, result });
        console.log(row(config, result));
      }
    }
  }
}

/** One value of the stores of these sizes in three zones with ec:4+2, by their number of drives. */
function line(name: string, sizes: Sizes, valueOf: (result: Result) => number): Line {
  const points = results
    .filter(({ config }) => config.sizes === sizes && config.zones === 3 && config.redundancy === "ec:4+2")
    .map(({ config, result }) => ({ x: config.drives, y: valueOf(result) }));
  return { name, points };
}

if (plotFile !== undefined) {
  const plot = plotOf([
    {
      title: "Standard deviation of fill, %",
      lines: [
        line("equal sizes", "equal", ({ fill }) => fill.deviation * 100),
        line("mixed sizes", "mixed", ({ fill }) => fill.deviation * 100),
        line("mixed, fair shares", "mixed", ({ fair }) => fair.deviation * 100),
        line("mixed, uncorrected", "mixed", ({ raw }) => raw.deviation * 100),
      ],
    },
    {
      title: "Moved by one drive more or less, of the least",
      lines: [
        line("equal", "equal", ({ drive }) => drive.ofLeast),
        line("mixed", "mixed", ({ drive }) => drive.ofLeast),
      ],
    },
    {
      title: "Moved by one node more or less, of the least",
      lines: [line("equal", "equal", ({ node }) => node.ofLeast), line("mixed", "mixed", ({ node }) => node.ofLeast)],
    },
  ]);
  writeFileSync(plotFile, plot);
}
