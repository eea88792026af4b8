/** What the other processes in the drivers' tests have in common: tasks by name, each run on the store that is named beside it. */
import { closeSync, openSync, writeSync } from "node:fs";
import { readCounters } from "./kv.ts";
import type { Kv } from "./kv.ts";
import { transact, type Transaction } from "./transact.ts";

export const counterKey = Buffer.from("counter");

export type Task = (kv: Kv, argument: string) => Promise<void>;

/** Counts one row up by compare-and-set, from several writers; the argument says how often each of them. */
export function increment(also: (tx: Transaction) => void = () => undefined): Task {
  const writer = async (kv: Kv, times: number): Promise<void> => {
    for (let step = 0; step < times; step++) {
      await transact(kv, async (tx) => {
        const [row] = await tx.get([counterKey]);
        const value = Buffer.alloc(8);
        value.writeBigInt64BE(BigInt((row === undefined ? 0 : readCounters(row.value)[0]!) + 1));
        tx.put(counterKey, value);
        also(tx);
      });
    }
  };
  return async (kv, times) => {
    await Promise.all(Array.from({ length: 4 }, () => writer(kv, Number(times))));
  };
}

/** Counts one row up and puts a byte for each acknowledged step into the file named. */
export function count(steps: number): Task {
  return async (kv, file) => {
    const acks = openSync(file, "a");
    for (let step = 0; step < steps; step++) {
      await kv.commit({ checks: [], writes: [{ kind: "add", key: counterKey, deltas: [1] }] });
      writeSync(acks, ".");
    }
    closeSync(acks);
  };
}

/** The command line: a task's name, where its store is and, for some tasks, an argument. */
export async function runTask(
  tasks: Readonly<Record<string, Task>>,
  open: (place: string, task: string) => Promise<Kv>,
): Promise<void> {
  const [, , name = "", place, argument = ""] = process.argv;
  const run = tasks[name];
  if (run === undefined || place === undefined) throw new Error(`There is no task ${name}.`);
  const kv = await open(place, name);
  // An open timer, so that a back-off (whose own timer does not count) cannot end the process early.
  const stay = setInterval(() => undefined, 1_000);
  await run(kv, argument);
  clearInterval(stay);
  await kv.close();
}
