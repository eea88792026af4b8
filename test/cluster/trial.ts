/** A cluster under load, from its start to the verdict. What is done to it in between is the test's. */
import assert from "node:assert/strict";
import { silentLog } from "../../src/core/log.ts";
import { MixedLoad } from "../load/mixed_load.ts";
import { openEngine } from "../../src/server/engine.ts";
import { Cluster, type ClusterOptions } from "./cluster.ts";
import type { ClusterNode } from "./cluster_node.ts";
import { examine, unfinishedWork } from "./verdict.ts";

/** Five machines that can do without any one of them, and give one up after three seconds. */
export const fiveNodes = { nodes: 5, drives: 2, redundancy: "ec:2+1", driveAwaySeconds: 3 };

export type TrialOptions = ClusterOptions & {
  readonly seed: number;
  readonly lanes: number;
  log(line: string): void;
};

/** A cluster on two cores has other things to do than to be loaded. */
const lanePauseMs = 50;

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export class Trial {
  readonly cluster: Cluster;
  readonly load: MixedLoad;
  readonly wrong: string[] = [];
  readonly #options: TrialOptions;
  readonly #sinceMs = performance.now();
  #lanes: Promise<void>[] = [];
  #stop = new AbortController();

  static async start(options: TrialOptions): Promise<Trial> {
    const cluster = await Cluster.start(options);
    const trial = new Trial(cluster, options);
    try {
      await trial.load.prepare();
    } catch (error) {
      await cluster.dispose();
      throw error;
    }
    trial.say(`${options.nodes} nodes on ${options.engine.kind}, seed ${options.seed}`);
    return trial;
  }

  private constructor(cluster: Cluster, options: TrialOptions) {
    this.cluster = cluster;
    this.#options = options;
    this.load = new MixedLoad({ seed: options.seed, gateways: cluster.gateways, pauseMs: lanePauseMs });
    cluster.onLook = () => this.#stopAtWrong();
  }

  /** At once: what the nodes have logged last is then about it. */
  #stopAtWrong(): void {
    const { histories } = this.load;
    if (!histories.isWrong) return;
    this.wrong.push(...histories.takeWrong());
    this.say("something is wrong");
    this.#assertRight();
  }

  say(what: string): void {
    const { acknowledged, unanswered, reads, readsRetried } = this.load.counts;
    const counts = `${acknowledged} acknowledged, ${unanswered} unanswered, ${reads} reads, ${readsRetried} of them retried`;
    this.#options.log(`${((performance.now() - this.#sinceMs) / 1_000).toFixed(1)} s: ${what} (${counts})`);
  }

  startLoad(): void {
    this.#stop = new AbortController();
    this.#lanes = Array.from({ length: this.#options.lanes }, () => this.load.runLane(this.#stop.signal));
  }

  async stopLoad(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#lanes.splice(0));
  }

  /** Until the load has had so many more changes acknowledged: progress, not time, is what is waited for. */
  async progress(changes: number): Promise<void> {
    const before = this.load.counts.acknowledged;
    await this.cluster.until(`${changes} more changes`, async () => this.load.counts.acknowledged >= before + changes);
  }

  /**
   * Until every chunk of every object has all its shards on drives that are up. What lacked some is looked at first the next
   * time: to ask about all objects again and again would be more work than to make their shards.
   */
  async untilWhole(): Promise<void> {
    const { cluster, load } = this;
    const suspects = new Set<string>();
    let crowded: readonly string[] = [];
    const lacking = async (): Promise<string | undefined> => {
      const keys = new Set([...suspects, ...load.histories.keys()]);
      const found = await cluster.redundancy(load.bucket, [...keys]);
      crowded = found.crowded;
      if (found.lacking === undefined) return undefined;
      suspects.delete(found.lacking.key);
      suspects.add(found.lacking.key);
      return found.lacking.what;
    };
    await cluster.until("full redundancy", lacking);
    this.say(`whole; ${crowded.length} chunks bear the loss of no node ${crowded[0] ?? ""}`);
  }

  /** Every other gateway must be able to do without this node while `work` goes on. */
  async without(node: ClusterNode, work: () => Promise<void>): Promise<void> {
    await node.kill();
    this.say(`${node.name} killed`);
    await work();
    await node.start();
    await this.cluster.untilAllSeen();
    this.say(`${node.name} is back`);
  }

  /** As an operator does it: the next one only when this one says that it is ready. */
  async restart(node: ClusterNode): Promise<void> {
    await node.stop();
    await node.start();
    await node.untilReady();
  }

  /** Counts from 0, and from there again. */
  node(number: number): ClusterNode {
    const { nodes } = this.cluster;
    return nodes[number % nodes.length]!;
  }

  /** While `work` goes on reads may fail and changes be refused; afterwards both go on without any node being restarted. */
  async withoutMetadata(work: () => Promise<void>): Promise<void> {
    const { operations } = this.load;
    operations.readsMayFail = true;
    await work();
    await this.progress(5);
    operations.readsMayFail = false;
  }

  /** Until so many more changes were refused for lack of the metadata store, each with an answer that says so. */
  async refusals(count: number): Promise<void> {
    const { counts } = this.load;
    const before = counts.unavailable;
    await this.cluster.until(`${count} refusals`, async () => counts.unavailable >= before + count);
  }

  /** Until every node sees every other one, and every chunk has all its shards. */
  async settled(): Promise<void> {
    await this.cluster.untilAllSeen();
    await this.untilWhole();
  }

  /** Takes everything off a node's drives, then the drives out of the store, and the node away. */
  async retire(node: ClusterNode): Promise<void> {
    const { cluster } = this;
    const ids = (await cluster.driveViews()).filter(({ path }) => node.drives.includes(path)).map(({ id }) => id);
    await this.drain(...ids);
    await node.stop();
    for (const id of ids) await cluster.setMembership(id, "removed");
    await cluster.forget(node);
    this.say(`${node.name} was drained and is gone`);
  }

  /** A drive that will not come back: takes it out of the store. */
  async writeOff(drive: string): Promise<void> {
    await this.drain(drive);
    await this.cluster.setMembership(drive, "removed");
  }

  /** Until nothing lies on these drives any more. */
  async drain(...drives: readonly string[]): Promise<void> {
    const { cluster } = this;
    for (const drive of drives) await cluster.setMembership(drive, "draining");
    const isDrained = async (): Promise<boolean> => {
      const views = await cluster.driveViews();
      return drives.every((drive) => views.find(({ id }) => id === drive)?.membership === "drained");
    };
    await cluster.until("drained drives", isDrained);
  }

  /** Ends the load, and reads everything once more. */
  async verify(): Promise<void> {
    await this.stopLoad();
    this.wrong.push(...(await this.load.verify()));
    this.say(`verified, ${this.wrong.length} wrong`);
  }

  /**
   * Waits until nothing is left to do, stops everything, and looks at all that is on the drives. `undisturbed`: nothing was done
   * to the cluster, so that nothing is left for when its sessions end.
   */
  async verdict(undisturbed = false): Promise<void> {
    const { cluster } = this;
    await this.verify();
    if (this.wrong.length > 0) return this.#assertRight();
    await this.untilWhole();
    this.say("whole");
    await this.#quiesce();
    await cluster.stopNodes();
    this.say("stopped");
    const { findings, objects, shards } = await examine(cluster.engine.url(), cluster.drives, undisturbed);
    this.wrong.push(...findings);
    this.say(`examined ${objects} objects, ${shards} shards: ${findings.length} findings`);
    this.#assertRight();
  }

  #assertRight(): void {
    const { seed } = this.#options;
    assert.deepEqual(this.wrong, [], `seed ${seed}\n${this.wrong.slice(0, 5).join("\n")}\n${this.cluster.errors()}`);
    assert.equal(this.load.histories.inconclusive, 0, "every history could be searched");
  }

  async #quiesce(): Promise<void> {
    const { cluster } = this;
    const running = cluster.nodes.filter(({ isRunning }) => isRunning).length;
    const kv = await openEngine(cluster.engine.url(), { log: silentLog });
    try {
      await cluster.until("quiet", () => unfinishedWork(kv, running));
    } finally {
      await kv.close();
    }
    this.say("nothing is left to do");
  }

  async dispose(): Promise<void> {
    this.#stop.abort();
    await this.cluster.dispose();
    await Promise.allSettled(this.#lanes);
  }
}
