/**
 * What uploads leave behind: part rows of uploads that ended, pages of parts maps that were never published, and answers
 * that are remembered long enough. All of it is invisible to clients, except that a remembered answer is given again.
 */
import type { Clock } from "../core/clock.ts";
import { idFromBytes, type UploadId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { Entry, Key, Kv } from "../kv/kv.ts";
import { transact } from "../kv/transact.ts";
import { abandonedBlobOf, blobRange, blobRootKey, partNumberOf, partRange, tagRange, tags } from "../meta/keys.ts";
import { trashWrite } from "../meta/trash.ts";
import { decodeFinished, decodeLeftover, decodePart, isListedPart } from "../meta/uploads.ts";
import type { Job, JobResult } from "./runner.ts";

export type EndedUploadsParts = {
  readonly kv: Kv;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

/** Each part row costs a check and up to two writes. */
const partsPerCommit = 120;
const pagesPerCommit = 64;
const rowsPerRun = 16;

export function endedUploadsJob(parts: EndedUploadsParts): Job {
  return {
    name: "uploads",
    leased: true,
    idleMsMin: 2_000,
    idleMsMax: 30_000,
    async run(signal) {
      const leftovers = await parts.kv.scan(tagRange(tags.leftover), { limit: rowsPerRun });
      const abandoned = await parts.kv.scan(tagRange(tags.abandoned), { limit: rowsPerRun });
      let done = 0;
      for (const row of leftovers) {
        if (signal.aborted) break;
        await takeLeftovers(parts, row.key, signal);
        done += 1;
      }
      for (const row of abandoned) {
        if (signal.aborted) break;
        await removeAbandoned(parts, row.key);
        done += 1;
      }
      return { done, more: !signal.aborted && (leftovers.length === rowsPerRun || abandoned.length === rowsPerRun) };
    },
  };
}

/** A listed part's reference is the object's parts map's now; any other part's blob becomes trash with the row. */
async function takeLeftovers(parts: EndedUploadsParts, key: Buffer, signal: AbortSignal): Promise<void> {
  const range = partRange(idFromBytes<UploadId>(key.subarray(1)));
  let left = true;
  while (left && !signal.aborted) {
    const rows = await parts.kv.scan(range, { limit: partsPerCommit });
    left = await takeBatch(parts, key, rows);
  }
}

/** Returns whether there may be more. */
function takeBatch({ kv, clock, random }: EndedUploadsParts, key: Buffer, seen: readonly Entry[]): Promise<boolean> {
  return transact(kv, async (tx) => {
    const [leftover, ...rows] = await tx.get([key, ...seen.map((row) => row.key)]);
    if (leftover === undefined) return false;
    const { listed } = decodeLeftover(leftover.value);
    for (const row of rows) {
      if (row === undefined) continue;
      tx.delete(row.key);
      if (isListedPart(listed, partNumberOf(row.key))) continue;
      const trash = trashWrite({ blob: decodePart(row.value).blob, atMs: clock.nowMs() }, random);
      tx.put(trash.key, trash.value);
    }
    // No part row can have come since: a part's commit needs the upload's row, which went when this one came.
    if (seen.length === 0) tx.delete(key);
    return seen.length > 0;
  });
}

/** The attempt lost the upload in the commit that wrote this row, so it writes no more pages. */
async function removeAbandoned({ kv, log }: EndedUploadsParts, key: Buffer): Promise<void> {
  const blob = abandonedBlobOf(key);
  for (let left = true; left;) {
    left = await transact(kv, async (tx) => {
      const [row, root] = await tx.get([key, blobRootKey(blob)]);
      if (row === undefined) return false;
      if (root !== undefined) {
        log.error({ blob }, "A parts map was published though its attempt was given up; it is kept.");
        tx.delete(key);
        return false;
      }
      const pages = await tx.scan(blobRange(blob), { limit: pagesPerCommit });
      for (const page of pages) tx.delete(page.key);
      if (pages.length === pagesPerCommit) return true;
      tx.delete(key);
      return false;
    });
  }
}

/** Forgets answers older than finishedUploadKeptMs; one pass over them an hour. */
export class FinishedUploadsJob implements Job {
  readonly name = "finished-uploads";
  readonly leased = true;
  readonly idleMsMin = 3_600_000;
  readonly idleMsMax = 3_600_000;
  readonly #parts: EndedUploadsParts;
  #start: Key | undefined;

  constructor(parts: EndedUploadsParts) {
    this.#parts = parts;
  }

  async run(): Promise<JobResult> {
    const { kv, clock } = this.#parts;
    const { start, end } = tagRange(tags.finished);
    const rows = await kv.scan({ start: this.#start ?? start, end }, { limit: limits.jobBatchMax });
    const old = rows.filter((row) => decodeFinished(row.value).atMs + limits.finishedUploadKeptMs <= clock.nowMs());
    if (old.length > 0)
      await transact(kv, async (tx) => {
        for (const row of old) tx.delete(row.key);
      });
    const last = rows.length === limits.jobBatchMax ? rows.at(-1) : undefined;
    this.#start = last && Buffer.concat([last.key, Buffer.from([0])]);
    return { done: old.length, more: last !== undefined };
  }
}
