/**
 * `npm run bench -- --cluster` (builds first): what a cluster does, and what it rests on, on one machine. Every figure is a
 * ratio to something measured in the same run: the machine's speed changes, and others may use it. Takes about six minutes
 * and 10 GiB of disk; needs PostgreSQL and etcd. Options: --rows LIST (of the names below), --rounds N.
 *
 * The three nodes of a cluster, PostgreSQL and the load share the machine's cores, so each node has one worker; where nobody loads
 * them each has as many as it would have by itself.
 */
import { availableParallelism } from "node:os";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { etcdCommits, postgresCommits, smallPuts } from "./cluster_commits.ts";
import { idleRow } from "./cluster_idle.ts";
import { BenchCluster } from "./cluster_nodes.ts";
import { repairRows } from "./cluster_repair.ts";
import { cells, heads, once, whole, type Row } from "./cluster_rows.ts";
import { kernelRates } from "./erasure.ts";
import { measureRedundancy, type Turns } from "./redundancy.ts";
import { median, ratios } from "./statistics.ts";
import { printTable } from "./table.ts";

export type ClusterBenchOptions = {
  /** Where folders are made; whoever calls removes it. */
  readonly folder: string;
  /** Names of what to measure, with commas between, or `all`. */
  readonly rows: string;
  readonly rounds: number;
};

const idleSeconds = 60;
const effort = { seconds: 4 } as const;

type Measure = (options: ClusterBenchOptions) => Promise<Row[]>;

/** In the order in which they are run. */
const measures: Readonly<Record<string, Measure>> = {
  erasure: async () => erasureRows(),
  drives: drivesRows,
  drivers: async ({ rounds }) => [
    await postgresCommits({ rounds, seconds: 2 }),
    await etcdCommits({ rounds, seconds: 2 }),
  ],
  idle: (options) =>
    withCluster(options, availableParallelism(), async (cluster) => [await idleRow(cluster, idleSeconds)]),
  put: (options) => withCluster(options, 1, async (cluster) => [await smallPuts(cluster, { ...effort, ...options })]),
  repair: (options) => withCluster(options, 1, (cluster) => repairRows(cluster, options.folder)),
};

/** What fails to be measured is said, and the others are measured all the same. */
export async function benchCluster(options: ClusterBenchOptions): Promise<void> {
  const names = options.rows === "all" ? Object.keys(measures) : options.rows.split(",");
  const unknown = names.find((name) => measures[name] === undefined);
  if (unknown !== undefined) throw new Error(`there is no "${unknown}"; there are ${Object.keys(measures).join(", ")}`);
  const rows: Row[] = [];
  for (const name of names) {
    const startedMs = performance.now();
    try {
      rows.push(...(await measures[name]!(options)));
      process.stderr.write(`${name}: ${((performance.now() - startedMs) / 1_000).toFixed(0)} s\n`);
    } catch (error) {
      process.stderr.write(`${name}: not measured: ${error instanceof Error ? error.message : String(error)}\n`);
      process.exitCode = 1;
    }
  }
  printTable([heads, ...rows.map(cells)]);
}

let clusters = 0;

async function withCluster(
  { folder }: ClusterBenchOptions,
  workers: number,
  work: (cluster: BenchCluster) => Promise<Row[]>,
): Promise<Row[]> {
  const own = path.join(folder, `cluster-${++clusters}`);
  mkdirSync(own);
  const cluster = await BenchCluster.start({ folder: own, nodes: 3, workers });
  try {
    return await work(cluster);
  } finally {
    await cluster.stop();
  }
}

function erasureRows(): Row[] {
  const rates = kernelRates({ dataShards: 4, parityShards: 2 }, 1);
  const row = (work: string, rate: number, asked: number): Row => ({
    work,
    figure: `${whole(rate)} MiB/s`,
    against: `${whole(asked)} MiB/s of data`,
    ratio: once(rate / asked),
    floor: 1,
  });
  return [
    row("4+2 encode, one core", rates.encode, 2_048),
    row("4+2, two lost shards made anew, one core", rates.reconstruct, 1_536),
  ];
}

async function drivesRows({ folder, rounds }: ClusterBenchOptions): Promise<Row[]> {
  const workers = availableParallelism();
  const { put, get } = await measureRedundancy({ rounds, seconds: 3, workers, connections: 4, directory: folder });
  const row = (work: string, of: string, { measured, against }: Turns, floor: number): Row => ({
    work,
    figure: `${whole(median(measured))} MiB/s`,
    against: `${of}: ${whole(median(against))} MiB/s`,
    ratio: ratios(measured, against),
    floor,
  });
  return [
    row("PUT 64 MiB, ec:4+2, six drives of one machine", "replica:1", put, 0.55),
    row("GET 64 MiB, ec:4+2, two of the six drives gone", "all six there", get, 0.5),
  ];
}
