/**
 * What was made of rows, kept by their versions: a row that has not changed is not decoded, and its policies are not compiled,
 * again. Rows are still read each time; this only saves the work on them.
 */
import type { Entry } from "./kv.ts";

export class RowCache<T> {
  readonly #make: (value: Buffer) => T;
  readonly #countMax: number;
  readonly #kept = new Map<string, { readonly version: number; readonly made: T }>();

  constructor(make: (value: Buffer) => T, countMax: number) {
    this.#make = make;
    this.#countMax = countMax;
  }

  of({ key, value, version }: Entry): T {
    const name = key.toString("latin1");
    const kept = this.#kept.get(name);
    if (kept?.version === version) return kept.made;
    const made = this.#make(value);
    this.#kept.delete(name);
    this.#kept.set(name, { version, made });
    // The oldest goes: it is made again should it be wanted.
    if (this.#kept.size > this.#countMax) this.#kept.delete(this.#kept.keys().next().value!);
    return made;
  }
}
