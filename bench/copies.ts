/**
 * Measures what copies of the metadata cost: durable commits per second on one LMDB store, and on two and three copies, as
 * ratios to the one. The kinds take turns, and each ratio is the median over the rounds. All copies lie on the disk of the
 * temporary folder, which is the worst case: drives of their own sync at the same time.
 * Run: node bench/copies.ts [seconds per figure] [rounds]
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openLmdbCopies } from "../src/kv/lmdb_copies.ts";
import { placesIn, prepare } from "../src/kv/lmdb_copies.fixture.ts";
import type { PreparedCopies } from "../src/kv/lmdb_copies_prepare.ts";
import type { Kv, Write } from "../src/kv/kv.ts";
import { openLmdbKv } from "../src/kv/lmdb.ts";
import { median } from "./statistics.ts";

type Shape = "small" | "object";
type Task = { readonly prepared: PreparedCopies; readonly shape: Shape; readonly writers: number };

const seconds = Number(process.argv[2] ?? 1);
const rounds = Number(process.argv[3] ?? 5);
const kinds = [1, 2, 3] as const;

function writesOf(shape: Shape, name: string, value: Buffer): Write[] {
  const small: Write = { kind: "put", key: Buffer.from(`b/${name}`), value: value.subarray(0, 300) };
  if (shape === "small") return [small];
  const usage = Buffer.from(`u/${process.pid % 4}`);
  return [
    small,
    { kind: "put", key: Buffer.from(`a/${name}`), value },
    { kind: "add", key: usage, deltas: [1, 4_300] },
  ];
}

async function commitsPerSecond(kv: Kv, { shape, writers }: Task): Promise<number> {
  const value = Buffer.alloc(4_300, process.pid & 0xff);
  const startedMs = performance.now();
  let count = 0;
  const writer = async (): Promise<void> => {
    while (performance.now() - startedMs < seconds * 1_000) {
      const name = `${Math.random().toString(36).slice(2)}-${process.pid}-${count}`;
      const checks = [{ key: Buffer.from(`b/${name}`), version: 0 }];
      await kv.commit({ checks, writes: writesOf(shape, name, value) });
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: writers }, writer));
  return count / ((performance.now() - startedMs) / 1_000);
}

async function inChildren(processes: number, task: Task): Promise<number> {
  const rates = Array.from({ length: processes }, async () => {
    const child = fork(import.meta.filename, [String(seconds), String(rounds), JSON.stringify(task)]);
    const [rate] = (await once(child, "message")) as [number];
    await once(child, "exit");
    return rate;
  });
  return (await Promise.all(rates)).reduce((sum, rate) => sum + rate, 0);
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-bench-"));
  const stores = new Map<number, PreparedCopies>();
  for (const count of kinds) stores.set(count, await prepare(placesIn(join(folder, String(count)), count)));
  for (const shape of ["small", "object"] as const) {
    for (const [processes, writers] of [
      [1, 1],
      [1, 64],
      [1, 256],
      [2, 32],
    ] as const) {
      const rates = new Map<number, number[]>(kinds.map((count) => [count, []]));
      for (let round = 0; round < rounds; round++) {
        for (const count of kinds) {
          rates.get(count)!.push(await inChildren(processes, { prepared: stores.get(count)!, shape, writers }));
        }
      }
      const one = rates.get(1)!;
      const ratios = [2, 3].map((count) => median(rates.get(count)!.map((rate, round) => rate / one[round]!)));
      const said = ratios.map((ratio, index) => `${index + 2} copies ${ratio.toFixed(2)}`).join(", ");
      console.log(`${shape}, ${processes} × ${writers} writers: one ${Math.round(median(one))}/s; ${said}`);
    }
  }
  await rm(folder, { recursive: true });
}

const json = process.argv[4];
if (json === undefined) await main();
else {
  const task = JSON.parse(json) as Task;
  const { prepared } = task;
  const kv =
    prepared.kind === "alone"
      ? await openLmdbKv({ path: prepared.place.path })
      : await openLmdbCopies({ places: prepared.places });
  process.send?.(await commitsPerSecond(kv, task));
  await kv.close();
  process.disconnect();
}
