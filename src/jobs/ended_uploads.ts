/**
 * What uploads leave behind: those whose bucket was deleted, part rows of uploads that ended, pages of parts maps that were
 * never published, and answers that are remembered long enough. All of it is invisible to clients, except that a remembered answer is given again.
 */
import type { Clock } from "../core/clock.ts";
import { idFromBytes, type UploadId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { Entry, Kv } from "../kv/kv.ts";
import { transact } from "../kv/transact.ts";
import {
  abandonedBlobOf,
  blobRange,
  blobRootKey,
  bucketIdOf,
  parseUploadKey,
  partNumberOf,
  partRange,
  tagRange,
  tags,
  uploadRange,
} from "../meta/keys.ts";
import { heldKey } from "../meta/quota_keys.ts";
import { endUpload } from "../object/uploads.rows.ts";
import { trashWrite } from "../meta/trash.ts";
import { decodeFinished, decodeLeftover, decodePart, decodeUpload, isListedPart } from "../meta/uploads.ts";
import { Rounds } from "./rounds.ts";
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
/** Each upload costs a check and up to four writes. */
const uploadsPerCommit = 64;
const rowsPerRun = 16;

export function endedUploadsJob(parts: EndedUploadsParts): Job {
  const gone = new Rounds(tagRange(tags.gone));
  const leftovers = new Rounds(tagRange(tags.leftover));
  const abandoned = new Rounds(tagRange(tags.abandoned));
  return {
    name: "uploads",
    leased: true,
    idleMsMin: 2_000,
    idleMsMax: 30_000,
    async run(signal) {
      // In this order: ending an upload makes the rows that come after.
      const dealt = [
        await dealWith(parts, signal, await gone.next(parts.kv, rowsPerRun), endUploadsOf),
        await dealWith(parts, signal, await leftovers.next(parts.kv, rowsPerRun), takeLeftovers),
        await dealWith(parts, signal, await abandoned.next(parts.kv, rowsPerRun), removeAbandoned),
      ];
      const done = dealt.reduce((sum, each) => sum + each.done, 0);
      return { done, more: !signal.aborted && dealt.some(({ more }) => more) };
    },
  };
}

type Deal = (parts: EndedUploadsParts, key: Buffer, signal: AbortSignal) => Promise<void>;

/** A row that cannot be dealt with is left for the next round. */
async function dealWith(
  parts: EndedUploadsParts,
  signal: AbortSignal,
  rows: readonly Entry[],
  deal: Deal,
): Promise<{ readonly done: number; readonly more: boolean }> {
  let done = 0;
  for (const { key } of rows) {
    if (signal.aborted) break;
    try {
      await deal(parts, key, signal);
      done += 1;
    } catch (error) {
      parts.log.warn({ err: error }, "What an upload left could not be taken away; it is tried again later.");
    }
  }
  return { done, more: rows.length === rowsPerRun };
}

/** The uploads of a bucket that is gone end as aborted ones do. Nothing can be added to them: that needs the bucket's row. */
async function endUploadsOf({ kv, clock, random }: EndedUploadsParts, key: Buffer, signal: AbortSignal): Promise<void> {
  const range = uploadRange(bucketIdOf(key));
  for (let left = true; left && !signal.aborted;) {
    const seen = await kv.scan(range, { limit: uploadsPerCommit });
    await transact(
      kv,
      async (tx) => {
        for (const row of await tx.get(seen.map((each) => each.key))) {
          if (row === undefined) continue;
          const { upload } = parseUploadKey(row.key);
          // What its parts counted for the account went with the bucket.
          tx.delete(heldKey(upload));
          endUpload(tx, { key: row.key, id: upload, record: decodeUpload(row.value) }, clock.nowMs());
        }
        if (seen.length < uploadsPerCommit) tx.delete(key);
      },
      { clock, random },
    );
    left = seen.length === uploadsPerCommit;
  }
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
  return transact(
    kv,
    async (tx) => {
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
    },
    { clock, random },
  );
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
  readonly #rounds = new Rounds(tagRange(tags.finished));

  constructor(parts: EndedUploadsParts) {
    this.#parts = parts;
  }

  async run(): Promise<JobResult> {
    const { kv } = this.#parts;
    const rows = await this.#rounds.next(kv, limits.jobBatchMax);
    const old = rows.filter((row) => this.#isOld(row));
    if (old.length > 0)
      await transact(kv, async (tx) => {
        for (const row of old) tx.delete(row.key);
      });
    return { done: old.length, more: rows.length === limits.jobBatchMax };
  }
  #isOld({ value }: Entry): boolean {
    const { clock, log } = this.#parts;
    try {
      return decodeFinished(value).atMs + limits.finishedUploadKeptMs <= clock.nowMs();
    } catch (error) {
      log.warn({ err: error }, "The answer of a finished upload cannot be read; it stays.");
      return false;
    }
  }
}
