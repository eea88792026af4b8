/** The long run of the kill test: `npm run test:kill -- ROUNDS [SEED] [DRIVES: 1 or 6]`. Ends with status 1 at the first thing wrong. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { killRounds } from "../crash/kill_rounds.ts";

const rounds = Number(process.argv[2] ?? 50);
const seed = Number(process.argv[3] ?? Date.now() % 2 ** 31);
const drives = process.argv[4] === "6" ? 6 : 1;
const directory = mkdtempSync(path.join(tmpdir(), "holdfast-kill-"));
console.log(`seed ${seed}, ${rounds} rounds, ${drives} drives`);
const report = await killRounds(directory, { rounds, seed, lanes: 6, drives, log: (line) => console.log(line) });
console.log(JSON.stringify({ ...report, doctor: report.doctor.split("\n").slice(-5) }));
const bad = report.wrong.length > 0 || report.doctor.includes('"finding"');
if (bad) console.log(`left for looking at: ${directory}`);
else rmSync(directory, { recursive: true, force: true });
process.exitCode = bad ? 1 : 0;
