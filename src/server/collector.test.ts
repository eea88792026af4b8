import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";

test("V8 knows the flag it is told, and is not told it where it might not", () => {
  const module = new URL("./collector.ts", import.meta.url).href;
  for (const version of ["", '"12.4.254.21-node.21"', '"99.0"']) {
    const script = `(await import(${JSON.stringify(module)})).countBuffersWithHeap(${version}); console.log("went on")`;
    const args = ["--input-type=module", "--eval", script];
    const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
    assert.deepEqual([stdout, stderr], ["went on\n", ""]);
  }
});
