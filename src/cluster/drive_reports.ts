/**
 * How this machine's drives are, for the node's row. A drive that hangs or cannot be asked must not make the whole node look
 * away: one that does not say how it is within driveStatusMsMax, or fails to, is told as failed with what it said last. While a
 * question of it is unanswered it is asked no other and waited for no more.
 */
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { PublishedDrive } from "../meta/nodes.ts";
import type { ChunkNode, DriveStatus } from "../node/node.ts";

export type DriveReportsParts = {
  readonly local: Pick<ChunkNode, "drives" | "status">;
  readonly clock: Clock;
  readonly log: Log;
};

const nothing = { totalBytes: 0, freeBytes: 0, liveBytes: 0, deadBytes: 0, segments: 0 };

export class DriveReports {
  readonly #parts: DriveReportsParts;
  readonly #last = new Map<DriveId, PublishedDrive>();
  /** Drives that have not answered yet. */
  readonly #asked = new Set<DriveId>();
  /** Drives of which it was said that they do not answer. */
  readonly #silent = new Set<DriveId>();

  constructor(parts: DriveReportsParts) {
    this.#parts = parts;
  }

  async look(): Promise<PublishedDrive[]> {
    const { local, clock } = this.#parts;
    const answered = new Set<DriveId>();
    const asked = local.drives
      .filter((drive) => !this.#asked.has(drive))
      .map(async (drive) => {
        if (await this.#ask(drive)) answered.add(drive);
      });
    const over = new AbortController();
    await Promise.race([Promise.all(asked), clock.sleep(limits.driveStatusMsMax, over.signal)]);
    over.abort();
    // Answers that came while the process stood still are met first.
    if (answered.size < asked.length) await new Promise((resolve) => setImmediate(resolve));
    return local.drives.map((drive) => this.#told(drive, answered.has(drive)));
  }

  /** Never rejects. */
  async #ask(drive: DriveId): Promise<boolean> {
    const { local, log } = this.#parts;
    this.#asked.add(drive);
    try {
      this.#last.set(drive, published(await local.status(drive)));
      return true;
    } catch (error) {
      if (!this.#silent.has(drive)) log.warn({ drive, err: error }, "A drive cannot say how it is.");
      return false;
    } finally {
      this.#asked.delete(drive);
    }
  }

  #told(drive: DriveId, isAnswered: boolean): PublishedDrive {
    const last = this.#last.get(drive) ?? { id: drive, state: "failed", ...nothing };
    if (isAnswered) {
      this.#silent.delete(drive);
      return last;
    }
    if (!this.#silent.has(drive))
      this.#parts.log.error({ drive }, "A drive does not answer; the others are told that it failed.");
    this.#silent.add(drive);
    return { ...last, state: "failed" };
  }
}

function published({ id, state, totalBytes, freeBytes, liveBytes, deadBytes, segments }: DriveStatus): PublishedDrive {
  return { id, state, totalBytes, freeBytes, liveBytes, deadBytes, segments };
}
