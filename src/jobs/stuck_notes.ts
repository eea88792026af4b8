/**
 * Notes of damage for which nothing could be done with the drives that there are (one is away and waited for, or none is free). Whether
 * they still can not is only looked at again when there are other drives, or after a while: each look reads every shard of the chunk.
 */
import type { Entry, Version } from "../kv/kv.ts";
import type { DriveView } from "./repair_plan.ts";

/** What is too much is looked at each time. */
const notesMax = 20_000;
const againMs = 10 * 60_000;

export class StuckNotes {
  /** By key, with the version that was looked at. */
  readonly #notes = new Map<string, Version>();
  #drives = "";
  #sinceMs = 0;

  /** To be told of the drives before each use. */
  look(view: DriveView, nowMs: number): void {
    const drives = nameOf(view);
    if (drives === this.#drives && nowMs - this.#sinceMs < againMs) return;
    this.#notes.clear();
    this.#drives = drives;
    this.#sinceMs = nowMs;
  }

  has({ key, version }: Entry): boolean {
    return this.#notes.get(key.toString("hex")) === version;
  }

  add({ key, version }: Entry): void {
    if (this.#notes.size < notesMax) this.#notes.set(key.toString("hex"), version);
  }
}

function nameOf({ here, givenUp, draining, taking }: DriveView): string {
  const sets = [here, givenUp, draining].map((drives) => [...drives].toSorted().join());
  return [...sets, taking.map(({ id, state }) => `${id} ${state}`).join()].join(";");
}
