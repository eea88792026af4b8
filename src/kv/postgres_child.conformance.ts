/** The other process in the PostgreSQL tests: started with a task's name, the store's URL and, for some, a second argument. */
import { absent } from "./kv.ts";
import type { Entry, Kv } from "./kv.ts";
import { count, increment, runTask, type Task } from "./kv_child.fixture.ts";
import { openPostgresKv } from "./postgres.ts";
import { transact } from "./transact.ts";

const accountsMax = 8;

const tasks: Record<string, Task> = {
  increment: increment(),
  count: count(600),

  /** Moves money between accounts, and now and then takes one away and makes it anew: many rows, many conflicts. */
  move: async (kv, times) => {
    await Promise.all(Array.from({ length: 16 }, (_, id) => moveTimes(kv, { id, times: Number(times), others: 0 })));
  },

  /** The same, and each move depends on so many other rows that its batch locks the whole store. */
  moveWide: async (kv, times) => {
    await Promise.all(Array.from({ length: 4 }, (_, id) => moveTimes(kv, { id, times: Number(times), others: 200 })));
  },
};

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

await runTask(tasks, (url) => openPostgresKv({ url, allowNoSync: true }));
