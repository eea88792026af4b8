import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { statSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import type { TestContext } from "node:test";
import * as fc from "fast-check";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { openEtcdKv } from "./etcd.ts";
import { EtcdFixture, etcdMissing } from "./etcd.fixture.ts";
import { kvConformance } from "./kv.conformance.ts";
import { readCounters } from "./kv.ts";
import type { Commit, Entry, Kv, Write } from "./kv.ts";

const child = join(import.meta.dirname, "etcd_child.conformance.ts");
const bytes = (text: string): Buffer => Buffer.from(text, "latin1");
const put = (key: string, value: string): Write => ({ kind: "put", key: bytes(key), value: bytes(value) });
const add = (key: string, ...deltas: number[]): Write => ({ kind: "add", key: bytes(key), deltas });

let one: Promise<EtcdFixture> | undefined;
let three: Promise<EtcdFixture> | undefined;
let stores = 0;
after(async () => {
  await (await one)?.dispose();
  await (await three)?.dispose();
});

function oneMember(): Promise<EtcdFixture> {
  one ??= EtcdFixture.start();
  return one;
}

function threeMembers(): Promise<EtcdFixture> {
  three ??= EtcdFixture.start({ members: 3 });
  return three;
}

function conformance(name: string, started: () => Promise<EtcdFixture>): void {
  kvConformance(name, async () => {
    const etcd = await started();
    const url = etcd.url(`store${stores++}`);
    const kv = await openEtcdKv({ url });
    return { kv, reopen: () => openEtcdKv({ url }), dispose: () => kv.close() };
  });
}

if (etcdMissing === undefined) {
  conformance("etcd, one member", oneMember);
  conformance("etcd, three members", threeMembers);
}

/** A test on a store of its own in the cluster of one member. */
function onStore(title: string, body: (kv: Kv, url: string, t: TestContext) => Promise<void>): void {
  void test(title, async (t) => {
    if (etcdMissing !== undefined) return t.skip(etcdMissing);
    const url = (await oneMember()).url(`store${stores++}`);
    const kv = await openEtcdKv({ url });
    t.after(() => kv.close());
    await body(kv, url, t);
  });
}

function startChild(...args: string[]): ChildProcess {
  return spawn(process.execPath, [child, ...args], { stdio: ["ignore", "pipe", "inherit"] });
}

async function countersOf(kv: Kv, key: string): Promise<number[]> {
  const [row] = await kv.get([bytes(key)]);
  return row === undefined ? [] : readCounters(row.value);
}

onStore("compare-and-set and counters hold across processes", async (kv, url) => {
  const children = Array.from({ length: 3 }, () => startChild("increment", url, "40"));
  const codes = await Promise.all(children.map(async (each) => (await once(each, "exit"))[0] as number));
  assert.deepEqual(codes, [0, 0, 0]);
  assert.deepEqual(await countersOf(kv, "counter"), [3 * 4 * 40]);
  assert.deepEqual(await countersOf(kv, "sums"), [3 * 4 * 40, -2 * 3 * 4 * 40]);
});

void test("a read is never older than a commit another process has acknowledged, by another member", async (t) => {
  if (etcdMissing !== undefined) return t.skip(etcdMissing);
  const etcd = await threeMembers();
  const [own, others] = etcd.endpoints.map((endpoint) => `etcd://${endpoint}/reads`);
  const kv = await openEtcdKv({ url: own! });
  t.after(() => kv.close());
  const acks = join(etcd.folder, "acks");
  await writeFile(acks, "");
  const counting = startChild("count", others!, acks);
  const exited = once(counting, "exit");
  for (let acknowledged = 0; acknowledged < 400;) {
    acknowledged = statSync(acks).size;
    const [seen = 0] = await countersOf(kv, "counter");
    assert.ok(seen >= acknowledged, `read ${seen} after ${acknowledged} were acknowledged`);
    const [scanned] = await kv.scan({ start: bytes("counter"), end: bytes("d") }, { limit: 1 });
    assert.ok((scanned === undefined ? 0 : readCounters(scanned.value)[0]!) >= seen, "a scan after a get");
    assert.ok(counting.exitCode === null || acknowledged === 400, "the other process ended early");
  }
  await exited;
});

onStore("what a killed process had acknowledged is there, and the others go on", async (kv, url) => {
  const loading = startChild("load", url);
  const exited = once(loading, "exit");
  let printed = "";
  for await (const piece of loading.stdout!.setEncoding("utf8")) {
    printed += piece;
    if (printed.length > 4_000) loading.kill("SIGKILL");
  }
  await exited;
  const acknowledged = printed.split("\n").slice(0, -1);
  assert.ok(acknowledged.length > 300);
  for (let at = 0; at < acknowledged.length; at += limits.scanEntriesMax) {
    const names = acknowledged.slice(at, at + limits.scanEntriesMax);
    const rows = await kv.get(names.map(bytes));
    assert.deepEqual(
      rows.map((row) => row?.value.toString()),
      names,
    );
  }
  assert.deepEqual(await kv.commit({ checks: [], writes: [put("after", "kill")] }), { outcome: "committed" });
});

/** A commit on the rows a to d, each of which is there and was checked at its first version. */
type Plan = { readonly checks: readonly string[]; readonly writes: readonly string[]; readonly adds: boolean };

const names = ["a", "b", "c", "d"];
const plans = fc.array(
  fc.record({ checks: fc.subarray(names), writes: fc.subarray(names, { minLength: 1 }), adds: fc.boolean() }),
  { minLength: 2, maxLength: 5 },
);

/** Which commits happen when they come in this order, or undefined if those are not `committed`. */
function agrees(order: readonly number[], all: readonly Plan[], committed: readonly boolean[]): string[] | undefined {
  const last = new Map<string, string>();
  for (const index of order) {
    const { checks, writes } = all[index]!;
    if (checks.every((name) => !last.has(name)) !== committed[index]) return undefined;
    if (committed[index]) for (const name of writes) last.set(name, String(index));
  }
  return names.map((name) => last.get(name) ?? "first");
}

function* permutations(rest: readonly number[], begun: readonly number[] = []): Generator<readonly number[]> {
  if (rest.length === 0) yield begun;
  for (const next of rest)
    yield* permutations(
      rest.filter((each) => each !== next),
      [...begun, next],
    );
}

onStore("commits at the same time, of two clients, have an order that explains them", async (kv, url, t) => {
  const other = await openEtcdKv({ url });
  t.after(() => other.close());
  let sum = 0;
  const property = fc.asyncProperty(plans, fc.boolean(), async (all, both) => {
    await kv.commit({ checks: [], writes: names.map((name) => put(name, "first")) });
    const rows = await kv.get(names.map(bytes));
    const version = (name: string): number => rows[names.indexOf(name)]!.version;
    const results = await Promise.all(
      all.map(({ checks, writes, adds }, index) => {
        const commit: Commit = {
          checks: checks.map((name) => ({ key: bytes(name), version: version(name) })),
          writes: [...writes.map((name) => put(name, String(index))), ...(adds ? [add("sum", 1)] : [])],
        };
        return (both && index % 2 === 1 ? other : kv).commit(commit);
      }),
    );
    const committed = results.map(({ outcome }) => outcome === "committed");
    const values = (await kv.get(names.map(bytes))).map((row) => row!.value.toString());
    const orders = [...permutations([...all.keys()])].map((order) => agrees(order, all, committed));
    assert.ok(orders.some((explained) => explained?.join() === values.join()));
    sum += all.filter(({ adds }, index) => adds && committed[index]).length;
    assert.deepEqual(await countersOf(kv, "sum"), sum === 0 ? [] : [sum]);
  });
  await fc.assert(property, { numRuns: 150 });
});

onStore("commits that would each undo what the other checked do not both happen", async (kv) => {
  for (let round = 0; round < 10; round++) {
    await kv.commit({ checks: [], writes: [put("a", "on call"), put("b", "on call")] });
    const [a, b] = (await kv.get([bytes("a"), bytes("b")])).map((row) => row!.version);
    const outcomes = await Promise.all([
      kv.commit({ checks: [{ key: bytes("a"), version: a! }], writes: [put("b", "off")] }),
      kv.commit({ checks: [{ key: bytes("b"), version: b! }], writes: [put("a", "off")] }),
    ]);
    assert.deepEqual(outcomes.map(({ outcome }) => outcome).toSorted(), ["committed", "conflict"]);
  }
});

onStore("a get of more keys than one request takes reads one state", async (kv) => {
  const keys = Array.from({ length: 3 * limits.etcdReadKeysMax }, (_, index) => `k${index}`);
  const ends = [keys[0]!, keys.at(-1)!];
  let moving = true;
  const writer = (async (): Promise<void> => {
    for (let step = 0; moving; step++)
      await kv.commit({ checks: [], writes: ends.map((key) => put(key, String(step))) });
  })();
  for (let round = 0; round < 20; round++) {
    const rows: (Entry | undefined)[] = await kv.get(keys.map(bytes));
    assert.equal(rows.length, keys.length);
    assert.equal(rows[0]?.value.toString(), rows.at(-1)?.value.toString());
  }
  moving = false;
  await writer;
});

onStore("the largest commits go through, many at once", async (kv) => {
  const operations = limits.commitOperationsMax / 2;
  const large = Buffer.alloc(limits.metaValueBytesMax, "v");
  const commits = Array.from({ length: 6 }, (_, id): Commit => {
    const key = (index: number): Buffer => bytes(`${id}-${index}-`.padEnd(id % 2 === 0 ? 1_700 : 20, "x"));
    const checks = Array.from({ length: operations }, (_, index) => ({ key: key(index), version: 0 }));
    if (id % 2 === 0) return { checks, writes: [add("n", 1), put(`e${id}`, "")] };
    const values = Array.from({ length: 7 }, (_, at): Write => ({
      kind: "put",
      key: bytes(`l${id}${at}`),
      value: large,
    }));
    return { checks, writes: [...values, add("n", 1)] };
  });
  const results = await Promise.all(commits.map((commit) => kv.commit(commit)));
  assert.ok(results.every(({ outcome }) => outcome === "committed"));
  assert.deepEqual(await countersOf(kv, "n"), [6]);
  const [row] = await kv.get([bytes("l13")]);
  assert.ok(row?.value.equals(large));
});

onStore("more waiting commits than the queue holds are refused with slow_down", async (kv) => {
  const commit = (): Promise<unknown> => kv.commit({ checks: [], writes: [add("n", 1)] });
  const results = await Promise.allSettled(Array.from({ length: limits.commitQueueMax + 10 }, commit));
  const refused = results.filter((result) => result.status === "rejected");
  assert.equal(refused.length, 10);
  assert.ok(refused.every(({ reason }) => hasReason(reason, "slow_down")));
  assert.deepEqual(await countersOf(kv, "n"), [limits.commitQueueMax]);
});

onStore("stores of different names do not see each other", async (kv) => {
  const other = await openEtcdKv({ url: (await oneMember()).url(`store${stores++}`) });
  await kv.commit({ checks: [], writes: [put("a", "mine")] });
  assert.deepEqual(await other.get([bytes("a")]), [undefined]);
  const everything = { start: Buffer.from([0]), end: Buffer.alloc(limits.metaKeyBytesMax, 0xff) };
  assert.deepEqual(await other.scan(everything, { limit: 9 }), []);
  await other.close();
});

onStore("a store of a format that is not known is refused", async (kv, url) => {
  const etcd = await oneMember();
  const encoded = (text: string): string => Buffer.from(text).toString("base64");
  await etcd.post("kv/put", { key: encoded(`${url.split("/").at(-1)!}/format`), value: encoded("2") });
  await assert.rejects(openEtcdKv({ url }), (error) => hasReason(error, "corrupt_record"));
  assert.equal((await kv.get([bytes("a")])).length, 1);
});
