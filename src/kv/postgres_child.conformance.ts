/** The other process in the PostgreSQL tests: started with a task's name, the store's URL and, for some, a second argument. */
import { closeSync, openSync, writeSync } from "node:fs";
import { absent, readCounters } from "./kv.ts";
import type { Entry, Kv } from "./kv.ts";
import { openPostgresKv } from "./postgres.ts";
import { transact } from "./transact.ts";

const counterKey = Buffer.from("counter");
const accountsMax = 8;

const tasks: Record<string, (kv: Kv, argument: string) => Promise<void>> = {
  /** Counts one row up by compare-and-set, from several writers. */
  increment: async (kv, times) => {
    await Promise.all(Array.from({ length: 4 }, () => incrementTimes(kv, Number(times))));
  },

  /** Counts one row up and puts a byte for each acknowledged step into the file named. */
  count: async (kv, file) => {
    const acks = openSync(file, "a");
    for (let step = 0; step < 600; step++) {
      await kv.commit({ checks: [], writes: [{ kind: "add", key: counterKey, deltas: [1] }] });
      writeSync(acks, ".");
    }
    closeSync(acks);
  },

  /** Moves money between accounts, and now and then takes one away and makes it anew: many rows, many conflicts. */
  move: async (kv, times) => {
    await Promise.all(Array.from({ length: 16 }, (_, id) => moveTimes(kv, { id, times: Number(times), others: 0 })));
  },

  /** The same, and each move depends on so many other rows that its batch locks the whole store. */
  moveWide: async (kv, times) => {
    await Promise.all(Array.from({ length: 4 }, (_, id) => moveTimes(kv, { id, times: Number(times), others: 200 })));
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

type Moves = { readonly id: number; readonly times: number; readonly others: number };

/** An account that is missing has nothing. Each move counts itself in a row of counters, without a check. */
async function moveTimes(kv: Kv, { id, times, others }: Moves): Promise<void> {
  for (let step = 0; step < times; step++) {
    const from = Buffer.from(`account${(id + step) % accountsMax}`);
    const to = Buffer.from(`account${(id * 3 + step * 5 + 1) % accountsMax}`);
    if (from.equals(to)) continue;
    await transact(kv, async (tx) => {
      const [source] = await tx.get([from]);
      const [target] = await tx.get([to]);
      const [before, after] = [balanceOf(source), balanceOf(target)];
      const amount = Math.min(before, 1 + (step % 3));
      if (before === amount) tx.delete(from);
      else tx.put(from, Buffer.from(String(before - amount)));
      tx.put(to, Buffer.from(String(after + amount)));
      for (let other = 0; other < others; other++) tx.check(Buffer.from(`other${other}`), absent);
      tx.add(Buffer.from("moves"), [1, amount]);
    });
  }
}

function balanceOf(row: Entry | undefined): number {
  return row === undefined ? 0 : Number(row.value.toString());
}

const [, , task, url, argument] = process.argv;
const run = tasks[task ?? ""];
if (run === undefined || url === undefined) throw new Error(`There is no task ${String(task)}.`);
const kv = await openPostgresKv({ url, allowNoSync: true });
// An open timer, so that a back-off (whose own timer does not count) cannot end the process early.
const stay = setInterval(() => undefined, 1_000);
await run(kv, argument ?? "");
clearInterval(stay);
await kv.close();
