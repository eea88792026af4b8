/**
 * Which drives are there, which are given up, and which are to give up what they have, as this process sees it.
 *
 * A drive is given up when it has been away for awayMsMax of this process's own time; at once when it is away and was told to
 * drain, or removed from the store. It is not given up any more when it is back. One whose node still says that it has it is
 * waited for: that this process does not reach the node is no loss.
 */
import type { Placement } from "../blob/node_placement.ts";
import type { PlacementDrive } from "../blob/placement.ts";
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { KnownDrive } from "../meta/drives.ts";
import type { ChunkNode } from "../node/node.ts";
import { drivesToBalance } from "./balance_plan.ts";
import type { DriveView } from "./repair_plan.ts";

export type DriveWatchParts = {
  readonly node: ChunkNode;
  readonly placement: Placement;
  readonly clock: Clock;
  readonly log: Log;
  /** Every drive of the store, whether it is here or not. */
  readonly knownDrives: () => Promise<readonly KnownDrive[]>;
  /** driveAwayMsMax if left out. */
  readonly awayMsMax?: number;
};

export type WatchedDrives = DriveView & {
  /** Until the next of the drives that are away is given up, if it does not come back; undefined if none is to be. */
  readonly givesUpInMs: number | undefined;
};

export class DriveWatch {
  readonly #parts: DriveWatchParts;
  readonly #awaySinceMs = new Map<DriveId, number>();

  constructor(parts: DriveWatchParts) {
    this.#parts = parts;
  }

  async look(): Promise<WatchedDrives> {
    const { node, placement, clock, knownDrives, awayMsMax = limits.driveAwayMsMax } = this.#parts;
    const known = await knownDrives();
    const taking = placement.drives();
    // A drive that does not say how it is may hang: who waits for it here would hold up the others' work.
    const isAway = ({ id, state }: PlacementDrive): boolean => state === "failed" || placement.times.isSilent(id);
    const failed = new Set(taking.filter(isAway).map(({ id }) => id));
    const here = new Set(node.drives.filter((drive) => !failed.has(drive)));
    const lost = known.filter(({ id, isHeld }) => !here.has(id) && isHeld !== true);
    for (const drive of this.#awaySinceMs.keys())
      if (!lost.some(({ id }) => id === drive)) this.#awaySinceMs.delete(drive);
    const givenUp = new Set<DriveId>();
    const draining = new Set<DriveId>();
    const waitsMs: number[] = [];
    for (const { id, state } of known) if (here.has(id) && state !== "active") draining.add(id);
    for (const { id, state } of lost) {
      const waitMs = state === "active" ? awayMsMax - this.#awayMs(id, clock.monotonicMs()) : 0;
      if (waitMs > 0) waitsMs.push(waitMs);
      else givenUp.add(id);
    }
    const balanced = drivesToBalance(known, taking, here);
    // What is made anew goes to none that would hold up all the others.
    const isSlow = ({ id }: { readonly id: DriveId }): boolean => placement.times.isSlow(id);
    const well = taking.some(isSlow) ? taking.filter((drive) => !isSlow(drive)) : taking;
    const givesUpInMs = waitsMs.length === 0 ? undefined : Math.ceil(Math.min(...waitsMs));
    return { here, givenUp, draining, balanced, taking: well, givesUpInMs };
  }

  #awayMs(drive: DriveId, nowMs: number): number {
    const sinceMs = this.#awaySinceMs.get(drive);
    if (sinceMs !== undefined) return nowMs - sinceMs;
    this.#awaySinceMs.set(drive, nowMs);
    this.#parts.log.warn({ drive }, "A drive is away.");
    return 0;
  }
}
