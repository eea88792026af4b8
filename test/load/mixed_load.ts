/**
 * Mixed load with a memory: lanes put, overwrite, copy, upload in parts, delete, read and list the same few keys over all
 * gateways, with conditions and without; what was asked and answered is recorded, and must be what one copy of the store
 * could have answered. Beside the busy keys there are ones that are written once and then only read, to the end.
 */
import { CreateBucketCommand } from "@aws-sdk/client-s3";
import { seededRandom } from "../../src/core/random.ts";
import type { Random } from "../../src/core/random.ts";
import type { State } from "../linear/checker.ts";
import { bodyBytesMin, type BodySpec } from "./bodies.ts";
import type { Gateways } from "./gateways.ts";
import { Histories } from "./histories.ts";
import { Operations, type Counts } from "./operations.ts";

export type LoadOptions = {
  readonly seed: number;
  readonly gateways: Gateways;
  /** Keys that all lanes change; 16 if left out. */
  readonly busyKeys?: number;
  /** Keys that are written once; 100 if left out. */
  readonly quietKeysMax?: number;
  /** Between two steps of a lane; none if left out. */
  readonly pauseMs?: number;
};

/** In the metadata, in copies, in one coded chunk, in two; few of the last, which cost the most. */
const sizes = [
  [bodyBytesMin, 100, 100, 4_096, 4_096, 16_000, 20_000, 20_000, 60_000, 60_000],
  [100_000, 100_000, 300_000, 300_000, 1_000_000, 5_000_000],
].flat();
const bucket = "load";
const verifyLanes = 4;
const verifyAttemptsMax = 20;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export class MixedLoad {
  readonly histories = new Histories();
  readonly operations: Operations;
  readonly #options: Required<LoadOptions>;
  readonly #random: Random;
  readonly #busy: readonly string[];
  /** Those that were acknowledged. */
  readonly #quiet: string[] = [];
  #quietKeys = 0;
  #bodies = 0;
  /** What a key was last seen to be, by any lane. */
  readonly #seen = new Map<string, State>();

  constructor(options: LoadOptions) {
    this.#options = { busyKeys: 16, quietKeysMax: 100, pauseMs: 0, ...options };
    this.#random = seededRandom(options.seed);
    this.#busy = Array.from({ length: this.#options.busyKeys }, (_, index) => `busy/key ${index}`);
    const { gateways } = options;
    this.operations = new Operations({ bucket, gateways, histories: this.histories, random: this.#random });
  }

  get counts(): Counts {
    return this.operations.counts;
  }

  get bucket(): string {
    return bucket;
  }

  /** Keys that were acknowledged and are never written again. */
  get quietKeys(): readonly string[] {
    return this.#quiet;
  }

  async prepare(): Promise<void> {
    const { gateways } = this.#options;
    const made = await gateways.attempt(gateways.pick(this.#random), (s3, abortSignal) =>
      s3.send(new CreateBucketCommand({ Bucket: bucket }), { abortSignal }),
    );
    if (made.kind !== "done") throw new Error(`the bucket could not be made: ${JSON.stringify(made)}`);
  }

  /** Works until `stop` is aborted; failures of a store that is being broken are what this is about. */
  async runLane(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      const { unanswered, notSent, readsExcused } = this.counts;
      await this.#step();
      const failed = this.counts.unanswered + this.counts.notSent + this.counts.readsExcused;
      // What is down refuses at once; don't spin.
      await pause(failed > unanswered + notSent + readsExcused ? 20 : this.#options.pauseMs);
    }
  }

  async #step(): Promise<void> {
    const key = this.#one(this.#busy);
    const dice = this.#random.below(100);
    if (dice < 35) await this.#read(key);
    else if (dice < 60) this.#saw(key, await this.operations.put(key, this.#spec(), this.#conditions(key)));
    else if (dice < 70) await this.#delete(key);
    else if (dice < 78) await this.#copy(key);
    else if (dice < 80) this.#saw(key, await this.operations.multipart(key, this.#spec(), this.#conditions(key)));
    else if (dice < 83) await this.operations.list("busy/", this.#busy);
    else await this.#quietStep();
  }

  #one<T>(list: readonly T[]): T {
    return list[this.#random.below(list.length)]!;
  }

  #spec(): BodySpec {
    this.#bodies += 1;
    const sizeBytes = this.#one(sizes) + this.#random.below(50);
    return { seed: (this.#options.seed * 1_000_003 + this.#bodies) >>> 0, sizeBytes };
  }

  #conditions(key: string): { ifMatch?: string; ifNoneMatch?: "*" } {
    const dice = this.#random.below(10);
    const etag = this.#seen.get(key);
    if (dice < 3) return { ifNoneMatch: "*" };
    return dice < 6 && etag !== undefined ? { ifMatch: etag } : {};
  }

  #saw(key: string, etag: State): void {
    if (etag !== undefined) this.#seen.set(key, etag);
  }

  async #read(key: string): Promise<void> {
    const etag = this.#seen.get(key);
    const sizeBytes = etag === undefined ? undefined : this.histories.sizeOf(etag);
    const found = await this.operations.get(key, this.#random.below(3) === 0 ? sizeBytes : undefined);
    if (found.isAnswered) this.#seen.set(key, found.etag);
  }

  async #delete(key: string): Promise<void> {
    const etag = this.#seen.get(key);
    const isDone = await this.operations.delete(key, this.#random.below(2) === 0 ? etag : undefined);
    if (isDone) this.#seen.delete(key);
  }

  async #copy(key: string): Promise<void> {
    const source = this.#one([...this.#busy, ...this.#quiet].filter((each) => each !== key));
    const etag = this.#seen.get(source);
    if (etag !== undefined) this.#saw(key, await this.operations.copy(source, etag, key));
  }

  async #quietStep(): Promise<void> {
    const isFull = this.#quietKeys >= this.#options.quietKeysMax;
    if (this.#quiet.length > 0 && (isFull || this.#random.below(2) === 0)) return this.#read(this.#one(this.#quiet));
    if (isFull) return;
    const key = `quiet/key ${this.#quietKeys++}`;
    const etag = await this.operations.put(key, this.#spec(), {});
    if (etag === undefined) return;
    this.#saw(key, etag);
    this.#quiet.push(key);
  }

  /**
   * Reads and lists every key while no lane runs, and checks every history. Resolves to a sentence for each thing that is
   * wrong, those found earlier among them.
   */
  async verify(): Promise<string[]> {
    const left = this.histories.keys();
    const quiet = new Set<string>();
    const lanes = Array.from({ length: verifyLanes }, async () => {
      for (let key = left.pop(); key !== undefined; key = left.pop()) if (await this.#readSurely(key)) quiet.add(key);
    });
    await Promise.all(lanes);
    await this.operations.list("busy/", this.#busy);
    this.histories.check(quiet);
    return this.histories.takeWrong();
  }

  async #readSurely(key: string): Promise<boolean> {
    for (let attempt = 0; attempt < verifyAttemptsMax; attempt++) {
      const { etag, isAnswered } = await this.operations.get(key);
      if (isAnswered) {
        this.#seen.set(key, etag);
        return true;
      }
      if (!this.operations.readsMayFail) return false;
      await pause(500);
    }
    return false;
  }
}
