/**
 * Drives that fail under a server's processes, whatever their metadata is in. A worker whose index of a drive fails ends, for
 * only another process can open the index again; one that finds a drive failed when it opens it goes on without. Either tells its
 * supervisor, so that a drive which fails one worker after another is not tried by the next one.
 */

/** Indexes of one process: what fails while drives are being opened may be of a drive that is done without. */
export class IndexFailures {
  readonly #onFailed: (drive: string) => void;
  readonly #early = new Set<string>();
  readonly #leftOut = new Set<string>();
  #isOpen = false;

  constructor(onFailed: (drive: string) => void) {
    this.#onFailed = onFailed;
  }

  note(drive: string): void {
    if (!this.#isOpen) this.#early.add(drive);
    else if (!this.#leftOut.has(drive)) this.#onFailed(drive);
  }

  leaveOut(drive: string): void {
    this.#leftOut.add(drive);
  }

  /** All drives are open, or left out. */
  tell(): void {
    this.#isOpen = true;
    for (const drive of this.#early) this.note(drive);
  }
}

/** A worker that ran this long before a drive failed it says nothing about the next one. */
const steadyMs = 60_000;

export type DriveFailure = {
  readonly drive: string;
  /** When the worker that tells was started, and now, on one clock. */
  readonly workerStartedMs: number;
  readonly nowMs: number;
};

/** What a supervisor hears of all its workers. A drive is given up when a worker that was started since it failed meets that again. */
export class DriveFailures {
  readonly #firstMs = new Map<string, number>();
  readonly #givenUp = new Set<string>();

  /** Until the server is restarted, or its drives are prepared anew. */
  get givenUp(): readonly string[] {
    return [...this.#givenUp];
  }

  /** `drives`: all of the server. The last one is never given up: without it there is nothing to serve. Resolves to whether it is now. */
  note({ drive, workerStartedMs, nowMs }: DriveFailure, drives: readonly string[]): boolean {
    if (this.#givenUp.has(drive)) return false;
    const firstMs = this.#firstMs.get(drive);
    const isAgain = firstMs !== undefined && workerStartedMs >= firstMs && nowMs - workerStartedMs < steadyMs;
    if (!isAgain) {
      this.#firstMs.set(drive, nowMs);
      return false;
    }
    if (drives.every((each) => each === drive || this.#givenUp.has(each))) return false;
    this.#givenUp.add(drive);
    return true;
  }

  clear(): void {
    this.#firstMs.clear();
    this.#givenUp.clear();
  }
}
