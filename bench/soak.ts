/**
 * `npm run bench:soak`: a steady mix of work for a while, and what memory does meanwhile: objects of 4 KiB and 1 MiB written,
 * overwritten, read, listed and deleted, over a bounded set of keys. Prints the memory of the process tree every ten seconds,
 * then the medians of the first and the last third (after a minute to warm up). Memory is flat when they are alike.
 * Options: --minutes N, --workers N, --directory D.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { runLoad } from "../src/client/load.ts";
import type { LoadRequest } from "../src/client/load.ts";
import { createSigner } from "../src/client/signer.ts";
import { newKeys, startHoldfast, stop } from "./launch.ts";
import { ownMemoryMiB } from "./process_tree.ts";
import { median } from "./statistics.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    workers: { type: "string", default: String(availableParallelism()) },
    directory: { type: "string", default: tmpdir() },
  },
});

const minutes = Number(values.minutes);
const directory = mkdtempSync(path.join(values.directory, "holdfast-bench-"));
const keys = newKeys();
const bodies = [randomBytes(4 * 1_024), randomBytes(1_024 * 1_024)];
const sampleMs = 10_000;
const warmUpMs = Math.min(60_000, (minutes * 60_000) / 4);
const keysCount = 5_000;

const server = await startHoldfast({ drives: [path.join(directory, "data")], workers: Number(values.workers), keys });
const url = new URL(server.line);
const signer = createSigner({ ...keys, region: "us-east-1", host: url.host });

function request(method: string, target: string, query = "", body?: Buffer): LoadRequest {
  const headers = signer.sign({ method, path: target, query });
  return { method, target: query === "" ? target : `${target}?${query}`, headers, ...(body && { body }) };
}

/** One in eight is large; reads and deletes often find nothing, which is an answer too. */
function next(index: number): LoadRequest {
  const random = (index * 2_654_435_761) % 2 ** 32;
  const isLarge = random % 8 === 0;
  const target = `/bench/${isLarge ? "large" : "small"}/${(random >>> 4) % (isLarge ? 100 : keysCount)}`;
  const kind = (random >>> 20) % 10;
  if (kind < 4) return request("PUT", target, "", bodies[isLarge ? 1 : 0]);
  if (kind < 7) return request("GET", target);
  if (kind < 9) return request("DELETE", target);
  return request("GET", "/bench", "list-type=2&max-keys=1000");
}

try {
  await runLoad({ url, connections: 1, requestsMax: 1, durationMsMax: 10_000, next: () => request("PUT", "/bench") });
  const samples: { readonly ms: number; readonly mebibytes: number }[] = [];
  const startedMs = performance.now();
  const timer = setInterval(() => {
    const sample = { ms: performance.now() - startedMs, mebibytes: ownMemoryMiB(server.child.pid!) };
    samples.push(sample);
    process.stdout.write(`${Math.round(sample.ms / 1_000)} s: ${Math.round(sample.mebibytes)} MiB\n`);
  }, sampleMs);
  const result = await runLoad({
    url,
    connections: 32,
    requestsMax: Number.MAX_SAFE_INTEGER,
    durationMsMax: minutes * 60_000,
    next,
    check: (response) => response.status < 400 || response.status === 404,
  });
  clearInterval(timer);
  const warm = samples.filter(({ ms }) => ms > warmUpMs).map(({ mebibytes }) => mebibytes);
  const third = Math.max(1, Math.floor(warm.length / 3));
  const [first, last] = [median(warm.slice(0, third)), median(warm.slice(-third))];
  process.stdout.write(
    `${result.requests} requests, ${result.errors} errors${result.firstError ? ` (${result.firstError})` : ""}; memory without ` +
      `file maps, median of the first third ${Math.round(first)} MiB, of the last ${Math.round(last)} MiB, ` +
      `peak ${Math.round(Math.max(...warm))} MiB: ${(last / first).toFixed(2)}\n`,
  );
} finally {
  await stop(server.child);
  rmSync(directory, { recursive: true, force: true });
}
