/**
 * One copy of the metadata on one drive: an LMDB store with a mark, a view and a redo row of its own (lmdb_state.ts).
 *
 * Every write says which mark it expects to find and is refused, inside the transaction, when another one is there. So
 * copies stay in step whoever writes: a process that fell asleep in the middle of a batch and wakes after a new start finds
 * another run, one that lost count finds another batch, and neither changes anything.
 */
import { HoldfastError } from "../core/errors.ts";
import type { FileSpace, Key, Version } from "./kv.ts";
import { causeOf, fileSpaceOf, inTransaction, openEnvironment, panics } from "./lmdb_env.ts";
import type { Environment } from "./lmdb_env.ts";
import { isLackOfSpace } from "./lmdb_failure.ts";
import { readMark, readRedo, readView, writeMark, writeRedo, writeView } from "./lmdb_state.ts";
import type { CopyMark, Mark, Redo, RunId } from "./lmdb_state.ts";
import type { MemberId, View } from "./lmdb_views.ts";

export type CopyPlace = {
  /** The drive's id. */
  readonly id: MemberId;
  /** The store's file. */
  readonly path: string;
  /** What the drive is called in sentences for the operator. */
  readonly name: string;
};

/** The mark of one of several copies. */
export type FullMark = Mark & { readonly copy: CopyMark };

export type CopyWrite = {
  readonly expected: FullMark;
  readonly next: FullMark;
  readonly view?: View;
  readonly redo?: Redo;
  readonly rows?: (into: Environment) => void;
};

/** `overtaken`: the mark was not the one expected; nothing was written. */
export type CopyOutcome = "written" | "overtaken";

/** `no space` passes by itself; after `broken` the copy is no good to this process any more. */
export type CopyFailure = { readonly kind: "no space" | "broken"; readonly cause: unknown };

export function sameMark(a: FullMark, b: FullMark): boolean {
  return a.copy.batch === b.copy.batch && a.copy.run === b.copy.run && a.copy.view === b.copy.view;
}

export class Copy {
  readonly place: CopyPlace;
  readonly env: Environment;

  constructor(place: CopyPlace, env: Environment) {
    this.place = place;
    this.env = env;
  }

  /** Of this moment. Errors: LMDB's own; `corrupt_record` when this is no copy. */
  mark(): FullMark {
    this.env.resetReadTxn();
    return this.#mark();
  }

  #mark(): FullMark {
    const mark = readMark(this.env);
    if (mark?.copy === undefined) {
      throw new HoldfastError("corrupt_record", `${this.place.path} is not a copy of the metadata.`);
    }
    return { lastVersion: mark.lastVersion, copy: mark.copy };
  }

  /** As `mark`, once no other process writes, not even one that has died and whose last system call has not returned. */
  async settledMark(): Promise<FullMark> {
    const marks: FullMark[] = [];
    await inTransaction(this.env, () => {
      marks.push(this.#mark());
      return false;
    });
    return marks[0]!;
  }

  /** 0 in a store that is new. */
  lastVersion(): Version {
    return readMark(this.env)?.lastVersion ?? 0;
  }

  view(): View {
    this.env.resetReadTxn();
    return readView(this.env);
  }

  redo(): Redo | undefined {
    this.env.resetReadTxn();
    return readRedo(this.env);
  }

  /** Resolves when it is durable. Errors: LMDB's own (`failureOf` judges them). */
  async write({ expected, next, view, redo, rows }: CopyWrite): Promise<CopyOutcome> {
    let isOvertaken = false;
    try {
      await inTransaction(this.env, () => {
        if (!sameMark(this.#mark(), expected)) {
          isOvertaken = true;
          return false;
        }
        rows?.(this.env);
        if (redo !== undefined) writeRedo(this.env, redo);
        if (view !== undefined) writeView(this.env, view);
        writeMark(this.env, next);
        return true;
      });
    } catch (error) {
      throw await causeOf(error);
    }
    return isOvertaken ? "overtaken" : "written";
  }

  async failureOf(cause: unknown, freeBytes?: () => Promise<number>): Promise<CopyFailure> {
    const passes = (await isLackOfSpace(cause, freeBytes)) && !panics(this.env);
    return { kind: passes ? "no space" : "broken", cause };
  }

  space(): FileSpace {
    this.env.resetReadTxn();
    return fileSpaceOf(this.env);
  }

  async close(): Promise<void> {
    await this.env.close();
  }
}

export function openCopy(place: CopyPlace): Copy {
  return new Copy(place, openEnvironment({ path: place.path }));
}

/** The run that a copy must be under; undefined: any. */
export type Runs = { readonly from: RunId; readonly to: RunId | undefined };
export type Brought = CopyOutcome | "too far";

/**
 * Brings `to` into the state of `from`, which is the same or exactly one batch away, whichever of both is ahead: the one that
 * is has a redo row that names the rows. `too far` when it is further, and nothing is written then.
 */
export async function bringTo(from: Copy, to: Copy, runs: Runs): Promise<Brought> {
  const [target, expected] = [from.mark(), to.mark()];
  if (target.copy.run !== runs.from || (runs.to !== undefined && expected.copy.run !== runs.to)) return "overtaken";
  if (sameMark(target, expected)) return "written";
  const view = from.view();
  const [here, there] = [target.copy.batch, expected.copy.batch];
  if (here === there) return to.write({ expected, next: target, view });
  const redo =
    [from.redo()].find((found) => found?.from === there && found.to === here) ??
    [to.redo()].find((found) => found?.from === here && found.to === there);
  if (redo === undefined) return "too far";
  return to.write({ expected, next: target, view, redo, rows: (into) => copyRows(from.env, into, redo.keys) });
}

function copyRows(from: Environment, into: Environment, keys: readonly Key[]): void {
  from.resetReadTxn();
  for (const key of keys) {
    const stored = from.getBinary(key);
    if (stored === undefined) into.removeSync(key);
    else into.putSync(key, stored);
  }
}
