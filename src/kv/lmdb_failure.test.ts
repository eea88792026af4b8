/** LMDB on a disk that fails: system calls that strace lets fail in a process of its own. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { limits } from "../core/limits.ts";
import { isLackOfSpace, isPanic } from "./lmdb_failure.ts";
import { openLmdbKv } from "./lmdb.ts";

const child = join(import.meta.dirname, "lmdb_child.conformance.ts");
const timeout = 300_000;

type Told = {
  readonly refusals: readonly string[];
  readonly late: number;
  readonly failures: number;
  readonly read: string;
};

function skips(t: TestContext): boolean {
  if (spawnSync("strace", ["-f", "true"]).status === 0) return false;
  t.skip("NOT CHECKED: LMDB after failed syncs. Install strace (apt-get install strace) and allow ptrace.");
  return true;
}

/**
 * Commits under the fault, then reads the file in this process: what was acknowledged must be there. Undefined: LMDB ended its process
 * itself (lmdb_failure.ts), which only a write that fails may bring about.
 */
async function commitUnder(fault: string): Promise<Told | undefined> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-kv-"));
  try {
    const path = join(folder, "meta.mdb");
    await (await openLmdbKv({ path })).close();
    const strace = ["-f", "-qq", "-o", "/dev/null", "-e", `trace=${fault.split(":")[0]}`, "-e", `inject=${fault}`];
    // One thread does all writes, for strace counts the calls of each thread.
    const env = { ...process.env, UV_THREADPOOL_SIZE: "1" };
    const run = spawn("strace", [...strace, process.execPath, child, "fail", path], {
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    let errors = "";
    run.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
    run.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
    const [status, signal] = (await once(run, "close")) as [number | null, string | null];
    const acknowledged = output.split("\n");
    const last = acknowledged.pop()!;
    assert.ok(
      acknowledged.length > 0,
      `some commits came before the fault; ${signal ?? status} under ${fault}: ${errors}`,
    );
    const told = last === "" ? undefined : (JSON.parse(last) as Told);
    if (told !== undefined) assert.equal(status, told.failures, "the process ends by itself");
    else assert.match(`${signal} ${errors}`, /^SIG(?:ABRT|SEGV) .*mdb_page_spill error/s, `${status}`);
    const again = await openLmdbKv({ path });
    const rows = await again.get(acknowledged.map((name) => Buffer.from(name)));
    const lost = acknowledged.filter((name, index) => !rows[index]?.value.toString().startsWith(`<${name}>`));
    assert.deepEqual(lost, []);
    await again.commit({ checks: [], writes: [{ kind: "put", key: Buffer.from("after"), value: Buffer.from("it") }] });
    await again.close();
    return told;
  } finally {
    await rm(folder, { recursive: true });
  }
}

function assertFailed(told: Told): void {
  const { refusals, late, failures } = told;
  assert.deepEqual({ refusals, late, failures }, { refusals: ["unavailable"], late: 0, failures: 1 });
}

for (const [what, when] of [
  ["once", "20"],
  ["from then on", "20+"],
] as const) {
  void test(`a sync that fails ${what} ends the store: every commit settles`, { timeout }, async (t) => {
    if (skips(t)) return;
    const told = await commitUnder(`fdatasync:error=EIO:when=${when}`);
    assert.ok(told !== undefined, "nothing but a sync fails");
    assertFailed(told);
    assert.equal(told.read, "read");
  });
}

/**
 * Lets one call after another fail until both kinds were met: a commit writes some data pages, then its meta page, and a
 * failure there leaves an environment that refuses reads.
 */
async function eachKindOfWrite(error: "EIO" | "ENOSPC", check: (told: Told) => void): Promise<void> {
  const reads = new Set<string>();
  // About every third of them writes a meta page.
  for (let call = 40; call < 100 && reads.size < 2; call++) {
    const told = await commitUnder(`pwrite64:error=${error}:when=${call}`);
    if (told === undefined) continue;
    check(told);
    reads.add(told.read);
  }
  assert.deepEqual([...reads].toSorted(), ["read", "unavailable"]);
}

void test("a meta page that cannot be written ends the store, reads too", { timeout }, async (t) => {
  if (skips(t)) return;
  await eachKindOfWrite("EIO", assertFailed);
});

void test("a lack of space at the meta page ends the store as well, elsewhere it does not", { timeout }, async (t) => {
  if (skips(t)) return;
  await eachKindOfWrite("ENOSPC", (told) => {
    assert.deepEqual(told.refusals, ["unavailable"]);
    assert.equal(told.failures, told.read === "unavailable" ? 1 : 0);
    assert.equal(told.late, 0);
  });
});

void test("which errors are lack of space", async () => {
  const error = (code: number): Error => Object.assign(new Error("x"), { code });
  const { EINVAL, ENOSPC, EDQUOT, EFBIG, EIO } = constants.errno;
  for (const code of [ENOSPC, EDQUOT, EFBIG, -30_792]) assert.equal(await isLackOfSpace(error(code)), true);
  const full = async (): Promise<number> => limits.fullFileSystemBytes - 1;
  assert.equal(await isLackOfSpace(error(EIO), full), true);
  assert.equal(await isLackOfSpace(error(EIO), async () => limits.fullFileSystemBytes), false);
  assert.equal(await isLackOfSpace(error(EIO)), false);
  assert.equal(await isLackOfSpace(error(EIO), () => Promise.reject(new Error("no answer"))), false);
  assert.equal(await isLackOfSpace(error(-30_795), full), false);
  assert.equal(await isLackOfSpace(new TypeError("a bug"), full), false);
  assert.ok(isPanic(error(-30_795)) && !isPanic(error(EIO)));
  const afterRead = Object.assign(new Error("Invalid argument: MDB_PANIC: Update of meta page failed"), {
    code: EINVAL,
  });
  assert.ok(isPanic(afterRead) && !isPanic(error(EINVAL)));
});
