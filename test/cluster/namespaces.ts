/**
 * Network namespaces (Linux, root): each node in one of its own, this process in another, the router between them. Packets from
 * one node to another can be dropped on the way, silently, as a broken switch does it. Everything ends with the
 * processes that hold the namespaces; nothing of the machine's own network is touched.
 */
import { execFileSync, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import type { Place } from "./place.ts";

/** Why it cannot be done here. */
export function namespacesMissing(): string | false {
  const can = process.platform === "linux" && process.getuid?.() === 0 && spawnSync("unshare", ["-n", "ip", "rule"]);
  if (can !== false && can.status === 0) return false;
  return "NOT CHECKED: a network that drops packets. It needs Linux, root, unshare and ip.";
}

const run = (...[program, ...args]: readonly [string, ...string[]]): void => void execFileSync(program, args);

/** Of this process, which must be in a namespace that nobody else is in. */
export class Router {
  #places = 0;

  constructor() {
    run("ip", "link", "set", "lo", "up");
    writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
  }

  async place(): Promise<Place> {
    const number = ++this.#places;
    const [outside, host] = [`10.77.${number}.1`, `10.77.${number}.2`];
    const holder = spawn("unshare", ["-n", "sleep", "infinity"], { stdio: "ignore" });
    await entered(holder);
    const under = ["nsenter", "-t", String(holder.pid), "-n"] as const;
    run("ip", "link", "add", `node${number}`, "type", "veth", "peer", "name", "out", "netns", String(holder.pid));
    run("ip", "addr", "add", `${outside}/24`, "dev", `node${number}`);
    run("ip", "link", "set", `node${number}`, "up");
    run(...under, "ip", "addr", "add", `${host}/24`, "dev", "out");
    for (const device of ["lo", "out"]) run(...under, "ip", "link", "set", device, "up");
    run(...under, "ip", "route", "add", "default", "via", outside);
    return { host, outside, under, isDirect: true, dispose: () => end(holder) };
  }

  /** Packets that one place sends to another are dropped. */
  cut(from: Place, to: Place): void {
    run("ip", "rule", "add", "blackhole", "from", from.host, "to", to.host);
  }

  heal(from: Place, to: Place): void {
    run("ip", "rule", "del", "blackhole", "from", from.host, "to", to.host);
  }
}

/** Until the process is in a namespace of its own. */
async function entered({ pid }: ChildProcess): Promise<void> {
  const namespaceOf = (of: string): string => spawnSync("readlink", [`/proc/${of}/ns/net`]).stdout.toString();
  while (namespaceOf(String(pid)) === namespaceOf("self")) await new Promise((resolve) => setTimeout(resolve, 10));
}

async function end(child: ChildProcess): Promise<void> {
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}
