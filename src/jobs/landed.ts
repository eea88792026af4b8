/**
 * Shards that landed on a slow drive after their write had ended (blob/shard_writer.ts), or are left on one by a write that
 * failed, on their way to a stray row: the row of the commit may have been worked off before, and of a write that failed there
 * is none. Notes are gathered and written a little later; what does not fit, or cannot be written, is found by the sweep when the
 * session has ended.
 */
import type { LandedShard } from "../blob/shard_writer.ts";
import type { Clock } from "../core/clock.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Kv } from "../kv/kv.ts";
import { newBlobPage } from "../meta/blobs.ts";
import { strayWrites } from "../meta/repairs.ts";
import type { Session } from "../meta/sessions.ts";

const gatherMs = 100;

export type LandedParts = {
  readonly kv: Kv;
  readonly session: Pick<Session, "nextStamp">;
  readonly clock: Clock;
  readonly log: Log;
};

export class LandedNotes {
  readonly #parts: LandedParts;
  #waiting: LandedShard[] = [];
  #writing: Promise<void> | undefined;
  readonly #stop = new AbortController();

  constructor(parts: LandedParts) {
    this.#parts = parts;
  }

  /** Never throws. */
  note(shard: LandedShard): void {
    if (this.#stop.signal.aborted || this.#waiting.length >= limits.jobBatchMax) return;
    this.#waiting.push(shard);
    this.#writing ??= this.#write().finally(() => (this.#writing = undefined));
  }

  async #write(): Promise<void> {
    const { kv, session, clock, log } = this.#parts;
    await clock.sleep(gatherMs, this.#stop.signal);
    while (this.#waiting.length > 0) {
      const shards = this.#waiting;
      this.#waiting = [];
      const pages = Map.groupBy(shards, ({ owner }) => `${owner.blob} ${newBlobPage(owner.chunkIndex)}`);
      const writes = [...pages.values()].flatMap((ofPage) => {
        const { blob, chunkIndex } = ofPage[0]!.owner;
        const relocated = ofPage.map(({ drive, ref }) => ({ drive, ...ref }));
        return strayWrites(blob, newBlobPage(chunkIndex), relocated, () => session.nextStamp());
      });
      try {
        await kv.commit({ checks: [], writes });
      } catch (error) {
        log.warn({ shards: shards.length, err: error }, "Shards that landed late are left to the orphan sweep.");
      }
    }
  }

  /** What waits is written first. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#writing;
  }
}
