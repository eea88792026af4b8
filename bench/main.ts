/**
 * `npm run bench -- --cluster` measures a cluster and what it rests on (cluster.ts), `npm run bench -- --features` what versions,
 * policies, logs and encryption cost (features.ts), and nothing else of the following.
 *
 * `npm run bench` (builds first): starts Holdfast and a bare `node:http` server with the same number of workers on this machine, loads
 * both with the same signed requests, measures the machine's own ceilings, and prints every figure with its ratio.
 * Options: --workers N, --objects N, --seconds N per work, --json; --cluster with --rows and --rounds; --features
 * with --rounds and --seconds.
 */
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { benchWorks, runBench } from "../src/client/bench.ts";
import type { BenchRow, BenchWork } from "../src/client/bench.ts";
import { runLoad } from "../src/client/load.ts";
import type { LoadResult } from "../src/client/load.ts";
import { createSigner } from "../src/client/signer.ts";
import type { RequestSigner } from "../src/client/signer.ts";
import { measureCeilings } from "./ceilings.ts";
import type { Ceilings } from "./ceilings.ts";
import { benchCluster } from "./cluster.ts";
import { benchFeatures } from "./features.ts";
import { launch, newKeys, startHoldfast, stop } from "./launch.ts";
import { treeMemoryMiB, watchMemory } from "./process_tree.ts";
import { printTable } from "./table.ts";

const { values } = parseArgs({
  options: {
    workers: { type: "string", default: String(availableParallelism()) },
    objects: { type: "string", default: "50000" },
    seconds: { type: "string", default: "10" },
    connections: { type: "string", default: "64" },
    directory: { type: "string", default: tmpdir() },
    works: { type: "string", default: benchWorks.join(",") },
    json: { type: "boolean", default: false },
    cluster: { type: "boolean", default: false },
    features: { type: "boolean", default: false },
    rows: { type: "string", default: "all" },
    rounds: { type: "string", default: "3" },
  },
});

const MiB = 1024 * 1024;
const workers = Number(values.workers);
const connections = Number(values.connections);
const durationMsMax = Number(values.seconds) * 1000;
const directory = mkdtempSync(path.join(values.directory, "holdfast-bench-"));
const keys = newKeys();

const large = randomBytes(64 * MiB);
const largeConnections = 4;

const mebibytesPerSecond = (result: LoadResult): number => result.bytesIn / MiB / result.seconds;

type Method = "PUT" | "GET" | "HEAD" | "DELETE";

/**
 * What the bare server did just before and just after each work, with the same signed headers: the machine's speed changes by
 * the minute.
 */
type BareRun = { readonly requestsPerSecond: number; readonly mebibytesPerSecond: number };
type Bare = Partial<Record<BenchWork, BareRun>>;

const meanOf = (left: BareRun, right: BareRun): BareRun => ({
  requestsPerSecond: (left.requestsPerSecond + right.requestsPerSecond) / 2,
  mebibytesPerSecond: (left.mebibytesPerSecond + right.mebibytesPerSecond) / 2,
});

const bareMs = 2_000;

async function loadBare(url: URL, signer: RequestSigner, work: BenchWork): Promise<BareRun | undefined> {
  const result = await bareResult(url, signer, work);
  return result && { requestsPerSecond: result.requestsPerSecond, mebibytesPerSecond: mebibytesPerSecond(result) };
}

function bareResult(url: URL, signer: RequestSigner, work: BenchWork): Promise<LoadResult> | undefined {
  const methods: Partial<Record<BenchWork, Method>> = {
    "put-4k": "PUT",
    "get-4k": "GET",
    "head-4k": "HEAD",
    delete: "DELETE",
  };
  const method = methods[work];
  if (method) return loadBareSmall(url, signer, method);
  if (work !== "get-64m") return undefined;
  const headers = () => signer.sign({ method: "GET", path: "/large", query: "" });
  const next = () => ({ method: "GET", target: "/large", headers: headers() });
  return runLoad({ url, connections: largeConnections, requestsMax: 64, durationMsMax: bareMs, next });
}

function loadBareSmall(url: URL, signer: RequestSigner, method: Method): Promise<LoadResult> {
  const body = method === "PUT" ? large.subarray(0, 4096) : undefined;
  return runLoad({
    url,
    connections,
    requestsMax: 1_000_000,
    durationMsMax: bareMs,
    next: (index) => {
      const target = `/bench/small/${String(index).padStart(9, "0")}`;
      const headers = signer.sign({ method, path: target, query: "" });
      return { method, target, headers, ...(body && { body }) };
    },
  });
}

type Ratio = { readonly of: string; readonly value: number; readonly floor: number };

function ratioOf(row: BenchRow, bare: Bare, ceilings: Ceilings): Ratio | undefined {
  const bareRow = bare[row.work];
  const perSecond = (of: string, ceiling: number | undefined, floor: number) =>
    ceiling ? { of, value: row.operationsPerSecond / ceiling, floor } : undefined;
  const perMebibyte = (of: string, ceiling: number | undefined, floor: number) =>
    ceiling ? { of, value: row.mebibytesPerSecond / ceiling, floor } : undefined;
  const sink = Math.min(ceilings.md5MiBps, ceilings.syncedWriteMiBps);
  const ratios: Record<BenchWork, Ratio | undefined> = {
    "put-4k": perSecond("bare node:http PUT", bareRow?.requestsPerSecond, 0.35),
    "get-4k": perSecond("bare node:http GET", bareRow?.requestsPerSecond, 0.55),
    "head-4k": perSecond("bare node:http HEAD", bareRow?.requestsPerSecond, 0.55),
    delete: perSecond("bare node:http DELETE", bareRow?.requestsPerSecond, 0.35),
    list: perSecond("200,000 keys/s", 200_000, 1),
    "put-64m": perMebibyte("lesser of MD5 and synced write", sink, 0.75),
    "put-64m-multipart": perMebibyte("lesser of MD5 and synced write", sink, 0.75),
    "get-64m": perMebibyte("bare node:http streaming a file", bareRow?.mebibytesPerSecond, 0.7),
  };
  return ratios[row.work];
}

function report(rows: readonly BenchRow[], bare: Bare, ceilings: Ceilings, memory: Record<string, number>): void {
  const measured = rows.map((row) => ({ row, ratio: ratioOf(row, bare, ceilings) }));
  if (values.json) {
    const plain = measured.map(({ row, ratio }) => ({ ...row, ratio }));
    process.stdout.write(
      `${JSON.stringify({ workers, connections, ceilings, bare, memory, rows: plain }, undefined, 2)}\n`,
    );
    return;
  }
  const number = (value: number, digits = 0) => value.toLocaleString("en", { maximumFractionDigits: digits });
  printTable([
    ["work", "conns", "ops/s", "MiB/s", "p50 ms", "p99 ms", "errors", "ratio", "floor", "of"],
    ...measured.map(({ row, ratio }) => [
      row.work,
      String(row.connections),
      number(row.operationsPerSecond, row.operationsPerSecond < 100 ? 1 : 0),
      number(row.mebibytesPerSecond),
      row.p50Ms.toFixed(2),
      row.p99Ms.toFixed(2),
      String(row.errors),
      ratio ? ratio.value.toFixed(2) : "",
      ratio ? String(ratio.floor) : "",
      ratio?.of ?? "",
    ]),
  ]);
  process.stdout.write("\n");
  printTable([
    ["ceiling or memory", "value"],
    ...Object.entries(bare).map(([work, result]) =>
      work === "get-64m"
        ? ["bare node:http streaming 64 MiB, MiB/s", number(result.mebibytesPerSecond)]
        : [`bare node:http for ${work}, requests/s`, number(result.requestsPerSecond)],
    ),
    ["MD5, MiB/s", number(ceilings.md5MiBps)],
    ["64 MiB synced write, MiB/s", number(ceilings.syncedWriteMiBps)],
    ["4 KiB append + fdatasync, per second", number(ceilings.syncsPerSecond)],
    ...Object.entries(memory).map(([name, value]) => [name, number(value)]),
  ]);
  for (const { row } of measured) if (row.firstError) process.stderr.write(`${row.work}: ${row.firstError}\n`);
}

async function runAll(server: { child: ChildProcess; line: string }, bareUrl: URL, ceilings: Ceilings): Promise<void> {
  const idleMiB = treeMemoryMiB(server.child.pid!);
  const watch = watchMemory(server.child.pid!);
  const endpoint = new URL(server.line);
  const bareSigner = createSigner({ ...keys, region: "us-east-1", host: bareUrl.host });
  const bare: Bare = {};
  const rows = await runBench({
    endpoint,
    signer: createSigner({ ...keys, region: "us-east-1", host: endpoint.host }),
    bucket: "bench",
    works: values.works.split(",") as BenchWork[],
    objects: Number(values.objects),
    connections,
    largeConnections,
    durationMsMax,
    before: async (work) => {
      const result = await loadBare(bareUrl, bareSigner, work);
      if (result) bare[work] = result;
    },
    after: async (work) => {
      const result = await loadBare(bareUrl, bareSigner, work);
      if (result && bare[work]) bare[work] = meanOf(bare[work], result);
    },
    onRow: (row) => process.stderr.write(`${row.work}: ${row.requests} requests in ${row.seconds.toFixed(1)} s\n`),
  });
  const peakMiB = watch.stop();
  report(rows, bare, ceilings, {
    "idle memory of the process tree (PSS), MiB": idleMiB,
    "peak memory without file maps, MiB": peakMiB,
    "memory at the end (PSS, with the metadata map), MiB": treeMemoryMiB(server.child.pid!),
  });
}

async function main(): Promise<void> {
  const largePath = path.join(directory, "large.bin");
  writeFileSync(largePath, large);
  const ceilings = measureCeilings(directory);
  const bareServer = await launch("bench/bare_server.ts", [String(workers), largePath], {}, /^(\d+)$/);
  try {
    const server = await startHoldfast({ drives: [path.join(directory, "data")], workers, keys });
    try {
      await runAll(server, new URL(`http://127.0.0.1:${bareServer.line}`), ceilings);
    } finally {
      await stop(server.child);
    }
  } finally {
    await stop(bareServer.child);
  }
}

try {
  if (values.cluster) await benchCluster({ folder: directory, rows: values.rows, rounds: Number(values.rounds) });
  else if (values.features)
    await benchFeatures({ folder: directory, workers, rounds: Number(values.rounds), seconds: Number(values.seconds) });
  else await main();
} finally {
  rmSync(directory, { recursive: true, force: true });
}
