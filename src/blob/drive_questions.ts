/**
 * Asking drives how they are, for whoever must not wait for one that hangs: placement, metrics, an operator. A drive that does not
 * answer is waited for driveStatusMsMax once, and asked no second question until it does: what hangs in it is one call.
 */
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { ChunkNode, DriveStatus } from "../node/node.ts";
import { isOver } from "./hedge.ts";

type Question = { readonly sinceMs: number; readonly answer: Promise<DriveStatus | undefined> };

export class DriveQuestions {
  /** Drives that have not answered in time, until they do. */
  readonly silent = new Set<DriveId>();
  readonly #node: Pick<ChunkNode, "drives" | "status">;
  readonly #clock: Clock;
  readonly #open = new Map<DriveId, Question>();
  /** What each said last. */
  readonly #last = new Map<DriveId, DriveStatus>();

  constructor(node: Pick<ChunkNode, "drives" | "status">, clock: Clock) {
    this.#node = node;
    this.#clock = clock;
  }

  /** What each drive says within driveStatusMsMax. Left out: it cannot say it, or has been silent for driveSilentMsMax. */
  async ask(): Promise<ReadonlyMap<DriveId, DriveStatus | "silent">> {
    const { drives } = this.#node;
    for (const id of this.#open.keys()) if (!drives.includes(id)) this.#close(id);
    for (const id of this.#last.keys()) if (!drives.includes(id)) this.#last.delete(id);
    const answers = new Map<DriveId, DriveStatus | "silent">();
    const unanswered = new Set(drives);
    const beganMs = this.#clock.monotonicMs();
    const awaited: Promise<void>[] = [];
    for (const id of drives) {
      const { sinceMs, answer } = this.#questionFor(id);
      const answered = answer.then((status) => {
        unanswered.delete(id);
        if (status !== undefined) answers.set(id, status);
      });
      if (beganMs - sinceMs < limits.driveStatusMsMax) awaited.push(answered);
    }
    const over = new AbortController();
    await Promise.race([Promise.all(awaited), this.#clock.sleep(limits.driveStatusMsMax, over.signal)]);
    over.abort(isOver);
    // Answers that came while the process stood still are met first.
    if (unanswered.size > 0) await new Promise((resolve) => setImmediate(resolve));
    const nowMs = this.#clock.monotonicMs();
    for (const id of unanswered) {
      // One that went away meanwhile is not asked any more.
      const open = this.#open.get(id);
      if (open === undefined) continue;
      this.silent.add(id);
      if (nowMs - open.sinceMs < limits.driveSilentMsMax) answers.set(id, "silent");
    }
    return new Map(answers);
  }

  /**
   * How the drives are, within driveStatusMsMax. One that is silent is told as it was, and after driveSilentMsMax as failed. Left
   * out: it cannot say it, or never has.
   */
  async statuses(): Promise<DriveStatus[]> {
    const answers = await this.ask();
    return this.#node.drives.flatMap((id) => {
      const said = answers.get(id);
      if (said !== undefined && said !== "silent") return [said];
      const last = this.#last.get(id);
      if (last === undefined || !this.silent.has(id)) return [];
      return [said === "silent" ? last : { ...last, state: "failed" }];
    });
  }

  #questionFor(id: DriveId): Question {
    const open = this.#open.get(id);
    if (open !== undefined) return open;
    const status = async (): Promise<DriveStatus> => {
      const said = await this.#node.status(id);
      this.#last.set(id, said);
      return said;
    };
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
