/** Memory of a process and all its children, from /proc. PSS: pages that several processes share are counted once. */
import { readFileSync } from "node:fs";

function children(pid: number): number[] {
  const direct = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
    .trim()
    .split(" ")
    .filter(Boolean)
    .map(Number);
  return direct.flatMap((child) => [child, ...children(child)]);
}

function kilobytes(pid: number, field: string): number {
  const match = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"));
  return match ? Number(match[1]) : 0;
}

/**
 * `totalMiB` is everything; `withoutMapsMiB` leaves out file pages (the metadata store's map, which the kernel takes back
 * when it needs the room).
 */
export function treeMemory(pid: number): { totalMiB: number; withoutMapsMiB: number } {
  let total = 0;
  let anonymous = 0;
  for (const each of [pid, ...children(pid)]) {
    try {
      total += kilobytes(each, "Pss");
      anonymous += kilobytes(each, "Pss_Anon") + kilobytes(each, "Pss_Shmem");
    } catch {
      // A process that ended between the two reads has no memory any more.
    }
  }
  return { totalMiB: total / 1024, withoutMapsMiB: anonymous / 1024 };
}

/** Watches until stopped; returns the peaks. */
export function watchMemory(pid: number): { stop(): { totalMiB: number; withoutMapsMiB: number } } {
  let totalMiB = 0;
  let withoutMapsMiB = 0;
  const look = () => {
    const now = treeMemory(pid);
    totalMiB = Math.max(totalMiB, now.totalMiB);
    withoutMapsMiB = Math.max(withoutMapsMiB, now.withoutMapsMiB);
  };
  const timer = setInterval(look, 200);
  return {
    stop() {
      clearInterval(timer);
      look();
      return { totalMiB, withoutMapsMiB };
    },
  };
}
