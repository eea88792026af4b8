/**
 * Runs the test files (`npm test`): all of them, or those that are named after it, two at a time (`order.ts`).
 *
 * None of them for ever. Node's runner bounds tests, but waits without end for a file's process to exit, and for everybody to
 * let go of its standard output. Here a file has its time: one that tells nobody that it is done is killed with all that it
 * started, and fails; what outlives its file is killed and named; and a run that takes too long, or is told to end, says which
 * files were running before it kills them. (Without /proc processes are not found: there only the run as a whole has its time.)
 */
import { globSync } from "node:fs";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { inOrder } from "./order.ts";
import { endAll, processesOf } from "./processes.ts";
import { fileMsMax, graceMs, runMsMax, testMsMax } from "./bounds.ts";

const lookMs = 5_000;
const reportMsMax = 5_000;
const told = new AbortController();

type Running = { readonly sinceMs: number; looksWithoutIt: number };
const running = new Map<string, Running>();
/** What they started may still be about to end. */
const ended = new Set<string>();

function say(text: string): void {
  process.stdout.write(`run: ${text}\n`);
}

function wanted(): string[] {
  const named = process.argv.slice(2);
  if (named.length > 0) return [...new Set(named)];
  return inOrder(globSync(["src/**/*.test.ts", "test/**/*.test.ts"]).toSorted());
}

function endLeftovers(file: string): void {
  const found = processesOf(file);
  for (const { pid, command } of found) say(`${file} left a process behind, ${pid}: ${command.slice(0, 200)}`);
  endAll(found);
}

function endAllLeftovers(): void {
  for (const file of ended) endLeftovers(file);
  ended.clear();
}

/** A file that is over its time, or whose process has ended while something it started keeps its output open. */
function look(): void {
  endAllLeftovers();
  for (const [file, of] of running) {
    const tookMs = performance.now() - of.sinceMs;
    const found = processesOf(file);
    of.looksWithoutIt = found.some(({ isFile }) => isFile) ? 0 : of.looksWithoutIt + 1;
    if (tookMs > fileMsMax + graceMs && found.length > 0) {
      say(`${file} has not ended after ${Math.round(tookMs / 1_000)} s, and is killed`);
      endAll(found);
    } else if (of.looksWithoutIt > 1) endLeftovers(file);
  }
}

/** What is known by then is reported still. */
function giveUp(why: string): void {
  if (told.signal.aborted) return;
  say(`${why}; ${running.size === 0 ? "no file was running" : "still running:"}`);
  const found = [...running.keys(), ...ended].flatMap(processesOf);
  for (const [file, { sinceMs }] of running)
    say(`  ${file}, for ${Math.round((performance.now() - sinceMs) / 1_000)} s`);
  told.abort();
  endAll(found);
  setTimeout(() => process.exit(1), reportMsMax);
}

const files = wanted();
const execArgv = ["--import", "./test/setup.ts"];
const events = run({ files, concurrency: 2, timeout: testMsMax, execArgv, signal: told.signal });
events.on("test:dequeue", ({ name, nesting }) => {
  if (nesting === 0 && files.includes(name)) running.set(name, { sinceMs: performance.now(), looksWithoutIt: 0 });
});
let left = files.length;
const took = new Map<string, number>();
events.on("test:complete", ({ name, nesting }) => {
  const of = nesting === 0 ? running.get(name) : undefined;
  if (of === undefined) return;
  took.set(name, performance.now() - of.sinceMs);
  running.delete(name);
  ended.add(name);
  left -= 1;
  // Before the summary, which comes last.
  if (left === 0) endAllLeftovers();
});
let isGood = false;
events.on("test:summary", ({ file, success }) => {
  if (file === undefined) isGood = success;
});
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => giveUp(`told to end (${signal})`));
setInterval(look, lookMs).unref();
setTimeout(() => giveUp(`not done after ${runMsMax / 60_000} minutes`), runMsMax).unref();

for await (const piece of events.compose(new spec())) process.stdout.write(piece as string);
if (process.env["HOLDFAST_TEST_TIMES"] !== undefined)
  for (const [file, ms] of [...took].toSorted(([, a], [, b]) => b - a)) say(`${(ms / 1_000).toFixed(1)} s ${file}`);
process.stdout.write("", () => process.exit(isGood && !told.signal.aborted ? 0 : 1));
