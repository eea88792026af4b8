import assert from "node:assert/strict";
import { test } from "node:test";
import { AssertionError } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { HoldfastError, hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { seededRandom } from "../core/random.ts";
import { absent, readCounters } from "./kv.ts";
import type { Commit, Kv } from "./kv.ts";
import { openMemoryKv } from "./memory.ts";
import { transact } from "./transact.ts";

const bytes = (text: string): Buffer => Buffer.from(text);

/** A store that remembers the commits it was asked for. */
function watched(): { kv: Kv; commits: Commit[] } {
  const kv = openMemoryKv();
  const commits: Commit[] = [];
  const commit = kv.commit.bind(kv);
  kv.commit = (each) => {
    commits.push(each);
    return commit(each);
  };
  return { kv, commits };
}

function fakeClock(stepMs: number): Clock & { sleptMs: number } {
  let now = 0;
  const clock = {
    sleptMs: 0,
    nowMs: () => now,
    monotonicMs: () => (now += stepMs),
    sleep: async (ms: number) => {
      clock.sleptMs += ms;
      now += ms;
    },
  };
  return clock;
}

const set = (kv: Kv, key: string, value: string): Promise<unknown> =>
  kv.commit({ checks: [], writes: [{ kind: "put", key: bytes(key), value: bytes(value) }] });

void test("what was read is checked, what was peeked at or scanned is not", async () => {
  const { kv, commits } = watched();
  await transact(kv, async (tx) => {
    await tx.get([bytes("a")]);
    await tx.peek([bytes("b")]);
    await tx.scan({ start: bytes("a"), end: bytes("z") }, { limit: 5 });
    tx.put(bytes("c"), bytes("1"));
  });
  assert.deepEqual(commits[0]?.checks, [{ key: bytes("a"), version: absent }]);
});

void test("a conflict runs the work again from the start", async () => {
  const { kv } = watched();
  await set(kv, "n", "0");
  const seen: string[] = [];
  const result = await transact(kv, async (tx) => {
    const [row] = await tx.get([bytes("n")]);
    seen.push(row!.value.toString());
    if (seen.length < 3) await set(kv, "n", String(seen.length));
    tx.put(bytes("n"), bytes(`${row!.value.toString()}!`));
    return seen.length;
  });
  assert.equal(result, 3);
  assert.deepEqual(seen, ["0", "1", "2"]);
  assert.equal((await kv.get([bytes("n")]))[0]?.value.toString(), "2!");
});

void test("work that writes nothing commits only when it looked twice", async () => {
  const { kv, commits } = watched();
  await transact(kv, async (tx) => void (await tx.get([bytes("a"), bytes("b")])));
  assert.equal(commits.length, 0);
  await transact(kv, async (tx) => {
    await tx.get([bytes("a")]);
    await tx.get([bytes("b")]);
  });
  await transact(kv, async (tx) => tx.check(bytes("a"), absent));
  assert.deepEqual(
    commits.map(({ checks, writes }) => [checks.length, writes.length]),
    [
      [2, 0],
      [1, 0],
    ],
  );
});

void test("an error decided on two states is not passed on", async () => {
  const { kv } = watched();
  await set(kv, "left", "1");
  await set(kv, "right", "1");
  let runs = 0;
  const answer = await transact(kv, async (tx) => {
    runs += 1;
    const [left] = await tx.get([bytes("left")]);
    if (runs === 1) {
      await set(kv, "left", "2");
      await set(kv, "right", "2");
    }
    const [right] = await tx.get([bytes("right")]);
    if (left!.value.toString() !== right!.value.toString()) throw new HoldfastError("internal", "torn");
    return right!.value.toString();
  });
  assert.deepEqual([answer, runs], ["2", 2]);
});

void test("an error that holds is passed on at once, and nothing is written", async () => {
  const { kv } = watched();
  let runs = 0;
  const failing = transact(kv, async (tx) => {
    runs += 1;
    await tx.get([bytes("a")]);
    await tx.get([bytes("b")]);
    tx.put(bytes("c"), bytes("1"));
    throw new HoldfastError("precondition_failed", "no");
  });
  await assert.rejects(failing, (error) => hasReason(error, "precondition_failed"));
  assert.equal(runs, 1);
  assert.deepEqual(await kv.get([bytes("c")]), [undefined]);
});

void test("one row seen in two versions can never commit", async () => {
  const { kv } = watched();
  let runs = 0;
  await transact(kv, async (tx) => {
    runs += 1;
    await tx.get([bytes("a")]);
    if (runs === 1) await set(kv, "a", "1");
    await tx.get([bytes("a")]);
    tx.put(bytes("b"), bytes(String(runs)));
  });
  assert.equal((await kv.get([bytes("b")]))[0]?.value.toString(), "2");
});

void test("the last write of a key wins, and adds sum up", async () => {
  const { kv, commits } = watched();
  await transact(kv, async (tx) => {
    tx.put(bytes("a"), bytes("1"));
    tx.delete(bytes("a"));
    tx.put(bytes("a"), bytes("2"));
    tx.put(bytes("b"), bytes("1"));
    tx.delete(bytes("b"));
    tx.add(bytes("n"), [1]);
    tx.add(bytes("n"), [2, 5]);
  });
  assert.equal(commits[0]?.writes.length, 3);
  const [a, b, n] = await kv.get(["a", "b", "n"].map(bytes));
  assert.equal(a?.value.toString(), "2");
  assert.equal(b, undefined);
  assert.deepEqual(readCounters(n!.value), [3, 5]);
});

void test("reading or adding to what the run has written is an assertion", async () => {
  const { kv } = watched();
  const wrong = [
    transact(kv, async (tx) => {
      tx.put(bytes("a"), bytes("1"));
      await tx.get([bytes("a")]);
    }),
    transact(kv, async (tx) => {
      tx.delete(bytes("a"));
      await tx.peek([bytes("a")]);
    }),
    transact(kv, async (tx) => {
      tx.put(bytes("a"), bytes("1"));
      tx.add(bytes("a"), [1]);
    }),
  ];
  for (const each of wrong) await assert.rejects(each, AssertionError);
});

void test("conflicts without end become slow_down, by attempts or by time", async () => {
  const { kv } = watched();
  const losing = async (clock: Clock): Promise<number> => {
    let runs = 0;
    const call = transact(
      kv,
      async (tx) => {
        runs += 1;
        await tx.get([bytes("a")]);
        await set(kv, "a", String(runs));
        tx.put(bytes("a"), bytes("mine"));
      },
      { clock, random: seededRandom(1) },
    );
    await assert.rejects(call, (error) => hasReason(error, "slow_down"));
    return runs;
  };
  const quick = fakeClock(0);
  assert.equal(await losing(quick), limits.transactAttemptsMax);
  assert.ok(quick.sleptMs > 0);
  assert.ok((await losing(fakeClock(limits.transactMsMax / 4))) < 10);
});

void test("who waits for a commit is told of the one that happened, once, and of none where nothing was written", async () => {
  const { kv } = watched();
  const told: string[] = [];
  let runs = 0;
  await transact(kv, async (tx) => {
    const run = `run ${++runs}`;
    await tx.get([bytes("a")]);
    tx.put(bytes("b"), bytes(run));
    tx.committed(() => told.push(run));
    if (runs === 1) await set(kv, "a", "another's");
    assert.deepEqual(told, []);
  });
  await transact(kv, async (tx) => {
    await tx.get([bytes("a")]);
    tx.committed(() => told.push("nothing"));
  });
  assert.deepEqual(told, ["run 2"]);
});

void test("an aborted signal ends the attempts", async () => {
  const { kv } = watched();
  const stop = new AbortController();
  let runs = 0;
  const call = transact(
    kv,
    async (tx) => {
      runs += 1;
      await tx.get([bytes("a")]);
      await set(kv, "a", String(runs));
      if (runs === 2) stop.abort();
      tx.put(bytes("a"), bytes("mine"));
    },
    { signal: stop.signal },
  );
  await assert.rejects(call, (error) => hasReason(error, "cancelled"));
  assert.equal(runs, 2);
});
