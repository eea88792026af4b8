/** What a cluster costs that nobody uses: CPU time of all processes of a node, and what they ask of PostgreSQL meanwhile. */
import { setTimeout as sleep } from "node:timers/promises";
import { Pool } from "pg";
import type { BenchCluster } from "./cluster_nodes.ts";
import type { Row } from "./cluster_rows.ts";
import { treeCpuMs } from "./process_tree.ts";
import { median } from "./statistics.ts";

/** Until jobs that found nothing look seldom. */
const settleMs = 20_000;

export async function idleRow(cluster: BenchCluster, seconds: number): Promise<Row> {
  await sleep(settleMs);
  const pids = [...cluster.pids, cluster.postgresPid];
  const [before, transactionsBefore] = [pids.map(treeCpuMs), await transactions(cluster)];
  const startedMs = performance.now();
  await sleep(seconds * 1_000);
  const [after, transactionsAfter] = [pids.map(treeCpuMs), await transactions(cluster)];
  const elapsedMs = performance.now() - startedMs;
  const shares = after.map((cpuMs, index) => (cpuMs - before[index]!) / elapsedMs);
  const postgres = shares.pop()!;
  const perSecond = ((transactionsAfter - transactionsBefore) / elapsedMs) * 1_000;
  return {
    work: `idle for ${seconds} s, CPU time of each node (${cluster.workers} workers)`,
    figure: `${shares.map(percent).join(", ")} of a core; PostgreSQL ${percent(postgres)}, ${perSecond.toFixed(1)} statements/s`,
    against: "a core",
    ratio: { median: median(shares), least: Math.min(...shares), most: Math.max(...shares) },
    floor: 0.01,
    isCeiling: true,
  };
}

const percent = (share: number): string => `${(share * 100).toFixed(2)} %`;

/** Since PostgreSQL started: each statement of the driver is a transaction. What a session counts it tells within seconds. */
async function transactions(cluster: BenchCluster): Promise<number> {
  const pool = new Pool({ connectionString: cluster.postgres.url, max: 1 });
  try {
    const { rows } = await pool.query<{ count: string }>(
      "SELECT sum(xact_commit + xact_rollback) AS count FROM pg_stat_database",
    );
    return Number(rows[0]!.count);
  } finally {
    await pool.end();
  }
}
