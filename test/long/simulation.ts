/**
 * The long run of the simulations: `npm run test:simulation -- SEEDS [FIRST] [WHICH]`. Every tenth seed is a cluster's, the
 * others are those of one machine; WHICH is `machine` or `cluster` for one kind alone. A seed that fails is printed; with SEEDS 1, FIRST
 * that seed and WHICH its kind it runs again in the same way.
 */
import { runClusterSeed } from "../sim/cluster/cluster.ts";
import { runSeed } from "../sim/power_loss.ts";

const count = Number(process.argv[2] ?? 5_000);
const first = Number(process.argv[3] ?? 1_000);
const which = process.argv[4];
const totals = { machines: 0, clusters: 0, acknowledged: 0, reads: 0, cuts: 0 };
const faults = new Map<string, number>();

function isCluster(seed: number): boolean {
  return which === undefined ? seed % 10 === 9 : which === "cluster";
}

async function run(seed: number): Promise<readonly string[]> {
  if (!isCluster(seed)) {
    const { wrong, acknowledged, reads, cuts } = await runSeed(seed);
    totals.machines += 1;
    totals.acknowledged += acknowledged;
    totals.reads += reads;
    totals.cuts += cuts;
    return wrong;
  }
  const { wrong, acknowledged, reads, faults: befell } = await runClusterSeed(seed);
  totals.clusters += 1;
  totals.acknowledged += acknowledged;
  totals.reads += reads;
  for (const [fault, times] of befell) faults.set(fault, (faults.get(fault) ?? 0) + times);
  return wrong;
}

function tell(): void {
  const { machines, clusters, acknowledged, reads, cuts } = totals;
  const befell = [...faults].map(([fault, times]) => `${fault} ${times}`).join(", ");
  console.log(
    `${machines} seeds of one machine with ${cuts} cuts, ${clusters} of clusters with these faults: ${befell}`,
  );
  console.log(`${acknowledged} acknowledged changes, ${reads} reads`);
}

for (let seed = first; seed < first + count; seed++) {
  const wrong = await run(seed);
  if (wrong.length > 0) {
    console.log(`seed ${seed} (${isCluster(seed) ? "cluster" : "machine"}): ${wrong.join("; ")}`);
    process.exitCode = 1;
    break;
  }
  if ((seed - first) % 500 === 499) tell();
}
tell();
