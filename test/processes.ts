/**
 * Which processes belong to a test file: its own, and all that were started from it, also those whose parents have ended, by
 * what their environment says. Known on Linux only; elsewhere nothing is found.
 */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";

export type TestProcess = {
  readonly pid: number;
  readonly command: string;
  /** The one that runs the file. */
  readonly isFile: boolean;
};

/** In the environment of everything that a test file starts. */
const markName = "TEST_FILE";

const markOf = (runner: number, file: string): string => `${runner}:${path.resolve(file)}`;

/** This process runs the file, and was started by the runner. */
export function markProcess(file: string): void {
  process.env[markName] = markOf(process.ppid, file);
}

/** What this process, which runs a file, has started and has not ended. */
export function startedHere(): TestProcess[] {
  return processesMarked(process.env[markName] ?? "", process.argv[1] ?? "");
}

/** The processes of a file that this process, the runner, has started; none if they have ended. */
export function processesOf(file: string): TestProcess[] {
  return processesMarked(markOf(process.pid, file), file);
}

function processesMarked(mark: string, file: string): TestProcess[] {
  const line = `${markName}=${mark}`;
  const found: TestProcess[] = [];
  for (const name of listed()) {
    const command = partsOf(`/proc/${name}/cmdline`);
    // What has ended, and threads of the kernel, have none.
    if (command[0] === undefined) continue;
    const isFile = command.at(-1) === file && parentOf(name) === process.pid;
    if (isFile || partsOf(`/proc/${name}/environ`).includes(line))
      found.push({ pid: Number(name), command: command.join(" "), isFile });
  }
  return found;
}

export function endAll(processes: readonly TestProcess[]): void {
  for (const { pid } of processes) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended meanwhile.
    }
  }
}

function listed(): string[] {
  if (process.platform !== "linux") return [];
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
}

/** Nothing if the process has ended, or is somebody else's. */
function partsOf(file: string): string[] {
  try {
    return readFileSync(file, "utf8").split("\0").filter(Boolean);
  } catch {
    return [];
  }
}

function parentOf(pid: string): number | undefined {
  const status = partsOf(`/proc/${pid}/status`).join("");
  const parent = /^PPid:\t(\d+)$/m.exec(status)?.[1];
  return parent === undefined ? undefined : Number(parent);
}
