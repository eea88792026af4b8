/** The other process in lmdb.test.ts: started with a task's name, the store's path and, for some, a second argument. */
import { closeSync, openSync, writeSync } from "node:fs";
import { hasReason } from "../core/errors.ts";
import { readCounters } from "./kv.ts";
import type { Kv } from "./kv.ts";
import { openLmdbKv } from "./lmdb.ts";
import { transact } from "./transact.ts";

const counterKey = Buffer.from("counter");

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
const kv = await openLmdbKv({ path });
// An open timer, so that a back-off (whose own timer does not count) cannot end the process early.
const stay = setInterval(() => undefined, 1_000);
await run(kv, argument ?? "");
clearInterval(stay);
await kv.close();
