/**
 * Takes away what commits replaced: trash rows, one dropped reference each (meta/trash.ts).
 *
 * A row is dealt with only after every read that could have begun before it was written has ended: rows are seen first,
 * then the sessions' ticks are read, and nothing happens until each of those sessions has drained past its target
 * (meta/sessions.ts). What was seen is only in memory: a process that dies begins again.
 *
 * Dealing with a row: a blob with other references loses one, in the commit that deletes the row. The last reference of a
 * blob takes the bytes along: shards first, rows after, so that a crash in between repeats removes, which are idempotent.
 * The children of a parts blob become trash of their own; each commit that writes their rows takes them out of the page,
 * so that none is dropped twice. Nothing can find a blob again whose only reference is a trash row.
 */
import { assert } from "../core/assert.ts";
import type { BlobStore } from "../blob/blob.ts";
import type { Clock } from "../core/clock.ts";
import type { BlobId, SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import { absent, type Entry, type Kv } from "../kv/kv.ts";
import { transact, type Transaction, type TransactOptions } from "../kv/transact.ts";
import { decodeBlobRoot, decodePartPage, encodeBlobRoot, encodePartPage } from "../meta/blobs.ts";
import type { BlobRoot } from "../meta/blobs.ts";
import { decodeChunkPage } from "../meta/chunk_pages.ts";
import { blobRange, blobRootKey, parseBlobKey, tagRange, tags } from "../meta/keys.ts";
import { strayWrites } from "../meta/repairs.ts";
import { drainTargets, hasDrained, readSessions } from "../meta/sessions.ts";
import { decodeTrash, trashWrite } from "../meta/trash.ts";
import { Rounds } from "./rounds.ts";
import type { Job, JobResult } from "./runner.ts";

export type TrashParts = {
  readonly kv: Kv;
  readonly blobs: Pick<BlobStore, "remove">;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

/** Trash rows seen at once: what is remembered while waiting for reads to end. */
const seenRowsMax = 20_000;
const rowsAtOnce = 16;
const pagesAtOnce = 16;
const childrenPerCommit = 200;
const drainPauseMs = 500;
const failurePauseMs = 10_000;

export class TrashJob implements Job {
  readonly name = "trash";
  readonly leased = true;
  readonly idleMsMin = 1_000;
  readonly idleMsMax = 10_000;
  readonly #parts: TrashParts;
  readonly #rounds = new Rounds(tagRange(tags.trash));
  #waiting: { readonly keys: Buffer[]; readonly targets: ReadonlyMap<SessionId, number> } | undefined;
  /** Rows whose readers have ended. */
  #ready: Buffer[] = [];

  constructor(parts: TrashParts) {
    this.#parts = parts;
  }

  async run(signal: AbortSignal): Promise<JobResult> {
    if (this.#ready.length > 0) return this.#release(signal);
    const { kv } = this.#parts;
    if (this.#waiting === undefined) {
      const keys = await this.#see();
      if (keys.length === 0) return { done: 0, more: false };
      // The rows were seen before the sessions are read: the order that the protocol needs.
      this.#waiting = { keys, targets: drainTargets(await readSessions(kv)) };
    }
    if (!hasDrained(this.#waiting.targets, await readSessions(kv)))
      return { done: 0, more: false, againMs: drainPauseMs };
    this.#ready = this.#waiting.keys;
    this.#waiting = undefined;
    return this.#release(signal);
  }

  /** Goes on where the last look ended, so that rows which cannot be dealt with leave room for others. */
  async #see(): Promise<Buffer[]> {
    const keys: Buffer[] = [];
    while (keys.length < seenRowsMax) {
      const entries = await this.#rounds.next(this.#parts.kv, limits.scanEntriesMax);
      keys.push(...entries.map((entry) => entry.key));
      if (entries.length < limits.scanEntriesMax) break;
    }
    return keys;
  }

  /** A row that cannot be dealt with (a drive is away) is left for the next look and holds up no other. */
  async #release(signal: AbortSignal): Promise<JobResult> {
    let done = 0;
    let failed = 0;
    while (this.#ready.length > 0 && done + failed < limits.jobBatchMax && !signal.aborted) {
      const batch = this.#ready.splice(0, rowsAtOnce);
      const outcomes = await Promise.allSettled(batch.map((key) => releaseTrash(this.#parts, key)));
      for (const outcome of outcomes) {
        if (outcome.status === "fulfilled") done += 1;
        else {
          failed += 1;
          this.#parts.log.warn({ err: outcome.reason }, "Trash could not be taken away; it is tried again later.");
        }
      }
    }
    return failed > 0 ? { done, more: false, againMs: failurePauseMs } : { done, more: !signal.aborted };
  }
}

type StrayWrite = ReturnType<typeof strayWrites>[number];

/** As long as a session's stamps. */
const STAMP_BYTES = 14;

type Next =
  { readonly next: "done" } | { readonly next: "chunks" | "parts"; readonly blob: BlobId; readonly dead: Dead };

/** What every later commit depends on: the trash row and the root, unchanged, with this one reference. */
type Dead = {
  readonly trashKey: Buffer;
  readonly trashVersion: number;
  readonly rootKey: Buffer;
  readonly rootVersion: number;
};

/** Deals with one trash row whose readers have ended. Idempotent; may be cut off at any await and called again. */
export async function releaseTrash(parts: TrashParts, trashKey: Buffer): Promise<void> {
  const found = await transact(parts.kv, (tx) => dropReference(parts, tx, trashKey), seams(parts));
  if (found.next === "chunks") await removeChunks(parts, found.blob, found.dead);
  if (found.next === "parts") await trashChildren(parts, found.blob, found.dead);
}

/** Several rows of one blob conflict with each other and are put off: by this process's clock, which a simulation owns. */
function seams({ clock, random }: TrashParts): TransactOptions {
  return { clock, random };
}

async function dropReference(parts: TrashParts, tx: Transaction, trashKey: Buffer): Promise<Next> {
  const [trashRow] = await tx.get([trashKey]);
  if (trashRow === undefined) return { next: "done" };
  const { blob } = decodeTrash(trashRow.value);
  const rootKey = blobRootKey(blob);
  const [rootRow] = await tx.get([rootKey]);
  if (rootRow === undefined) {
    parts.log.error({ blob }, "A trash row names a blob that does not exist; the row is dropped.");
    tx.delete(trashKey);
    return { next: "done" };
  }
  const root: BlobRoot = decodeBlobRoot(rootRow.value);
  assert(root.refcount >= 1, "a blob that exists has a reference");
  if (root.refcount === 1) {
    const dead = { trashKey, trashVersion: trashRow.version, rootKey, rootVersion: rootRow.version };
    return { next: root.kind, blob, dead };
  }
  tx.put(rootKey, encodeBlobRoot({ ...root, refcount: root.refcount - 1 }));
  tx.delete(trashKey);
  return { next: "done" };
}

/** Pages of a blob, a few at a time. The root, whose key is the shortest, comes first and is left out. */
function readPages({ kv }: TrashParts, blob: BlobId, limit: number): Promise<Entry[]> {
  const { start, end } = blobRange(blob);
  return kv.scan({ start: Buffer.concat([start, Buffer.from([0])]), end }, { limit });
}

/**
 * One commit that needs the blob to be as dead, and the pages as they were seen. "gone": somebody else has dealt with the
 * row; "stale": look at the pages again (a repair has moved shards).
 */
async function commitDead(
  parts: TrashParts,
  dead: Dead,
  pages: readonly Entry[],
  work: (tx: Transaction) => void,
): Promise<"done" | "stale" | "gone"> {
  return transact(
    parts.kv,
    async (tx) => {
      const keys = [dead.trashKey, dead.rootKey, ...pages.map(({ key }) => key)];
      const [trashRow, rootRow, ...pageRows] = await tx.get(keys);
      if ((trashRow?.version ?? absent) !== dead.trashVersion) return "gone";
      if ((rootRow?.version ?? absent) !== dead.rootVersion) return "gone";
      if (pages.some(({ version }, index) => pageRows[index]?.version !== version)) return "stale";
      work(tx);
      return "done";
    },
    seams(parts),
  );
}

async function removeChunks(parts: TrashParts, blob: BlobId, dead: Dead): Promise<void> {
  for (;;) {
    const pages = await readPages(parts, blob, pagesAtOnce);
    const stray: StrayWrite[] = [];
    for (const page of pages) stray.push(...(await removeShardsOf(parts, page)));
    const last = pages.length < pagesAtOnce;
    const outcome = await commitDead(parts, dead, pages, (tx) => {
      for (const page of pages) tx.delete(page.key);
      for (const { key, value } of stray) tx.put(key, value);
      if (last) deleteDead(tx, dead);
    });
    if (outcome === "gone" || (outcome === "done" && last)) return;
  }
}

/** What drives that are away keep is named by nothing from then on: the rows that say so. */
async function removeShardsOf({ blobs, random }: TrashParts, row: Entry): Promise<StrayWrite[]> {
  const chunks = decodeChunkPage(row.value);
  const away = await blobs.remove(chunks);
  if (away.length === 0) return [];
  const { blob, page } = parseBlobKey(row.key);
  const shards = chunks.flatMap(({ id, places }) =>
    places.filter(({ drive }) => away.includes(drive)).map((place) => ({ chunk: id, ...place })),
  );
  return strayWrites(blob, page!, shards, () => Buffer.from(random.bytes(STAMP_BYTES)).toString("hex"));
}

function deleteDead(tx: Transaction, dead: Dead): void {
  tx.delete(dead.rootKey);
  tx.delete(dead.trashKey);
}

async function trashChildren(parts: TrashParts, blob: BlobId, dead: Dead): Promise<void> {
  for (;;) {
    const [page] = await readPages(parts, blob, 1);
    const outcome = await commitDead(parts, dead, page === undefined ? [] : [page], (tx) => {
      if (page === undefined) deleteDead(tx, dead);
      else takeChildren(parts, tx, page);
    });
    if (outcome === "gone" || (outcome === "done" && page === undefined)) return;
  }
}

function takeChildren({ clock, random }: TrashParts, tx: Transaction, page: Entry): void {
  const children = decodePartPage(page.value);
  const rest = children.slice(childrenPerCommit);
  for (const child of children.slice(0, childrenPerCommit)) {
    const trash = trashWrite({ blob: child.blob, atMs: clock.nowMs() }, random);
    tx.put(trash.key, trash.value);
  }
  if (rest.length === 0) tx.delete(page.key);
  else tx.put(page.key, encodePartPage(rest));
}
