/**
 * The long run of the cluster tests: `npm run test:long -- MINUTES [SEED] [postgres|standby|etcd]`. Five nodes under load meet one
 * fault after another, in a sequence that follows from the seed. Ends with status 1 at the first thing wrong.
 */
import { engineMissing, startEngine } from "../cluster/engine.ts";
import { faultsOf, perform } from "../cluster/faults.ts";
import { fiveNodes, Trial } from "../cluster/trial.ts";

const minutes = Number(process.argv[2] ?? 10);
const seed = Number(process.argv[3] ?? Date.now() % 2 ** 31);
const kind = process.argv[4] === "etcd" || process.argv[4] === "standby" ? process.argv[4] : "postgres";
const faultsBetweenChecks = 5;

const missing = engineMissing(kind);
if (missing !== false) throw new Error(missing);
console.log(`seed ${seed}, ${minutes} minutes, ${kind}`);
const trial = await Trial.start({
  ...fiveNodes,
  engine: await startEngine(kind),
  seed,
  lanes: 5,
  log: (line) => console.log(line),
});
let faults = 0;
try {
  const endMs = performance.now() + minutes * 60_000;
  trial.startLoad();
  await trial.progress(50);
  for (const fault of faultsOf(seed, kind)) {
    if (performance.now() > endMs) break;
    await perform(trial, fault);
    faults += 1;
    await trial.progress(10);
    if (faults % faultsBetweenChecks !== 0) continue;
    await trial.verify();
    if (trial.wrong.length > 0) break;
    trial.startLoad();
  }
  await trial.verdict();
} catch (error) {
  console.log(String(error));
  console.log(trial.cluster.errors());
  process.exitCode = 1;
} finally {
  await trial.dispose();
}
console.log(JSON.stringify({ seed, kind, faults, histories: trial.load.histories.checked, ...trial.load.counts }));
