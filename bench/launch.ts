/** Starts and ends the servers that are measured, each a process of its own. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** `line`: what the first group of `ready` found in a line of standard output. `readyMs`: from the start until then. */
export type Launched = { readonly child: ChildProcess; readonly line: string; readonly readyMs: number };

export async function launch(
  script: string,
  args: string[],
  environment: NodeJS.ProcessEnv,
  ready: RegExp,
): Promise<Launched> {
  const startedMs = performance.now();
  const child = spawn(process.execPath, [path.join(root, script), ...args], {
    env: { ...process.env, ...environment },
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const found = ready.exec(line);
    if (!found) continue;
    child.stdout.resume();
    return { child, line: found[1]!, readyMs: performance.now() - startedMs };
  }
  throw new Error(`${script} ended before it was ready`);
}

export type Keys = { readonly accessKey: string; readonly secretKey: string };

export type HoldfastOptions = {
  readonly drives: readonly string[];
  readonly workers: number;
  readonly keys: Keys;
  /** On a free port of loopback by default. */
  readonly listen?: string;
  /** More of the command line. */
  readonly more?: readonly string[];
};

/** The built server, as it is published. `line` is its address. */
export function startHoldfast(options: HoldfastOptions): Promise<Launched> {
  const { drives, workers, keys, listen = "127.0.0.1:0", more = [] } = options;
  const environment = { HOLDFAST_ROOT_ACCESS_KEY: keys.accessKey, HOLDFAST_ROOT_SECRET_KEY: keys.secretKey };
  const how = ["--listen", listen, "--workers", String(workers), "--log-level", "error"];
  const args = ["server", ...drives, ...how, ...more];
  return launch("bench/built.mjs", args, environment, /(http:\/\/127\.0\.0\.1:\d+)/);
}

/** As bench keys are everywhere: the access key is no secret. */
export function newKeys(): Keys {
  return { accessKey: "BENCHACCESSKEY000000", secretKey: randomBytes(30).toString("hex") };
}

/** Ends the process in order, or at once, and waits for it. Workers of a killed server end with it. */
export async function stop(child: ChildProcess, signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  await ended;
}
