/**
 * How fast what lay on a lost drive is made anew, and what clients feel of it. A node is started again without one of its
 * drives and the drive is told to drain, which begins the same work as staying away for long does.
 */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { openPostgresKv } from "../src/kv/postgres.ts";
import { shardBytesOf } from "../src/blob/shards.ts";
import type { DriveId } from "../src/core/ids.ts";
import { limits } from "../src/core/limits.ts";
import type { Entry, Kv } from "../src/kv/kv.ts";
import { readDrives } from "../src/meta/drives.ts";
import { decodeChunkPage } from "../src/meta/chunk_pages.ts";
import { parseBlobKey, tagRange, tags } from "../src/meta/keys.ts";
import { administer, makeBucket } from "./buckets.ts";
import { copyRate, touchMemory } from "./ceilings.ts";
import type { BenchCluster } from "./cluster_nodes.ts";
import { once, whole, type Row } from "./cluster_rows.ts";
import { loadNodes, type NodesLoad } from "./load_nodes.ts";
import { median, ratios } from "./statistics.ts";

const MiB = 2 ** 20;
const largeBytes = 16 * MiB;
const smallBytes = 64 * 1_024;
/** A lost drive has some 700 MiB of them: processes that begin to mend are cold, and a real drive has more. */
const largeObjects = 128;
/** All that is written: two copies of the objects, what is made anew, and files that are copied. */
const writtenMiB = (3 * largeObjects * largeBytes) / MiB;
const smallObjects = 500;
/** Few, so that clients leave some of the machine's cores: with none left any other work lengthens all waits. */
const connections = 6;
const beforeMs = 10_000;
const beginMsMax = 60_000;
const repairMsMax = 90_000;
/** Between two looks at the chunk maps, which cost some milliseconds. */
const lookMs = 50;

/** The work is one that `folder` has room for: about 7 GiB. */
export async function repairRows(cluster: BenchCluster, folder: string): Promise<Row[]> {
  const kv = await openPostgresKv({ url: cluster.postgres.url });
  try {
    touchMemory(writtenMiB);
    await fill(cluster);
    const quiet = await quietRow(cluster, kv, folder);
    return [quiet, ...(await loadedRows(cluster, kv))];
  } finally {
    await kv.close();
  }
}

async function fill({ urls, keys }: BenchCluster): Promise<void> {
  const body = randomBytes(largeBytes);
  await makeBucket({ url: urls[0]!, keys, bucket: "repaired", redundancy: "replica:2" });
  const target = (index: number) => `/repaired/large/${index}`;
  const next = (index: number) => ({ method: "PUT" as const, target: target(index), body });
  await loadNodes({ urls, keys, connections: 4, requestsMax: largeObjects, next });
}

async function quietRow(cluster: BenchCluster, kv: Kv, folder: string): Promise<Row> {
  const copies = (mib: number): number[] => [1, 2].map(() => copyRate(folder, mib));
  const before = copies((2 * largeObjects * largeBytes) / MiB / 6);
  const begun = await loseDrive(cluster, kv, 2);
  const cpuBeforeMs = cluster.cpuMs().nodes;
  const { mib, seconds } = await begun.ended();
  const cpuMs = (cluster.cpuMs().nodes - cpuBeforeMs) / mib;
  const repaired = mib / seconds;
  const copied = [...before, ...copies(mib)];
  return {
    work: "repair of a lost drive, no client",
    figure: `${whole(repaired)} MiB/s (${whole(mib)} MiB, CPU of the nodes ${cpuMs.toFixed(1)} ms/MiB)`,
    against: `copying a file of about that size, synced, twice before and after: ${whole(median(copied))} MiB/s`,
    ratio: ratios(
      copied.map(() => repaired),
      copied,
    ),
    floor: 0.5,
  };
}

async function loadedRows(cluster: BenchCluster, kv: Kv): Promise<Row[]> {
  const load = { keys: cluster.keys, connections, next: mixed("GET", "PUT") };
  const fresh = { urls: cluster.urls, keys: cluster.keys, connections: 32, requestsMax: smallObjects };
  await loadNodes({ ...fresh, next: mixed("PUT") });
  await loadNodes({ ...load, urls: cluster.urls, durationMsMax: 2_000 });
  const before = await loadNodes({ ...load, urls: cluster.urls, durationMsMax: beforeMs });
  const begun = await loseDrive(cluster, kv, 1);
  const until = new AbortController();
  const loaded = loadNodes({ ...load, urls: cluster.urls, until: until.signal });
  const { mib, seconds } = await begun.ended().finally(() => until.abort());
  const during = await loaded;
  const rates = `${whole(before.perSecond)} → ${whole(during.perSecond)} requests/s`;
  const repair = `repair at ${whole(mib / seconds)} MiB/s, ${rates}`;
  return (["GET", "PUT"] as const).map((method) => ({
    work: `p99 of ${method} 64 KiB while a lost drive is repaired, ${connections} connections`,
    figure: `${during.p99Ms[method].toFixed(1)} ms (${repair})`,
    against: `before: ${before.p99Ms[method].toFixed(1)} ms`,
    ratio: once(during.p99Ms[method] / before.p99Ms[method]),
    floor: 2,
    isCeiling: true,
  }));
}

/** Objects that are there, in turns with each method. */
function mixed(...methods: readonly ("GET" | "PUT")[]): NodesLoad["next"] {
  const body = randomBytes(smallBytes);
  return (index) => {
    const method = methods[Math.floor(index / 3) % methods.length]!;
    const target = `/repaired/small/${(methods.length === 1 ? index : index * 7_919) % smallObjects}`;
    return { method, target, ...(method === "PUT" && { body }) };
  };
}

type Begun = {
  /** What was made anew in how long, until nothing named the drive any more or repairMsMax had gone. */
  ended(): Promise<{ readonly mib: number; readonly seconds: number }>;
};

/** Resolves when the first of what lies on the drive is on another. */
async function loseDrive(cluster: BenchCluster, kv: Kv, node: number): Promise<Begun> {
  const folder = await cluster.loseDrive(node);
  const { id } = (await readDrives(kv)).find(({ path }) => path === folder)!;
  const all = await namedMib(kv, id);
  const wish = { path: `drives/${id}`, body: { membership: "draining" } };
  await administer({ url: cluster.urls[0]!, keys: cluster.keys, ...wish });
  let atBegin = all;
  for (const endMs = performance.now() + beginMsMax; atBegin === all; await sleep(lookMs)) {
    if (performance.now() > endMs) throw new Error(`no repair began within ${beginMsMax / 1_000} s`);
    atBegin = await namedMib(kv, id);
  }
  const begunMs = performance.now();
  return {
    ended: async () => {
      let left = atBegin;
      for (; left > 0 && performance.now() - begunMs < repairMsMax; await sleep(lookMs)) left = await namedMib(kv, id);
      return { mib: atBegin - left, seconds: (performance.now() - begunMs) / 1_000 };
    },
  };
}

/** MiB that chunk maps still expect of a drive. */
async function namedMib(kv: Kv, drive: DriveId): Promise<number> {
  let bytes = 0;
  const { start, end } = tagRange(tags.blob);
  for (let from: Uint8Array | undefined = start; from !== undefined;) {
    const rows: Entry[] = await kv.scan({ start: from, end }, { limit: limits.scanEntriesMax });
    for (const { key, value } of rows) {
      if (parseBlobKey(key).page === undefined) continue;
      for (const { places, storedBytes, redundancy } of decodeChunkPage(value))
        if (places.some((place) => place.drive === drive)) bytes += shardBytesOf(storedBytes, redundancy);
    }
    const last: Entry | undefined = rows.length === limits.scanEntriesMax ? rows.at(-1) : undefined;
    from = last && Buffer.concat([last.key, Buffer.from([0])]);
  }
  return bytes / MiB;
}
