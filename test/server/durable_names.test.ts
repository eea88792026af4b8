/**
 * A file whose name is not durable is lost with the power, however often its bytes were synced. This holds the server to
 * syncing every folder in which it makes files, before it serves, by a trace of its system calls.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("../../bin/holdfast.js", import.meta.url));

function missingStrace(): string | false {
  try {
    execFileSync("strace", ["-o", "/dev/null", "true"], { stdio: "ignore" });
    return false;
  } catch {
    return "strace cannot be used here: apt-get install strace";
  }
}

/** Starts a server on a new folder under strace; returns the trace up to the moment it said that it is ready. */
async function traceOfStart(folder: string): Promise<string> {
  const trace = path.join(folder, "trace");
  const traced = ["-f", "-y", "-e", "trace=fsync,fdatasync", "-o", trace];
  const server = [process.execPath, program, "server", path.join(folder, "made/data"), "--listen", "127.0.0.1:0"];
  const child = spawn("strace", [...traced, ...server, "--workers", "1", "--json"], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = once(child, "exit") as Promise<[number | null, string | null]>;
  let atReady: string | undefined;
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  for await (const line of createInterface({ input: child.stdout })) {
    const { pid } = JSON.parse(line) as { pid: number };
    atReady = readFileSync(trace, "utf8");
    child.stdout.resume();
    // The server itself: strace ends with what it traces.
    process.kill(pid, "SIGTERM");
    break;
  }
  const [status, signal] = await ended;
  assert.ok(atReady !== undefined, `it ended before it was ready; ${signal ?? status}: ${errors}`);
  return atReady;
}

test(
  "every folder that holds the store's files is synced before the first request",
  { skip: missingStrace() },
  async (t) => {
    const folder = mkdtempSync(path.join(tmpdir(), "holdfast-names-"));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const lines = (await traceOfStart(folder)).split("\n");
    const lastSync = (name: string): number =>
      lines.findLastIndex((line) => line.includes(`sync(`) && line.includes(`<${name}>`));
    const meta = path.join(folder, "made/data/meta");
    assert.ok(lastSync(path.join(meta, "store.mdb")) >= 0, `the metadata store was synced: ${lines.join("\n")}`);
    assert.ok(lastSync(meta) >= 0, "the metadata store's name was synced");
    assert.ok(lastSync(path.join(folder, "made/data")) >= 0, "the drive's folder was synced");
    assert.ok(lastSync(path.join(folder, "made")) >= 0, "the drive's own name was synced");
    assert.ok(lastSync(folder) >= 0, "and so was that of the folder it was made in");
  },
);
