/**
 * `node bench/peers.ts --minio FILE --garage FILE --weed FILE` (after `npm run build`): the same signed requests against
 * Holdfast and against other stores on this machine, in turns, each on an empty folder of the same file system. The
 * binaries are given by whoever has them; those left out are left out. Prints operations per second (keys for a listing), and
 * how many times as many Holdfast did in the same round: medians over the rounds.
 *
 * Every store runs as one node on one folder with its own defaults, but for syncing: Garage is told to sync (its default is not
 * to). SeaweedFS has no such setting for its S3 door: what it acknowledges is in the page cache, and the table says so.
 * Options: --rounds N, --objects N, --seconds N per work, --works a,b,…, --directory D.
 */
import { execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { runBench } from "../src/client/bench.ts";
import type { BenchRow, BenchWork } from "../src/client/bench.ts";
import { runLoad } from "../src/client/load.ts";
import { createSigner } from "../src/client/signer.ts";
import { freePort } from "../src/core/ports.fixture.ts";
import { startHoldfast, stop } from "./launch.ts";
import { median } from "./statistics.ts";

const { values } = parseArgs({
  options: {
    minio: { type: "string" },
    garage: { type: "string" },
    weed: { type: "string" },
    rounds: { type: "string", default: "3" },
    objects: { type: "string", default: "20000" },
    seconds: { type: "string", default: "8" },
    works: { type: "string", default: "put-4k,get-4k,head-4k,list,delete,put-64m,get-64m" },
    directory: { type: "string", default: tmpdir() },
  },
});

const works = values.works.split(",") as BenchWork[];
const directory = mkdtempSync(path.join(values.directory, "holdfast-peers-"));
/** In the form that each of the stores takes: Garage wants GK and hexadecimal digits. */
const keys = { accessKey: `GK${randomBytes(12).toString("hex")}`, secretKey: randomBytes(32).toString("hex") };
const region = "us-east-1";

type Running = { readonly child: ChildProcess; readonly endpoint: URL };
type Peer = { readonly name: string; start(folder: string): Promise<Running> };

function run(file: string, args: string[], environment: NodeJS.ProcessEnv = {}): ChildProcess {
  return spawn(file, args, { env: { ...process.env, ...environment }, stdio: "ignore" });
}

/** Waits until a signed ListBuckets is answered. */
async function answers(child: ChildProcess, endpoint: URL): Promise<Running> {
  const signer = createSigner({ ...keys, region, host: endpoint.host });
  for (let tries = 0; tries < 240; tries++) {
    if (child.exitCode !== null) throw new Error(`a store ended at its start with status ${child.exitCode}`);
    const result = await runLoad({
      url: endpoint,
      connections: 1,
      requestsMax: 1,
      durationMsMax: 2_000,
      next: () => ({ method: "GET", target: "/", headers: signer.sign({ method: "GET", path: "/", query: "" }) }),
      check: ({ status }) => status === 200,
    }).catch(() => undefined);
    if (result !== undefined && result.requests > 0 && result.errors === 0) return { child, endpoint };
    await sleep(250);
  }
  throw new Error("a store did not answer within a minute");
}

const holdfast: Peer = {
  name: "Holdfast",
  start: async (folder) => {
    const { child, line } = await startHoldfast({ drives: [folder], workers: availableParallelism(), keys });
    return { child, endpoint: new URL(line) };
  },
};

function minio(file: string): Peer {
  return {
    name: "MinIO",
    start: async (folder) => {
      const address = `127.0.0.1:${await freePort()}`;
      const environment = {
        MINIO_ROOT_USER: keys.accessKey,
        MINIO_ROOT_PASSWORD: keys.secretKey,
        MINIO_BROWSER: "off",
      };
      return answers(run(file, ["server", folder, "--address", address], environment), new URL(`http://${address}`));
    },
  };
}

function garage(file: string): Peer {
  return {
    name: "Garage",
    start: async (folder) => {
      const [s3, rpc] = [await freePort(), await freePort()];
      const config = path.join(folder, "garage.toml");
      mkdirSync(folder, { recursive: true });
      writeFileSync(
        config,
        [
          `metadata_dir = "${folder}/meta"`,
          `data_dir = "${folder}/data"`,
          `db_engine = "lmdb"`,
          `metadata_fsync = true`,
          `data_fsync = true`,
          `replication_factor = 1`,
          `rpc_bind_addr = "127.0.0.1:${rpc}"`,
          `rpc_public_addr = "127.0.0.1:${rpc}"`,
          `rpc_secret = "${randomBytes(32).toString("hex")}"`,
          `[s3_api]`,
          `s3_region = "${region}"`,
          `api_bind_addr = "127.0.0.1:${s3}"`,
        ].join("\n"),
      );
      const child = run(file, ["-c", config, "server"], { RUST_LOG: "error" });
      await setUpGarage((...args) => execFileSync(file, ["-c", config, ...args], { encoding: "utf8", stdio: "pipe" }));
      return answers(child, new URL(`http://127.0.0.1:${s3}`));
    },
  };
}

async function setUpGarage(command: (...args: string[]) => string): Promise<void> {
  let id = "";
  for (let tries = 0; id === "" && tries < 60; tries++) {
    await sleep(500);
    try {
      id = command("node", "id", "-q").split("@")[0]!.trim();
      command("layout", "assign", "-z", "one", "-c", "100G", id);
    } catch {
      id = "";
    }
  }
  command("layout", "apply", "--version", "1");
  command("key", "import", "--yes", "-n", "bench", keys.accessKey, keys.secretKey);
  command("key", "allow", "--create-bucket", keys.accessKey);
}

function weed(file: string): Peer {
  return {
    name: "SeaweedFS (unsynced)",
    start: async (folder) => {
      const [s3, master, volume, filer] = [await freePort(), await freePort(), await freePort(), await freePort()];
      mkdirSync(folder, { recursive: true });
      const config = path.join(folder, "s3.json");
      const identity = { name: "bench", credentials: [keys], actions: ["Admin", "Read", "Write", "List", "Tagging"] };
      writeFileSync(config, JSON.stringify({ identities: [identity] }));
      const ports = [
        `-master.port=${master}`,
        `-volume.port=${volume}`,
        `-filer.port=${filer}`,
        `-s3.port=${s3}`,
        `-master.port.grpc=${await freePort()}`,
        `-volume.port.grpc=${await freePort()}`,
        `-filer.port.grpc=${await freePort()}`,
        `-s3.port.grpc=${await freePort()}`,
      ];
      const child = run(file, ["server", `-dir=${folder}`, "-ip=127.0.0.1", "-s3", `-s3.config=${config}`, ...ports]);
      return answers(child, new URL(`http://127.0.0.1:${s3}`));
    },
  };
}

async function measure(peer: Peer, round: number): Promise<Map<BenchWork, BenchRow>> {
  const folder = path.join(directory, `${peer.name.split(" ")[0]!.toLowerCase()}-${round}`);
  const running = await peer.start(folder);
  try {
    const signer = createSigner({ ...keys, region, host: running.endpoint.host });
    const rows = await runBench({
      endpoint: running.endpoint,
      signer,
      bucket: "bench",
      works,
      objects: Number(values.objects),
      connections: 64,
      largeConnections: 4,
      durationMsMax: Number(values.seconds) * 1_000,
      onRow: ({ work, operationsPerSecond, p99Ms, errors, firstError }) =>
        process.stderr.write(
          `${peer.name} ${work}: ${operationsPerSecond.toFixed(1)}/s p99 ${p99Ms.toFixed(1)} ms` +
            `${errors > 0 ? `, ${errors} errors: ${firstError}` : ""}\n`,
        ),
    });
    return new Map(rows.map((row) => [row.work, row]));
  } finally {
    await stop(running.child);
    rmSync(folder, { recursive: true, force: true });
  }
}

const peers: Peer[] = [holdfast];
if (values.minio !== undefined) peers.push(minio(values.minio));
if (values.garage !== undefined) peers.push(garage(values.garage));
if (values.weed !== undefined) peers.push(weed(values.weed));

try {
  const rounds: Map<string, Map<BenchWork, BenchRow>>[] = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    const results = new Map<string, Map<BenchWork, BenchRow>>();
    for (const peer of peers) results.set(peer.name, await measure(peer, round));
    rounds.push(results);
  }
  const rate = (round: (typeof rounds)[number], name: string, work: BenchWork): number =>
    round.get(name)?.get(work)?.operationsPerSecond ?? Number.NaN;
  const heads = [
    "work",
    ...peers.flatMap(({ name }) => (name === holdfast.name ? [name] : [name, "Holdfast's multiple"])),
  ];
  process.stdout.write(`| ${heads.join(" | ")} |\n|${heads.map(() => "---|").join("")}\n`);
  for (const work of works) {
    const cells = peers.map(({ name }) => {
      const absolute = median(rounds.map((round) => rate(round, name, work)));
      const multiple = median(rounds.map((round) => rate(round, holdfast.name, work) / rate(round, name, work)));
      const text = absolute.toFixed(absolute < 100 ? 1 : 0);
      return name === holdfast.name ? text : `${text} | ${multiple.toFixed(2)}`;
    });
    process.stdout.write(`| ${work} | ${cells.join(" | ")} |\n`);
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
