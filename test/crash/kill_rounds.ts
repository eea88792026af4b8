/** Rounds of: load, kill at a random moment, start again, verify every acknowledged object by its hash. */
import { execFile } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { S3Client } from "../../src/client/s3_client.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Random } from "../../src/core/random.ts";
import { MixedLoad } from "./mixed_load.ts";
import { ServerProcess, testKeys } from "./server_process.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const run = promisify(execFile);

export type KillReport = {
  readonly wrong: string[];
  readonly acknowledged: number;
  readonly unanswered: number;
  readonly doctor: string;
};

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function openClient(server: ServerProcess): S3Client {
  return new S3Client({ endpoint: server.url, ...testKeys, region: "us-east-1" });
}

/** `holdfast doctor` on a stopped store; its findings as JSON lines. */
export async function doctor(directory: string): Promise<string> {
  const { stdout } = await run(process.execPath, [
    path.join(root, "bin/holdfast.js"),
    "doctor",
    directory,
    "--json",
    "--deep",
  ]).catch((error: { stdout?: string; stderr?: string }) => ({ stdout: `${error.stdout ?? ""}${error.stderr ?? ""}` }));
  return stdout;
}

export async function killRounds(directory: string, options: KillOptions): Promise<KillReport> {
  const rounds = new KillRounds(directory, options);
  try {
    await rounds.run();
    await rounds.settle();
  } finally {
    await rounds.stop();
  }
  return rounds.report(await doctor(directory));
}

export type KillOptions = {
  readonly rounds: number;
  readonly seed: number;
  readonly lanes: number;
  log(line: string): void;
};

class KillRounds {
  readonly #directory: string;
  readonly #options: KillOptions;
  readonly #random: Random;
  readonly #load: MixedLoad;
  readonly #wrong: string[] = [];
  #server: ServerProcess | undefined;

  constructor(directory: string, options: KillOptions) {
    this.#directory = directory;
    this.#options = options;
    this.#random = seededRandom(options.seed);
    this.#load = new MixedLoad(options.seed);
  }

  async run(): Promise<void> {
    this.#server = await ServerProcess.start(this.#directory, { workers: 2 });
    const client = openClient(this.#server);
    await this.#load.prepare(client).finally(() => client.close());
    for (let round = 0; round < this.#options.rounds && this.#wrong.length === 0; round++) await this.#round(round);
  }

  async #round(round: number): Promise<void> {
    const client = openClient(this.#server!);
    const stop = new AbortController();
    const lanes = Array.from({ length: this.#options.lanes }, (_, lane) =>
      this.#load.runLane(client, lane, stop.signal),
    );
    await sleep(300 + this.#random.below(1_500));
    const workerOnly = this.#random.below(2) === 0;
    if (workerOnly) {
      this.#server!.killWorker(this.#random.below(2));
      await sleep(500);
      await this.#server!.allWorkersServe();
    } else await this.#server!.killAll();
    stop.abort();
    await Promise.all(lanes);
    client.close();
    if (!workerOnly) this.#server = await ServerProcess.start(this.#directory, { workers: 2 });
    const reader = openClient(this.#server!);
    const found = await this.#load.verify(reader).finally(() => reader.close());
    this.#wrong.push(...found.map((each) => `round ${round}: ${each}`));
    const what = workerOnly ? "one worker" : "all";
    this.#options.log(`round ${round}: ${what} killed, ${this.#load.acknowledged} acknowledged, ${found.length} wrong`);
    if (found.length > 0) this.#options.log(this.#server!.errors());
  }

  /** A clean run, so that the background jobs take up what the kills left. */
  async settle(): Promise<void> {
    await this.stop();
    this.#server = await ServerProcess.start(this.#directory, { workers: 1 });
    await sleep(8_000);
    await this.stop();
  }

  async stop(): Promise<void> {
    await this.#server?.stop();
    this.#server = undefined;
  }

  report(doctorSays: string): KillReport {
    const { acknowledged, unanswered } = this.#load;
    return { wrong: this.#wrong, acknowledged, unanswered, doctor: doctorSays };
  }
}
