/** The other process in lmdb.test.ts: started with a task's name, the store's path and, for some, a second argument. */
import { writeSync } from "node:fs";
import { hasReason, HoldfastError } from "../core/errors.ts";
import type { Kv } from "./kv.ts";
import { count, counterKey, increment, runTask, type Task } from "./kv_child.fixture.ts";
import { openLmdbKv } from "./lmdb.ts";

const failures: HoldfastError[] = [];

const tasks: Record<string, Task> = {
  increment: increment(),
  count: count(1_500),

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

  /**
   * Commits from several writers on a disk that fails on the way (the parent sees to it). Prints each row's name once it is
   * acknowledged, and in the last line what came of the others.
   */
  fail: async (kv) => {
    const refusals = new Map<string, number>();
    let [late, underWay] = [0, 0];
    const put = async (name: string): Promise<void> => {
      const isLate = failures.length > 0;
      underWay += 1;
      try {
        await putMarked(kv, name);
        writeSync(1, `${name}\n`);
        if (isLate) late += 1;
      } catch (error) {
        const reason = error instanceof HoldfastError ? error.reason : String(error);
        refusals.set(reason, (refusals.get(reason) ?? 0) + 1);
      }
      underWay -= 1;
    };
    const puts: Promise<void>[] = [];
    // Not in step with the batches, so that one is asked for while another syncs.
    for (let step = 0; step < 300; step++) {
      puts.push(put(`row${step}`));
      // Few at a time, so that a slow disk is asked for as many batches as a quick one, and comes to the call that fails.
      do await new Promise((resolve) => setTimeout(resolve, 1));
      while (underWay >= 4);
    }
    await Promise.all(puts);
    const read = await kv.get([counterKey]).then(
      () => "read",
      (error: unknown) => (error instanceof HoldfastError ? error.reason : String(error)),
    );
    writeSync(1, JSON.stringify({ refusals: [...refusals.keys()], late, failures: failures.length, read }));
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

async function putMarked(kv: Kv, name: string): Promise<void> {
  const value = Buffer.alloc(300, "x");
  value.write(`<${name}>`);
  await kv.commit({ checks: [], writes: [{ kind: "put", key: Buffer.from(name), value }] });
}

await runTask(tasks, (path, task) =>
  openLmdbKv({
    path,
    onFailed: (failure) => failures.push(failure),
    // The limit on a file's size is the full file system of `fill`.
    ...(task === "fill" ? { freeBytes: async () => 0 } : {}),
  }),
);
// A transaction that never began does not keep the process.
if (failures.length > 0) process.exit(1);
