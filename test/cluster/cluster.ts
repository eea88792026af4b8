/** A cluster of real servers on one machine, for tests: nodes, their metadata engine, and questions to all of it. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import type { Socket } from "node:net";
import path from "node:path";
import { askAdmin } from "../../src/client/admin_client.ts";
import { testMsMax } from "../bounds.ts";
import { testKeys } from "../crash/server_process.ts";
import { Gateways } from "../load/gateways.ts";
import { ClusterNode } from "./cluster_node.ts";
import type { Engine } from "./engine.ts";
import { loopback, type Place } from "./place.ts";
import { ownerOf } from "./socket_owner.ts";

export type ClusterOptions = {
  readonly nodes: number;
  readonly drives: number;
  readonly engine: Engine;
  /** By default as the cluster chooses. */
  readonly redundancy?: string;
  readonly driveAwaySeconds?: number;
  readonly attemptMsMax?: number;
  /** Where the next node runs; on the loopback if left out. */
  newPlace?(): Promise<Place>;
};

export type DriveView = {
  readonly id: string;
  readonly state: string;
  readonly membership: string;
  readonly path: string;
  readonly node?: string;
};

export type Redundancy = {
  readonly lacking?: { readonly key: string; readonly what: string };
  /** Chunks of which the loss of one node loses too many shards: they lie on fewer nodes than there could be. */
  readonly crowded: readonly string[];
};

type Chunk = {
  readonly id: string;
  readonly missingShards: number;
  readonly survives: number;
  readonly survivesNodes: number | null;
  readonly redundancy: string;
  readonly shards: readonly { readonly drive: string; readonly state: string }[];
};

/** Of one wait: a busy machine takes long, and the test's own bound, which says nothing of what was waited for, comes later. */
const waitMsMax = testMsMax / 2;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const endSignals = ["SIGTERM", "SIGINT"] as const;

export class Cluster {
  readonly gateways: Gateways;
  readonly nodes: ClusterNode[] = [];
  readonly engine: Engine;
  /** Called at every look of a wait; what it throws ends it. */
  onLook: () => void = () => undefined;
  readonly #folder: string;
  readonly #options: ClusterOptions;
  #names = 0;
  readonly #onSignal = (): void => void this.dispose().finally(() => process.exit(1));

  /** The engine is disposed of with the cluster, also when it does not start, or this process is told to end. */
  static async start(options: ClusterOptions): Promise<Cluster> {
    const folder = await mkdtemp(path.join(tmpdir(), "holdfast-cluster-"));
    const cluster = new Cluster(folder, options);
    try {
      for (let count = 0; count < options.nodes; count++) await cluster.addNode();
      return cluster;
    } catch (error) {
      await cluster.dispose();
      throw error;
    }
  }

  private constructor(folder: string, options: ClusterOptions) {
    this.#folder = folder;
    this.#options = options;
    this.engine = options.engine;
    this.gateways = new Gateways(testKeys, options.attemptMsMax);
    for (const signal of endSignals) process.once(signal, this.#onSignal);
    mkdirSync(folder, { recursive: true });
    writeFileSync(this.#secretFile, "a secret of the cluster under test, long enough\n", { mode: 0o600 });
  }

  get #secretFile(): string {
    return path.join(this.#folder, "secret");
  }

  async addNode(): Promise<ClusterNode> {
    const { redundancy, driveAwaySeconds = 600, engine, drives } = this.#options;
    const name = `n${++this.#names}`;
    const flags = ["--cluster-secret-file", this.#secretFile, "--drive-away", String(driveAwaySeconds)];
    if (redundancy !== undefined) flags.push("--redundancy", redundancy);
    const folder = path.join(this.#folder, name);
    const place = (await this.#options.newPlace?.()) ?? loopback;
    const parts = { name, folder, drives, engine, gateways: this.gateways, flags, place };
    const node = await ClusterNode.create({ ...parts, whoIs: (socket) => this.#whoIs(socket) });
    this.nodes.push(node);
    await node.start();
    return node;
  }

  #whoIs(socket: Socket): string | undefined {
    const pids = this.nodes.flatMap((node) => node.pids().map((pid) => ({ pid, name: node.name })));
    const owner = ownerOf(
      socket,
      pids.map(({ pid }) => pid),
    );
    return pids.find(({ pid }) => pid === owner)?.name;
  }

  /** It was stopped, and does not come back. */
  async forget(node: ClusterNode): Promise<void> {
    this.nodes.splice(this.nodes.indexOf(node), 1);
    this.gateways.remove(node.gateway);
    await node.dispose();
  }

  /** Every folder that is a drive of a node. */
  get drives(): string[] {
    return this.nodes.flatMap((node) => node.drives);
  }

  /** Asks a node that runs. */
  async ask(request: { method: string; path: string; body?: unknown }): Promise<Record<string, unknown>> {
    const node = this.nodes.find(({ gateway }) => !gateway.isDown);
    if (node === undefined) throw new Error("no node runs");
    return askAdmin({ endpoint: new URL(node.gateway.url), ...testKeys }, request);
  }

  async driveViews(): Promise<DriveView[]> {
    return (await this.ask({ method: "GET", path: "/_/admin/status" }))["drives"] as DriveView[];
  }

  /** The drive that is, or was last, in this folder of a node, as the store knows it now. */
  async driveIn(folder: string): Promise<string> {
    const found = (await this.driveViews()).find(({ path }) => path === folder);
    if (found === undefined) throw new Error(`the store knows no drive in ${folder}`);
    return found.id;
  }

  /** Until every node that runs can use every drive of the others that run. */
  async untilAllSeen(): Promise<void> {
    const running = this.nodes.filter(({ gateway }) => !gateway.isDown);
    const folders = new Set(running.flatMap(({ drives }) => drives));
    const seesAll = async ({ gateway }: ClusterNode): Promise<boolean> => {
      const target = { endpoint: new URL(gateway.url), ...testKeys };
      const status = await askAdmin(target, { method: "GET", path: "/_/admin/status" });
      const up = (status["drives"] as DriveView[]).filter(({ state }) => state === "up");
      return up.filter(({ path: folder }) => folders.has(folder)).length >= folders.size;
    };
    await this.until("nodes that see each other", async () => (await Promise.all(running.map(seesAll))).every(Boolean));
  }

  async setMembership(drive: string, membership: "draining" | "active" | "removed"): Promise<void> {
    await this.ask({ method: "PUT", path: `/_/admin/drives/${drive}`, body: { membership } });
  }

  async #chunks(bucket: string, key: string): Promise<Chunk[]> {
    const query = new URLSearchParams({ bucket, key, after: "-1" });
    const answer = await this.ask({ method: "GET", path: `/_/admin/explain?${query.toString()}` });
    return answer["chunks"] as Chunk[];
  }

  /**
   * Looks at the chunks of these objects, one object after the other, up to the first that lacks a shard or has one on a drive
   * that is not up. Keys that are not there have none.
   */
  async redundancy(bucket: string, keys: readonly string[]): Promise<Redundancy> {
    const crowded: string[] = [];
    for (const key of keys) {
      for (const chunk of await this.#chunksOrNone(bucket, key)) {
        const { id, missingShards, survivesNodes, redundancy, shards } = chunk;
        const where = `${key}: chunk ${id} of ${redundancy}: ${JSON.stringify(shards)}`;
        if (missingShards > 0 || shards.some(({ state }) => state !== "up"))
          return { lacking: { key, what: `lacks ${missingShards} shards, ${where}` }, crowded };
        if (survivesNodes !== null && survivesNodes < 1) crowded.push(where);
      }
    }
    return { crowded };
  }

  #chunksOrNone(bucket: string, key: string): Promise<Chunk[]> {
    return this.#chunks(bucket, key).catch((error: unknown): Chunk[] => {
      if (/does not exist|no such key/i.test(String(error))) return [];
      throw error;
    });
  }

  /** Resolves when it is true, or nothing is left of what is waited for. Errors: with what was left, and what the nodes say. */
  async until(what: string, look: () => Promise<boolean | string | undefined>): Promise<void> {
    const giveUpMs = performance.now() + waitMsMax;
    let left = "";
    while (performance.now() < giveUpMs) {
      this.onLook();
      const found = await look().catch((error: unknown) => String(error));
      if (found === true || found === undefined) return;
      left = String(found);
      await pause(500);
    }
    throw new Error(`waited in vain for ${what}: ${left}\n${this.errors()}`);
  }

  /** The last that every node has logged, in all its runs. */
  errors(): string {
    return this.nodes
      .map((node) => `--- ${node.name} ${node.gateway.url}, to others ${node.url}\n${shortened(node.errors())}`)
      .join("\n");
  }

  async stopNodes(): Promise<void> {
    await Promise.all(this.nodes.filter(({ isRunning }) => isRunning).map((node) => node.stop()));
  }

  /** Ends every process of it, the engine's among them. */
  async dispose(): Promise<void> {
    for (const signal of endSignals) process.off(signal, this.#onSignal);
    this.gateways.close();
    await Promise.all(this.nodes.map((node) => node.dispose()));
    rmSync(this.#folder, { recursive: true, force: true });
    await this.engine.dispose();
  }
}

const shownLines = 60;

/** Lines of the log without the stacks of their errors. */
function shortened(log: string): string {
  const lines = log.split("\n").filter((line) => line.startsWith("{"));
  return lines.slice(-shownLines).map(shortLine).join("\n");
}

type LogLine = {
  readonly time: number;
  readonly msg: string;
  readonly err?: LoggedError;
  readonly error?: LoggedError;
};
type LoggedError = { readonly message?: string };

function shortLine(line: string): string {
  try {
    const { time, msg, err, error } = JSON.parse(line) as LogLine;
    return `${new Date(time).toISOString()} ${msg} ${(err ?? error)?.message ?? ""}`;
  } catch {
    return line;
  }
}
