/**
 * The metadata store in memory, for tests and `createServer({ memory: true })`. It keeps every promise of the contract
 * except durability: nothing outlives the process.
 *
 * A commit is decided and applied in one synchronous step, so the order of steps is the order of commits. Versions come
 * from one counter of the store and are therefore never used twice. Bytes are copied on the way in and on the way out.
 */
import { HoldfastError } from "../core/errors.ts";
import { assertCommit, assertKeys, assertScan } from "./bounds.ts";
import { absent } from "./kv.ts";
import type { Commit, CommitResult, Entry, Key, KeyRange, Kv, ScanOptions, Seams } from "./kv.ts";
import { planCommit } from "./plan.ts";
import type { Look } from "./plan.ts";
import { Rows } from "./rows.ts";

/** `seams`: as in Kv. */
export function openMemoryKv(seams?: Seams): Kv {
  return new MemoryKv(seams);
}

class MemoryKv implements Kv {
  readonly name = "memory";
  readonly #rows = new Rows();
  readonly #look: Look = {
    version: (key) => this.#rows.get(key)?.version ?? absent,
    value: (key) => this.#rows.get(key)?.value,
  };
  #lastVersion = 0;
  #closed = false;
  readonly seams?: Seams;

  constructor(seams: Seams | undefined) {
    if (seams !== undefined) this.seams = seams;
  }

  async get(keys: readonly Key[]): Promise<(Entry | undefined)[]> {
    assertKeys(keys);
    this.#assertOpen();
    return keys.map((key) => {
      const entry = this.#rows.get(key);
      return entry === undefined ? undefined : copyOf(entry);
    });
  }

  async scan(range: KeyRange, options: ScanOptions): Promise<Entry[]> {
    assertScan(range, options);
    this.#assertOpen();
    const entries: Entry[] = [];
    for (const entry of options.reverse === true ? this.#rows.downFrom(range.end) : this.#rows.upFrom(range.start)) {
      if (entry.key.compare(range.end) >= 0 || entry.key.compare(range.start) < 0) break;
      entries.push(copyOf(entry));
      if (entries.length === options.limit) break;
    }
    return entries;
  }

  async commit(commit: Commit): Promise<CommitResult> {
    assertCommit(commit);
    this.#assertOpen();
    const plan = planCommit(commit, this.#look);
    if (plan.outcome !== "apply") return plan;
    if (plan.changes.length > 0) this.#lastVersion += 1;
    for (const { key, value } of plan.changes) {
      if (value === undefined) this.#rows.delete(key);
      else this.#rows.set({ key: Buffer.from(key), value: Buffer.from(value), version: this.#lastVersion });
    }
    return { outcome: "committed" };
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #assertOpen(): void {
    if (this.#closed) throw new HoldfastError("unavailable", "The metadata store is closed.");
  }
}

function copyOf(entry: Entry): Entry {
  return { key: Buffer.from(entry.key), value: Buffer.from(entry.value), version: entry.version };
}
