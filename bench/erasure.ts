/**
 * Measures the erasure code on one core of this machine: MiB of data per second that are encoded, and that lose as many data
 * shards as the code bears and are computed anew, by the kernel and by plain TypeScript, beside copying the same data.
 * Chunks of 4 MiB take turns, so that they don't come out of a cache. Run: node bench/erasure.ts [seconds per figure]
 */
import { randomFillSync } from "node:crypto";
import { formatRedundancy, shardsOf, type Redundancy } from "../src/core/redundancy.ts";
import { encode, reconstruct } from "../src/erasure/erasure.ts";
import { decodingMatrix, parityMatrix } from "../src/erasure/matrix.ts";
import { multiplyPlain } from "../src/erasure/plain.ts";

const chunkBytes = 4 * 1024 * 1024;
const chunks = Array.from({ length: 16 }, () => randomFillSync(Buffer.alloc(3 * chunkBytes)));

type Rate = (work: (chunk: Buffer) => void, dataBytes?: number) => number;

/** MiB of data per second of this thread's time, whatever else the machine does. `work` is called with one chunk after the other. */
function rateIn(seconds: number, work: (chunk: Buffer) => void, dataBytes = chunkBytes): number {
  for (let round = 0; round < 8; round++) work(chunks[round % chunks.length]!);
  const [startedMs, usedBefore] = [performance.now(), process.threadCpuUsage()];
  let count = 0;
  for (; performance.now() - startedMs < seconds * 1_000; count++) work(chunks[count % chunks.length]!);
  const { user, system } = process.threadCpuUsage(usedBefore);
  return Math.round((count * dataBytes) / 2 ** 20 / ((user + system) / 1_000_000));
}

function cut(room: Buffer, code: Redundancy, shardBytes: number): Buffer[] {
  return Array.from({ length: shardsOf(code) }, (_, index) =>
    room.subarray(index * shardBytes, (index + 1) * shardBytes),
  );
}

/** As many data shards as the code bears. */
function lostOf({ dataShards: k, parityShards: m }: Redundancy): number[] {
  return Array.from({ length: Math.min(k, m) }, (_, index) => index);
}

/** MiB of data per second that the kernel encodes, and that lose as many data shards as they bear and get them back. */
export function kernelRates(
  code: Redundancy,
  seconds: number,
): { readonly encode: number; readonly reconstruct: number } {
  const { dataShards: k } = code;
  const shardBytes = Math.floor(chunkBytes / k);
  const lost = lostOf(code);
  const out = lost.map(() => Buffer.alloc(shardBytes));
  return {
    encode: rateIn(seconds, (chunk) =>
      encode(code, cut(chunk, code, shardBytes).slice(0, k), cut(chunk, code, shardBytes).slice(k)),
    ),
    reconstruct: rateIn(seconds, (chunk) => {
      const shards = cut(chunk, code, shardBytes).map((shard, index) => (lost.includes(index) ? undefined : shard));
      reconstruct(code, shards, lost, out);
    }),
  };
}

function measure(code: Redundancy, seconds: number): void {
  const { dataShards: k } = code;
  const shardBytes = Math.floor(chunkBytes / k);
  const lost = lostOf(code);
  const sources = Array.from({ length: k }, (_, index) => lost.length + index);
  const decoding = decodingMatrix(code, sources, lost);
  const out = lost.map(() => Buffer.alloc(shardBytes));
  const rate: Rate = (work, dataBytes) => rateIn(seconds, work, dataBytes);
  const figures = {
    ...kernelRates(code, seconds),
    "reconstruct of 1": rate((chunk) => {
      const shards = cut(chunk, code, shardBytes).map((shard, index) => (index === 0 ? undefined : shard));
      reconstruct(code, shards, [0], [out[0]!]);
    }),
    "a range of 64 KiB of 1": rate(
      (chunk) => {
        const shards = cut(chunk, code, 64 * 1024).map((shard, index) => (index === 0 ? undefined : shard));
        reconstruct(code, shards, [0], [out[0]!.subarray(0, 64 * 1024)]);
      },
      k * 64 * 1024,
    ),
    "plain encode": rate((chunk) => {
      const shards = cut(chunk, code, shardBytes);
      multiplyPlain(parityMatrix(code), shards.slice(0, k), shards.slice(k));
    }),
    "plain reconstruct": rate((chunk) =>
      multiplyPlain(decoding, cut(chunk, code, shardBytes).slice(lost.length, lost.length + k), out),
    ),
  };
  const text = Object.entries(figures).map(([name, figure]) => `${name} ${figure}`);
  console.log(`${formatRedundancy(code)} (${lost.length} lost): ${text.join(", ")} MiB/s`);
}

function main(): void {
  const seconds = Number(process.argv[2] ?? 1);
  const target = Buffer.alloc(chunkBytes);
  console.log(`memcpy: ${rateIn(seconds, (chunk) => target.set(chunk.subarray(0, chunkBytes)))} MiB/s`);
  for (const [dataShards, parityShards] of [
    [2, 1],
    [4, 2],
    [8, 3],
    [8, 4],
    [16, 4],
  ] as const)
    measure({ dataShards, parityShards }, seconds);
}

if (import.meta.main) main();
