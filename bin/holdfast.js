#!/usr/bin/env node
// The command's doorstep. Plain JavaScript that any Node can read, so that an old one gets a sentence and not a stack.
import { existsSync } from "node:fs";

var needed = [22, 18];
var found = process.versions.node.split(".").map(Number);

if (found[0] < needed[0] || (found[0] === needed[0] && found[1] < needed[1])) {
  console.error(
    "holdfast needs Node.js " +
      needed.join(".") +
      " or newer; this is " +
      process.version +
      " (" +
      process.execPath +
      ").",
  );
  process.exit(1);
}

// A checkout runs its sources unbuilt; the published package has only dist.
var source = new URL("../src/cli/main.ts", import.meta.url);
var built = new URL("../dist/cli/main.js", import.meta.url);
var program = await import((existsSync(source) ? source : built).href);
await program.main(process.argv);
