/**
 * What a store of 1,000 nodes, 10,000 drives and 10^10 objects needs, for docs/operations/scaling.md: metadata rows and bytes
 * per object, by the real encoders in real engines; time of a walk over all chunk maps; time to repair a drive; how likely
 * loss is; background traffic; and how evenly 10,000 drives fill.
 *
 * Run: node bench/scaling.ts [metadata | repair | traffic | placement] [part of the objects, 1 by default]
 * Engines that are not installed are left out, which is said.
 */
import { newDriveId } from "../src/core/ids.ts";
import { limits } from "../src/core/limits.ts";
import { seededRandom } from "../src/core/random.ts";
import { parseRedundancy } from "../src/core/redundancy.ts";
import { encodeDrive } from "../src/meta/drives.ts";
import { encodeNode } from "../src/meta/nodes.ts";
import { durabilityOf, hoursToLoss, repairHours, simulatedHoursToLoss, type RepairPace } from "./scaling_durability.ts";
import { engines } from "./scaling_engines.ts";
import { placementRow, placementTitle, simulate } from "./placement_simulation.ts";
import { rowsOf, shapes } from "./scaling_records.ts";

const [, , what, part = "1"] = process.argv;
const [TB, MiB] = [1e12, 2 ** 20];
const objects = 1e10;
const fleet = { drives: 10_000, driveBytes: 16 * TB, fill: 0.8, annualFailureRate: 0.015 };
const nodes = 1_000;
const workersOfNode = 2;

function table(columns: readonly string[], rows: readonly (readonly (string | number)[])[]): void {
  console.log(`\n| ${columns.join(" | ")} |\n|${columns.map(() => "---").join("|")}|`);
  for (const row of rows) console.log(`| ${row.join(" | ")} |`);
}

const whole = (number: number): string => Math.round(number).toLocaleString("en");
const short = (number: number): string => (number >= 100 ? whole(number) : number.toPrecision(2));
const power = (number: number): string => number.toExponential(1).replace("e+", "e");

// --- metadata ---

async function metadata(): Promise<void> {
  table(
    ["object", "rows", "bytes of keys", "of values", "of 10^10 objects, TB"],
    shapes.map((shape) => {
      const rows = rowsOf(shape, 0);
      const keys = rows.reduce((sum, { key }) => sum + key.length, 0);
      const values = rows.reduce((sum, { value }) => sum + value.length, 0);
      return [shape.name, rows.length, whole(keys), whole(values), short(((keys + values) * objects) / TB)];
    }),
  );
  const { all, end } = await engines();
  try {
    for (const { name, fill } of all) {
      const rows: (string | number)[][] = [];
      for (const shape of shapes) {
        const count = Math.max(1, Math.round(shape.count * Number(part) * (name === "etcd" ? 0.25 : 1)));
        const { rows: rowCount, rowBytes, engineBytes, more, walkedRows } = await fill(shape, count);
        const walk = walkedRows === 0 ? "" : whole(walkedRows);
        const parts = Object.entries(more).map(([figure, bytes]) => `${figure} ${whole(bytes)}`);
        const [raw, kept] = [rowBytes / count, engineBytes / count];
        rows.push([
          shape.name,
          whole(rowCount),
          whole(raw),
          whole(kept),
          (kept / raw).toFixed(2),
          walk,
          parts.join(", "),
        ]);
      }
      console.log(`\n${name}`);
      table(["object", "rows measured", "bytes/object", "on disk", "ratio", "walked rows/s", "of it"], rows);
    }
  } finally {
    await end();
  }
}

// --- repair and durability ---

/** Rows of chunk maps that one process reads in a second: measured by `metadata`, objects of 1 and of 64 MiB. */
const walkedRowsPerSecond = { "1 MiB": 107_000, "64 MiB": 47_000 };
const rowsOfChunkMap = 2;

function walks(): void {
  const rows = [1e7, 1e8, 1e9, 1e10].map((count) => [
    power(count),
    ...Object.values(walkedRowsPerSecond).map((rate) => hoursOf((count * rowsOfChunkMap) / rate)),
  ]);
  table(["objects in chunks", ...Object.keys(walkedRowsPerSecond).map((name) => `a walk, ${name} each`)], rows);
}

const hoursOf = (seconds: number): string =>
  seconds < 5_400 ? `${(seconds / 60).toPrecision(2)} min` : `${(seconds / 3_600).toPrecision(2)} h`;

/** Of one PostgreSQL on two cores; and what a shard costs that is made anew: it is planned, announced, published, forgotten. */
const commitsPerSecond = 10_000;
const commitsOfShard = 4;

/**
 * Pages that are planned at a time are dealt with by the processes whose share they are; one that has none left looks again after 20 ms
 * for each process, at most 2 s (jobs/mend.ts), and who plans looks for room every 200 ms (jobs/repair.ts). With many drives a
 * page has one shard of a lost one.
 */
const plannedShardsPerSecond = (processes: number): number => {
  const pages = Math.min(limits.mendRowsOfSession * processes, limits.mendRowsMax);
  return pages / (Math.min(0.02 * processes, 2) + 0.2);
};

const paceOf = (nodeCount: number, walkHours: number, shardsPerSecond: number): RepairPace => ({
  noticedHours: limits.driveAwayMsMax / 3_600_000,
  walkHours,
  bytesPerSecond: nodeCount * 50 * MiB,
  shardsPerSecond: Math.min(shardsPerSecond, commitsPerSecond / commitsOfShard),
});
const asItIs = (nodeCount: number, walkHours: number): RepairPace =>
  paceOf(nodeCount, walkHours, plannedShardsPerSecond(nodeCount * workersOfNode));
const paces: readonly (readonly [string, RepairPace])[] = [
  ["1 node", asItIs(1, 0)],
  ["10 nodes", asItIs(10, 0)],
  ["100 nodes", asItIs(100, 0)],
  ["1,000 nodes", asItIs(nodes, 0)],
  ["1,000 nodes, all kept busy", paceOf(nodes, 0, Infinity)],
  ["the same after a walk of 1 h", paceOf(nodes, 1, Infinity)],
  ["the same after a walk of 50 h", paceOf(nodes, 50, Infinity)],
];

function repair(): void {
  walks();
  const chunkBytes = limits.chunkBytesMax;
  const rows = ["replica:3", "ec:4+2", "ec:8+3"].flatMap((redundancy) => {
    const code = parseRedundancy(redundancy);
    return paces.map(([name, pace]) => {
      const found = durabilityOf(fleet, code, pace, chunkBytes);
      const hours = found.repairHours.map((each) => each.toFixed(1)).join(", ");
      const nines = -Math.log10(found.chunkLossPerYear);
      const figures = [power(found.chunkLossPerYear), nines.toFixed(1), power(found.lostChunksPerYear)];
      return [redundancy, name, hours, ...figures, power(found.lossesPerYear)];
    });
  });
  const columns = ["hours until mended, by shards gone", "a chunk lost in a year", "nines", "chunks lost in a year"];
  table(["stored as", "repaired by", ...columns, "times anything is lost"], rows);
  checkModel();
}

/** Where loss is common, lots drawn and formula must agree. */
function checkModel(): void {
  const code = parseRedundancy("ec:4+2");
  const fast = { failuresPerHour: 1 / 1_000, hours: repairHours(fleet, code, asItIs(1, 0), limits.chunkBytesMax) };
  const random = seededRandom(7);
  const drawn = simulatedHoursToLoss({ code, ...fast }, 20_000, () => random.below(2 ** 32) / 2 ** 32);
  const formula = hoursToLoss(code, fast.failuresPerHour, fast.hours);
  console.log(
    `\nWith drives that last 1,000 hours: ${whole(formula)} hours to a loss by formula, ${whole(drawn)} drawn.`,
  );
}

// --- traffic ---

const drivesOfNode = 10;
/** Every process looks for silent sessions this often, by two rows for each. */
const fenceSeconds = 5;

function rowBytes(): { readonly node: number; readonly drive: number } {
  const random = seededRandom(3);
  const sizes = { totalBytes: 16 * TB, freeBytes: 3 * TB, liveBytes: 12 * TB, deadBytes: 1e9, segments: 25_000 };
  const published = Array.from({ length: drivesOfNode }, () => ({
    id: newDriveId(random),
    state: "up" as const,
    ...sizes,
  }));
  const url = "http://10.12.13.14:9000";
  const facts = {
    run: "0123456789abcdef",
    zone: "west-2",
    version: "0.1.0",
    startedMs: 1.79e12,
    workers: workersOfNode,
  };
  const node = url.length + 1 + encodeNode({ ...facts, drives: published }).length;
  const record = { state: "active" as const, path: "/srv/disk07", sizeBytes: 16 * TB, addedMs: 1.79e12, node: url };
  return { node, drive: 9 + encodeDrive(record).length };
}

/** What processes ask of the metadata store when nothing happens, each second. */
function traffic(): void {
  const each = rowBytes();
  console.log(`\nA node's row has ${each.node} bytes with ${drivesOfNode} drives, a drive's row ${each.drive}.`);
  const seconds = limits.topologyMs / 1_000;
  const rows = [3, 10, 30, 100, 300, 1_000].map((count) => {
    const drives = count * drivesOfNode;
    const sessions = count * workersOfNode;
    const beats = sessions / (limits.heartbeatIntervalMs / 1_000);
    const published = count / (limits.nodePublishMs / 1_000);
    const fence = (sessions * 2 * sessions) / fenceSeconds;
    const topology = (sessions * (count + drives)) / seconds;
    const bytes = (sessions * (count * each.node + drives * each.drive)) / seconds;
    const commits = [beats, published].map(short);
    return [
      whole(count),
      whole(drives),
      whole(sessions),
      ...commits,
      whole(fence),
      whole(topology),
      short(bytes / MiB),
    ];
  });
  const reads = ["rows read by fence/s", "rows read for topology/s", "MiB/s of them"];
  table(["nodes", "drives", "sessions", "heartbeats/s", "node rows/s", ...reads], rows);
  const scrubDays = (fleet.driveBytes * fleet.fill) / limits.scrubBytesPerSecond / 86_400;
  console.log(
    `\nScrub: ${(fleet.driveBytes * fleet.fill) / TB} TB on a drive take ${scrubDays.toFixed(1)} days of reading.`,
  );
}

// --- placement ---

function placement(): void {
  const drives = fleet.drives;
  console.log(placementTitle);
  for (const zones of [1, 3, 5]) {
    for (const redundancy of ["replica:3", "ec:4+2", "ec:8+3"]) {
      const config = { drives, perNode: drives / nodes, zones, sizes: "equal" as const, redundancy };
      const result = simulate(config, { shardsPerDrive: 200, shardsMax: 2_000_000, movedChunksMax: 60_000 });
      if (result !== undefined) console.log(placementRow(config, result));
    }
  }
}

const parts: Readonly<Record<string, () => void | Promise<void>>> = { metadata, repair, traffic, placement };
for (const [name, run] of Object.entries(parts)) if (what === undefined || what === name) await run();
