/** What tests of slow drives share: a clock on which time passes only when nothing else can happen, and drives that hang. */
import { HoldfastError } from "../core/errors.ts";
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import type { ChunkNode } from "../node/node.ts";
import { altered } from "./blob.fixture.ts";

type Sleeper = { readonly atMs: number; readonly wake: () => void };

const turnsOfWork = 8;

export class TestClock implements Clock {
  #nowMs = 1_000;
  readonly #sleepers = new Set<Sleeper>();

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true) return resolve();
      const wake = (): void => {
        this.#sleepers.delete(sleeper);
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      const sleeper: Sleeper = { atMs: this.#nowMs + ms, wake };
      this.#sleepers.add(sleeper);
      signal?.addEventListener("abort", wake, { once: true });
    });
  }

  get sleepers(): number {
    return this.#sleepers.size;
  }

  /** Lets what is under way go on, without time passing. */
  async work(): Promise<void> {
    for (let left = turnsOfWork; left > 0; left--) await new Promise((resolve) => setImmediate(resolve));
  }

  pass(ms: number): void {
    this.#nowMs += ms;
    for (const sleeper of this.#sleepers) if (sleeper.atMs <= this.#nowMs) sleeper.wake();
  }

  /** Time goes from one sleeper to the next until the work has ended. */
  async until<T>(work: Promise<T>): Promise<T> {
    let isOver = false;
    const ended = work.finally(() => (isOver = true));
    ended.catch(() => undefined);
    while (!isOver) {
      await this.work();
      const nextMs = Math.min(...[...this.#sleepers].map(({ atMs }) => atMs));
      if (!isOver && nextMs !== Infinity) this.pass(Math.max(0, nextMs - this.#nowMs));
    }
    return ended;
  }
}

/** What becomes of a call that hangs when it is cancelled: nothing, or it fails at once, carried out or not. */
export type Hang = "deaf" | "cut" | "cut after all";

export class SlowNode {
  readonly node: ChunkNode;
  readonly hangs = new Map<DriveId, Hang>();
  readonly counts = { reads: 0, appends: 0 };
  readonly #waiting = new Set<() => void>();

  constructor(node: ChunkNode, changes: Partial<ChunkNode> = {}) {
    this.node = altered(node, {
      append: async (drive, shard, signal) => {
        this.counts.appends += 1;
        const hang = await this.#wait(drive, signal);
        if (hang !== "cut") await node.append(drive, shard);
        if (hang === "cut" || hang === "cut after all") throw cut();
      },
      read: async (drive, ref, range, signal) => {
        this.counts.reads += 1;
        const hang = await this.#wait(drive, signal);
        if (hang === "cut" || hang === "cut after all") throw cut();
        return node.read(drive, ref, range);
      },
      ...changes,
    });
  }

  /** Calls that hang. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** What hangs goes on, and nothing hangs any more. Calls that were cancelled and are deaf are carried out. */
  release(): void {
    for (const go of this.#waiting) go();
    this.hangs.clear();
  }

  async #wait(drive: DriveId, signal: AbortSignal | undefined): Promise<Hang | undefined> {
    const hang = this.hangs.get(drive);
    if (hang === undefined) return undefined;
    await new Promise<void>((resolve) => {
      const go = (): void => {
        this.#waiting.delete(go);
        resolve();
      };
      this.#waiting.add(go);
      if (hang !== "deaf") signal?.addEventListener("abort", go, { once: true });
    });
    return signal?.aborted === true ? hang : undefined;
  }
}

function cut(): HoldfastError {
  return new HoldfastError("cancelled", "The call was cancelled.");
}
