/**
 * Measures the embedded metadata store on this machine: durable commits per second by number of concurrent writers, in
 * one and in two processes, then gets and scans. Run: node bench/kv.ts [seconds per figure]
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openLmdbKv } from "../src/kv/lmdb.ts";
import type { Kv, Write } from "../src/kv/kv.ts";

const seconds = Number(process.argv[2] ?? 2);

type Shape = "small" | "object";

function writesOf(shape: Shape, name: string, value: Buffer): Write[] {
  const small: Write = { kind: "put", key: Buffer.from(`b/${name}`), value: value.subarray(0, 300) };
  if (shape === "small") return [small];
  return [
    small,
    { kind: "put", key: Buffer.from(`a/${name}`), value },
    { kind: "add", key: Buffer.from(`u/${process.pid % 4}`), deltas: [1, 4_300] },
  ];
}

async function commitsPerSecond(kv: Kv, shape: Shape, writers: number): Promise<number> {
  const value = Buffer.alloc(4_300, process.pid & 0xff);
  const startedMs = performance.now();
  const endMs = startedMs + seconds * 1_000;
  let count = 0;
  const writer = async (): Promise<void> => {
    while (performance.now() < endMs) {
      const name = `${Math.random().toString(36).slice(2)}-${process.pid}-${count}`;
      await kv.commit({
        checks: [{ key: Buffer.from(`b/${name}`), version: 0 }],
        writes: writesOf(shape, name, value),
      });
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: writers }, writer));
  return Math.round((count / (performance.now() - startedMs)) * 1_000);
}

async function inChildren(path: string, processes: number, shape: Shape, writers: number): Promise<number> {
  const rates = Array.from({ length: processes }, async () => {
    const child = fork(import.meta.filename, [String(seconds), path, shape, String(writers)]);
    const [rate] = (await once(child, "message")) as [number];
    await once(child, "exit");
    return rate;
  });
  return (await Promise.all(rates)).reduce((sum, rate) => sum + rate, 0);
}

async function reads(kv: Kv): Promise<void> {
  const range = { start: Buffer.from("b/"), end: Buffer.from("b0") };
  const keys = (await kv.scan(range, { limit: 2_000 })).map((entry) => entry.key);
  let count = 0;
  let startedMs = performance.now();
  for (; performance.now() - startedMs < seconds * 1_000; count++) await kv.get([keys[count % keys.length]!]);
  console.log(`get of one key ${Math.round(count / seconds)}/s`);
  count = 0;
  startedMs = performance.now();
  for (; performance.now() - startedMs < seconds * 1_000; count += 1_000) await kv.scan(range, { limit: 1_000 });
  console.log(`scan ${Math.round(count / seconds)} entries/s`);
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-bench-"));
  const path = join(folder, "meta.mdb");
  for (const shape of ["small", "object"] as const) {
    for (const [processes, writers] of [
      [1, 1],
      [1, 64],
      [1, 256],
      [2, 1],
      [2, 32],
      [2, 128],
    ] as const) {
      const rate = await inChildren(path, processes, shape, writers);
      console.log(`${shape} commits, ${processes} process(es) of ${writers} writers: ${rate}/s`);
    }
  }
  const kv = await openLmdbKv({ path });
  await reads(kv);
  await kv.close();
  await rm(folder, { recursive: true });
}

const [, , , path, shape, writers] = process.argv;
if (path === undefined) await main();
else {
  const kv = await openLmdbKv({ path });
  process.send?.(await commitsPerSecond(kv, shape as Shape, Number(writers)));
  await kv.close();
  process.disconnect();
}
