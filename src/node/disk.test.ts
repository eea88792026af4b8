import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { systemCode } from "../core/errors.ts";
import { seededRandom } from "../core/random.ts";
import { diskConformance } from "./disk.conformance.ts";
import { FakeDisk } from "./disk.fake.ts";
import { systemDisk, systemProcesses } from "./disk.system.ts";

diskConformance("system", async () => {
  const path = await mkdtemp(join(tmpdir(), "holdfast-disk-"));
  return { disk: systemDisk("/"), path, dispose: () => rm(path, { recursive: true }) };
});

diskConformance("fake", async () => {
  const disk = new FakeDisk(seededRandom(1));
  await disk.makeDirectory("/folder");
  return { disk, path: "/folder", dispose: async () => undefined };
});

/** Writes in two steps, only the first one synced, and tells what each of 200 crashes leaves. */
async function afterCrashes(syncName: boolean): Promise<Set<string>> {
  const seen = new Set<string>();
  for (let seed = 1; seed <= 200; seed++) {
    const disk = new FakeDisk(seededRandom(seed));
    const file = await disk.open("/a", "create");
    await file.writev([Buffer.alloc(8_192, "o")], 0);
    await file.sync();
    if (syncName) await disk.syncDirectory("/");
    await file.writev([Buffer.alloc(8_192, "n")], 4_096);
    disk.crash();
    const names = await disk.list("/");
    const blocks =
      names.length === 0
        ? []
        : [
            ...disk
              .fileBytes("/a")
              .toString("latin1")
              .matchAll(/.{1,4096}/gs),
          ];
    const shapes = blocks.map(([block]) => (/^(.)\1*$/s.test(block) ? block[0]! : "torn"));
    seen.add(names.length === 0 ? "gone" : shapes.join(" ").replaceAll("\0", "zero"));
  }
  return seen;
}

void test("fake: a crash keeps what was synced and any part of what was not", async () => {
  const synced = await afterCrashes(true);
  for (const shape of synced) assert.match(shape, /^o (o|n|torn)( (zero|n|torn))?$/);
  for (const shape of ["o o", "o n", "o o n", "o n zero", "o n n", "o n torn"]) assert.ok(synced.has(shape), shape);
  assert.ok((await afterCrashes(false)).has("gone"));
});

void test("fake: a removal or a rename not synced may be undone", async () => {
  const seen = new Set<string>();
  for (let seed = 1; seed <= 50; seed++) {
    const disk = new FakeDisk(seededRandom(seed));
    for (const name of ["a", "b"]) await (await disk.open(`/${name}`, "create")).close();
    await disk.syncDirectory("/");
    await disk.remove("/a");
    await disk.rename("/b", "/c");
    disk.crash();
    seen.add((await disk.list("/")).sort().join(""));
  }
  assert.deepEqual([...seen].sort(), ["ab", "ac", "b", "c"]);
});

void test("fake: a folder whose parent was not synced may be gone with all it held", async () => {
  const seen = new Set<string>();
  for (let seed = 1; seed <= 50; seed++) {
    const disk = new FakeDisk(seededRandom(seed));
    await disk.makeDirectory("/a/b");
    await disk.makeDirectory("/kept");
    const file = await disk.open("/a/b/file", "create");
    await file.sync();
    await disk.syncDirectory("/a/b");
    await disk.syncDirectory("/a");
    if (seed % 2 === 0) await disk.syncDirectory("/");
    disk.crash();
    const there = (await disk.list("/")).includes("a");
    seen.add(`${seed % 2 === 0 ? "synced" : "not"} ${there ? (await disk.list("/a/b")).join() : "gone"}`);
  }
  assert.deepEqual([...seen].sort(), ["not file", "not gone", "synced file"]);
});

void test("fake: a failed sync loses for good what it was to write", async () => {
  const disk = new FakeDisk(seededRandom(1));
  const file = await disk.open("/a", "create");
  await disk.syncDirectory("/");
  await file.writev([Buffer.from("lost")], 0);
  disk.failNext("sync", "EIO");
  await assert.rejects(file.sync(), (error) => systemCode(error) === "EIO");
  await file.sync();
  disk.crash();
  assert.doesNotMatch(disk.fileBytes("/a").toString(), /lost/);
  await assert.rejects(file.sync(), (error) => systemCode(error) === "EIO", "an open file does not outlive a crash");
});

void test("fake: a full disk writes what fits", async () => {
  const disk = new FakeDisk(seededRandom(1), 10);
  const file = await disk.open("/a", "create");
  await assert.rejects(file.writev([Buffer.alloc(8), Buffer.alloc(8)], 0), (error) => systemCode(error) === "ENOSPC");
  assert.equal(await file.sizeBytes(), 10);
  assert.equal((await disk.space("/")).freeBytes, 0);
  await disk.remove("/a");
  assert.equal((await disk.space("/")).freeBytes, 0, "an open file keeps its space");
  await file.close();
  assert.equal((await disk.space("/")).freeBytes, 10);
});

void test("system: processes are told apart", async () => {
  const processes = await systemProcesses();
  assert.ok(await processes.isAlive(processes.self));
  assert.equal(await processes.isAlive("999999999:1"), false);
  assert.equal(await processes.isAlive(`${process.ppid}:1`), false, "another process with a used id");
});
