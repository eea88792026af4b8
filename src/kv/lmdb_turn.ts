/**
 * Whose turn it is to write to the copies of the metadata: one process at a time, as LMDB's own write lock orders the
 * writers of one file. The turn is the write lock of a tiny LMDB environment of its own in which nothing is ever written:
 * a robust mutex in shared memory, which passes on when its holder dies. It only keeps order among processes that play by
 * it: what keeps a process that was taken for dead from writing is the run in each copy's mark (lmdb_copy.ts).
 *
 * A turn that is waited for or held takes one of the threads of libuv's pool, and the transactions of the copies need
 * another. So only one turn is waited for at a time in a process, whatever number of stores it has open, and a pool of one
 * thread is refused.
 */
import { HoldfastError } from "../core/errors.ts";
import { openEnvironment } from "./lmdb_env.ts";
import type { Environment } from "./lmdb_env.ts";

const poolThreadsMin = 2;
const poolThreadsDefault = 4;

/** The turns of this process, one after another. */
let lastTurn: Promise<void> = Promise.resolve();

async function enter(): Promise<() => void> {
  const before = lastTurn;
  let leave: () => void = () => undefined;
  lastTurn = new Promise((resolve) => (leave = resolve));
  await before;
  return leave;
}

export class Turn {
  readonly #env: Environment;

  constructor(env: Environment) {
    this.#env = env;
  }

  /** Resolves when it is this process's turn, with what ends it. Ending rejects when the lock could not be given up. */
  async take(): Promise<() => Promise<void>> {
    const leave = await enter();
    try {
      const end = await this.#begin();
      return () => end().finally(leave);
    } catch (error) {
      leave();
      throw error;
    }
  }

  async #begin(): Promise<() => Promise<void>> {
    let letGo: () => void = () => undefined;
    const released = new Promise<void>((resolve) => (letGo = resolve));
    let ended: Promise<unknown> = Promise.resolve();
    await new Promise<void>((begun, failed) => {
      ended = this.#env.transaction(() => {
        begun();
        return released;
      });
      ended.catch(failed);
    });
    return async () => {
      letGo();
      await ended;
    };
  }

  /** Waits for a turn that has not ended yet. */
  async close(): Promise<void> {
    const leave = await enter();
    await this.#env.close().finally(leave);
  }
}

/**
 * Opens environments, that of the turn among them, while no turn of this process is under way: opening one waits for its
 * write lock, and would wait for ever if this process held it.
 */
export async function outOfTurn<T>(work: () => T): Promise<T> {
  const leave = await enter();
  try {
    return work();
  } finally {
    leave();
  }
}

export function openTurn(path: string): Turn {
  const threads = Number(process.env["UV_THREADPOOL_SIZE"] ?? poolThreadsDefault);
  if (threads < poolThreadsMin) {
    throw new HoldfastError("invalid_argument", "With several metadata copies UV_THREADPOOL_SIZE must be 2 at least.");
  }
  return new Turn(openEnvironment({ path, sync: false, mapBytes: 1_024 * 1_024 }));
}
