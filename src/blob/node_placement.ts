/**
 * The drives of one chunk node as placement sees them: their sizes and states, a few seconds old at most. A drive that does not
 * say its state in time holds up no other: it is slow, and as it was, until it does, so that it gets what no other can take (a machine
 * that is overloaded says nothing in time of any drive). After driveSilentMsMax, and where it cannot say it at all, it counts as failed with
 * its last known size.
 */
import type { Clock } from "../core/clock.ts";
import type { Log } from "../core/log.ts";
import type { DriveId } from "../core/ids.ts";
import type { ChunkNode } from "../node/node.ts";
import { DriveQuestions } from "./drive_questions.ts";
import { DriveTimes } from "./drive_times.ts";
import type { PlacementDrive } from "./placement.ts";

export type Placement = {
  /** Every drive that may take chunks, in any order: the same list while nothing changes. A hint: an append may still be refused. */
  drives(): readonly PlacementDrive[];
  /** How long they take: shared by all who read and write in this process. */
  readonly times: DriveTimes;
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
  readonly node: Pick<ChunkNode, "drives" | "status" | "distance">;
  /** Drives that are to take nothing new; none if left out. */
  readonly leaving?: () => Promise<ReadonlySet<DriveId>>;
  /** The node and the zone that a drive is in; all in the same if left out. */
  readonly where?: (drive: DriveId) => { readonly node: string; readonly zone: string };
  /**
   * Calls what it is given when there may be other drives: they are looked at then, and not when somebody asks. Resolves when they
   * are known, as far as they say in time how they are. Never rejects.
   */
  readonly onDrives?: (look: () => Promise<void>) => void;
  readonly clock: Clock;
  readonly log: Log;
}): Promise<Placement> {
  const { node, leaving, where, onDrives, clock, log } = options;
  const questions = new DriveQuestions(node, clock);
  const times = new DriveTimes(clock, (drive) => node.distance?.(drive) ?? 0, questions.silent);
  let known: readonly PlacementDrive[] = [];
  let refreshedMs = 0;
  /** The list of drives that was looked at last, and the look that is under way: never two, or an older one could end later. */
  let asked: readonly DriveId[] = [];
  let underWay: Promise<void> | undefined;

  async function ask(): Promise<void> {
    asked = node.drives;
    const answers = await questions.ask();
    const gone = await leaving?.();
    const fresh = asked.flatMap((id): PlacementDrive[] => {
      const status = answers.get(id);
      if (status === undefined || status === "silent") {
        const before = known.find((drive) => drive.id === id);
        if (before === undefined) return [];
        return [status === "silent" ? before : { ...before, state: "failed" }];
      }
      const isLeaving = status.state === "up" && gone?.has(id) === true;
      return [{ id, state: isLeaving ? "draining" : status.state, weightBytes: status.totalBytes, ...where?.(id) }];
    });
    known = settled(known, fresh);
    refreshedMs = clock.monotonicMs();
  }

  function refresh(): Promise<void> {
    underWay ??= ask()
      .catch((error: unknown) => log.warn({ error }, "The state of the drives could not be read."))
      .finally(() => (underWay = undefined));
    return underWay;
  }

  await ask();
  onDrives?.(async () => {
    while (asked !== node.drives || underWay !== undefined) await refresh();
  });
  return {
    times,
    drives() {
      if (underWay === undefined && clock.monotonicMs() - refreshedMs > refreshMs) void refresh();
      return known;
    },
  };
}
