/**
 * `npm run bench:scale`: what a bucket of many objects costs. Writes objects, and at each size walks the bucket in pages of
 * 1,000 keys; at the end stops the server, starts it again, kills the whole of it, and starts it again.
 * Options: --sizes N,N,… (ascending), --workers N, --directory D.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { runLoad } from "../src/client/load.ts";
import { createSigner } from "../src/client/signer.ts";
import type { Launched } from "./launch.ts";
import { newKeys, startHoldfast, stop } from "./launch.ts";
import { treeMemoryMiB } from "./process_tree.ts";

const { values } = parseArgs({
  options: {
    sizes: { type: "string", default: "10000,1000000" },
    workers: { type: "string", default: String(availableParallelism()) },
    directory: { type: "string", default: tmpdir() },
  },
});

const sizes = values.sizes.split(",").map(Number);
const workers = Number(values.workers);
const directory = mkdtempSync(path.join(values.directory, "holdfast-bench-"));
const drive = path.join(directory, "data");
const keys = newKeys();
const body = randomBytes(1_024);
const hourMs = 3_600_000;

const say = (text: string): void => void process.stdout.write(`${text}\n`);

type Request = { readonly method: string; readonly path: string; readonly query?: string; readonly body?: Buffer };

function load(server: Launched, connections: number, next: (index: number) => Request | undefined, keep?: Keep) {
  const url = new URL(server.line);
  const signer = createSigner({ ...keys, region: "us-east-1", host: url.host });
  return runLoad({
    url,
    connections,
    requestsMax: Number.MAX_SAFE_INTEGER,
    durationMsMax: hourMs,
    next: (index) => {
      const request = next(index);
      if (request === undefined) return undefined;
      const { method, path: target, query = "", body: bytes } = request;
      const headers = signer.sign({ method, path: target, query });
      return {
        method,
        target: query === "" ? target : `${target}?${query}`,
        headers,
        ...(bytes && { body: bytes }),
        ...(keep && { keepBody: true }),
      };
    },
    ...(keep && { check: (response) => keep(response.status, response.body?.toString() ?? "") }),
  });
}

type Keep = (status: number, text: string) => boolean;

async function fill(server: Launched, from: number, to: number): Promise<void> {
  const path = (index: number): string => `/bench/small/${String(from + index).padStart(9, "0")}`;
  const result = await load(server, 64, (index) =>
    index < to - from ? { method: "PUT", path: path(index), body } : undefined,
  );
  if (result.errors > 0) throw new Error(`a PUT failed: ${result.firstError}`);
  say(
    `${to - from} objects of 1 KiB written: ${Math.round(result.requestsPerSecond)}/s, p99 ${result.p99Ms.toFixed(1)} ms`,
  );
}

/** Walks the whole bucket, a small one several times: a percentile wants more than ten pages. */
async function walk(server: Launched, size: number): Promise<void> {
  const rounds = Math.ceil(Math.max(1, Math.min(20, 200_000 / size)));
  let token = "";
  let listed = 0;
  const result = await load(
    server,
    1,
    () => {
      if (token === "" && listed >= rounds * size) return undefined;
      const from = token === "" ? "" : `continuation-token=${encodeURIComponent(token)}&`;
      return { method: "GET", path: "/bench", query: `${from}list-type=2&max-keys=1000` };
    },
    (status, text) => {
      token = /<NextContinuationToken>([^<]+)</.exec(text)?.[1] ?? "";
      listed += Number(/<KeyCount>(\d+)</.exec(text)?.[1] ?? 0);
      return status === 200;
    },
  );
  if (listed !== rounds * size) throw new Error(`${listed} of ${rounds} times ${size} objects were listed`);
  const rate = Math.round(listed / result.seconds).toLocaleString("en");
  say(
    `LIST of ${size} objects: ${rate} keys/s, page p50 ${result.p50Ms.toFixed(2)} ms, p99 ${result.p99Ms.toFixed(2)} ms`,
  );
}

let server = await startHoldfast({ drives: [drive], workers, keys });
try {
  say(`ready on an empty folder after ${Math.round(server.readyMs)} ms`);
  await load(server, 1, (index) => (index === 0 ? { method: "PUT", path: "/bench" } : undefined));
  let size = 0;
  for (const next of sizes) {
    await fill(server, size, next);
    size = next;
    await walk(server, size);
  }
  await stop(server.child);
  server = await startHoldfast({ drives: [drive], workers, keys });
  say(`ready after a clean stop with ${size} objects: ${Math.round(server.readyMs)} ms`);
  say(`idle memory of the process tree (PSS): ${Math.round(treeMemoryMiB(server.child.pid!))} MiB`);
  await stop(server.child, "SIGKILL");
  server = await startHoldfast({ drives: [drive], workers, keys });
  say(`ready after kill -9 of the supervisor with ${size} objects: ${Math.round(server.readyMs)} ms`);
} finally {
  await stop(server.child);
  rmSync(directory, { recursive: true, force: true });
}
