/**
 * Re-reads every shard of every drive of this machine, at a steady low rate, and notes those that are damaged for repair: a bit
 * that flipped long ago is found while there is still something to mend it from. Rounds begin scrubIntervalMs after one
 * another at the earliest; how far one came is kept, so that a restart goes on.
 */
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { JobCounts } from "../core/metrics.ts";
import type { Kv } from "../kv/kv.ts";
import { scrubKey } from "../meta/keys.ts";
import { decodeScrub, encodeScrub, type ScrubRecord } from "../meta/scrubs.ts";
import type { ChunkNode, ListedShard } from "../node/node.ts";
import type { Budget } from "./budget.ts";
import { noteDamage } from "./damage.ts";
import type { Job, JobProgress, JobResult } from "./runner.ts";

export type ScrubParts = {
  readonly kv: Kv;
  readonly node: ChunkNode;
  readonly local: { readonly name: string; readonly drives: readonly DriveId[] };
  readonly budget: Budget;
  readonly clock: Clock;
  readonly log: Log;
  readonly counts?: Pick<JobCounts, "damagedShard" | "scrubbed">;
};

const shardsAtOnce = 32;
/** Work between two notes of how far it came. */
const savedEveryMs = 30_000;

type Round = {
  readonly drive: DriveId;
  record: ScrubRecord;
  /** What this process saw of the round. */
  shards: number;
  damaged: number;
  doneBytes: number;
  readonly allBytes: number;
  savedMs: number;
};

const never: ScrubRecord = { startedMs: undefined, after: undefined, ended: undefined };

export class ScrubJob implements Job {
  readonly name = "scrub";
  readonly leased = true;
  readonly scope: string;
  readonly idleMsMin = 60_000;
  readonly idleMsMax = 600_000;
  readonly #parts: ScrubParts;
  #round: Round | undefined;

  constructor(parts: ScrubParts) {
    this.#parts = parts;
    this.scope = parts.local.name;
  }

  progress(): JobProgress | undefined {
    const round = this.#round;
    return round && { doneBytes: round.doneBytes, leftBytes: Math.max(0, round.allBytes - round.doneBytes) };
  }

  /** Some shards of one drive; the pause after them keeps the rate. */
  async run(signal: AbortSignal): Promise<JobResult> {
    // What a drive that failed does not give any more is no damage, and the others are not to wait for it.
    if (this.#round !== undefined && (await this.#hasFailed(this.#round.drive))) this.#round = undefined;
    this.#round ??= await this.#next();
    const round = this.#round;
    if (round === undefined) return { done: 0, more: false };
    const { node, clock } = this.#parts;
    const { after } = round.record;
    const listed = await node.list(round.drive, { ...(after && { after }), limit: shardsAtOnce });
    let bytes = 0;
    let looked = 0;
    for (const shard of listed) {
      if (signal.aborted || bytes >= limits.scrubBytesPerSecond) break;
      await this.#parts.budget.piece(shard.storedBytes, signal, () => this.#look(round, shard));
      looked += 1;
      bytes += shard.storedBytes;
      round.record = { ...round.record, after: { chunk: shard.chunk, shardIndex: shard.shardIndex } };
    }
    round.shards += looked;
    round.doneBytes += bytes;
    this.#parts.counts?.scrubbed(bytes);
    if (looked === listed.length && listed.length < shardsAtOnce) await this.#end(round);
    else if (signal.aborted || clock.monotonicMs() - round.savedMs >= savedEveryMs)
      await this.#save(round, round.record);
    return { done: looked, more: false, againMs: Math.ceil((bytes / limits.scrubBytesPerSecond) * 1_000) };
  }

  async #hasFailed(drive: DriveId): Promise<boolean> {
    return (await this.#parts.node.status(drive)).state === "failed";
  }

  /** The first drive whose round is due or under way. */
  async #next(): Promise<Round | undefined> {
    const { kv, node, local, clock } = this.#parts;
    const rows = await kv.get(local.drives.map(scrubKey));
    const nowMs = clock.nowMs();
    for (const [index, drive] of local.drives.entries()) {
      const row = rows[index];
      const record = row === undefined ? never : decodeScrub(row.value);
      // A clock that was far ahead then must not put it off for as long.
      const isDue = record.ended === undefined || Math.abs(nowMs - record.ended.atMs) >= limits.scrubIntervalMs;
      if (record.startedMs === undefined && !isDue) continue;
      const { state, liveBytes } = await node.status(drive);
      if (state === "failed") continue;
      const begun = record.startedMs === undefined ? { ...record, startedMs: nowMs, after: undefined } : record;
      const counts = { shards: 0, damaged: 0, doneBytes: 0 };
      return { drive, record: begun, ...counts, allBytes: liveBytes, savedMs: clock.monotonicMs() };
    }
    return undefined;
  }

  /** A shard that went away meanwhile was removed: what is missing is found from the chunk maps, not from here. */
  async #look(round: Round, shard: ListedShard): Promise<void> {
    const { kv, node, log } = this.#parts;
    const { drive } = round;
    const { outcome, why } = await node.verify(drive, shard);
    if (outcome !== "corrupt") return;
    const { chunk, shardIndex, owner } = shard;
    log.error(
      { drive, chunk, shardIndex, blob: owner.blob, why },
      "A shard is damaged; it is made anew where it can be.",
    );
    round.damaged += 1;
    this.#parts.counts?.damagedShard("scrub");
    await noteDamage(kv, owner.blob, [owner.chunkIndex]);
  }

  async #save(round: Round, record: ScrubRecord): Promise<void> {
    const { kv, clock } = this.#parts;
    await kv.commit({ checks: [], writes: [{ kind: "put", key: scrubKey(round.drive), value: encodeScrub(record) }] });
    round.savedMs = clock.monotonicMs();
  }

  async #end(round: Round): Promise<void> {
    const { clock, log } = this.#parts;
    const { drive, shards, damaged } = round;
    await this.#save(round, {
      startedMs: undefined,
      after: undefined,
      ended: { atMs: clock.nowMs(), shards, damaged },
    });
    if (shards > 0) log.info({ drive, shards, damaged }, "Every shard of a drive was read and checked.");
    this.#round = undefined;
  }
}
