/**
 * The long run of the power-loss simulation: `npm run test:simulation -- SEEDS [FIRST]`. A seed that fails is printed; with
 * SEEDS 1 and FIRST that seed, or with HOLDFAST_TEST_SEED in the test command, it runs again in the same way.
 */
import { runSeed } from "../sim/power_loss.ts";

const count = Number(process.argv[2] ?? 5_000);
const first = Number(process.argv[3] ?? 1_000);
let acknowledged = 0;
let cuts = 0;
for (let seed = first; seed < first + count; seed++) {
  const report = await runSeed(seed);
  acknowledged += report.acknowledged;
  cuts += report.cuts;
  if (report.wrong.length > 0) {
    console.log(`seed ${seed}: ${report.wrong.join("; ")}`);
    process.exitCode = 1;
    break;
  }
  if ((seed - first) % 500 === 499)
    console.log(`${seed - first + 1} seeds, ${acknowledged} acknowledged changes, ${cuts} cuts`);
}
console.log(`${acknowledged} acknowledged changes, ${cuts} power cuts`);
