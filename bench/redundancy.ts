/**
 * `npm run bench:redundancy`: what redundancy over several drives of one machine costs, as ratios within one run: PUT of
 * 64 MiB with ec:4+2 over six drives against replica:1 on the same six (1.5 times the bytes are written), GET with two of
 * the six drives gone against a healthy one. Rounds in turns; medians. The "drives" are folders of one disk.
 * Options: --rounds N, --seconds N (of each measurement), --workers N, --connections N, --directory D.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, renameSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { runLoad } from "../src/client/load.ts";
import { createSigner } from "../src/client/signer.ts";
import { startHoldfast, stop } from "./launch.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "4" },
    workers: { type: "string", default: String(availableParallelism()) },
    connections: { type: "string", default: "4" },
    directory: { type: "string", default: tmpdir() },
  },
});

const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const workers = Number(values.workers);
const directory = mkdtempSync(path.join(values.directory, "holdfast-bench-"));
const keys = { accessKey: "BENCHACCESSKEY000000", secretKey: randomBytes(30).toString("hex") };
const body = randomBytes(64 * 1_024 * 1_024);
const drives = Array.from({ length: 6 }, (_, index) => path.join(directory, `d${index + 1}`));
const objects = 12;

type Buckets = "copied" | "coded";

async function withServer<T>(work: (url: URL) => Promise<T>): Promise<T> {
  const [first, ...others] = drives as [string, ...string[]];
  const server = await startHoldfast(first, workers, keys, others);
  try {
    return await work(new URL(server.line));
  } finally {
    await stop(server.child);
  }
}

async function load(url: URL, method: string, bucket: Buckets, limits: { requests?: number } = {}): Promise<number> {
  const signer = createSigner({ ...keys, region: "us-east-1", host: url.host });
  const result = await runLoad({
    url,
    connections: Number(values.connections),
    requestsMax: limits.requests ?? Number.MAX_SAFE_INTEGER,
    durationMsMax: limits.requests === undefined ? seconds * 1_000 : 600_000,
    next: (index) => {
      const target = `/${bucket}/${index % objects}`;
      const headers = signer.sign({ method, path: target, query: "" });
      return { method, target, headers, ...(method === "PUT" && { body }) };
    },
  });
  if (result.errors > 0) throw new Error(`${method} ${bucket}: ${result.errors} errors: ${result.firstError}`);
  return (result.requests * body.length) / 2 ** 20 / result.seconds;
}

async function prepare(url: URL): Promise<void> {
  const signer = createSigner({ ...keys, region: "us-east-1", host: url.host });
  const authorization = `Basic ${Buffer.from(`${keys.accessKey}:${keys.secretKey}`).toString("base64")}`;
  for (const [bucket, redundancy] of [
    ["copied", "replica:1"],
    ["coded", "ec:4+2"],
  ] as const) {
    const headers = signer.sign({ method: "PUT", path: `/${bucket}`, query: "" });
    const made = await fetch(new URL(`/${bucket}`, url), { method: "PUT", headers });
    const set = await fetch(new URL(`/_/admin/buckets/${bucket}`, url), {
      method: "PUT",
      headers: { authorization, "content-type": "application/json" },
      body: JSON.stringify({ redundancy }),
    });
    if (!made.ok || !set.ok) throw new Error(`bucket ${bucket}: ${made.status}, ${set.status} ${await set.text()}`);
    await load(url, "PUT", bucket, { requests: objects });
  }
}

const median = (numbers: readonly number[]): number =>
  numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN;

function say(title: string, measured: readonly number[], against: readonly number[]): void {
  const ratios = measured.map((rate, index) => rate / against[index]!).toSorted((a, b) => a - b);
  process.stdout.write(
    `${title}: ${Math.round(median(measured))} MiB/s against ${Math.round(median(against))}: ` +
      `${median(ratios).toFixed(2)} (${ratios[0]!.toFixed(2)}–${ratios.at(-1)!.toFixed(2)})\n`,
  );
}

try {
  const puts = { copied: [] as number[], coded: [] as number[] };
  const gets = { healthy: [] as number[], degraded: [] as number[] };
  await withServer(async (url) => {
    await prepare(url);
    for (let round = 0; round < rounds; round++) {
      for (const bucket of ["copied", "coded"] as const) puts[bucket].push(await load(url, "PUT", bucket));
    }
  });
  // The two bytes-only drives at the end: the metadata lies on the first three.
  const lost = drives.slice(4);
  for (let round = 0; round < rounds; round++) {
    await withServer(async (url) => void gets.healthy.push(await load(url, "GET", "coded")));
    for (const drive of lost) renameSync(drive, `${drive}.away`);
    await withServer(async (url) => void gets.degraded.push(await load(url, "GET", "coded")));
    for (const drive of lost) {
      rmSync(drive, { recursive: true, force: true });
      renameSync(`${drive}.away`, drive);
    }
  }
  say("PUT 64 MiB, ec:4+2 against replica:1", puts.coded, puts.copied);
  say("GET 64 MiB, ec:4+2, two of six drives gone against healthy", gets.degraded, gets.healthy);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
