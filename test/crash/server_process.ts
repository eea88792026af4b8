/** A real `holdfast server` as a child process, for tests that kill it. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { testMsMax } from "../bounds.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

export const testKeys = { accessKey: "TESTACCESSKEY0000000", secretKey: "test-secret-key-0000000000000000" };

export type StartOptions = {
  readonly workers: number;
  readonly host?: string;
  readonly port?: number;
  /** More drives, more flags. */
  readonly args?: readonly string[];
  /** A program, with its arguments, that becomes the server. */
  readonly under?: readonly string[];
  /** Told of what it writes to standard error. */
  onErrors?(bytes: Buffer): void;
  /** Called before it is ready, so that it can be ended if it never is. */
  onSpawn?(child: ChildProcess): void;
};

/** For workers to come back, and what does not to say why before its test is over. */
const backMsMax = testMsMax / 2;

/** What is said to tests is no setting of a server, which refuses what it does not know. */
function otherThanTests(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith("HOLDFAST_TEST_")));
}

export class ServerProcess {
  readonly url: URL;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #killed = new Set<number>();
  /** The last of what the server wrote to standard error. */
  readonly errors: () => string;

  private constructor(child: ChildProcess, facts: { url: URL; ended: Promise<void>; errors: () => string }) {
    this.#child = child;
    this.url = facts.url;
    this.#ended = facts.ended;
    this.errors = facts.errors;
  }

  /** Starts a server on a free port, or on the one given, and waits until it says that it is ready. */
  static async start(directory: string, options: StartOptions): Promise<ServerProcess> {
    const { workers, host = "127.0.0.1", port = 0, args = [], under = [] } = options;
    const listen = ["--listen", `${host}:${port}`, "--workers", String(workers), "--log-level", "warn"];
    const server = [process.execPath, path.join(root, "bin/holdfast.js"), "server", directory, ...listen, ...args];
    const [program, ...rest] = [...under, ...server];
    const child = spawn(program!, rest, {
      env: {
        ...otherThanTests(process.env),
        HOLDFAST_ROOT_ACCESS_KEY: testKeys.accessKey,
        HOLDFAST_ROOT_SECRET_KEY: testKeys.secretKey,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    options.onSpawn?.(child);
    let errors = "";
    child.stderr.on("data", (bytes: Buffer) => {
      errors = (errors + String(bytes)).slice(-65_536);
      options.onErrors?.(bytes);
    });
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    // What it said last is there only then.
    const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
    for await (const line of createInterface({ input: child.stdout })) {
      const url = /(https?:\/\/[\d.]+:\d+)/.exec(line)?.[1];
      if (!url) continue;
      child.stdout.resume();
      return new ServerProcess(child, { url: new URL(url), ended, errors: () => errors });
    }
    await closed;
    throw new Error(`the server ended before it was ready: ${errors}`);
  }

  isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Of the supervisor. */
  pid(): number {
    return this.#child.pid!;
  }

  /** Ids of the worker processes. */
  workers(): number[] {
    return childrenOf(this.#child.pid!);
  }

  /** Waits until a worker that was killed has been replaced (the supervisor lets more and more time pass before it does). */
  async allWorkersServe(count = 2): Promise<void> {
    for (const giveUpMs = performance.now() + backMsMax; performance.now() < giveUpMs && this.isRunning();) {
      const workers = this.workers();
      // One that was killed is in the list until the supervisor has heard of it.
      const isBack = workers.length === count && !workers.some((pid) => this.#killed.has(pid));
      const answers = isBack && (await fetch(new URL("/_/health/ready", this.url)).catch(() => undefined));
      if (answers && answers.ok) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`the workers did not come back: ${this.errors()}`);
  }

  /** Kills one worker, as the kernel would when memory runs out. */
  killWorker(index: number): void {
    const workers = this.workers();
    if (workers.length === 0) return;
    const pid = workers[index % workers.length]!;
    this.#killed.add(pid);
    process.kill(pid, "SIGKILL");
  }

  /** Kills the supervisor and every worker at once, and what they run under. Resolves when none of them does anything any more. */
  async killAll(): Promise<void> {
    const pids = descendantsOf(this.#child.pid!);
    this.#child.kill("SIGKILL");
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It ended with its supervisor.
      }
    }
    await this.#ended;
    while (pids.some(isAtWork)) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  /** Stops every process of the tree where it is, or lets all of them go on. */
  signalAll(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#child.kill(signal);
    for (const pid of this.workers()) process.kill(pid, signal);
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#ended;
  }
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
}

function descendantsOf(pid: number): number[] {
  try {
    return childrenOf(pid).flatMap((child) => [child, ...descendantsOf(child)]);
  } catch {
    // It has ended.
    return [];
  }
}

/** False for what has ended, also where nobody has asked yet how; a call to the disk that has begun goes on for a while. */
function isAtWork(pid: number): boolean {
  try {
    return !/^State:\tZ.*^Threads:\t1$/ms.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
