/** The other process in etcd.test.ts: started with a task's name, the store's URL and a second argument. */
import { writeSync } from "node:fs";
import { openEtcdKv } from "./etcd.ts";
import { count, increment, runTask, type Task } from "./kv_child.fixture.ts";

const sumsKey = Buffer.from("sums");

const tasks: Record<string, Task> = {
  /** And adds to another row. */
  increment: increment((tx) => tx.add(sumsKey, [1, -2])),
  count: count(400),

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

await runTask(tasks, (url) => openEtcdKv({ url }));
