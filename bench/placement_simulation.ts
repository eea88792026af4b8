/**
 * Simulates the placement of chunks (src/blob/placement.ts) in one store: how evenly drives fill, against what the spread
 * allows, what chance adds, and what rates without correction would give; how much moves when a drive or a node joins or
 * leaves, against the least that could; how long it takes.
 */
import { placeChunk, planPlacement, type PlacementDrive } from "../src/blob/placement.ts";
import { chancesAt, fairShares } from "../src/blob/placement_rates.ts";
import { domainsOf } from "../src/blob/placement_tree.ts";
import { IdSource, newDriveId, type ChunkId, type SessionId } from "../src/core/ids.ts";
import { seededRandom } from "../src/core/random.ts";
import { parseRedundancy, shardsOf } from "../src/core/redundancy.ts";

/** The time of a chunk is that of the fastest so many: other processes of the machine disturb less. */
const timedChunks = 500;

/** Sizes in TB: all alike; or of three generations of nodes, each in every zone; or of one generation in each zone. */
export const sizesTb = {
  equal: () => 4,
  mixed: (round: number, zone: number) => [1, 2, 4][(round + zone) % 3]!,
  "by zone": (_: number, zone: number) => [1, 2, 4][zone % 3]!,
} as const;
export type Sizes = keyof typeof sizesTb;

export type Config = {
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

export type Result = {
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

/** `shardsPerDrive` on average, `shardsMax` in all; movedChunksMax chunks are looked at for what moves. */
export type Extent = { readonly shardsPerDrive: number; readonly shardsMax: number; readonly movedChunksMax: number };

/** Undefined where there are too few drives. */
export function simulate(config: Config, extent: Extent): Result | undefined {
  const shards = shardsOf(parseRedundancy(config.redundancy));
  if (shards >= config.drives) return undefined;
  const all = storeOf(config);
  const drives = all.slice(0, config.drives);
  const chunkCount = Math.ceil(Math.min(extent.shardsMax, config.drives * extent.shardsPerDrive) / shards);
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
    if (count < extent.movedChunksMax) chunks.push(chunk);
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

export function placementRow({ drives, zones, sizes, redundancy }: Config, result: Result): string {
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
export const placementTitle = `| ${columns.replaceAll(", ", " | ")} |\n|${columns.replaceAll(/[^,]+,?/g, "---|")}`;
