import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, statSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { open } from "lmdb";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { kvConformance } from "./kv.conformance.ts";
import { readCounters } from "./kv.ts";
import type { Kv } from "./kv.ts";
import { openLmdbKv } from "./lmdb.ts";
import { acknowledgedTooEarly } from "./lmdb_trace.conformance.ts";

const child = join(import.meta.dirname, "lmdb_child.conformance.ts");
const counterKey = Buffer.from("counter");

async function newFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), "holdfast-kv-"));
}

function startChild(...args: string[]): ChildProcess {
  return spawn(process.execPath, [child, ...args], { stdio: ["ignore", "pipe", "inherit"] });
}

async function onStore(t: TestContext, body: (kv: Kv, path: string) => Promise<void>): Promise<void> {
  const folder = await newFolder();
  const path = join(folder, "meta.mdb");
  const kv = await openLmdbKv({ path });
  t.after(async () => {
    await kv.close();
    await rm(folder, { recursive: true });
  });
  await body(kv, path);
}

kvConformance("lmdb", async () => {
  const folder = await newFolder();
  const path = join(folder, "meta.mdb");
  const kv = await openLmdbKv({ path });
  const dispose = async (): Promise<void> => {
    await kv.close();
    await rm(folder, { recursive: true });
  };
  return { kv, reopen: () => openLmdbKv({ path }), dispose };
});

kvConformance("lmdb without sync", async () => {
  const folder = await newFolder();
  const path = join(folder, "meta.mdb");
  const kv = await openLmdbKv({ path, sync: false });
  const dispose = async (): Promise<void> => {
    await kv.close();
    await rm(folder, { recursive: true });
  };
  return { kv, dispose };
});

void test("compare-and-set holds across processes", (t) =>
  onStore(t, async (kv, path) => {
    const children = [startChild("increment", path, "100"), startChild("increment", path, "100")];
    const codes = await Promise.all(children.map(async (each) => (await once(each, "exit"))[0] as number));
    assert.deepEqual(codes, [0, 0]);
    const [row] = await kv.get([counterKey]);
    assert.deepEqual(readCounters(row!.value), [2 * 4 * 100]);
  }));

void test("a read is never older than a commit another process has acknowledged", (t) =>
  onStore(t, async (kv, path) => {
    const acks = `${path}.acks`;
    await writeFile(acks, "");
    const counting = startChild("count", path, acks);
    const exited = once(counting, "exit");
    const giveUpMs = performance.now() + 60_000;
    let [acknowledged, reads] = [0, 0];
    // No turn of the event loop within a hundred reads: only microtasks run, and a kept snapshot would stay kept.
    while (acknowledged < 1_500) {
      for (let turn = 0; turn < 100; turn++, reads++) {
        acknowledged = statSync(acks).size;
        const [row] = await kv.get([counterKey]);
        const seen = row === undefined ? 0 : readCounters(row.value)[0]!;
        assert.ok(seen >= acknowledged, `read ${seen} after ${acknowledged} were acknowledged (${reads} reads before)`);
        const [scanned] = await kv.scan({ start: counterKey, end: Buffer.from("d") }, { limit: 1 });
        const after = scanned === undefined ? 0 : readCounters(scanned.value)[0]!;
        assert.ok(after >= seen, `a scan saw ${after} after a get that saw ${seen} (${reads} reads before)`);
      }
      assert.ok(counting.exitCode === null || acknowledged === 1_500, "the other process ended early");
      assert.ok(performance.now() < giveUpMs, "the other process stands still");
      await new Promise((resolve) => setImmediate(resolve));
    }
    await exited;
  }));

void test("what a killed process had acknowledged is there, and the others go on", (t) =>
  onStore(t, async (kv, path) => {
    const loading = startChild("load", path);
    const exited = once(loading, "exit");
    let printed = "";
    for await (const piece of loading.stdout!.setEncoding("utf8")) {
      printed += piece;
      if (printed.length > 4_000) loading.kill("SIGKILL");
    }
    await exited;
    const acknowledged = printed.split("\n").slice(0, -1);
    assert.ok(acknowledged.length > 300);
    const expectAll = async (store: Kv): Promise<void> => {
      for (let at = 0; at < acknowledged.length; at += 1_000) {
        const rows = await store.get(acknowledged.slice(at, at + 1_000).map((name) => Buffer.from(name)));
        rows.forEach((row, index) => {
          const marker = `<${acknowledged[at + index]!}>`;
          assert.equal(row?.value.subarray(0, marker.length).toString(), marker);
        });
      }
    };
    await expectAll(kv);
    await kv.commit({ checks: [], writes: [{ kind: "put", key: Buffer.from("after"), value: Buffer.from("kill") }] });
    await kv.close();
    const again = await openLmdbKv({ path });
    await expectAll(again);
    assert.equal((await again.get([Buffer.from("after")]))[0]?.value.toString(), "kill");
    await again.close();
  }));

void test("a commit is acknowledged only after its data and its meta page are synced (system calls)", async (t) => {
  const tried = spawnSync("strace", ["-f", "true"]);
  if (tried.status !== 0) {
    t.skip("NOT CHECKED: durability of commits. Install strace (apt-get install strace) and allow ptrace.");
    return;
  }
  const folder = await newFolder();
  t.after(() => rm(folder, { recursive: true }));
  const output = join(folder, "trace");
  const calls = "trace=openat,pwrite64,pwritev,writev,write,fdatasync,fsync,msync";
  const strace = ["-f", "-v", "-s", "200000", "-e", calls, "-o", output];
  const run = spawnSync("strace", [...strace, process.execPath, child, "trace", join(folder, "meta.mdb")]);
  assert.equal(run.status, 0, run.stderr.toString());
  const { acknowledged, early } = acknowledgedTooEarly(await readFile(output, "latin1"));
  assert.equal(acknowledged, 6 * 15);
  assert.deepEqual(early, []);
});

void test("a call that another thread interrupts is read of a trace as one that nobody does", () => {
  const rest = [
    '1 pwrite64(22, "<a>", 3) = 3',
    "1 fdatasync(22) = 0",
    '1 pwrite64(23, "meta") = 4',
    '1 write(2, "ACK<a>")',
  ];
  const open = 'openat(AT_FDCWD, "meta.mdb", O_WRONLY|O_DSYNC';
  const whole = [`1 ${open}) = 23`];
  const inTwo = [`1 ${open} <unfinished ...>`, '2 write(5, "x", 1) = 1', "1 <... openat resumed>) = 23"];
  for (const opened of [whole, inTwo])
    assert.deepEqual(acknowledgedTooEarly([...opened, ...rest].join("\n")), { acknowledged: 1, early: [] });
  const unsynced = [...inTwo, ...rest.toSpliced(1, 1)].join("\n");
  assert.deepEqual(acknowledgedTooEarly(unsynced), { acknowledged: 1, early: ["<a>"] });
});

void test("a file that cannot grow refuses commits, keeps what it has, and takes deletes", async (t) => {
  const folder = await newFolder();
  t.after(() => rm(folder, { recursive: true }));
  const limited = 'ulimit -f 2048; trap "" XFSZ; exec "$@"';
  const args = ["-c", limited, "sh", process.execPath, child, "fill", join(folder, "meta.mdb")];
  const run = spawnSync("sh", args, { encoding: "utf8" });
  assert.equal(run.status, 0, run.stderr);
  const { kept, refused, missing } = JSON.parse(run.stdout) as Record<string, number>;
  assert.ok(kept! > 20);
  assert.deepEqual({ refused, missing }, { refused: 3, missing: 0 });
});

void test("more waiting commits than the queue holds are refused with slow_down", (t) =>
  onStore(t, async (kv) => {
    const commit = (): Promise<unknown> =>
      kv.commit({ checks: [], writes: [{ kind: "add", key: counterKey, deltas: [1] }] });
    const results = await Promise.allSettled(Array.from({ length: limits.commitQueueMax + 10 }, commit));
    const refused = results.filter((result) => result.status === "rejected");
    assert.equal(refused.length, 10);
    assert.ok(refused.every(({ reason }) => hasReason(reason, "slow_down")));
    const [row] = await kv.get([counterKey]);
    assert.deepEqual(readCounters(row!.value), [limits.commitQueueMax]);
    await commit();
  }));

void test("the bytes that can be used again are those that deletes freed, and the file does not grow for them", (t) =>
  onStore(t, async (kv, path) => {
    const keys = Array.from({ length: 400 }, (_, index) => Buffer.from(`row${index}`));
    const value = Buffer.alloc(16_000);
    const put = (key: Buffer): Promise<unknown> => kv.commit({ checks: [], writes: [{ kind: "put", key, value }] });
    for (const key of keys) await put(key);
    const filled = kv.fileSpace!();
    assert.equal(filled.fileBytes, statSync(path).size);
    assert.ok(filled.reusableBytes < 1_000_000, `${filled.reusableBytes} bytes can be used again of a full file`);
    await kv.commit({ checks: [], writes: keys.map((key) => ({ kind: "delete", key })) });
    const freed = kv.fileSpace!();
    assert.ok(freed.reusableBytes > 400 * 16_000 && freed.reusableBytes < freed.fileBytes);
    for (const key of keys.slice(0, 200)) await put(key);
    const again = kv.fileSpace!();
    // Only by what the delete itself freed last, which the next commit could not have yet.
    assert.ok(again.fileBytes - freed.fileBytes < 500_000, "the file has hardly grown");
    assert.ok(again.reusableBytes < freed.reusableBytes - 200 * 16_000);
  }));

void test("a store of a format that is not known is refused", async (t) => {
  const folder = await newFolder();
  t.after(() => rm(folder, { recursive: true }));
  const path = join(folder, "meta.mdb");
  await (await openLmdbKv({ path })).close();
  const raw = open<Buffer, Uint8Array>({ path, noSubdir: true, keyEncoding: "binary", encoding: "binary" });
  const storeRowKey = Buffer.alloc(limits.metaKeyBytesMax + 1, 0xff);
  assert.equal(raw.get(storeRowKey)?.[0], 1);
  await raw.put(storeRowKey, Buffer.from([2, 0, 0, 0, 0, 0, 0, 0, 0]));
  await raw.close();
  await assert.rejects(openLmdbKv({ path }), (error) => hasReason(error, "corrupt_record"));
});

void test("a path that cannot be opened is unavailable", async () => {
  await assert.rejects(openLmdbKv({ path: "/dev/null/meta.mdb" }), (error) => hasReason(error, "unavailable"));
  assert.ok(!existsSync("/dev/null/meta.mdb"));
});
