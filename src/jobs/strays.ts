/**
 * Shards that no chunk map names any more because they were made anew elsewhere, or whose blob went while their drive was
 * away (`stray` rows, meta/repairs.ts): they are removed when the drive is here and every read that may still want them has
 * ended, as trash is (trash.ts).
 */
import type { DriveId, SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Clock } from "../core/clock.ts";
import type { Log } from "../core/log.ts";
import type { Entry, Kv } from "../kv/kv.ts";
import { driveIdOf, isWholeDrive, tagRange, tags } from "../meta/keys.ts";
import { decodeStray } from "../meta/repairs.ts";
import { drainTargets, hasDrained, readSessions } from "../meta/sessions.ts";
import type { ChunkNode } from "../node/node.ts";
import { removeUnwanted, wantedOn } from "./orphans.ts";
import { Rounds } from "./rounds.ts";
import { sweepDrive } from "./sessions.ts";

export type StrayParts = { readonly kv: Kv; readonly node: ChunkNode; readonly clock: Clock; readonly log: Log };

/** Looking through a whole drive is much work; what live sessions stored is looked at again after this long. */
const sweepAgainMs = 10 * 60_000;

export class Strays {
  readonly #parts: StrayParts;
  readonly #rounds = new Rounds(tagRange(tags.stray));
  readonly #sweptMs = new Map<DriveId, number>();
  #waiting: { readonly rows: readonly Entry[]; readonly targets: ReadonlyMap<SessionId, number> } | undefined;

  constructor(parts: StrayParts) {
    this.#parts = parts;
  }

  /** Some rows. Resolves to shards removed, and whether there is something to wait for. */
  async run(signal: AbortSignal): Promise<{ readonly removed: number; readonly isWaiting: boolean }> {
    const { kv, node } = this.#parts;
    if (this.#waiting === undefined) {
      const seen = await this.#rounds.next(kv, limits.jobBatchMax);
      const rows = seen.filter(({ key }) => node.drives.includes(driveIdOf(key)));
      if (rows.length === 0) return { removed: 0, isWaiting: false };
      // The rows were seen before the sessions are read: the order that the protocol needs.
      this.#waiting = { rows, targets: drainTargets(await readSessions(kv)) };
    }
    const { rows, targets } = this.#waiting;
    if (!hasDrained(targets, await readSessions(kv))) return { removed: 0, isWaiting: true };
    this.#waiting = undefined;
    let removed = 0;
    for (const row of rows) {
      if (signal.aborted) break;
      removed += isWholeDrive(row.key) ? await this.#sweep(row, signal) : await this.#remove(row);
    }
    return { removed, isWaiting: false };
  }

  async #remove(row: Entry): Promise<number> {
    const { kv } = this.#parts;
    const drive = driveIdOf(row.key);
    const { blob, page, shards } = decodeStray(row.value);
    // One that came back to the same drive since is wanted.
    const wanted = await wantedOn(kv, drive, [{ blob, page }]);
    const unwanted = shards.filter(({ chunk, shardIndex }) => !wanted.has(`${chunk} ${shardIndex}`));
    if (unwanted.length > 0) await removeUnwanted(this.#parts, drive, [{ blob, page }], unwanted);
    await this.#forget(row);
    return unwanted.length;
  }

  async #sweep(row: Entry, signal: AbortSignal): Promise<number> {
    const { kv, node, clock, log } = this.#parts;
    const drive = driveIdOf(row.key);
    const sweptMs = this.#sweptMs.get(drive);
    if (sweptMs !== undefined && clock.monotonicMs() - sweptMs < sweepAgainMs) return 0;
    const swept = await sweepDrive({ kv, node, log }, drive, signal);
    if (swept.isWhole) this.#sweptMs.set(drive, clock.monotonicMs());
    // What live sessions stored may be unwanted too: that is known when they have ended.
    if (swept.isWhole && swept.ofLiveSessions === 0) await this.#forget(row);
    return swept.removed;
  }

  async #forget({ key, version }: Entry): Promise<void> {
    await this.#parts.kv.commit({ checks: [{ key, version }], writes: [{ kind: "delete", key }] });
  }
}
