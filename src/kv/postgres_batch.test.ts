import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import type { Check, Commit, CommitResult, Write } from "./kv.ts";
import { cutBatch, encodeBatch, resultsOf } from "./postgres_batch.ts";
import type { Sized } from "./postgres_batch.ts";
import { bytesArray, bytesOf, int4Array, int8Array, numbersOf, lockOf } from "./postgres_wire.ts";
import { parsePostgresUrl } from "./postgres_url.ts";
import { hasReason } from "../core/errors.ts";

type Small = { readonly checks: readonly [string, number][]; readonly writes: readonly [string, Write["kind"]][] };

const key = fc.constantFrom("a", "b", "c", "d");
const small: fc.Arbitrary<Small> = fc.record({
  checks: fc.array(fc.tuple(key, fc.constantFrom(0, 1)), { maxLength: 2 }),
  writes: fc.uniqueArray(fc.tuple(key, fc.constantFrom<Write["kind"]>("put", "delete", "add")), {
    maxLength: 3,
    selector: ([name]) => name,
  }),
});

function sized({ checks, writes }: Small): Sized {
  const commit: Commit = {
    checks: checks.map(([name, version]): Check => ({ key: Buffer.from(name), version })),
    writes: writes.map(([name, kind]): Write => {
      if (kind === "put") return { kind, key: Buffer.from(name), value: Buffer.from(name) };
      if (kind === "add") return { kind, key: Buffer.from(name), deltas: [1] };
      return { kind, key: Buffer.from(name) };
    }),
  };
  return { commit, bytes: 10 };
}

/** Versions of the rows; a write gives the next one. */
class Rows {
  readonly versions = new Map<string, number>();
  #last = 1;

  holds({ checks }: Commit): boolean {
    return checks.every((check) => check.version === (this.versions.get(check.key.toString()) ?? 0));
  }

  apply({ writes }: Commit): void {
    this.#last += 1;
    for (const write of writes) {
      if (write.kind === "delete") this.versions.delete(write.key.toString());
      else this.versions.set(write.key.toString(), this.#last);
    }
  }
}

const bounds = { commitsMax: 6, bytesMax: 50, heldMax: 4 };

void test("a batch judged on one state is what its commits come to one after another", () => {
  fc.assert(
    fc.property(fc.array(small, { minLength: 1, maxLength: 12 }), fc.subarray(["a", "b", "c", "d"]), (all, present) => {
      const queue = all.map(sized);
      const { taken, held, left } = cutBatch(queue, bounds);
      assert.ok(taken.length >= 1 && taken.length <= 5, "the bytes of five fit");
      assert.ok(held.length <= bounds.heldMax);
      assert.deepEqual(new Set([...taken, ...held.map(({ waiting }) => waiting), ...left]), new Set(queue));
      const rows = new Rows();
      for (const name of present) rows.versions.set(name, 1);
      const atOnce = taken.map(({ commit }) => rows.holds(commit));
      const oneByOne = taken.map(({ commit }) => {
        const holds = rows.holds(commit);
        if (holds) rows.apply(commit);
        return holds;
      });
      assert.deepEqual(atOnce, oneByOne);
      for (const { waiting, lostTo } of held) {
        if (lostTo !== undefined && oneByOne[lostTo.index]!) assert.ok(!rows.holds(waiting.commit), "it has lost");
      }
    }),
    { numRuns: 2_000 },
  );
});

void test("a batch begins with the first in the queue, whatever its size", () => {
  const large = { ...sized({ checks: [], writes: [["a", "put"]] }), bytes: 1_000 };
  const other = sized({ checks: [], writes: [["b", "put"]] });
  const cut = cutBatch([large, other], bounds);
  assert.deepEqual([cut.taken, cut.left], [[large], [other]]);
});

void test("rows checked by many commits are asked for once, and each learns whether its check failed", () => {
  const bucket: Check = { key: Buffer.from("bucket"), version: 7 };
  const stale: Check = { key: Buffer.from("bucket"), version: 6 };
  const commits: Commit[] = [bucket, stale, bucket, stale].map((check, index) => ({
    checks: [check, { key: Buffer.from(`own${index}`), version: 0 }],
    writes: [],
  }));
  const encoded = encodeBatch(commits, 64);
  assert.equal(encoded.checks.length, 6);
  const conflict = (check: Check): CommitResult => ({ outcome: "conflict", key: check.key });
  const committed: CommitResult = { outcome: "committed" };
  assert.deepEqual(resultsOf(commits, encoded, null), [committed, committed, committed, committed]);
  const number = encoded.checks.indexOf(stale) + 1;
  const expected = [committed, conflict(stale), committed, conflict(stale)];
  assert.deepEqual(resultsOf(commits, encoded, `{${number}}`), expected);
});

void test("locks are taken in the order of their numbers, exclusive where a row is written", () => {
  const [written, ...checked] = ["written", "checked", "another"].map((text) => Buffer.from(text));
  const commits: Commit[] = [
    { checks: [{ key: written!, version: 1 }], writes: [{ kind: "put", key: written!, value: written! }] },
    ...checked.map((each) => ({ checks: [{ key: each, version: 1 }], writes: [] })),
  ];
  const locksOf = (locksMax: number): number[] => {
    const [locks] = encodeBatch(commits, locksMax).parameters;
    return Array.from({ length: locks!.readInt32BE(12) }, (_, index) => locks!.readInt32BE(20 + index * 8 + 4));
  };
  const rows = [lockOf(written!) * 2 + 1, ...checked.map((each) => lockOf(each) * 2)];
  const ascending = rows.toSorted((left, right) => left - right);
  assert.deepEqual(locksOf(3), [0, ...ascending], "each row, and the store shared");
  assert.deepEqual(locksOf(2), [1], "the store exclusive");
});

void test("every process finds the same lock for a key", () => {
  // Part of the format: other numbers would let two builds commit side by side without seeing each other.
  assert.deepEqual(
    // Published values of FNV-1a.
    ["", "a", "foobar"].map((text) => lockOf(Buffer.from(text))),
    [0x811c9dc5 >>> 2, 0xe40c292c >>> 2, 0xbf9cf968 >>> 2],
  );
});

void test("arrays have PostgreSQL's binary format", () => {
  assert.equal(
    bytesArray([Buffer.from("ab"), Buffer.alloc(0)]).toString("hex"),
    "000000010000000000000011000000020000000100000002616200000000",
  );
  assert.equal(int4Array([]).toString("hex"), "000000000000000000000017");
  assert.equal(int4Array([-1]).toString("hex"), "000000010000000000000017000000010000000100000004ffffffff");
  assert.equal(
    int8Array([2 ** 53 - 1])
      .subarray(-12)
      .toString("hex"),
    "00000008001fffffffffffff",
  );
  assert.deepEqual(bytesOf("\\x00ff"), Buffer.from([0, 255]));
  assert.deepEqual([numbersOf("{}"), numbersOf("{1,22}")], [[], [1, 22]]);
});

void test("a URL names hosts, schema and certificates; what is not known is refused without repeating it", () => {
  const { hosts, schema } = parsePostgresUrl(
    "postgres://me:p%40ss@h1,[::1]:6000,h3:7/db?schema=mine&sslmode=verify-full&sslrootcert=/ca.pem",
  );
  assert.equal(schema, "mine");
  assert.deepEqual(
    hosts.map(({ name }) => name),
    ["h1:5432", "[::1]:6000", "h3:7"],
  );
  assert.equal(
    hosts[0]!.connectionString,
    "postgres://me:p%40ss@h1:5432/db?uselibpqcompat=true&sslmode=verify-full&sslrootcert=%2Fca.pem",
  );
  assert.equal(parsePostgresUrl("postgresql:///db?host=/run/pg&port=6").hosts[0]!.name, "/run/pg/.s.PGSQL.6");
  assert.equal(parsePostgresUrl("postgres://h/db?schema=x", "y").schema, "y");
  const wrong = ["http://h/db", "h", "h/db?sslmode=prefer", "h/db?target=x", "h/db?schema=A;", "h h/db", "h:x/db"];
  for (const each of wrong) {
    const url = each.startsWith("http") ? each : `postgres://me:secret@${each}`;
    if (each === "h") continue;
    assert.throws(
      () => parsePostgresUrl(url),
      (error) => hasReason(error, "invalid_argument") && !error.message.includes("secret"),
      url,
    );
  }
});
