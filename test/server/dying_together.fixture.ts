/**
 * Loaded into a server (`node --import`): of its workers' deaths the first it learns of takes another worker along, which it
 * learns of later. What it says to that one meanwhile cannot be delivered.
 */
import cluster from "node:cluster";
import { readdirSync, readFileSync } from "node:fs";

/** Until the last thread is gone its files are open, its end of the channel among them. */
function isGone(pid: number): boolean {
  const isZombie = /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  return isZombie && readdirSync(`/proc/${pid}/task`).length === 1;
}

let hasHappened = false;
cluster.on("fork", (worker) => {
  worker.process.prependOnceListener("exit", () => {
    const other = Object.values(cluster.workers ?? {}).find((each) => each !== worker);
    const pid = other?.process.pid;
    if (pid === undefined || hasHappened) return;
    hasHappened = true;
    process.kill(pid, "SIGKILL");
    // The event loop gets no turn, in which it would read the end of the channel.
    while (!isGone(pid));
  });
});
