/** Starts real servers as child processes, the way a user does, and stops them by their process id. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { testMsMax } from "../bounds.ts";

const doorstep = fileURLToPath(new URL("../../bin/holdfast.js", import.meta.url));

export type Running = {
  readonly child: ChildProcess;
  readonly url: string;
  readonly accessKey: string;
  /** Only of a server that has just made its root key. */
  readonly secretKey: string | undefined;
  /** Everything it wrote to standard error so far. */
  errors(): string;
  stop(signal?: NodeJS.Signals): Promise<Ended>;
};

export type Ended = {
  readonly status: number | null;
  /** What ended it, where it did not end by itself. */
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
  readonly errors: string;
};

/** Goes when all that the test asked to be ended has ended. */
export function temporaryFolder(t: TestContext, name = "test"): string {
  const folder = mkdtempSync(path.join(tmpdir(), `holdfast-${name}-`));
  // Hooks run in the order in which they were asked for, and what writes into the folder is started after it was made. A folder that
  // is written into cannot always be removed (ENOTEMPTY), and when a hook throws the ones behind it, which would end a server, do not
  // run. What a hook asks for comes after all the others.
  t.after(() => t.after(() => rmSync(folder, { recursive: true, force: true })));
  return folder;
}

function cleanEnvironment(extra: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("HOLDFAST_") && name !== "NODE_OPTIONS");
  return { ...Object.fromEntries(own), ...extra };
}

type Launched = { readonly child: ChildProcess; readonly ended: Promise<Ended>; output(): string; errors(): string };

/** `errorsTo`: a file instead, which `errors` knows nothing of. */
export function launch(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  errorsTo: "pipe" | number = "pipe",
): Launched {
  const child = spawn(process.execPath, [doorstep, ...args], {
    env: cleanEnvironment(environment),
    stdio: ["ignore", "pipe", errorsTo],
  });
  // A server that should have been refused must not hold the suite up for ever.
  const timer = setTimeout(() => child.kill("SIGKILL"), testMsMax);
  child.once("close", () => clearTimeout(timer));
  let output = "";
  let errors = "";
  child.stdout?.on("data", (text: Buffer) => (output += text.toString()));
  child.stderr?.on("data", (text: Buffer) => (errors += text.toString()));
  const ended = once(child, "close").then(([status, signal]): Ended => ({ status, signal, output, errors }));
  return { child, ended, output: () => output, errors: () => errors };
}

/** A server on a free port. Fails with what it wrote when it does not become ready. */
export async function startServer(
  t: TestContext,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  errorsTo: "pipe" | number = "pipe",
): Promise<Running> {
  const listen = args.includes("--listen") ? [] : ["--listen", "127.0.0.1:0"];
  const { child, ended, output, errors } = launch(["server", ...args, ...listen, "--json"], environment, errorsTo);
  t.after(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  const ready = await Promise.race([readyLine(child, output), ended.then(() => undefined)]);
  if (ready === undefined) throw new Error(`The server did not start: ${output()}${errors()}`);
  const { url, accessKey, secretKey } = ready;
  const stop = (signal: NodeJS.Signals = "SIGTERM"): Promise<Ended> => {
    child.kill(signal);
    return ended;
  };
  return { child, url, accessKey, secretKey, errors, stop };
}

type Ready = { readonly url: string; readonly accessKey: string; readonly secretKey: string | undefined };

async function readyLine(child: ChildProcess, output: () => string): Promise<Ready> {
  while (!output().includes("\n")) await once(child.stdout!, "data");
  return JSON.parse(output()) as Ready;
}

export function basic(accessKey: string, secretKey: string): Record<string, string> {
  return { authorization: `Basic ${Buffer.from(`${accessKey}:${secretKey}`).toString("base64")}` };
}

/** Process ids of a process's children (Linux). */
export async function childrenOf(pid: number): Promise<number[]> {
  const { readFile } = await import("node:fs/promises");
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  return text.trim().split(/\s+/).filter(Boolean).map(Number);
}

/** Asks until the answer is yes; the test's own time limit ends a wait in vain. */
export async function until(isTrue: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await isTrue())) await new Promise((resolve) => setTimeout(resolve, 50));
}
