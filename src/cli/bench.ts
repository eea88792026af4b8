import type { Command } from "commander";
import { HoldfastError } from "../core/errors.ts";
import { benchWorks, cleanUpBench, runBench } from "../client/bench.ts";
import type { BenchOptions, BenchRow, BenchWork } from "../client/bench.ts";
import { S3RequestError } from "../client/s3_client.ts";
import { createSigner } from "../client/signer.ts";
import { connection, print, printJson, withClient, withConnection } from "./connection.ts";
import type { ConnectionOptions } from "./connection.ts";

type Options = ConnectionOptions & {
  readonly endpoint?: string;
  readonly objects: string;
  readonly connections: string;
  readonly seconds: string;
  readonly works: string;
  readonly bucket?: string;
};

export function register(program: Command): void {
  withConnection(program.command("bench"))
    .description("load an S3 server with signed requests and print how fast it answers")
    .option("--endpoint <url>", "the server, any that speaks S3 (the same as --url)")
    .option("--objects <n>", "small objects to write, read, list and delete", "10000")
    .option("--connections <n>", "connections for small objects", "64")
    .option("--seconds <n>", "seconds for each work at most", "10")
    .option("--works <list>", "which, separated by commas", benchWorks.join(","))
    .option("--bucket <name>", "the bucket to make, use and remove again; it must not exist (default: a new name)")
    .action(bench);
}

function wholeNumber(value: string, name: string): number {
  const number = Number(value);
  if (Number.isInteger(number) && number > 0 && number <= 100_000_000) return number;
  throw new HoldfastError("invalid_argument", `--${name} is a whole number above 0, not "${value}".`);
}

async function bench(options: Options): Promise<void> {
  const where = connection(options.endpoint === undefined ? options : { ...options, url: options.endpoint });
  const works = options.works.split(",") as BenchWork[];
  const unknown = works.find((work) => !benchWorks.includes(work));
  if (unknown)
    throw new HoldfastError("invalid_argument", `There is no work "${unknown}"; there are ${benchWorks.join(", ")}.`);
  const run: BenchOptions = {
    endpoint: where.endpoint,
    signer: createSigner({ ...where, host: where.endpoint.host }),
    bucket: options.bucket ?? `holdfast-bench-${Date.now()}`,
    works,
    objects: wholeNumber(options.objects, "objects"),
    connections: wholeNumber(options.connections, "connections"),
    largeConnections: 4,
    durationMsMax: wholeNumber(options.seconds, "seconds") * 1000,
    onRow: (row) => (options.json ? printJson(row) : print(line(row))),
  };
  await refuseExisting(options, run.bucket);
  if (!options.json) print("work               conns      ops/s    MiB/s   p50 ms   p99 ms  errors");
  let failed = 0;
  try {
    for (const row of await runBench(run)) failed += row.errors;
  } finally {
    await cleanUpBench(run);
  }
  if (failed > 0) throw new HoldfastError("unavailable", `${failed} requests failed.`);
}

/** Everything in the bucket is deleted in the end, so it must be one that the run makes itself. */
async function refuseExisting(options: Options, bucket: string): Promise<void> {
  const target = options.endpoint === undefined ? options : { ...options, url: options.endpoint };
  const exists = await withClient(target, (client) =>
    client.run({ method: "HEAD", bucket }).then(
      () => true,
      (error: unknown) => {
        if (error instanceof S3RequestError && error.status === 404) return false;
        throw error;
      },
    ),
  );
  if (exists)
    throw new HoldfastError(
      "invalid_argument",
      `The bucket ${bucket} exists already, and bench empties the bucket that it uses: name a new one.`,
    );
}

function line(row: BenchRow): string {
  return [
    row.work.padEnd(18),
    String(row.connections).padStart(5),
    row.operationsPerSecond.toFixed(row.operationsPerSecond < 100 ? 1 : 0).padStart(10),
    row.mebibytesPerSecond.toFixed(0).padStart(8),
    row.p50Ms.toFixed(2).padStart(8),
    row.p99Ms.toFixed(2).padStart(8),
    String(row.errors).padStart(7),
  ].join(" ");
}
