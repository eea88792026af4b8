/** The drives of one chunk node as placement sees them: their sizes and states, a few seconds old at most. */
import type { Clock } from "../core/clock.ts";
import type { Log } from "../core/log.ts";
import type { DriveId } from "../core/ids.ts";
import type { ChunkNode } from "../node/node.ts";
import type { PlacementDrive } from "./placement.ts";

export type Placement = {
  /** Every drive that may take chunks, in any order: the same list while nothing changes. A hint: an append may still be refused. */
  drives(): readonly PlacementDrive[];
};

const refreshMs = 2_000;

/** A file system that gives itself another size by less than this part of it (some do with every write) keeps its share. */
const sizeTolerance = 0.01;

function isSameDrive(a: PlacementDrive, b: PlacementDrive): boolean {
  const isSameSize = Math.abs(a.weightBytes - b.weightBytes) <= sizeTolerance * b.weightBytes;
  return a.id === b.id && a.state === b.state && a.node === b.node && a.zone === b.zone && isSameSize;
}

/** The known drives where the fresh ones are as good as the same, so that plans for them stand; else the fresh ones. */
export function settled(known: readonly PlacementDrive[], fresh: readonly PlacementDrive[]): readonly PlacementDrive[] {
  const isSame = known.length === fresh.length && fresh.every((drive, at) => isSameDrive(drive, known[at]!));
  return isSame ? known : fresh;
}

/** Asks the node for the status of its drives now, and again whenever `drives` is called and the answer is old. */
export async function createNodePlacement(options: {
  readonly node: ChunkNode;
  /** Drives that are to take nothing new; none if left out. */
  readonly leaving?: () => Promise<ReadonlySet<DriveId>>;
  readonly clock: Clock;
  readonly log: Log;
}): Promise<Placement> {
  const { node, leaving, clock, log } = options;
  let known: readonly PlacementDrive[] = [];
  let refreshedMs = 0;
  let refreshing = false;

  async function refresh(): Promise<void> {
    refreshing = true;
    try {
      const statuses = await Promise.all(node.drives.map((id) => node.status(id)));
      const gone = await leaving?.();
      known = settled(
        known,
        statuses.map(({ id, state, totalBytes }) => {
          const isLeaving = state === "up" && gone?.has(id) === true;
          return { id, state: isLeaving ? "draining" : state, weightBytes: totalBytes };
        }),
      );
      refreshedMs = clock.monotonicMs();
    } finally {
      refreshing = false;
    }
  }

  await refresh();
  return {
    drives() {
      if (!refreshing && clock.monotonicMs() - refreshedMs > refreshMs) {
        refresh().catch((error: unknown) => log.warn({ error }, "The state of the drives could not be read."));
      }
      return known;
    },
  };
}
