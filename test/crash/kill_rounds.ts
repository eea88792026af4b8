/**
 * Rounds of: load, kill at a random moment, start again, verify every acknowledged object by its hash. With six drives (erasure
 * coding with two parity shards) one of them loses everything before some of the starts, never more than two before what
 * lay on them was made anew.
 */
import { execFile } from "node:child_process";
import { rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { askAdmin } from "../../src/client/admin_client.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Random } from "../../src/core/random.ts";
import { testMsMax } from "../bounds.ts";
import { Gateways, type Gateway } from "../load/gateways.ts";
import { MixedLoad } from "../load/mixed_load.ts";
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

/** `holdfast doctor` on a stopped store; its findings as JSON lines. */
export async function doctor(...drives: readonly string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [
    path.join(root, "bin/holdfast.js"),
    "doctor",
    ...drives,
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
  return rounds.report(await doctor(...rounds.drives));
}

export type KillOptions = {
  readonly rounds: number;
  readonly seed: number;
  readonly lanes: number;
  /** 1 if left out. */
  readonly drives?: 1 | 6;
  log(line: string): void;
};

type DriveStatus = { readonly id: string; readonly state: string; readonly membership: string };

/** Drives that chunks on six of them can lose. */
const losable = 2;
const mendMsMax = testMsMax / 2;
/** Changes that are acknowledged in a round before something is killed. */
const changesMin = 15;

class KillRounds {
  readonly drives: readonly [string, ...string[]];
  readonly #options: KillOptions;
  readonly #random: Random;
  readonly #load: MixedLoad;
  readonly #wrong: string[] = [];
  readonly #gateways = new Gateways(testKeys);
  #server: ServerProcess | undefined;
  #gateway: Gateway | undefined;
  /** Drives lost whose shards are not known to be made anew. */
  #lost = 0;

  constructor(directory: string, options: KillOptions) {
    const names = Array.from({ length: options.drives ?? 1 }, (_, index) => path.join(directory, `d${index + 1}`));
    this.drives = [names[0]!, ...names.slice(1)];
    this.#options = options;
    this.#random = seededRandom(options.seed);
    this.#load = new MixedLoad({ seed: options.seed, gateways: this.#gateways });
  }

  async run(): Promise<void> {
    await this.#start(2);
    await this.#load.prepare();
    for (let round = 0; round < this.#options.rounds && this.#wrong.length === 0; round++) await this.#round(round);
  }

  async #start(workers: number): Promise<void> {
    const [first, ...others] = this.drives;
    this.#server = await ServerProcess.start(first, { workers, args: others });
    if (this.#gateway !== undefined) this.#gateways.remove(this.#gateway);
    this.#gateway = this.#gateways.add(this.#server.url.href);
  }

  /** Between two runs. Resolves to the name of the drive that is an empty folder now, if one is. */
  async #loseDrive(): Promise<string | undefined> {
    if (this.drives.length === 1 || this.#lost === losable || this.#random.below(3) === 0) return undefined;
    const drive = this.drives[1 + this.#random.below(this.drives.length - 1)]!;
    rmSync(drive, { recursive: true });
    this.#lost += 1;
    return path.basename(drive);
  }

  /** Says that drives which are missing will not come back, and waits until what lay on them was made anew. */
  async #mend(): Promise<void> {
    const target = { endpoint: this.#server!.url, ...testKeys };
    for (const giveUpMs = performance.now() + mendMsMax; performance.now() < giveUpMs;) {
      const status = await askAdmin(target, { method: "GET", path: "/_/admin/status" });
      const missing = (status["drives"] as DriveStatus[]).filter(({ state }) => state === "missing");
      for (const { id } of missing.filter(({ membership }) => membership === "active"))
        await askAdmin(target, { method: "PUT", path: `/_/admin/drives/${id}`, body: { membership: "draining" } });
      if (missing.every(({ membership }) => membership === "drained")) {
        this.#lost = 0;
        return;
      }
      await sleep(100);
    }
    this.#wrong.push("what lay on lost drives was not made anew");
  }

  async #round(round: number): Promise<void> {
    if (this.#lost === losable) await this.#mend();
    const stop = new AbortController();
    this.#load.operations.readsMayFail = true;
    const lanes = Array.from({ length: this.#options.lanes }, () => this.#load.runLane(stop.signal));
    const { counts } = this.#load;
    for (const least = counts.acknowledged + changesMin; counts.acknowledged < least;) await sleep(20);
    await sleep(this.#random.below(1_500));
    const workerOnly = this.#random.below(2) === 0;
    if (workerOnly) {
      this.#server!.killWorker(this.#random.below(2));
      await this.#server!.allWorkersServe();
    } else await this.#server!.killAll();
    stop.abort();
    await Promise.all(lanes);
    const lost = workerOnly ? undefined : await this.#loseDrive();
    if (!workerOnly) await this.#start(2);
    this.#load.operations.readsMayFail = false;
    const found = await this.#load.verify();
    this.#wrong.push(...found.map((each) => `round ${round}: ${each}`));
    const what = `${workerOnly ? "one worker" : "all"} killed${lost === undefined ? "" : `, ${lost} lost`}`;
    this.#options.log(`round ${round}: ${what}, ${this.#load.counts.acknowledged} acknowledged, ${found.length} wrong`);
    if (found.length > 0) this.#options.log(this.#server!.errors());
  }

  /** A clean run, so that the background jobs take up what the kills left. */
  async settle(): Promise<void> {
    await this.stop();
    await this.#start(1);
    await this.#mend();
    await sleep(8_000);
    await this.stop();
  }

  async stop(): Promise<void> {
    this.#gateways.close();
    await this.#server?.stop();
    this.#server = undefined;
  }

  report(doctorSays: string): KillReport {
    const { acknowledged, unanswered } = this.#load.counts;
    return { wrong: this.#wrong, acknowledged, unanswered, doctor: doctorSays };
  }
}
