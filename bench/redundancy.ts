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
import { makeBucket } from "./buckets.ts";
import { newKeys, startHoldfast, stop } from "./launch.ts";
import { median, ratios } from "./statistics.ts";

export type RedundancyOptions = {
  readonly rounds: number;
  /** Of each measurement. */
  readonly seconds: number;
  readonly workers: number;
  readonly connections: number;
  /** Where folders are made, and removed again. */
  readonly directory: string;
};

/** MiB/s, round by round. */
export type Turns = { readonly measured: number[]; readonly against: number[] };

const keys = newKeys();
const body = randomBytes(64 * 1_024 * 1_024);
const objects = 12;

type Buckets = "copied" | "coded";

class Bench {
  readonly #options: RedundancyOptions;
  readonly #drives: readonly string[];

  constructor(options: RedundancyOptions, folder: string) {
    this.#options = options;
    this.#drives = Array.from({ length: 6 }, (_, index) => path.join(folder, `d${index + 1}`));
  }

  async put(): Promise<Turns> {
    const turns: Turns = { measured: [], against: [] };
    await this.#withServer(async (url) => {
      await this.#prepare(url);
      for (let round = 0; round < this.#options.rounds; round++) {
        turns.against.push(await this.#load(url, "PUT", "copied"));
        turns.measured.push(await this.#load(url, "PUT", "coded"));
      }
    });
    return turns;
  }

  /** Of what `put` left. The two drives at the end have bytes only: the metadata lies on the first five. */
  async get(): Promise<Turns> {
    const turns: Turns = { measured: [], against: [] };
    const lost = this.#drives.slice(4);
    for (let round = 0; round < this.#options.rounds; round++) {
      await this.#withServer(async (url) => void turns.against.push(await this.#load(url, "GET", "coded")));
      for (const drive of lost) renameSync(drive, `${drive}.away`);
      await this.#withServer(async (url) => void turns.measured.push(await this.#load(url, "GET", "coded")));
      for (const drive of lost) {
        rmSync(drive, { recursive: true, force: true });
        renameSync(`${drive}.away`, drive);
      }
    }
    return turns;
  }

  async #withServer<T>(work: (url: URL) => Promise<T>): Promise<T> {
    const server = await startHoldfast({ drives: this.#drives, workers: this.#options.workers, keys });
    try {
      return await work(new URL(server.line));
    } finally {
      await stop(server.child);
    }
  }

  async #prepare(url: URL): Promise<void> {
    for (const [bucket, redundancy] of [
      ["copied", "replica:1"],
      ["coded", "ec:4+2"],
    ] as const) {
      await makeBucket({ url, keys, bucket, redundancy });
      await this.#load(url, "PUT", bucket, objects);
    }
  }

  async #load(url: URL, method: string, bucket: Buckets, requests?: number): Promise<number> {
    const { connections, seconds } = this.#options;
    const signer = createSigner({ ...keys, region: "us-east-1", host: url.host });
    const result = await runLoad({
      url,
      connections,
      requestsMax: requests ?? Number.MAX_SAFE_INTEGER,
      durationMsMax: requests === undefined ? seconds * 1_000 : 600_000,
      next: (index) => {
        const target = `/${bucket}/${index % objects}`;
        const headers = signer.sign({ method, path: target, query: "" });
        return { method, target, headers, ...(method === "PUT" && { body }) };
      },
    });
    if (result.errors > 0) throw new Error(`${method} ${bucket}: ${result.errors} errors: ${result.firstError}`);
    return (result.requests * body.length) / 2 ** 20 / result.seconds;
  }
}

export async function measureRedundancy(
  options: RedundancyOptions,
): Promise<{ readonly put: Turns; readonly get: Turns }> {
  const folder = mkdtempSync(path.join(options.directory, "holdfast-bench-"));
  try {
    const bench = new Bench(options, folder);
    return { put: await bench.put(), get: await bench.get() };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function say(title: string, { measured, against }: Turns): void {
  const { median: ratio, least, most } = ratios(measured, against);
  process.stdout.write(
    `${title}: ${Math.round(median(measured))} MiB/s against ${Math.round(median(against))}: ` +
      `${ratio.toFixed(2)} (${least.toFixed(2)}–${most.toFixed(2)})\n`,
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "5" },
      seconds: { type: "string", default: "4" },
      workers: { type: "string", default: String(availableParallelism()) },
      connections: { type: "string", default: "4" },
      directory: { type: "string", default: tmpdir() },
    },
  });
  const { put, get } = await measureRedundancy({
    rounds: Number(values.rounds),
    seconds: Number(values.seconds),
    workers: Number(values.workers),
    connections: Number(values.connections),
    directory: values.directory,
  });
  say("PUT 64 MiB, ec:4+2 against replica:1", put);
  say("GET 64 MiB, ec:4+2, two of six drives gone against healthy", get);
}

if (import.meta.main) await main();
