/** The other process in lmdb_copies.test.ts: started with a task's name and the places that were prepared, as JSON. */
import { writeSync } from "node:fs";
import { HoldfastError } from "../core/errors.ts";
import { readCounters } from "./kv.ts";
import type { Kv } from "./kv.ts";
import { openLmdbCopies } from "./lmdb_copies.ts";
import type { CopiesKv } from "./lmdb_copies.ts";
import { openCopy } from "./lmdb_copy.ts";
import type { Copy, CopyPlace } from "./lmdb_copy.ts";

const counterKey = Buffer.from("counter");

async function put(kv: Kv, name: string): Promise<void> {
  const value = Buffer.alloc(300, "x");
  value.write(`<${name}>`);
  const writes = [
    { kind: "put" as const, key: Buffer.from(name), value },
    { kind: "add" as const, key: counterKey, deltas: [1] },
  ];
  await kv.commit({ checks: [], writes });
}

const tasks: Record<string, (kv: CopiesKv) => Promise<void>> = {
  /** Commits from several writers without end; tells what was acknowledged, and what a read showed. */
  load: async (kv) => {
    const writer = async (id: number): Promise<void> => {
      for (let step = 0; ; step++) {
        const name = `${process.pid}-${id}-${step}`;
        await put(kv, name);
        writeSync(1, `ack ${name}\n`);
        const gone = Buffer.from(`${process.pid}-${id}-${step - 5}`);
        if (step % 7 === 5) await kv.commit({ checks: [], writes: [{ kind: "delete", key: gone }] });
        if (step % 7 === 5) writeSync(1, `gone ${gone.toString()}\n`);
      }
    };
    const reader = async (): Promise<void> => {
      for (;;) {
        const [row] = await kv.get([counterKey]);
        if (row !== undefined) writeSync(1, `seen ${readCounters(row.value)[0]!}\n`);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    };
    await Promise.all([reader(), ...Array.from({ length: 5 }, (_, id) => writer(id))]);
  },

  /**
   * A number of commits, a few at a time, whatever becomes of them. Prints which were acknowledged, and in the last line what refused
   * others, and how often a member of the view lacked what was acknowledged.
   */
  some: async (kv) => {
    const copies = places.map(openCopy);
    let lagging = 0;
    const refusals = new Set<string>();
    for (let step = 0; step < 40; step++) {
      const names = [`row${step}a`, `row${step}b`];
      const results = await Promise.allSettled(names.map((name) => put(kv, name)));
      results.forEach((result, index) => {
        if (result.status === "fulfilled") writeSync(1, `${names[index]!}\n`);
        else refusals.add(result.reason instanceof HoldfastError ? result.reason.message : String(result.reason));
      });
      if (results.every(({ status }) => status === "fulfilled") && isAnyBehind(copies)) lagging += 1;
    }
    const left = failures.length > 0 ? 0 : kv.copies().length;
    const told = { lagging, refusals: [...refusals], failures: failures.length, left };
    writeSync(1, JSON.stringify(told));
  },
};

function isAnyBehind([primary, ...others]: readonly Copy[]): boolean {
  const { members } = primary!.view();
  const { batch } = primary!.mark().copy;
  return others.some((copy) => members.includes(copy.place.id) && copy.mark().copy.batch !== batch);
}

const failures: unknown[] = [];
const [, , task, json] = process.argv;
const run = tasks[task ?? ""];
if (run === undefined || json === undefined) throw new Error(`There is no task ${String(task)}.`);
const places = JSON.parse(json) as CopyPlace[];
const kv = await openLmdbCopies({
  places,
  onFailed: (failure) => failures.push(failure),
});
writeSync(2, "open\n");
// An open timer, so that a back-off (whose own timer does not count) cannot end the process early.
const stay = setInterval(() => undefined, 1_000);
await run(kv);
clearInterval(stay);
await kv.close();
process.exit(0);
