/** The other process in etcd.test.ts: started with a task's name, the store's URL and a second argument. */
import { closeSync, openSync, writeSync } from "node:fs";
import { openEtcdKv } from "./etcd.ts";
import { readCounters } from "./kv.ts";
import type { Kv } from "./kv.ts";
import { transact } from "./transact.ts";

const counterKey = Buffer.from("counter");
const sumsKey = Buffer.from("sums");

const tasks: Record<string, (kv: Kv, argument: string) => Promise<void>> = {
  /** Counts one row up by compare-and-set and another by adding, from several writers. */
  increment: async (kv, times) => {
    await Promise.all(Array.from({ length: 4 }, () => incrementTimes(kv, Number(times))));
  },

  /** Counts one row up and puts a byte for each acknowledged step into the file named. */
  count: async (kv, file) => {
    const acks = openSync(file, "a");
    for (let step = 0; step < 400; step++) {
      await kv.commit({ checks: [], writes: [{ kind: "add", key: counterKey, deltas: [1] }] });
      writeSync(acks, ".");
    }
    closeSync(acks);
  },

  /** Commits from several writers without end and prints each row's name once it is acknowledged. */
  load: async (kv) => {
    const writer = async (id: number): Promise<void> => {
      for (let step = 0; ; step++) {
        const name = `w${id}-${step}`;
        await kv.commit({ checks: [], writes: [{ kind: "put", key: Buffer.from(name), value: Buffer.from(name) }] });
        writeSync(1, `${name}\n`);
      }
    };
    await Promise.all(Array.from({ length: 6 }, (_, id) => writer(id)));
  },
};

async function incrementTimes(kv: Kv, times: number): Promise<void> {
  for (let step = 0; step < times; step++) {
    await transact(kv, async (tx) => {
      const [row] = await tx.get([counterKey]);
      const value = Buffer.alloc(8);
      value.writeBigInt64BE(BigInt((row === undefined ? 0 : readCounters(row.value)[0]!) + 1));
      tx.put(counterKey, value);
      tx.add(sumsKey, [1, -2]);
    });
  }
}

const [, , task, url, argument] = process.argv;
const run = tasks[task ?? ""];
if (run === undefined || url === undefined) throw new Error(`There is no task ${String(task)}.`);
const kv = await openEtcdKv({ url });
await run(kv, argument ?? "");
await kv.close();
