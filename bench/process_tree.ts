/** Memory and CPU time of a process and all its children, from /proc. PSS: pages that several processes share are counted once. */
import { readFileSync } from "node:fs";

function direct(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
}

function children(pid: number): number[] {
  return direct(pid).flatMap((child) => [child, ...children(child)]);
}

function kilobytes(pid: number, file: string, field: string): number {
  const match = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(readFileSync(`/proc/${pid}/${file}`, "utf8"));
  return match ? Number(match[1]) : 0;
}

/** Sums a figure over the tree; a process that ends while it is being read has no memory any more. */
function sum(pid: number, figure: (pid: number) => number): number {
  let total = 0;
  for (const each of [pid, ...children(pid)]) {
    try {
      total += figure(each);
    } catch {
      // It ended.
    }
  }
  return total;
}

/** Everything, in MiB. Walking a large map stops the process for a while, so this is for quiet moments. */
export function treeMemoryMiB(pid: number): number {
  return sum(pid, (each) => kilobytes(each, "smaps_rollup", "Pss")) / 1024;
}

/** What is not backed by files, in MiB; file pages (the metadata store's map) the kernel takes back when it needs room. */
export function ownMemoryMiB(pid: number): number {
  return sum(pid, (each) => kilobytes(each, "status", "RssAnon") + kilobytes(each, "status", "RssShmem")) / 1024;
}

/** Watches until stopped; returns the peak of what is not backed by files. */
export function watchMemory(pid: number): { stop(): number } {
  let peakMiB = 0;
  const look = () => {
    peakMiB = Math.max(peakMiB, ownMemoryMiB(pid));
  };
  const timer = setInterval(look, 200);
  return {
    stop() {
      clearInterval(timer);
      look();
      return peakMiB;
    },
  };
}

/** The kernel's unit of CPU time in /proc, on every machine that Linux runs on here. */
const tickMs = 10;

/** What all of them have used since they began, with what children used that have ended. */
export function treeCpuMs(pid: number): number {
  return sum(pid, (each) => {
    const stat = readFileSync(`/proc/${each}/stat`, "utf8");
    // The name may have spaces and brackets; user and system time are the 12th and 13th field after it, the children's follow.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields.slice(11, 15).reduce((total, ticks) => total + Number(ticks), 0) * tickMs;
  });
}

/** Of a direct child of this process that is called so. */
export function childCalled(name: string): number | undefined {
  return direct(process.pid).find((pid) => readFileSync(`/proc/${pid}/comm`, "utf8").trim() === name);
}
