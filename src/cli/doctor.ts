/** `holdfast doctor DIR…`: compares every record of a stopped store with every chunk. Exit status 1 on any finding. */
import type { Command } from "commander";
import path from "node:path";
import { HoldfastError } from "../core/errors.ts";
import { silentLog } from "../core/log.ts";
import { runDoctor } from "../jobs/jobs.ts";
import { inspectStore } from "../server/inspect.ts";
import { humanBytes, print, printJson } from "./connection.ts";

type Options = { readonly metadata?: string; readonly deep?: boolean; readonly json?: boolean };

export function register(program: Command): void {
  program
    .command("doctor")
    .description("check every record of a stopped store against every chunk, and say what is wrong")
    .argument("<drives...>", "the server's drives, in any order")
    .option("--metadata <url>", "of a cluster: where its metadata is; drives that are not named are not looked at")
    .option("--deep", "read every block and check it too")
    .option("--json", "print JSON lines")
    .action((drives: string[], options: Options) => doctor(drives, options));
}

async function doctor(drives: readonly string[], options: Options): Promise<void> {
  const absolute = drives.map((drive) => path.resolve(drive));
  const engine = options.metadata ?? process.env["HOLDFAST_METADATA"];
  const found = await inspectStore({ drives: absolute, engine, log: silentLog }, async ({ kv, node, elsewhere }) => {
    const run = runDoctor({ kv, node, elsewhere, deep: options.deep ?? false });
    for (;;) {
      const next = await run.next();
      if (next.done) return { summary: next.value, drivesElsewhere: elsewhere.size };
      if (options.json) printJson({ finding: next.value });
      else print(`${next.value.kind}  ${next.value.where}: ${next.value.message}`);
    }
  });
  const { summary, drivesElsewhere } = found;
  if (options.json) printJson({ summary, drivesElsewhere });
  else {
    const { objects, blobs, shards, bytes, findings } = summary;
    print(`${objects} objects, ${blobs} blobs, ${shards} chunks (${humanBytes(bytes)}): ${findings} findings`);
    if (drivesElsewhere > 0) print(`What lies on ${drivesElsewhere} other drives of the cluster was not looked at.`);
  }
  if (summary.findings > 0) throw new HoldfastError("corrupt_record", `${summary.findings} findings.`);
}
