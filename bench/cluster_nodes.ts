/**
 * A cluster on this machine: a PostgreSQL of its own (fsync on, in a temporary folder) and nodes with two drives each, every
 * one a server of its own on loopback, as the command line starts it. All of them share this machine's disk and cores.
 */
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { startPostgres, type PostgresServer } from "../src/kv/postgres.fixture.ts";
import { newKeys, startHoldfast, stop, type Launched } from "./launch.ts";
import { childCalled, treeCpuMs } from "./process_tree.ts";

export type ClusterOptions = {
  /** Where its folders are made. */
  readonly folder: string;
  readonly nodes: number;
  /** Of each node. */
  readonly workers: number;
};

type Node = { readonly drives: readonly string[]; server: Launched };

export class BenchCluster {
  readonly keys = newKeys();
  readonly postgres: PostgresServer;
  readonly postgresPid: number;
  readonly #options: ClusterOptions;
  readonly #secretFile: string;
  readonly #nodes: Node[] = [];

  private constructor(options: ClusterOptions, postgres: PostgresServer) {
    this.#options = options;
    this.postgres = postgres;
    this.postgresPid = childCalled("postgres")!;
    this.#secretFile = path.join(options.folder, "secret");
    writeFileSync(this.#secretFile, randomBytes(32).toString("hex"));
  }

  static async start(options: ClusterOptions): Promise<BenchCluster> {
    const cluster = new BenchCluster(options, await startPostgres({ fsync: true }));
    try {
      for (let index = 0; index < options.nodes; index++) await cluster.#add(index);
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  get urls(): readonly URL[] {
    return this.#nodes.map(({ server }) => new URL(server.line));
  }

  /** Of each node. */
  get workers(): number {
    return this.#options.workers;
  }

  /** Of the nodes' supervisors. */
  get pids(): readonly number[] {
    return this.#nodes.map(({ server }) => server.child.pid!);
  }

  /** CPU time that all processes of the nodes, and of PostgreSQL, have used so far. */
  cpuMs(): { readonly nodes: number; readonly postgres: number } {
    const nodes = this.pids.reduce((sum, pid) => sum + treeCpuMs(pid), 0);
    return { nodes, postgres: treeCpuMs(this.postgresPid) };
  }

  /** Stops a node in order and starts it at the same address without its last drive, as if that had been pulled out. */
  async loseDrive(index: number): Promise<string> {
    const node = this.#nodes[index]!;
    const { host } = new URL(node.server.line);
    await stop(node.server.child);
    node.server = await this.#start(node.drives.slice(0, -1), host);
    return node.drives.at(-1)!;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#nodes.map(({ server }) => stop(server.child)));
    await this.postgres.dispose();
  }

  async #add(index: number): Promise<void> {
    const drives = [1, 2].map((drive) => path.join(this.#options.folder, `n${index + 1}d${drive}`));
    this.#nodes.push({ drives, server: await this.#start(drives) });
  }

  #start(drives: readonly string[], listen?: string): Promise<Launched> {
    const more = ["--metadata", this.postgres.url, "--cluster-secret-file", this.#secretFile];
    return startHoldfast({
      drives,
      workers: this.#options.workers,
      keys: this.keys,
      more,
      ...(listen !== undefined && { listen }),
    });
  }
}
