/** The metadata in several copies: the contract, lost and stale copies, and processes that die between them. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { setTimeout } from "node:timers/promises";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { seededRandom, systemRandom } from "../core/random.ts";
import { kvConformance } from "./kv.conformance.ts";
import { readCounters } from "./kv.ts";
import type { Entry, Kv } from "./kv.ts";
import { openLmdbKv } from "./lmdb.ts";
import { openLmdbCopies } from "./lmdb_copies.ts";
import { openPrepared, placesIn, prepare } from "./lmdb_copies.fixture.ts";
import { openCopy } from "./lmdb_copy.ts";
import type { Copy, CopyPlace } from "./lmdb_copy.ts";
import { WriteBatch } from "./lmdb_rows.ts";
import { newId } from "./lmdb_views.ts";

const child = join(import.meta.dirname, "lmdb_copies_child.conformance.ts");
const timeout = 300_000;

for (const count of [1, 2, 3]) {
  kvConformance(`lmdb in ${count} copies`, async () => {
    const folder = await mkdtemp(join(tmpdir(), "holdfast-copies-"));
    const places = placesIn(folder, Math.max(2, count));
    await (await openPrepared(places)).close();
    // One copy that is left of two.
    if (count === 1) await rm(places.pop()!.name, { recursive: true });
    const kv = await openPrepared(places);
    const dispose = async (): Promise<void> => {
      await kv.close();
      await rm(folder, { recursive: true });
    };
    return { kv, reopen: () => openPrepared(places), dispose };
  });
}

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-copies-"));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

async function put(kv: Kv, ...names: readonly string[]): Promise<void> {
  for (const name of names) {
    await kv.commit({ checks: [], writes: [{ kind: "put", key: Buffer.from(name), value: Buffer.from(`<${name}>`) }] });
  }
}

async function allRows(kv: Kv): Promise<Entry[]> {
  const rows: Entry[] = [];
  for (let start = Buffer.from([0]); ;) {
    const page = await kv.scan({ start, end: Buffer.alloc(limits.metaKeyBytesMax, 0xff) }, { limit: 1_000 });
    rows.push(...page);
    if (page.length < 1_000) return rows;
    start = Buffer.concat([page.at(-1)!.key, Buffer.from([0])]);
  }
}

/** The rows of every copy, which must be the same in all. */
async function sameRows(places: readonly CopyPlace[]): Promise<Map<string, Buffer>> {
  let first: Entry[] | undefined;
  for (const { path } of places) {
    const kv = await openLmdbKv({ path, readOnly: true });
    const rows = await allRows(kv);
    await kv.close();
    first ??= rows;
    assert.equal(rows.length, first.length, `rows in ${path}`);
    const differs = rows.findIndex(
      ({ key, value, version }, index) =>
        !key.equals(first![index]!.key) || !value.equals(first![index]!.value) || version !== first![index]!.version,
    );
    assert.equal(differs, -1, `a row in ${path} differs`);
  }
  return new Map(first!.map(({ key, value }) => [key.toString(), value]));
}

async function prepared(places: readonly CopyPlace[]): Promise<readonly CopyPlace[]> {
  const found = await prepare(places);
  assert.ok(found.kind === "copies");
  return found.places;
}

type Told = { readonly acknowledged: Set<string>; readonly gone: Set<string>; seen: number };

function startLoad(
  places: readonly CopyPlace[],
  told: Told,
): { readonly process: ChildProcess; ended: Promise<unknown> } {
  const run = spawn(process.execPath, [child, "load", JSON.stringify(places)], { stdio: ["ignore", "pipe", "ignore"] });
  let rest = "";
  run.stdout.setEncoding("utf8").on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      const [what, value] = line.split(" ") as [string, string];
      if (what === "ack") told.acknowledged.add(value);
      else if (what === "gone") told.gone.add(value);
      else told.seen = Math.max(told.seen, Number(value));
    }
  });
  return { process: run, ended: once(run, "close") };
}

void test(
  "killed at any moment and one copy removed: what was acknowledged or seen is in all",
  { timeout },
  async (t) => {
    const folder = await folderOf(t);
    const all = placesIn(folder, 3);
    const seed = systemRandom.below(1_000_000);
    const random = seededRandom(seed);
    const told: Told = { acknowledged: new Set(), gone: new Set(), seen: 0 };
    for (let round = 0; round < 6; round++) {
      const places = await prepared(all);
      assert.equal(places.length, 3);
      const before = told.acknowledged.size;
      const loads = [startLoad(places, told), startLoad(places, told)];
      while (told.acknowledged.size < before + 40) await setTimeout(5);
      // One process first: the other goes on over what it left.
      await setTimeout(random.below(30));
      loads[0]!.process.kill("SIGKILL");
      await loads[0]!.ended;
      const between = told.acknowledged.size;
      while (told.acknowledged.size < between + 20) await setTimeout(5);
      await setTimeout(random.below(30));
      loads[1]!.process.kill("SIGKILL");
      await loads[1]!.ended;
      await rm(all[round % 3]!.name, { recursive: true });
      const rows = await sameRows(await prepared(all));
      // Every seventh is deleted later; one whose answer was not told may be gone or not.
      const isDeleted = (name: string): boolean => Number(name.split("-")[2]) % 7 === 0;
      const missing = [...told.acknowledged].filter((name) => !isDeleted(name) && !rows.has(name));
      assert.deepEqual(missing, [], `seed ${seed}, round ${round}`);
      assert.deepEqual(
        [...told.gone].filter((name) => rows.has(name)),
        [],
        `seed ${seed}, round ${round}`,
      );
      const counted = readCounters(rows.get("counter")!)[0]!;
      assert.ok(counted >= told.seen && counted >= told.acknowledged.size, `seed ${seed}, round ${round}`);
    }
  },
);

void test("the turn passes on when its holder is stopped for good", { timeout }, async (t) => {
  const places = await prepared(placesIn(await folderOf(t), 2));
  const told: Told = { acknowledged: new Set(), gone: new Set(), seen: 0 };
  const kv = await openLmdbCopies({ places });
  for (let round = 0; round < 4; round++) {
    const load = startLoad(places, told);
    const before = told.acknowledged.size;
    while (told.acknowledged.size < before + 5) await setTimeout(2);
    load.process.kill("SIGKILL");
    await put(kv, `after-${round}`);
    await load.ended;
  }
  await kv.close();
});

/** Writes a batch of one row to some of the copies only, as a process does that dies on the way. */
async function writeSome(copies: readonly Copy[], primary: Copy, name: string, isRedoKept = true): Promise<void> {
  const expected = primary.mark();
  const batch = new WriteBatch(primary.env);
  batch.apply({ checks: [], writes: [{ kind: "put", key: Buffer.from(name), value: Buffer.from(`<${name}>`) }] });
  const id = newId(systemRandom);
  const next = { lastVersion: batch.lastVersion, copy: { ...expected.copy, batch: id } };
  const redo = isRedoKept ? { redo: { from: expected.copy.batch, to: id, keys: batch.keys } } : {};
  for (const copy of copies) {
    const outcome = await copy.write({ expected, next, ...redo, rows: (into) => batch.writeRows(into) });
    assert.equal(outcome, "written");
  }
}

for (const [what, ahead] of [
  ["the first secondary", [1]],
  ["the second secondary", [2]],
  ["the secondaries", [1, 2]],
] as const) {
  void test(`a batch that only ${what} has is taken back by another process, and brought to all by a start`, async (t) => {
    for (const next of ["the other process", "a new start"]) {
      const all = placesIn(await folderOf(t), 3);
      const places = await prepared(all);
      const copies = places.map(openCopy);
      const other = await openLmdbCopies({ places });
      await put(other, "before");
      await writeSome(
        ahead.map((index) => copies[index]!),
        copies[0]!,
        "half",
      );
      assert.equal((await other.get([Buffer.from("half")]))[0], undefined, "no reader sees it yet");
      if (next === "the other process") await put(other, "after");
      await other.close();
      for (const copy of copies) await copy.close();
      if (next === "a new start") await prepared(all);
      const rows = await sameRows(places);
      assert.ok(rows.has("before") && rows.has("half") === (next === "a new start"));
      assert.equal(rows.has("after"), next === "the other process");
    }
  });
}

void test("a batch of a start that is over is refused by every copy", async (t) => {
  const all = placesIn(await folderOf(t), 3);
  const old = await openLmdbCopies({ places: await prepared(all) });
  await put(old, "before");
  const places = await prepared(all);
  await assert.rejects(put(old, "late"), (error) => hasReason(error, "unavailable"));
  const now = await openLmdbCopies({ places });
  await put(now, "now");
  await assert.rejects(put(old, "later"), (error) => hasReason(error, "unavailable"));
  await now.close();
  const rows = await sameRows(places);
  assert.deepEqual([...rows.keys()], ["before", "now"]);
});

void test("a write that expects another mark than there is changes nothing", async (t) => {
  const places = await prepared(placesIn(await folderOf(t), 2));
  const copy = openCopy(places[0]!);
  const mark = copy.mark();
  const rows = (into: Copy["env"]): void => {
    into.putSync(Buffer.from("wrong"), Buffer.alloc(9, 1));
  };
  for (const part of ["batch", "run", "view"] as const) {
    const expected = { ...mark, copy: { ...mark.copy, [part]: "0".repeat(16) } };
    assert.equal(await copy.write({ expected, next: mark, rows }), "overtaken");
  }
  await copy.close();
  assert.equal((await sameRows(places)).size, 0);
});

void test("a copy that was away is stale when it comes back, whatever it has", async (t) => {
  const folder = await folderOf(t);
  const all = placesIn(folder, 3);
  for (const away of all) {
    const kv = await openPrepared(all);
    await put(kv, "with");
    await kv.close();
    const kept = join(folder, "kept");
    await cp(away.name, kept, { recursive: true });
    await rm(away.name, { recursive: true });
    const there = all.filter((place) => place !== away);
    const alone = await openPrepared(there);
    await put(alone, `without ${away.id}`);
    await alone.close();
    await rm(away.name, { recursive: true, force: true });
    await cp(kept, away.name, { recursive: true });
    await rm(kept, { recursive: true });
    const found = await prepare(all);
    assert.ok(found.kind === "copies");
    assert.deepEqual(found.made, [away.id]);
    assert.ok((await sameRows(all)).has(`without ${away.id}`));
  }
});

void test("a copy far behind under the same view is made anew", async (t) => {
  const all = placesIn(await folderOf(t), 3);
  await prepared(all);
  const copies = all.map(openCopy);
  for (const name of ["x", "y"]) await writeSome([copies[0]!, copies[1]!], copies[0]!, name, false);
  for (const copy of copies) await copy.close();
  const found = await prepare(all);
  assert.ok(found.kind === "copies" && found.made.length === 1 && found.made[0] === all[2]!.id);
  assert.deepEqual([...(await sameRows(all)).keys()], ["x", "y"]);
});

void test("a store of one drive becomes one of several, and goes on as it was", async (t) => {
  const all = placesIn(await folderOf(t), 3);
  const [first] = all as [CopyPlace];
  const one = await prepare([first]);
  assert.deepEqual(one, { kind: "alone", place: first });
  const alone = await openLmdbKv({ path: first.path });
  await put(alone, "old");
  const [before] = await alone.get([Buffer.from("old")]);
  await alone.close();
  assert.deepEqual(await prepare([first]), one, "nothing has changed for one");
  for (const places of [[all[1]!, first, all[2]!], all.slice(1)]) {
    const kv = await openPrepared(places);
    const [now] = await kv.get([Buffer.from("old")]);
    assert.equal(now?.version, before!.version);
    await put(kv, "new");
    assert.ok((await kv.get([Buffer.from("new")]))[0]!.version > now.version);
    await kv.close();
  }
  await assert.rejects(openLmdbKv({ path: all[1]!.path }), /one of several copies/);
});

void test("fewer copies than before: those left out count no more", async (t) => {
  const all = placesIn(await folderOf(t), 3);
  await (await openPrepared(all)).close();
  const fewer = await prepare(all, 1);
  assert.ok(fewer.kind === "copies" && fewer.places.length === 1);
  const kv = await openLmdbCopies({ places: fewer.places });
  await put(kv, "alone");
  await kv.close();
  await assert.rejects(prepare(all.slice(1)), /The metadata is on 1 drives, and only 0 are there/);
  await prepared(all);
  assert.ok((await sameRows(all)).has("alone"));
});

void test("what cannot be known is refused with a sentence", async (t) => {
  const folder = await folderOf(t);
  const all = placesIn(folder, 3);
  await prepared(all);
  await assert.rejects(prepare([all[1]!]), /The metadata is on 3 drives, and only 1 is there/);
  const others = placesIn(join(folder, "other"), 1);
  await (await openLmdbKv({ path: others[0]!.path })).close();
  const strange = { ...others[0]!, id: "9".repeat(16) };
  await assert.rejects(prepare([...all, strange]), /each have the metadata of a store of their own/);
  const pair = placesIn(join(folder, "pair"), 2);
  for (const place of [...pair, undefined]) {
    if (place === undefined) await assert.rejects(prepare(pair), /were each started without the other/);
    else if (place === pair[0]) await prepared(pair);
    if (place !== undefined) await (await openPrepared([place])).close();
  }
});

void test("what is no store, or cut short, is made anew from the others and never alone", async (t) => {
  const all = placesIn(await folderOf(t), 3);
  const kv = await openPrepared(all);
  await put(kv, "kept");
  await kv.close();
  for (const content of [Buffer.alloc(20_000, 7), Buffer.alloc(100), Buffer.alloc(0)]) {
    await writeFile(all[0]!.path, content);
    await prepared(all);
    assert.ok((await sameRows(all)).has("kept"));
  }
  const broken = placesIn(join(await folderOf(t), "broken"), 2);
  await mkdir(dirname(broken[0]!.path), { recursive: true });
  await writeFile(broken[0]!.path, Buffer.alloc(20_000, 7));
  await assert.rejects(prepare(broken), /cannot be read, and no other drive has it/);
});

type Some = {
  /** Steps after which a member of the view lacked what had been acknowledged. */
  readonly lagging: number;
  readonly refusals: string[];
  readonly failures: number;
  readonly left: number;
};

/**
 * Commits while some system calls on one copy's file fail. `some`: undefined where LMDB ended its process itself (lmdb_failure.ts),
 * which only a write that fails may bring about.
 */
async function commitUnder(
  t: TestContext,
  places: readonly CopyPlace[],
  broken: CopyPlace,
  fault: string,
): Promise<{ readonly acknowledged: readonly string[]; readonly some: Some | undefined }> {
  const calls = fault.split(":")[0]!;
  const strace = ["-f", "-qq", "-o", "/dev/null", "-P", broken.path, "-e", `trace=${calls}`, "-e", `inject=${fault}`];
  const run = spawn("strace", [...strace, process.execPath, child, "some", JSON.stringify(places)], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.after(() => run.kill());
  let [output, errors] = ["", ""];
  run.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  run.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  const [status, signal] = (await once(run, "close")) as [number | null, string | null];
  const acknowledged = output.split("\n");
  const last = acknowledged.pop()!;
  if (last !== "") return { acknowledged, some: JSON.parse(last) as Some };
  assert.match(`${signal} ${errors}`, /^SIG(?:ABRT|SEGV) .*mdb_page_spill error/s, `${status} under ${fault}`);
  return { acknowledged, some: undefined };
}

function missingStrace(): string | false {
  if (spawnSync("strace", ["-f", "true"]).status === 0) return false;
  return "NOT CHECKED: copies on drives that fail. Install strace (apt-get install strace) and allow ptrace.";
}

async function assertKept(all: readonly CopyPlace[], acknowledged: readonly string[]): Promise<void> {
  const kept = await sameRows(await prepared(all));
  assert.deepEqual(
    acknowledged.filter((name) => !kept.has(name)),
    [],
  );
  assert.equal(readCounters(kept.get("counter") ?? Buffer.alloc(8))[0]! >= acknowledged.length, true);
}

for (const [what, index] of [
  ["the first", 0],
  ["the second", 1],
  ["the third", 2],
] as const) {
  const skip = missingStrace();
  void test(`EIO on ${what} copy loses nothing, and stops commits only on the first`, { timeout, skip }, async (t) => {
    for (const fault of ["fdatasync:error=EIO:when=7", "fdatasync:error=EIO:when=7+", "pwrite64:error=EIO:when=20+"]) {
      const all = placesIn(await folderOf(t), 3);
      const { acknowledged, some } = await commitUnder(t, await prepared(all), all[index]!, fault);
      assert.ok(acknowledged.length > 3);
      assert.ok(some !== undefined || fault.startsWith("pwrite64"), fault);
      if (some !== undefined) {
        assert.equal(some.failures, index === 0 ? 1 : 0, fault);
        assert.equal(some.lagging, 0, "who lacks something is no member any more");
        if (index > 0) assert.equal(acknowledged.length, 80, fault);
      }
      await rm(all[(index + 1) % 3]!.name, { recursive: true });
      await assertKept(all, acknowledged);
    }
  });

  void test(`lack of space on ${what} copy refuses commits and passes`, { timeout, skip }, async (t) => {
    let refused = 0;
    for (let call = 9; call < 50 && refused < 1; call++) {
      const all = placesIn(await folderOf(t), 3);
      const fault = `pwrite64:error=ENOSPC:when=${call}`;
      const { acknowledged, some } = await commitUnder(t, await prepared(all), all[index]!, fault);
      // At the meta page it is as bad as any other error.
      if (some?.failures === 0 && some.left === 3 && some.refusals.length > 0) {
        assert.deepEqual(some.refusals, ["A drive of the metadata has no room for a commit."]);
        const refusedFirst = Array.from({ length: 40 }, (_, step) => `row${step}a`).findIndex(
          (name) => !acknowledged.includes(name),
        );
        const isLater = (name: string): boolean => Number(/\d+/.exec(name)![0]) > refusedFirst;
        assert.ok(refusedFirst === 39 || acknowledged.some(isLater), "it passed");
        const taken = new Set(acknowledged);
        const rows = await sameRows(all);
        // Refused, and taken back from the copies that had it.
        assert.deepEqual(
          [...rows.keys()].filter((name) => name !== "counter" && !taken.has(name)),
          [],
        );
        refused += 1;
      }
      await assertKept(all, acknowledged);
    }
    assert.ok(refused > 0, "some lack of space was met elsewhere than at the meta page");
  });
}
