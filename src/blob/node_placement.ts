/**
 * The drives of one chunk node as placement sees them: their sizes and states, a few seconds old at most. A drive that does not
 * say its state in time holds up no other: it is slow, and as it was, until it does, so that it gets what no other can take (a machine
 * that is overloaded says nothing in time of any drive). After driveSilentMsMax, and where it cannot say it at all, it counts as failed with
 * its last known size.
 */
import type { Clock } from "../core/clock.ts";
import type { Log } from "../core/log.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { ChunkNode, DriveStatus } from "../node/node.ts";
import { DriveTimes } from "./drive_times.ts";
import { isOver } from "./hedge.ts";
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

type Question = { readonly sinceMs: number; readonly answer: Promise<DriveStatus | undefined> };

/** Asks drives how they are. While one has not answered it is asked no other question. */
class DriveQuestions {
  /** Drives that have not answered in time, until they do. */
  readonly silent = new Set<DriveId>();
  readonly #node: Pick<ChunkNode, "drives" | "status">;
  readonly #clock: Clock;
  readonly #open = new Map<DriveId, Question>();

  constructor(node: Pick<ChunkNode, "drives" | "status">, clock: Clock) {
    this.#node = node;
    this.#clock = clock;
  }

  /** What each drive says within driveStatusMsMax. Left out: it cannot say it, or has been silent for driveSilentMsMax. */
  async ask(): Promise<ReadonlyMap<DriveId, DriveStatus | "silent">> {
    const { drives } = this.#node;
    for (const id of this.#open.keys()) if (!drives.includes(id)) this.#close(id);
    const answers = new Map<DriveId, DriveStatus | "silent">();
    const asked = drives.map(async (id) => {
      const status = await this.#questionFor(id).answer;
      if (status !== undefined) answers.set(id, status);
    });
    const over = new AbortController();
    await Promise.race([Promise.all(asked), this.#clock.sleep(limits.driveStatusMsMax, over.signal)]);
    over.abort(isOver);
    // Answers that came while the process stood still are met first.
    if (answers.size < asked.length) await new Promise((resolve) => setImmediate(resolve));
    const nowMs = this.#clock.monotonicMs();
    for (const [id, { sinceMs }] of this.#open) {
      this.silent.add(id);
      if (nowMs - sinceMs < limits.driveSilentMsMax) answers.set(id, "silent");
    }
    return new Map(answers);
  }

  #questionFor(id: DriveId): Question {
    const open = this.#open.get(id);
    if (open !== undefined) return open;
    const status = async (): Promise<DriveStatus> => this.#node.status(id);
    const answer = status()
      .catch(() => undefined)
      .finally(() => {
        // A drive that went away and came back may have been asked anew.
        if (this.#open.get(id) === question) this.#close(id);
      });
    const question = { sinceMs: this.#clock.monotonicMs(), answer };
    this.#open.set(id, question);
    return question;
  }

  #close(id: DriveId): void {
    this.#open.delete(id);
    this.silent.delete(id);
  }
}

/** Asks the node for the status of its drives now, and again whenever `drives` is called and the answer is old. */
export async function createNodePlacement(options: {
  readonly node: Pick<ChunkNode, "drives" | "status" | "distance">;
  /** Drives that are to take nothing new; none if left out. */
  readonly leaving?: () => Promise<ReadonlySet<DriveId>>;
  /** The node and the zone that a drive is in; all in the same if left out. */
  readonly where?: (drive: DriveId) => { readonly node: string; readonly zone: string };
  /** Calls what it is given when there may be other drives: they are looked at then, and not when somebody asks. */
  readonly onDrives?: (look: () => void) => void;
  readonly clock: Clock;
  readonly log: Log;
}): Promise<Placement> {
  const { node, leaving, where, onDrives, clock, log } = options;
  const questions = new DriveQuestions(node, clock);
  const times = new DriveTimes(clock, (drive) => node.distance?.(drive) ?? 0, questions.silent);
  let known: readonly PlacementDrive[] = [];
  let refreshedMs = 0;
  let refreshing = false;

  async function refresh(): Promise<void> {
    refreshing = true;
    try {
      const answers = await questions.ask();
      const gone = await leaving?.();
      const fresh = node.drives.flatMap((id): PlacementDrive[] => {
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
    } finally {
      refreshing = false;
    }
  }

  const tryRefresh = (): void => {
    refresh().catch((error: unknown) => log.warn({ error }, "The state of the drives could not be read."));
  };

  await refresh();
  let { drives } = node;
  onDrives?.(() => {
    if (node.drives === drives) return;
    drives = node.drives;
    tryRefresh();
  });
  return {
    times,
    drives() {
      if (!refreshing && clock.monotonicMs() - refreshedMs > refreshMs) {
        tryRefresh();
      }
      return known;
    },
  };
}
