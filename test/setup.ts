/**
 * Loaded before every test file (`npm test`).
 *
 * What is random in it follows from a seed and the file's name, so that a run that is green stays green until something changes.
 * `HOLDFAST_TEST_SEED` is another seed; `random` draws one for each file, and says it. Processes that a test starts are not
 * concerned, nor are keys and bodies that come from node:crypto itself.
 *
 * Compiled code is kept for the next process: hundreds of test files and of servers that they start load the same sources, and
 * taking the types out of them is half of what each start costs.
 *
 * A file that is still there when its time is over says what keeps it, and ends.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { enableCompileCache } from "node:module";
import path from "node:path";
import { seededRandom, systemRandom } from "../src/core/random.ts";
import { fileMsMax } from "./bounds.ts";
import { endAll, markProcess, startedHere } from "./processes.ts";

process.env["NODE_COMPILE_CACHE"] ??= path.resolve(import.meta.dirname, "../node_modules/.cache/compiled");
enableCompileCache(process.env["NODE_COMPILE_CACHE"]);

const file = process.argv[1] ?? "";

function seedOf(name: string): number {
  const wish = process.env["HOLDFAST_TEST_SEED"] ?? "20261127";
  const drawn = wish === "random" ? String(systemRandom.below(2 ** 31)) : wish;
  if (wish === "random") {
    console.log(`seed ${drawn}`);
    // Files that read it themselves take the same one, which is a number for them.
    process.env["HOLDFAST_TEST_SEED"] = drawn;
  }
  return (
    createHash("sha256")
      .update(`${drawn} ${path.basename(name)}`)
      .digest()
      .readUInt32LE() >>> 1
  );
}

function endAtLast(): void {
  const open = process.getActiveResourcesInfo().join(", ");
  console.error(`${file} has not ended after ${fileMsMax / 1_000} s; open are: ${open}`);
  endAll(startedHere());
  process.exit(1);
}

if (/\.test\.m?ts$/.test(file)) {
  markProcess(file);
  setTimeout(endAtLast, fileMsMax).unref();
  const seed = seedOf(file);
  const random = seededRandom(seed);
  Object.assign(systemRandom, random);
  Math.random = () => random.below(2 ** 32) / 2 ** 32;
  // Loading it costs a tenth of a second, and most files have no properties.
  if (/fast-check|conformance/.test(readFileSync(file, "utf8"))) {
    const { configureGlobal } = await import("fast-check");
    configureGlobal({ seed });
  }
}
