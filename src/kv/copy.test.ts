import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { compareRows, copyRows, firstKey } from "./copy.ts";
import type { Copied, CopyStretch } from "./copy.ts";
import { absent, readCounters } from "./kv.ts";
import type { Commit, Kv } from "./kv.ts";
import { openMemoryKv } from "./memory.ts";

const all = { start: Buffer.from([0]), end: Buffer.from([0xff]) };
const guardKey = Buffer.from([0xff, 1]);
/** Keys from 0x40 on are left behind. */
const stretches: readonly CopyStretch[] = [
  { range: { start: Buffer.from([0]), end: Buffer.from([0x40]) }, isCopied: true },
  { range: { start: Buffer.from([0x40]), end: Buffer.from([0x50]) }, isCopied: false },
  { range: { start: Buffer.from([0x50]), end: Buffer.from([0xff]) }, isCopied: true },
];

type Row = readonly [key: Buffer, value: Buffer];

async function fill(kv: Kv, rows: readonly Row[]): Promise<void> {
  for (const [key, value] of rows) await kv.commit({ checks: [], writes: [{ kind: "put", key, value }] });
}

async function rowsOf(kv: Kv): Promise<string[]> {
  const rows: string[] = [];
  for (let start: Uint8Array = all.start; ;) {
    const page = await kv.scan({ start, end: all.end }, { limit: limits.scanEntriesMax });
    rows.push(...page.map(({ key, value }) => `${key.toString("hex")}=${value.toString("hex")}`));
    if (page.length < limits.scanEntriesMax) return rows;
    start = Buffer.concat([page.at(-1)!.key, Buffer.from([0])]);
  }
}

function expected(rows: readonly Row[]): string[] {
  const copied = rows.filter(([key]) => key[0]! < 0x40 || key[0]! >= 0x50);
  const last = new Map(copied.map(([key, value]) => [key.toString("hex"), value.toString("hex")]));
  return [...last].toSorted(([left], [right]) => (left < right ? -1 : 1)).map(([key, value]) => `${key}=${value}`);
}

/** `commit` is asked about each commit first; it may refuse to make it, or to tell that it was made. */
function wrapped(kv: Kv, commit: (commit: Commit, make: Kv["commit"]) => ReturnType<Kv["commit"]>): Kv {
  return {
    name: kv.name,
    get: (keys) => kv.get(keys),
    scan: (range, options) => kv.scan(range, options),
    commit: (each) => commit(each, (one) => kv.commit(one)),
    close: () => kv.close(),
  };
}

async function guardOf(kv: Kv): Promise<{ readonly key: Buffer; readonly version: number }> {
  await fill(kv, [[guardKey, Buffer.alloc(0)]]);
  const [row] = await kv.get([guardKey]);
  return { key: guardKey, version: row!.version };
}

async function copyTo(from: Kv, to: Kv): Promise<Copied> {
  return copyRows({ from, to, stretches, guard: await guardOf(to) });
}

const bytes = (minLength: number, maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength, maxLength }).map((each) => Buffer.from(each));
const rowsArbitrary = fc.array(
  fc.tuple(
    bytes(1, 3).filter((key) => key[0] !== 0xff),
    bytes(0, 4),
  ),
  { maxLength: 60 },
);

test("whatever stands in the target, it has the source's rows afterwards, and comparing says so", async () => {
  await fc.assert(
    fc.asyncProperty(rowsArbitrary, rowsArbitrary, async (source, target) => {
      const [from, to] = [openMemoryKv(), openMemoryKv()];
      await fill(from, source);
      await fill(to, target);
      const copied = await copyTo(from, to);
      assert.deepEqual(await rowsOf(to), expected(source));
      const compared = await compareRows({ from, to, stretches });
      assert.ok(compared.outcome === "same");
      assert.deepEqual([compared.rows, compared.bytes], [copied.rows, copied.bytes]);
      assert.equal(copied.rows, expected(source).length);
      assert.equal((await copyTo(from, to)).writes, 0);
    }),
  );
});

test("comparing finds one row that is missing, more, or other", async () => {
  await fc.assert(
    fc.asyncProperty(rowsArbitrary, fc.nat(), fc.constantFrom("missing", "more", "other"), async (rows, at, how) => {
      const [from, to] = [openMemoryKv(), openMemoryKv()];
      await fill(from, rows);
      await copyTo(from, to);
      const there = await rowsOf(to);
      fc.pre(there.length > 0);
      const key = Buffer.from(there[at % there.length]!.split("=")[0]!, "hex");
      const changed = how === "more" ? Buffer.concat([key, Buffer.alloc(4)]) : key;
      if (how === "missing") await to.commit({ checks: [], writes: [{ kind: "delete", key }] });
      else await fill(to, [[changed, Buffer.from("something else")]]);
      assert.deepEqual(await compareRows({ from, to, stretches }), { outcome: "different", key: changed });
    }),
  );
});

test("a row that is left behind and stands in the target is a difference", async () => {
  const [from, to] = [openMemoryKv(), openMemoryKv()];
  await fill(to, [[Buffer.from([0x41]), Buffer.alloc(0)]]);
  assert.equal((await compareRows({ from, to, stretches })).outcome, "different");
});

/** Large enough for dozens of commits, by their number and by their bytes. */
function manyRows(): Row[] {
  const small = Array.from({ length: 3_000 }, (_, index): Row => {
    const key = Buffer.alloc(5, 1);
    key.writeUInt32BE(index, 1);
    return [key, Buffer.from(`value ${index}`)];
  });
  const large = Array.from({ length: 40 }, (_, index): Row => [
    Buffer.from([0x60, index]),
    Buffer.alloc(limits.metaValueBytesMax, index),
  ]);
  return [...small, ...large];
}

test("commits are full, within their bounds, and few at a time", async () => {
  const [from, to] = [openMemoryKv(), openMemoryKv()];
  const rows = manyRows();
  await fill(from, rows);
  let [underWay, most, commits] = [0, 0, 0];
  const slow = wrapped(to, async (commit, make) => {
    commits += 1;
    underWay += 1;
    most = Math.max(most, underWay);
    await new Promise(setImmediate);
    // The memory driver asserts the bounds of a commit.
    const result = await make(commit);
    underWay -= 1;
    return result;
  });
  const guard = await guardOf(to);
  await copyRows({ from, to: slow, stretches, guard });
  assert.deepEqual(await rowsOf(to), expected(rows));
  assert.equal(most, limits.copyCommitsInFlightMax);
  const perCommit = Math.floor((limits.commitBytesMax - 1) / (limits.metaValueBytesMax + 2));
  assert.ok(commits <= Math.ceil(3_000 / (limits.commitOperationsMax - 1)) + Math.ceil(40 / perCommit), `${commits}`);
});

test("cut off at any commit, made or not, the copy is finished by the next one", async () => {
  const from = openMemoryKv();
  const rows = manyRows();
  await fill(from, rows);
  for (let step = 1, done = false; !done; step++) {
    for (const isMade of [false, true]) {
      const to = openMemoryKv();
      let commits = 0;
      const cut = wrapped(to, async (commit, make) => {
        commits += 1;
        if (commits !== step) return make(commit);
        if (isMade) await make(commit);
        throw new Error("cut off");
      });
      const guard = await guardOf(to);
      const first = await copyRows({ from, to: cut, stretches, guard }).catch((error: Error) => error.message);
      done = typeof first !== "string";
      if (!done) assert.equal(first, "cut off");
      const before = (await rowsOf(to)).length;
      const again = await copyTo(from, to);
      assert.equal(again.writes, rows.length - before);
      assert.deepEqual(await rowsOf(to), expected(rows));
    }
  }
});

test("a copy that was taken over stops, and writes nothing more", async () => {
  const [from, to] = [openMemoryKv(), openMemoryKv()];
  const rows = manyRows();
  await fill(from, rows);
  const guard = await guardOf(to);
  let commits = 0;
  const watched = wrapped(to, async (commit, make) => {
    commits += 1;
    if (commits === 3) await guardOf(to);
    return make(commit);
  });
  await assert.rejects(copyRows({ from, to: watched, stretches, guard }), (error) =>
    hasReason(error, "operation_aborted"),
  );
  const left = (await rowsOf(to)).length;
  await new Promise(setImmediate);
  assert.equal((await rowsOf(to)).length, left);
  assert.ok(left < rows.length);
});

test("counters arrive as they are, and are added to afterwards", async () => {
  const [from, to] = [openMemoryKv(), openMemoryKv()];
  const key = Buffer.from([0x60]);
  await from.commit({ checks: [], writes: [{ kind: "add", key, deltas: [5, -7] }] });
  await copyTo(from, to);
  await to.commit({
    checks: [{ key: Buffer.from([1]), version: absent }],
    writes: [{ kind: "add", key, deltas: [1, 1] }],
  });
  const [row] = await to.get([key]);
  assert.deepEqual(readCounters(row!.value), [6, -6]);
});

test("the first key of a range is found", async () => {
  const kv = openMemoryKv();
  assert.equal(await firstKey(kv, all), undefined);
  await fill(kv, [[Buffer.from([7]), Buffer.alloc(0)]]);
  assert.deepEqual(await firstKey(kv, all), Buffer.from([7]));
});
