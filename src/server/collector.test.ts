import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { collectorArguments } from "./collector.ts";

test("node takes what a worker is started with, and V8 knows the flag it is told", () => {
  const module = new URL("./collector.ts", import.meta.url).href;
  const script = `(await import(${JSON.stringify(module)})).countBuffersWithHeap(); console.log("went on")`;
  const args = [...collectorArguments([], undefined), "--input-type=module", "--eval", script];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  assert.deepEqual([stdout, stderr], ["went on\n", ""]);
});

test("a size of the young generation that the operator chose is left alone", () => {
  assert.equal(collectorArguments([], "--enable-source-maps").length, 1);
  assert.deepEqual(collectorArguments(["--max-semi-space-size=32"], undefined), []);
  assert.deepEqual(collectorArguments([], "--min-semi-space-size=8"), []);
});
