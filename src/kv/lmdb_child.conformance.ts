/** The other process in lmdb.test.ts: started with a task's name, the store's path and, for some, a second argument. */
import { closeSync, openSync, writeSync } from "node:fs";
import { hasReason, HoldfastError } from "../core/errors.ts";
import { readCounters } from "./kv.ts";
import type { Kv } from "./kv.ts";
import { openLmdbKv } from "./lmdb.ts";
import { transact } from "./transact.ts";

const counterKey = Buffer.from("counter");

const failures: HoldfastError[] = [];

const tasks: Record<string, (kv: Kv, argument: string) => Promise<void>> = {
  /** Counts one row up by compare-and-set, from several writers. */
  increment: async (kv, times) => {
    await Promise.all(Array.from({ length: 4 }, () => incrementTimes(kv, Number(times))));
  },

  /** Counts one row up and puts a byte for each acknowledged step into the file named. */
  count: async (kv, file) => {
    const acks = openSync(file, "a");
    for (let step = 0; step < 1_500; step++) {
      await kv.commit({ checks: [], writes: [{ kind: "add", key: counterKey, deltas: [1] }] });
      writeSync(acks, ".");
    }
    closeSync(acks);
  },

  /** Commits from several writers without end and prints each row's name once it is acknowledged. */
  load: async (kv) => {
    const writer = async (id: number): Promise<void> => {
      for (let step = 0; ; step++) {
        await putMarked(kv, `w${id}-${step}`);
        writeSync(1, `w${id}-${step}\n`);
      }
    };
    await Promise.all(Array.from({ length: 6 }, (_, id) => writer(id)));
  },

  /** A few commits from several writers, each announced on standard error when acknowledged. */
  trace: async (kv) => {
    const writer = async (id: number): Promise<void> => {
      for (let step = 0; step < 15; step++) {
        await putMarked(kv, `w${id}-${step}`);
        writeSync(2, `ACK<w${id}-${step}>`);
      }
    };
    await Promise.all(Array.from({ length: 6 }, (_, id) => writer(id)));
  },

  /** Commits from several writers on a disk that fails on the way (the parent sees to it), and tells what came of each. */
  fail: async (kv) => {
    const acknowledged: string[] = [];
    const refusals = new Map<string, number>();
    let late = 0;
    const put = async (name: string): Promise<void> => {
      const isLate = failures.length > 0;
      try {
        await putMarked(kv, name);
        acknowledged.push(name);
        if (isLate) late += 1;
      } catch (error) {
        const reason = error instanceof HoldfastError ? error.reason : String(error);
        refusals.set(reason, (refusals.get(reason) ?? 0) + 1);
      }
    };
    const puts: Promise<void>[] = [];
    // Not in step with the batches, so that one is asked for while another syncs.
    for (let step = 0; step < 300; step++) {
      puts.push(put(`row${step}`));
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await Promise.all(puts);
    const read = await kv.get([counterKey]).then(
      () => "read",
      (error: unknown) => (error instanceof HoldfastError ? error.reason : String(error)),
    );
    writeSync(
      1,
      JSON.stringify({ acknowledged, refusals: [...refusals.keys()], late, failures: failures.length, read }),
    );
  },

  /** Writes until the file may not grow (the parent sets the limit), then looks at what is left and makes room. */
  fill: async (kv) => {
    const kept: Buffer[] = [];
    let refused = 0;
    for (let step = 0; refused < 3 && step < 1_000; step++) {
      const key = Buffer.from(`row${step}`);
      try {
        await kv.commit({ checks: [], writes: [{ kind: "put", key, value: Buffer.alloc(20_000, step) }] });
        kept.push(key);
      } catch (error) {
        if (!hasReason(error, "unavailable")) throw error;
        refused += 1;
      }
    }
    const missing = (await kv.get(kept)).filter((entry) => entry === undefined).length;
    await kv.commit({ checks: [], writes: kept.slice(0, 10).map((key) => ({ kind: "delete", key })) });
    writeSync(1, JSON.stringify({ kept: kept.length, refused, missing }));
  },
};

async function incrementTimes(kv: Kv, times: number): Promise<void> {
  for (let step = 0; step < times; step++) {
    await transact(kv, async (tx) => {
      const [row] = await tx.get([counterKey]);
      const value = Buffer.alloc(8);
      value.writeBigInt64BE(BigInt((row === undefined ? 0 : readCounters(row.value)[0]!) + 1));
      tx.put(counterKey, value);
    });
  }
}

async function putMarked(kv: Kv, name: string): Promise<void> {
  const value = Buffer.alloc(300, "x");
  value.write(`<${name}>`);
  await kv.commit({ checks: [], writes: [{ kind: "put", key: Buffer.from(name), value }] });
}

const [, , task, path, argument] = process.argv;
const run = tasks[task ?? ""];
if (run === undefined || path === undefined) throw new Error(`There is no task ${String(task)}.`);
const kv = await openLmdbKv({
  path,
  onFailed: (failure) => failures.push(failure),
  // The limit on a file's size is the full file system of `fill`.
  ...(task === "fill" ? { freeBytes: async () => 0 } : {}),
});
// An open timer, so that a back-off (whose own timer does not count) cannot end the process early.
const stay = setInterval(() => undefined, 1_000);
await run(kv, argument ?? "");
clearInterval(stay);
await kv.close();
// A transaction that never began does not keep the process.
if (failures.length > 0) process.exit(1);
