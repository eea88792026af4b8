/**
 * One node of a cluster under test: a real server with its own drives, reached by the others over a link that can be broken,
 * and reaching the metadata store over links of its own.
 */
import { appendFileSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import type { ChildProcess } from "node:child_process";
import type { Socket } from "node:net";
import path from "node:path";
import { claimPort } from "../../src/core/ports.fixture.ts";
import { ServerProcess } from "../crash/server_process.ts";
import type { Gateway, Gateways } from "../load/gateways.ts";
import type { Engine } from "./engine.ts";
import { Link } from "./link.ts";
import type { Place } from "./place.ts";

export type ClusterNodeOptions = {
  readonly name: string;
  /** Its drives are folders in here. */
  readonly folder: string;
  readonly drives: number;
  readonly engine: Engine;
  readonly gateways: Gateways;
  /** Of all nodes of the cluster. */
  readonly flags: readonly string[];
  readonly place: Place;
  /** The node that has opened a connection to this one. */
  readonly whoIs: (socket: Socket) => string | undefined;
};

export class ClusterNode {
  readonly name: string;
  /** From the other nodes to this one. */
  readonly peers: Link;
  /** From this node to each server of the metadata store. */
  readonly metadata: readonly Link[];
  readonly gateway: Gateway;
  readonly #options: ClusterNodeOptions;
  readonly #port: number;
  readonly #drives: string[];
  #child: ChildProcess | undefined;
  #server: ServerProcess | undefined;
  #lost = 0;

  static async create(options: ClusterNodeOptions): Promise<ClusterNode> {
    const { place, engine } = options;
    const port = await claimPort();
    const peers = await Link.open(() => ({ host: "127.0.0.1", port }), { whoIs: options.whoIs });
    const metadata = await Promise.all(
      engine.hosts.map((_, index) => Link.open(() => addressOf(engine.hosts[index]!), { host: place.outside })),
    );
    return new ClusterNode(options, { port, peers, metadata });
  }

  private constructor(
    options: ClusterNodeOptions,
    { port, peers, metadata }: { port: number; peers: Link; metadata: readonly Link[] },
  ) {
    this.name = options.name;
    this.peers = peers;
    this.metadata = metadata;
    this.#options = options;
    this.#port = port;
    this.#drives = Array.from({ length: options.drives }, (_, index) => path.join(options.folder, `d${index + 1}`));
    mkdirSync(options.folder, { recursive: true });
    appendFileSync(this.#errorsFile, "");
    this.gateway = options.gateways.add(`http://${options.place.host}:${port}`);
    this.gateway.isDown = true;
  }

  /** What the others know it by. */
  get url(): string {
    return this.place.isDirect ? this.gateway.url : `http://${this.peers.address}`;
  }

  get place(): Place {
    return this.#options.place;
  }

  get drives(): readonly string[] {
    return this.#drives;
  }

  get isRunning(): boolean {
    return this.#server?.isRunning() === true;
  }

  /** Of every process of it. */
  pids(): number[] {
    return this.isRunning ? [this.#server!.pid(), ...this.#server!.workers()] : [];
  }

  get #errorsFile(): string {
    return path.join(this.#options.folder, "stderr");
  }

  /** What all its processes wrote to standard error, those that have ended among them. */
  errors(): string {
    return readFileSync(this.#errorsFile, "utf8");
  }

  /** So that what its processes say can be told from what was done to them. */
  #note(msg: string): void {
    appendFileSync(this.#errorsFile, `${JSON.stringify({ time: Date.now(), msg: `=== ${msg}` })}\n`);
  }

  async start(): Promise<void> {
    const { engine, flags, place } = this.#options;
    const [first, ...others] = this.#drives;
    const metadata = engine.url(this.metadata.map(({ address }) => address));
    const args = [...others, "--metadata", metadata, "--advertise", this.url, ...flags];
    const onSpawn = (child: ChildProcess): void => void (this.#child = child);
    const onErrors = (bytes: Buffer): void => appendFileSync(this.#errorsFile, bytes);
    const { host, under } = place;
    const options = { workers: 1, host, port: this.#port, args, under, onSpawn, onErrors };
    this.#note("it is started");
    this.#server = await ServerProcess.start(first!, options);
    await this.#server.allWorkersServe(1);
    this.gateway.isDown = false;
  }

  /** As a load balancer asks. */
  async untilReady(): Promise<void> {
    const isReady = async (): Promise<boolean> => {
      const answer = await fetch(`${this.gateway.url}/_/health/ready`).catch(() => undefined);
      await answer?.arrayBuffer();
      return answer?.status === 200;
    };
    while (!(await isReady())) await new Promise((resolve) => setTimeout(resolve, 100));
  }

  /** SIGKILL to every process of it. */
  async kill(): Promise<void> {
    this.gateway.isDown = true;
    this.#note("it is killed");
    await this.#server?.killAll();
  }

  async stop(): Promise<void> {
    this.gateway.isDown = true;
    this.#note("it is told to end");
    await this.#server?.stop();
  }

  /** All its processes stand still until `wake`. A load balancer would see that. */
  freeze(): void {
    this.gateway.isDown = true;
    this.#server?.signalAll("SIGSTOP");
  }

  async wake(): Promise<void> {
    this.#server?.signalAll("SIGCONT");
    await this.#server?.allWorkersServe(1);
    this.gateway.isDown = false;
  }

  /** While it does not run: an empty folder will be where this drive was. Resolves to where the drive is now. */
  loseDrive(index: number): string {
    const away = `${this.#drives[index]!}-lost-${++this.#lost}`;
    renameSync(this.#drives[index]!, away);
    return away;
  }

  /** While it does not run: a folder that was a drive of it is one again, beside the others. */
  bringBack(away: string): void {
    this.#drives.push(away);
  }

  /** While it does not run: a drive that was taken out of the store is no longer named. */
  forgetDrive(folder: string): void {
    this.#drives.splice(this.#drives.indexOf(folder), 1);
    rmSync(folder, { recursive: true });
  }

  /** Whatever state it is in. */
  async dispose(): Promise<void> {
    this.gateway.isDown = true;
    if (this.isRunning) {
      this.#server!.signalAll("SIGCONT");
      await this.#server!.killAll();
    } else this.#child?.kill("SIGKILL");
    await Promise.all([this.peers, ...this.metadata].map((link) => link.close()));
    await this.place.dispose();
  }
}

function addressOf(host: string): { host: string; port: number } {
  const colon = host.lastIndexOf(":");
  return { host: host.slice(0, colon), port: Number(host.slice(colon + 1)) };
}
