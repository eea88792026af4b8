/** What every driver of the metadata store must do. A driver's test gives its name and a way to open an empty store. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { AssertionError } from "../core/assert.ts";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { absent, readCounters } from "./kv.ts";
import type { Check, Entry, Kv, Write } from "./kv.ts";
import { counterBoundTests } from "./kv_bounds.conformance.ts";
import { modelProperty } from "./kv_model.conformance.ts";
import { transact } from "./transact.ts";

export type OpenedKv = {
  readonly kv: Kv;
  /** Opens the same store once more after `kv` was closed; left out by a driver that keeps nothing. */
  readonly reopen?: () => Promise<Kv>;
  /** Closes the store and removes what it left behind. */
  readonly dispose: () => Promise<void>;
};

export type OpenKv = () => Promise<OpenedKv>;

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");
const put = (key: string, value: string): Write => ({ kind: "put", key: bytes(key), value: bytes(value) });
const remove = (key: string): Write => ({ kind: "delete", key: bytes(key) });
const add = (key: string, ...deltas: number[]): Write => ({ kind: "add", key: bytes(key), deltas });
const check = (key: string, version: number): Check => ({ key: bytes(key), version });
const everything = { start: Buffer.from([0]), end: Buffer.alloc(limits.metaKeyBytesMax, 0xff) };
const names = (entries: readonly Entry[]): string[] => entries.map(({ key }) => key.toString("latin1"));

async function write(kv: Kv, ...writes: Write[]): Promise<void> {
  assert.deepEqual(await kv.commit({ checks: [], writes }), { outcome: "committed" });
}

async function outcomeOf(kv: Kv, checks: Check[], ...writes: Write[]): Promise<string> {
  return (await kv.commit({ checks, writes })).outcome;
}

async function row(kv: Kv, key: string): Promise<Entry | undefined> {
  return (await kv.get([bytes(key)]))[0];
}

async function versionOf(kv: Kv, key: string): Promise<number> {
  return (await row(kv, key))?.version ?? absent;
}

export function kvConformance(name: string, open: OpenKv): void {
  const on = (title: string, body: (kv: Kv, opened: OpenedKv) => Promise<void>): void => {
    void test(title, async () => {
      const opened = await open();
      try {
        await body(opened.kv, opened);
      } finally {
        await opened.dispose();
      }
    });
  };
  void describe(`Kv: ${name}`, () => {
    void describe("reading", () => readingTests(on));
    void describe("checks and versions", () => checkTests(on));
    void describe("counters", () => counterTests(on));
    void describe("counters with bounds", () => counterBoundTests((title, body) => on(title, body)));
    void describe("concurrency", () => concurrencyTests(on));
    void describe("bounds and ends", () => boundTests(on));
    on("agrees with a model", (kv) => fc.assert(modelProperty(kv), { numRuns: 60 }));
  });
}

type On = (title: string, body: (kv: Kv, opened: OpenedKv) => Promise<void>) => void;

function readingTests(on: On): void {
  on("get answers in the order asked, with holes and repeats", async (kv) => {
    await write(kv, put("a", "1"), put("b", "2"));
    const rows = await kv.get(["b", "x", "a", "b"].map(bytes));
    assert.deepEqual(
      rows.map((entry) => entry?.value.toString()),
      ["2", undefined, "1", "2"],
    );
    assert.deepEqual(names([rows[0]!, rows[2]!]), ["b", "a"]);
  });

  on("an empty value is a row", async (kv) => {
    await write(kv, put("a", ""));
    const entry = await row(kv, "a");
    assert.equal(entry?.value.length, 0);
    assert.ok(entry.version > absent);
    assert.equal((await kv.scan(everything, { limit: 5 }))[0]?.value.length, 0);
  });

  on("the largest key and value come back whole", async (kv) => {
    const key = Buffer.alloc(limits.metaKeyBytesMax, 0xff);
    const value = Buffer.from(Array.from({ length: limits.metaValueBytesMax }, (_, index) => (index * 7) & 0xff));
    await kv.commit({ checks: [], writes: [{ kind: "put", key, value }] });
    const [entry] = await kv.get([key]);
    assert.ok(entry?.value.equals(value) && entry.key.equals(key));
    const below = { start: Buffer.from([0xff]), end: key };
    assert.deepEqual(await kv.scan(below, { limit: 5 }), [], "the end of a range is excluded");
  });

  on("keys are ordered by their bytes, unsigned, shorter first", async (kv) => {
    const keys = ["\xff\xff", "\x80", "a", "a\x00", "a/b", "ab", "\x00", "\x00\x00", "\x7f", "\xff", "a\xff"];
    for (const key of keys) await write(kv, put(key, key));
    const sorted = keys.toSorted((left, right) => Buffer.compare(bytes(left), bytes(right)));
    assert.deepEqual(names(await kv.scan(everything, { limit: 100 })), sorted);
    assert.deepEqual(names(await kv.scan(everything, { limit: 100, reverse: true })), sorted.toReversed());
  });

  on("a range has its start and not its end, either way round", async (kv) => {
    await write(kv, ...["a", "b", "c", "d", "e"].map((key) => put(key, key)));
    const range = { start: bytes("b"), end: bytes("d") };
    assert.deepEqual(names(await kv.scan(range, { limit: 9 })), ["b", "c"]);
    assert.deepEqual(names(await kv.scan(range, { limit: 9, reverse: true })), ["c", "b"]);
    assert.deepEqual(names(await kv.scan(range, { limit: 1 })), ["b"]);
    assert.deepEqual(names(await kv.scan(range, { limit: 1, reverse: true })), ["c"]);
    const between = { start: bytes("a\x00"), end: bytes("dd") };
    assert.deepEqual(names(await kv.scan(between, { limit: 9 })), ["b", "c", "d"]);
    assert.deepEqual(names(await kv.scan(between, { limit: 9, reverse: true })), ["d", "c", "b"]);
    for (const end of ["b", "a"]) {
      for (const reverse of [false, true]) {
        assert.deepEqual(await kv.scan({ start: bytes("b"), end: bytes(end) }, { limit: 9, reverse }), []);
      }
    }
  });

  on("many rows are walked page by page, both ways", async (kv) => {
    const all = Array.from({ length: 2_500 }, (_, index) => `k${String((index * 7919) % 2_500).padStart(6, "0")}`);
    for (let at = 0; at < all.length; at += 500)
      await write(kv, ...all.slice(at, at + 500).map((key) => put(key, key)));
    const sorted = all.toSorted();
    const up: string[] = [];
    for (let start: Buffer = everything.start; ; start = bytes(`${up.at(-1)!}\x00`)) {
      const page = names(await kv.scan({ start, end: everything.end }, { limit: 999 }));
      up.push(...page);
      if (page.length < 999) break;
    }
    assert.deepEqual(up, sorted);
    const down: string[] = [];
    for (let end: Buffer = everything.end; ; end = bytes(down.at(-1)!)) {
      const page = names(await kv.scan({ start: everything.start, end }, { limit: 999, reverse: true }));
      down.push(...page);
      if (page.length < 999) break;
    }
    assert.deepEqual(down, sorted.toReversed());
  });

  on("returned bytes belong to the caller, and written ones are free again afterwards", async (kv) => {
    const key = bytes("a");
    const value = bytes("value");
    await kv.commit({ checks: [], writes: [{ kind: "put", key, value }] });
    value.fill(0);
    key.fill(0);
    const first = await row(kv, "a");
    const [scanned] = await kv.scan(everything, { limit: 1 });
    for (const entry of [first, scanned]) {
      assert.equal(entry?.value.toString(), "value");
      entry.value.fill(0);
      entry.key.fill(0);
    }
    await kv.get([bytes("zz")]);
    assert.equal((await row(kv, "a"))?.value.toString(), "value");
    assert.deepEqual(names(await kv.scan(everything, { limit: 1 })), ["a"]);
  });
}

function checkTests(on: On): void {
  on("a check of the version holds or the commit does nothing", async (kv) => {
    await write(kv, put("a", "1"));
    const version = await versionOf(kv, "a");
    assert.equal(await outcomeOf(kv, [check("a", version)], put("a", "2"), put("b", "2")), "committed");
    const late = await kv.commit({
      checks: [check("a", version)],
      writes: [put("a", "3"), put("c", "3"), remove("b")],
    });
    assert.equal(late.outcome, "conflict");
    if (late.outcome === "conflict" && late.key !== undefined) assert.deepEqual(Buffer.from(late.key), bytes("a"));
    assert.equal((await row(kv, "a"))?.value.toString(), "2");
    assert.deepEqual(names(await kv.scan(everything, { limit: 9 })), ["a", "b"]);
  });

  on("one failing check of many is a conflict", async (kv) => {
    await write(kv, put("a", "1"), put("b", "1"));
    const [a, b] = [await versionOf(kv, "a"), await versionOf(kv, "b")];
    assert.equal(await outcomeOf(kv, [check("a", a), check("b", b + 1)], put("a", "2")), "conflict");
    assert.equal(await outcomeOf(kv, [check("a", a), check("x", absent), check("b", b)], put("a", "2")), "committed");
  });

  on("absent is a version that can be checked", async (kv) => {
    assert.equal(await outcomeOf(kv, [check("a", absent)], put("a", "1")), "committed");
    assert.equal(await outcomeOf(kv, [check("a", absent)], put("a", "2")), "conflict");
    assert.equal(await outcomeOf(kv, [check("b", 1)], put("b", "1")), "conflict");
    await write(kv, remove("a"));
    assert.equal(await outcomeOf(kv, [check("a", absent)], put("a", "3")), "committed");
  });

  on("a commit of checks alone says whether they hold", async (kv) => {
    await write(kv, put("a", "1"));
    const version = await versionOf(kv, "a");
    assert.equal(await outcomeOf(kv, [check("a", version), check("b", absent)]), "committed");
    assert.equal(await outcomeOf(kv, [check("a", version + 1)]), "conflict");
    assert.equal(await versionOf(kv, "a"), version, "a check does not write");
    assert.equal(await outcomeOf(kv, []), "committed");
  });

  on("every write gives a new, larger version, deleted and made again or not", async (kv) => {
    const seen: number[] = [];
    for (let round = 0; round < 5; round++) {
      await write(kv, put("a", "same"));
      seen.push(await versionOf(kv, "a"));
      await write(kv, add("n", 0));
      await write(kv, put("a", "same"));
      seen.push(await versionOf(kv, "a"));
      await write(kv, remove("a"));
      assert.equal(await versionOf(kv, "a"), absent);
    }
    assert.equal(new Set(seen).size, seen.length);
    assert.deepEqual(
      seen,
      seen.toSorted((left, right) => left - right),
    );
    assert.ok(seen.every((version) => Number.isSafeInteger(version) && version > absent));
  });

  on("delete is idempotent, and get and scan agree on versions", async (kv) => {
    await write(kv, remove("a"));
    await write(kv, put("a", "1"), put("b", "1"));
    await write(kv, remove("a"), remove("x"));
    const [entry] = await kv.scan(everything, { limit: 9 });
    assert.deepEqual(entry, await row(kv, "b"));
  });
}

function counterTests(on: On): void {
  on("add counts from nothing, up and down, and never shortens", async (kv) => {
    await write(kv, add("n", 5));
    await write(kv, add("n", -7, 3));
    await write(kv, add("n", 0, 0, -(2 ** 40)));
    await write(kv, add("n", 1));
    const entry = await row(kv, "n");
    assert.deepEqual(readCounters(entry!.value), [-1, 3, -(2 ** 40)]);
    await write(kv, remove("n"));
    await write(kv, add("n", 2));
    assert.deepEqual(readCounters((await row(kv, "n"))!.value), [2]);
  });

  on("concurrent adds all count and do not conflict", async (kv) => {
    const outcomes = await Promise.all(
      Array.from({ length: 200 }, (_, index) => outcomeOf(kv, [], add("n", 1, -index), put(`k${index}`, ""))),
    );
    assert.ok(outcomes.every((outcome) => outcome === "committed"));
    assert.deepEqual(readCounters((await row(kv, "n"))!.value), [200, -19_900]);
  });

  on("a row of counters may be put, as a copy of it is, and is added to from there", async (kv) => {
    const counters = (...values: number[]): Write => {
      const value = Buffer.alloc(8 * values.length);
      values.forEach((each, index) => value.writeBigInt64BE(BigInt(each), index * 8));
      return { kind: "put", key: bytes("n"), value };
    };
    await write(kv, counters(7, -3));
    await write(kv, add("n", 1, 1));
    assert.deepEqual(readCounters((await row(kv, "n"))!.value), [8, -2]);
    // Over one that this process has added to: what it knows of the row is outdated.
    await write(kv, counters(100));
    await write(kv, add("n", 0, 5));
    assert.deepEqual(readCounters((await row(kv, "n"))!.value), [100, 5]);
  });

  on("add gives the row a new version; a failed check keeps it from counting", async (kv) => {
    await write(kv, add("n", 1));
    const before = await versionOf(kv, "n");
    await write(kv, add("n", 0));
    assert.notEqual(await versionOf(kv, "n"), before);
    assert.equal(await outcomeOf(kv, [check("n", before)], add("n", 1)), "conflict");
    assert.deepEqual(readCounters((await row(kv, "n"))!.value), [1]);
  });
}

function concurrencyTests(on: On): void {
  on("of many writers with one check exactly one wins", async (kv) => {
    for (let round = 0; round < 10; round++) {
      const version = await versionOf(kv, "a");
      const outcomes = await Promise.all(
        Array.from({ length: 20 }, (_, index) => outcomeOf(kv, [check("a", version)], put("a", `${index}`))),
      );
      assert.equal(outcomes.filter((outcome) => outcome === "committed").length, 1);
      assert.equal((await row(kv, "a"))?.value.toString(), `${outcomes.indexOf("committed")}`);
    }
  });

  on("an acknowledged commit is seen by every read begun after it", async (kv) => {
    const writer = async (id: number): Promise<void> => {
      for (let count = 1; count <= 40; count++) {
        await write(kv, put(`w${id}`, `${count}`));
        const key = bytes(`w${id}`);
        const [[got], [scanned]] = await Promise.all([
          kv.get([key]),
          kv.scan({ start: key, end: bytes(`w${id}\x00`) }, { limit: 1 }),
        ]);
        assert.equal(got?.value.toString(), `${count}`);
        assert.equal(scanned?.value.toString(), `${count}`);
      }
    };
    await Promise.all(Array.from({ length: 8 }, (_, id) => writer(id)));
  });

  on("transfers keep the sum in every get and every scan", (kv) => bank(kv));
}

/** Money moves between accounts in several writers while readers add it up. */
async function bank(kv: Kv): Promise<void> {
  const accounts = Array.from({ length: 6 }, (_, index) => `account${index}`);
  const total = accounts.length * 100;
  await write(kv, ...accounts.map((name) => put(name, "100")));
  const movement = { ended: false };
  const sumOf = (rows: readonly (Entry | undefined)[]): number =>
    rows.reduce((sum, entry) => sum + Number(entry!.value.toString()), 0);
  const mover = async (seed: number): Promise<void> => {
    for (let turn = 0; turn < 25; turn++) {
      const from = accounts[(seed + turn) % accounts.length]!;
      const to = accounts[(seed * 3 + turn * 5 + 1) % accounts.length]!;
      if (from === to) continue;
      await transact(kv, async (tx) => {
        // Two gets on purpose: they may see different states, and then the commit must not happen.
        const [source] = await tx.get([bytes(from)]);
        const [target] = await tx.get([bytes(to)]);
        tx.put(bytes(from), bytes(String(Number(source!.value.toString()) - 1)));
        tx.put(bytes(to), bytes(String(Number(target!.value.toString()) + 1)));
      });
    }
  };
  const reader = async (): Promise<void> => {
    while (!movement.ended) {
      assert.equal(sumOf(await kv.get(accounts.map(bytes))), total);
      assert.equal(sumOf(await kv.scan({ start: bytes("account"), end: bytes("accounu") }, { limit: 99 })), total);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const movers = Promise.all(Array.from({ length: 6 }, (_, seed) => mover(seed))).finally(
    () => (movement.ended = true),
  );
  await Promise.all([movers, reader(), reader()]);
  assert.equal(sumOf(await kv.get(accounts.map(bytes))), total);
}

function boundTests(on: On): void {
  const refused = (call: Promise<unknown>, what: string): Promise<void> => assert.rejects(call, AssertionError, what);

  on("what is out of bounds is an assertion and changes nothing", async (kv) => {
    const long = Buffer.alloc(limits.metaKeyBytesMax + 1, 1);
    const none = Buffer.alloc(0);
    const commit = (...writes: Write[]): Promise<unknown> => kv.commit({ checks: [], writes });
    const many = Array.from({ length: limits.commitOperationsMax + 1 }, (_, index) => put(`m${index}`, ""));
    const large = Buffer.alloc(limits.metaValueBytesMax);
    for (const key of [none, long]) {
      await refused(kv.get([key]), "get");
      await refused(kv.scan({ start: key, end: bytes("z") }, { limit: 1 }), "scan from");
      await refused(kv.scan({ start: bytes("a"), end: key }, { limit: 1 }), "scan to");
      await refused(commit({ kind: "put", key, value: none }), "put");
      await refused(commit({ kind: "delete", key }), "delete");
      await refused(commit({ kind: "add", key, deltas: [1] }), "add");
      await refused(kv.commit({ checks: [{ key, version: absent }], writes: [] }), "check");
    }
    for (const limit of [0, -1, 1.5, limits.scanEntriesMax + 1]) await refused(kv.scan(everything, { limit }), "limit");
    for (const version of [-1, 0.5, Number.NaN]) {
      await refused(kv.commit({ checks: [{ key: bytes("a"), version }], writes: [] }), "version");
    }
    await refused(commit({ kind: "put", key: bytes("a"), value: Buffer.alloc(large.length + 1) }), "value");
    await refused(commit({ kind: "add", key: bytes("a"), deltas: [0.5] }), "delta");
    await refused(commit({ kind: "add", key: bytes("a"), deltas: [] }), "no delta");
    await refused(commit(put("a", "1"), remove("a")), "one key twice");
    await refused(commit(...many), "operations");
    const heavy = Array.from(
      { length: 9 },
      (_, index) => ({ kind: "put", key: bytes(`h${index}`), value: large }) as const,
    );
    await refused(commit(...heavy), "bytes");
    assert.deepEqual(await kv.scan(everything, { limit: 1 }), []);
    await write(kv, ...many.slice(1));
    assert.equal((await kv.scan(everything, { limit: limits.scanEntriesMax })).length, limits.commitOperationsMax);
  });

  on("an impossible add harms only its own commit", async (kv) => {
    await write(kv, put("text", "abc"), add("full", Number.MAX_SAFE_INTEGER));
    const results = await Promise.allSettled([
      kv.commit({ checks: [], writes: [put("x", "1"), add("n", 1)] }),
      kv.commit({ checks: [], writes: [put("y", "1"), add("text", 1)] }),
      kv.commit({ checks: [], writes: [add("n", 1)] }),
    ]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ["fulfilled", "rejected", "fulfilled"],
    );
    assert.equal(await row(kv, "y"), undefined);
    assert.deepEqual(readCounters((await row(kv, "n"))!.value), [2]);
  });

  on("close waits for commits under way; later calls are unavailable", async (kv, { reopen }) => {
    const last = Array.from({ length: 50 }, (_, index) => outcomeOf(kv, [], put(`k${index}`, "v")));
    const closed = kv.close();
    assert.ok((await Promise.all(last)).every((outcome) => outcome === "committed"));
    await closed;
    await kv.close();
    const unavailable = (error: unknown): boolean => hasReason(error, "unavailable");
    await assert.rejects(kv.get([bytes("k1")]), unavailable);
    await assert.rejects(kv.scan(everything, { limit: 1 }), unavailable);
    await assert.rejects(outcomeOf(kv, [], put("k", "v")), unavailable);
    if (reopen === undefined) return;
    const again = await reopen();
    const entries = await again.scan(everything, { limit: 99 });
    assert.equal(entries.length, 50);
    const newest = Math.max(...entries.map(({ version }) => version));
    await write(again, put("new", "v"));
    assert.ok((await versionOf(again, "new")) > newest, "versions go on where they were");
    await again.close();
  });
}
