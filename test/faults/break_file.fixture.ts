/** A file whose device reports errors, to real processes: their system calls fail under strace. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import type { TestContext } from "node:test";

export function missingStrace(): string | false {
  if (spawnSync("strace", ["-f", "true"]).status === 0) return false;
  return "NOT CHECKED: a drive that fails. Install strace (apt-get install strace) and allow ptrace.";
}

/** Arguments of strace with which every write and sync of the file fails, in what it starts or is attached to. */
export function breaking(file: string): string[] {
  const calls = "fdatasync,pwrite64,pwritev";
  return ["-f", "-qq", "-o", "/dev/null", "-P", file, "-e", `trace=${calls}`, "-e", `inject=${calls}:error=EIO`];
}

/**
 * From when this resolves every write and sync of that file fails, of these processes and of those that they start. Returns
 * what waits until they have all ended.
 */
export async function breakFile(
  t: TestContext,
  file: string,
  pids: readonly number[],
): Promise<() => Promise<unknown>> {
  const attached = pids.flatMap((pid) => ["-p", String(pid)]);
  const strace = spawn("strace", [...breaking(file), ...attached], { stdio: "ignore" });
  const ended = once(strace, "exit");
  t.after(() => strace.kill());
  // It says nothing with -qq; what it traces does.
  const isTraced = (pid: number): boolean =>
    !/TracerPid:\t0\n/.test(spawnSync("cat", [`/proc/${pid}/status`], { encoding: "utf8" }).stdout);
  while (!pids.every(isTraced)) {
    assert.ok(strace.exitCode === null && strace.signalCode === null, "strace ended");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return () => ended;
}
