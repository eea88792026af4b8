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

/** By their mark, and what those have started that says nothing of it. */
function processesMarked(mark: string, file: string): TestProcess[] {
  const found: TestProcess[] = [];
  const parents = new Set<number>();
  // Children have higher numbers than their parents, but for the rare turn of the numbers: those have their mark.
  for (const pid of listed()) {
    const command = partsOf(`/proc/${pid}/cmdline`);
    // What has ended, and threads of the kernel, have none.
    if (command[0] === undefined || pid === process.pid) continue;
    const parent = parentOf(pid);
    const isFile = command.at(-1) === file && parent === process.pid;
    if (!isFile && !parents.has(parent) && !partsOf(`/proc/${pid}/environ`).includes(`${markName}=${mark}`)) continue;
    parents.add(pid);
    found.push({ pid, command: command.join(" "), isFile });
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

function listed(): number[] {
  if (process.platform !== "linux") return [];
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map(Number).toSorted((left, right) => left - right);
}

/** Nothing if the process has ended, or is somebody else's. */
function partsOf(file: string): string[] {
  try {
    return readFileSync(file, "utf8").split("\0").filter(Boolean);
  } catch {
    return [];
  }
}

function parentOf(pid: number): number {
  const status = partsOf(`/proc/${pid}/status`).join("");
  return Number(/^PPid:\t(\d+)$/m.exec(status)?.[1]);
}
