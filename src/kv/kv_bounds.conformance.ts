/** What every driver must do with an `add` that has a bound; a part of kv.conformance.ts. */
import assert from "node:assert/strict";
import { readCounters } from "./kv.ts";
import type { Commit, CommitResult, Kv, Write } from "./kv.ts";
import { transact } from "./transact.ts";

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");
const put = (key: string): Write => ({ kind: "put", key: bytes(key), value: bytes("") });

type Bounded = { readonly key: string; readonly deltas: readonly number[]; readonly max?: (number | undefined)[] };

const add = ({ key, deltas, max }: Bounded): Write => ({ kind: "add", key: bytes(key), deltas, max });

async function outcomeOf(kv: Kv, ...writes: Write[]): Promise<string> {
  const result = await kv.commit({ checks: [], writes });
  return result.outcome === "exceeded" ? `exceeded ${Buffer.from(result.key).toString("latin1")}` : result.outcome;
}

async function countersOf(kv: Kv, key: string): Promise<number[] | undefined> {
  const [row] = await kv.get([bytes(key)]);
  return row && readCounters(row.value);
}

export function counterBoundTests(on: (title: string, body: (kv: Kv) => Promise<void>) => void): void {
  on("an add up to its bound is committed; one beyond it is refused with its whole commit", async (kv) => {
    assert.equal(await outcomeOf(kv, add({ key: "n", deltas: [1, 7], max: [10, 7] })), "committed");
    assert.equal(await outcomeOf(kv, add({ key: "n", deltas: [9, 0], max: [10, 7] })), "committed");
    assert.equal(await outcomeOf(kv, put("x"), add({ key: "n", deltas: [1], max: [10] })), "exceeded n");
    assert.equal(await outcomeOf(kv, put("x"), add({ key: "n", deltas: [-1, 1], max: [10, 7] })), "exceeded n");
    assert.deepEqual(await kv.get([bytes("x")]), [undefined]);
    assert.deepEqual(await countersOf(kv, "n"), [10, 7]);
  });

  on("a row that is not there counts from nothing towards the bound", async (kv) => {
    assert.equal(
      await outcomeOf(kv, add({ key: "n", deltas: [0, 0, 6], max: [undefined, undefined, 5] })),
      "exceeded n",
    );
    assert.equal(await countersOf(kv, "n"), undefined);
    assert.equal(await outcomeOf(kv, add({ key: "n", deltas: [0, 0, 5], max: [undefined, 0, 5] })), "committed");
  });

  on("what lowers a counter, or leaves it, is never refused, however high it stands", async (kv) => {
    await outcomeOf(kv, add({ key: "n", deltas: [100, 100] }));
    assert.equal(await outcomeOf(kv, add({ key: "n", deltas: [-1, 0], max: [10, 10] })), "committed");
    assert.equal(await outcomeOf(kv, add({ key: "n", deltas: [50], max: [undefined] })), "committed");
    assert.deepEqual(await countersOf(kv, "n"), [149, 100]);
  });

  on("a check that fails is a conflict, whatever a bound says", async (kv) => {
    const result = await kv.commit({
      checks: [{ key: bytes("away"), version: 1 }],
      writes: [add({ key: "n", deltas: [5], max: [1] })],
    });
    assert.equal(result.outcome, "conflict");
  });

  on("of many adds at once as many are committed as the bound has room for, and no more", (kv) => oneRow(kv));
  on("bounds of several rows hold at once, and what was refused had no room", (kv) => severalRows(kv));
  on("with deletes between, nothing goes beyond and what is left is the sum of what was committed", (kv) =>
    upAndDown(kv),
  );

  on("transact throws what goes with the bound, and adds up under the stricter one", async (kv) => {
    const refusal = new Error("too much");
    const key = bytes("n");
    const bound = (most: number) => ({ max: [most], refusal: () => refusal });
    const grow = (times: number): Promise<void> =>
      transact(kv, async (tx) => {
        tx.add(key, [times], bound(5));
        tx.add(key, [1], bound(9));
      });
    await grow(4);
    await assert.rejects(grow(1), (error) => error === refusal);
    assert.deepEqual(await countersOf(kv, "n"), [5]);
  });
}

function all(kv: Kv, commits: readonly Commit["writes"][]): Promise<CommitResult[]> {
  return Promise.all(commits.map((writes) => kv.commit({ checks: [], writes })));
}

async function oneRow(kv: Kv): Promise<void> {
  const commits = Array.from({ length: 200 }, (_, index) => [
    put(`k${index}`),
    add({ key: "n", deltas: [1, 2], max: [120, undefined] }),
  ]);
  const results = await all(kv, commits);
  assert.equal(results.filter(({ outcome }) => outcome === "committed").length, 120);
  assert.equal(results.filter(({ outcome }) => outcome === "exceeded").length, 80);
  assert.deepEqual(await countersOf(kv, "n"), [120, 240]);
  const rows = await kv.get(commits.map((_, index) => bytes(`k${index}`)));
  for (const [index, { outcome }] of results.entries())
    assert.equal(rows[index] !== undefined, outcome === "committed");
}

async function severalRows(kv: Kv): Promise<void> {
  const commits = Array.from({ length: 150 }, (_, index) => [
    add({ key: "account", deltas: [1], max: [100] }),
    add({ key: `bucket${index % 3}`, deltas: [1, 1], max: [index % 3 === 0 ? 20 : undefined] }),
  ]);
  const results = await all(kv, commits);
  const [account] = (await countersOf(kv, "account"))!;
  assert.equal(account, results.filter(({ outcome }) => outcome === "committed").length);
  const [first] = (await countersOf(kv, "bucket0"))!;
  assert.ok(account <= 100 && first! <= 20);
  for (const [index, { outcome }] of results.entries()) {
    if (outcome !== "committed") assert.ok(account === 100 || (index % 3 === 0 && first === 20), "there was no room");
  }
}

async function upAndDown(kv: Kv): Promise<void> {
  await outcomeOf(kv, add({ key: "n", deltas: [30] }));
  const deltas = Array.from({ length: 180 }, (_, index) => (index % 6 === 5 ? -1 : 1 + (index % 3)));
  const results = await all(
    kv,
    deltas.map((delta) => [add({ key: "n", deltas: [delta], max: [60] })]),
  );
  const committed = deltas.filter((_, index) => results[index]!.outcome === "committed");
  const [sum] = (await countersOf(kv, "n"))!;
  assert.equal(
    sum,
    committed.reduce((total, delta) => total + delta, 30),
  );
  assert.ok(sum <= 60);
  for (const [index, { outcome }] of results.entries()) {
    if (deltas[index]! < 0) assert.equal(outcome, "committed");
  }
}
