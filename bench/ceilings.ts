/** What this machine can do at best, measured in the same run as Holdfast: hashing, and a synced file. */
import { createHash, randomBytes } from "node:crypto";
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from "node:fs";
import path from "node:path";

const MiB = 1024 * 1024;

export type Ceilings = {
  readonly md5MiBps: number;
  /** 64 MiB written in pieces of 4 MiB, then one fdatasync; the best of several rounds. */
  readonly syncedWriteMiBps: number;
  /** 4 KiB appended and synced, one after the other. */
  readonly syncsPerSecond: number;
};

const seconds = (work: () => void): number => {
  const start = performance.now();
  work();
  return (performance.now() - start) / 1000;
};

export function measureCeilings(directory: string): Ceilings {
  const piece = randomBytes(4 * MiB);
  const file = path.join(directory, "ceiling.bin");
  const fd = openSync(file, "w");
  try {
    const md5 = () => {
      const hash = createHash("md5");
      for (let index = 0; index < 16; index++) hash.update(piece);
      hash.digest();
    };
    const write = () => {
      for (let index = 0; index < 16; index++) writeSync(fd, piece);
      fdatasyncSync(fd);
    };
    const sync = () => {
      for (let index = 0; index < 500; index++) {
        writeSync(fd, piece, 0, 4096);
        fdatasyncSync(fd);
      }
    };
    const best = (work: () => void) => Math.min(...Array.from({ length: 5 }, () => seconds(work)));
    return { md5MiBps: 64 / best(md5), syncedWriteMiBps: 64 / best(write), syncsPerSecond: 500 / best(sync) };
  } finally {
    closeSync(fd);
    rmSync(file);
  }
}
