/** Message brokers for tests: real ones, as processes of their own on a port of the loopback, ended by their id. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { testMsMax } from "../bounds.ts";
import { claimPort } from "../../src/core/ports.fixture.ts";

/** What the suite (suite.ts) asks of a broker. */
export type Broker = {
  readonly port: number;
  /** The address of a target behind a port, which may be another's that leads to the broker. */
  url(port: number): string;
  /** The same with a password that is not right; undefined where anybody may come. */
  urlOfStranger(port: number): string | undefined;
  /** Bodies of messages that it took, in their order. */
  taken(): Promise<readonly string[]>;
  /** Ends it, without losing what it has acknowledged, and starts it again. */
  stop(): Promise<void>;
  start(): Promise<void>;
  dispose(): Promise<void>;
};

/** Why tests skip that need a program; false where it is there. */
export function missing(program: string, packageName: string): string | false {
  const { error } = spawnSync(program, ["--version"], { stdio: "ignore" });
  return error === undefined ? false : `NOT CHECKED: events to it. Install it (apt-get install ${packageName}).`;
}

export function temporaryFolder(name: string): string {
  return mkdtempSync(path.join(tmpdir(), `holdfast-${name}-`));
}

export type Command = { readonly program: string; readonly args: readonly string[]; readonly env?: NodeJS.ProcessEnv };

const startMsMax = testMsMax / 2;

export class BrokerProcess {
  readonly folder: string;
  readonly port: number;
  readonly #command: Command;
  #child: ChildProcess | undefined;

  static async start(name: string, command: (at: { folder: string; port: number }) => Command): Promise<BrokerProcess> {
    const at = { folder: temporaryFolder(name), port: await claimPort() };
    const broker = new BrokerProcess(at, command(at));
    await broker.start();
    return broker;
  }

  private constructor(at: { readonly folder: string; readonly port: number }, command: Command) {
    this.folder = at.folder;
    this.port = at.port;
    this.#command = command;
  }

  /** Resolves when it takes connections. */
  async start(): Promise<void> {
    const { program, args, env = process.env } = this.#command;
    const child = spawn(program, args, { stdio: "ignore", cwd: this.folder, env });
    this.#child = child;
    const giveUpMs = performance.now() + startMsMax;
    while (!(await answers(this.port))) {
      if (child.exitCode !== null || performance.now() > giveUpMs) throw new Error(`${program} does not start.`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async stop(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill(signal);
    await exited;
  }

  async dispose(signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<void> {
    await this.stop(signal);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const end = (isThere: boolean): void => {
      socket.destroy();
      resolve(isThere);
    };
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
  });
}
