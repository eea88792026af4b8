/**
 * Shards that no chunk map names any more because they were made anew elsewhere, or whose blob went while their drive was
 * away, or that a write left behind on a slow drive (`stray` rows, meta/repairs.ts): they are removed when the drive is here
 * and every read that may still want them has ended, as trash is (trash.ts).
 */
import { assert } from "../core/assert.ts";
import type { ChunkId, DriveId, SessionId } from "../core/ids.ts";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Clock } from "../core/clock.ts";
import type { Log } from "../core/log.ts";
import type { Entry, Kv, Write } from "../kv/kv.ts";
import type { KnownDrive } from "../meta/drives.ts";
import { driveIdOf, isWholeDrive, tagRange, tags } from "../meta/keys.ts";
import { decodeStray, wholeStrayWrite } from "../meta/repairs.ts";
import { drainTargets, hasDrained, readSessions } from "../meta/sessions.ts";
import type { ChunkNode, ListedShard, ShardRef } from "../node/node.ts";
import { findShard } from "./doctor_chunks.ts";
import { noteChunks, wantedOn } from "./orphans.ts";
import { Rounds } from "./rounds.ts";
import type { Job, JobResult } from "./runner.ts";
import { sweepDrive } from "./sessions.ts";

export type StrayParts = {
  readonly kv: Kv;
  readonly node: ChunkNode;
  readonly knownDrives: () => Promise<readonly KnownDrive[]>;
  readonly clock: Clock;
  readonly log: Log;
};

const waitPauseMs = 500;

assert(
  2 * limits.jobBatchMax <= limits.commitOperationsMax,
  "a batch of rows on as many drives is folded in one commit",
);

export class StraysJob implements Job {
  readonly name = "strays";
  readonly leased = true;
  readonly idleMsMin = 1_000;
  readonly idleMsMax = 30_000;
  readonly #parts: StrayParts;
  readonly #rounds = new Rounds(tagRange(tags.stray));
  #waiting: { readonly rows: readonly Entry[]; readonly targets: ReadonlyMap<SessionId, number> } | undefined;

  constructor(parts: StrayParts) {
    this.#parts = parts;
  }

  /** Some rows. */
  async run(signal: AbortSignal): Promise<JobResult> {
    const { kv, node } = this.#parts;
    if (this.#waiting === undefined) {
      const seen = await this.#rounds.next(kv, limits.jobBatchMax);
      const rows = seen.filter(({ key }) => node.drives.includes(driveIdOf(key)));
      const folded = await this.#foldRemoved(seen.filter((row) => !rows.includes(row) && !isWholeDrive(row.key)));
      if (rows.length === 0) return { done: folded, more: seen.length === limits.jobBatchMax };
      // The rows were seen before the sessions are read: the order that the protocol needs.
      this.#waiting = { rows, targets: drainTargets(await readSessions(kv)) };
    }
    const { rows, targets } = this.#waiting;
    if (!hasDrained(targets, await readSessions(kv))) return { done: 0, more: false, againMs: waitPauseMs };
    this.#waiting = undefined;
    let removed = 0;
    for (const row of rows) {
      if (signal.aborted) break;
      const ofRow = await this.#row(row, signal);
      removed += ofRow;
    }
    return { done: removed, more: false };
  }

  /**
   * A drive that was taken out of the store most likely never comes back: what is said of its shards becomes one row, by which it
   * is looked through as a whole if it does.
   */
  async #foldRemoved(rows: readonly Entry[]): Promise<number> {
    if (rows.length === 0) return 0;
    const { kv, knownDrives } = this.#parts;
    const known = await knownDrives();
    const removed = new Set(known.filter(({ state }) => state === "removed").map(({ id }) => id));
    const gone = rows.filter(({ key }) => removed.has(driveIdOf(key)));
    if (gone.length === 0) return 0;
    const whole = [...new Set(gone.map(({ key }) => driveIdOf(key)))].map(wholeStrayWrite);
    await kv.commit({ checks: [], writes: [...gone.map(({ key }): Write => ({ kind: "delete", key })), ...whole] });
    return gone.length;
  }

  /** A drive that went away in the middle is for later. */
  async #row(row: Entry, signal: AbortSignal): Promise<number> {
    try {
      return isWholeDrive(row.key) ? await this.#sweep(row, signal) : await this.#remove(row);
    } catch (error) {
      if (!hasReason(error, "drive_missing")) throw error;
      return 0;
    }
  }

  async #remove(row: Entry): Promise<number> {
    const { kv, node } = this.#parts;
    const drive = driveIdOf(row.key);
    const { blob, page, shards } = decodeStray(row.value);
    // Seen before it is asked who wants them: the order that makes the removal safe (orphans.ts).
    const seen = await this.#find(drive, shards);
    // One that came back to the same drive since is wanted.
    const wanted = await wantedOn(kv, drive, [{ blob, page }]);
    const isWanted = ({ chunk, shardIndex }: ShardRef): boolean => wanted.has(`${chunk} ${shardIndex}`);
    const unwanted = seen.filter((shard) => !isWanted(shard));
    if (unwanted.length > 0) await node.remove(drive, unwanted);
    // What is wanted should be there; a look costs little here, and nobody else may look for long.
    const missing = await this.#missing(drive, shards.filter(isWanted));
    if (missing.size > 0) await noteChunks(kv, { blob, page }, missing);
    await this.#forget(row);
    return unwanted.length;
  }

  /** Those that are there. */
  async #find(drive: DriveId, shards: readonly ShardRef[]): Promise<ListedShard[]> {
    const found: ListedShard[] = [];
    for (const shard of shards) {
      const listed = await findShard(this.#parts.node, drive, shard);
      if (listed !== undefined) found.push(listed);
    }
    return found;
  }

  /** Chunks of which the drive lacks a shard that it should have. */
  async #missing(drive: DriveId, shards: readonly ShardRef[]): Promise<Set<ChunkId>> {
    const found = new Set((await this.#find(drive, shards)).map(({ chunk, shardIndex }) => `${chunk} ${shardIndex}`));
    const missing = shards.filter(({ chunk, shardIndex }) => !found.has(`${chunk} ${shardIndex}`));
    return new Set(missing.map(({ chunk }) => chunk));
  }

  /** Shards of sessions that live are left: those have a sweep of every drive coming, when they have ended. */
  async #sweep(row: Entry, signal: AbortSignal): Promise<number> {
    const { kv, node, log } = this.#parts;
    const swept = await sweepDrive({ kv, node, log }, driveIdOf(row.key), signal);
    if (swept.isWhole) await this.#forget(row);
    return swept.removed;
  }

  async #forget({ key, version }: Entry): Promise<void> {
    await this.#parts.kv.commit({ checks: [{ key, version }], writes: [{ kind: "delete", key }] });
  }
}
