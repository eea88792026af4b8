/** What this machine can do at best, measured in the same run as Holdfast: hashing, a synced file, a copied one. */
import { createHash, randomBytes } from "node:crypto";
import { closeSync, fdatasyncSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { freemem } from "node:os";
import path from "node:path";
import { giveBack } from "../src/core/give_back.ts";

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

/**
 * So much memory has been used before and is free: on a virtual machine the first touch of a page may cost ten times what copying
 * it does, and what is compared is to write to pages of the same kind.
 */
export function touchMemory(mib: number): void {
  const pieceBytes = 64 * MiB;
  // No more than there is: what others have cached is worth more.
  const pieces = Math.floor(Math.min(mib * MiB, freemem() / 2) / pieceBytes);
  const touched = Array.from({ length: pieces }, () => Buffer.allocUnsafeSlow(pieceBytes).fill(1));
  for (const piece of touched) giveBack(piece);
}

/** MiB per second of reading a file of about so many MiB and writing another, in pieces of 4 MiB, with one fdatasync at the end. */
export function copyRate(directory: string, mib: number): number {
  const piece = randomBytes(4 * MiB);
  const pieces = Math.ceil((mib * MiB) / piece.length);
  const files = ["copied.bin", "copy.bin"].map((name) => path.join(directory, name));
  const [from, to] = files.map((file) => openSync(file, "w+")) as [number, number];
  try {
    for (let index = 0; index < pieces; index++) writeSync(from, piece);
    fdatasyncSync(from);
    const taken = seconds(() => {
      for (let index = 0; index < pieces; index++) {
        readSync(from, piece, 0, piece.length, index * piece.length);
        writeSync(to, piece);
      }
      fdatasyncSync(to);
    });
    return (pieces * piece.length) / MiB / taken;
  } finally {
    for (const fd of [from, to]) closeSync(fd);
    for (const file of files) rmSync(file);
  }
}
