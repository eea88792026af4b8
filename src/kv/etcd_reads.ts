/**
 * Reads of etcd. Gets that wait at the same time are one transaction of ranges, so all their keys come from one state.
 * Every read is linearizable: a member answers it only from a state that is no older than the moment it was asked.
 *
 * A get of more keys than one request takes reads the first of them, learns that state's revision, and reads the others of
 * the same revision; should it have been compacted away meanwhile (in minutes, normally) the get begins again.
 */
import { assert } from "../core/assert.ts";
import { limits } from "../core/limits.ts";
import type { Operation, Row, TxnResult } from "./etcd_wire.ts";
import { gathered } from "./gather.ts";
import type { Entry, Key } from "./kv.ts";

export type EtcdReadsOptions = {
  /** One transaction that only reads. Undefined: the revision asked for is no longer kept. Errors: `unavailable`. */
  readonly read: (operations: readonly Operation[]) => Promise<TxnResult | undefined>;
};

type Found = (Entry | undefined)[];

type Waiting = {
  readonly keys: readonly Key[];
  readonly resolve: (found: Found) => void;
  readonly reject: (error: unknown) => void;
};

/** Each needs a compaction to come in between. */
const attemptsMax = 3;

export class EtcdReads {
  readonly #options: EtcdReadsOptions;
  #queue: Waiting[] = [];
  #gathering = false;

  constructor(options: EtcdReadsOptions) {
    this.#options = options;
  }

  get(keys: readonly Key[]): Promise<Found> {
    if (keys.length === 0) return Promise.resolve([]);
    if (keys.length > limits.etcdReadKeysMax) return this.#getMany(keys);
    return new Promise((resolve, reject) => {
      this.#queue.push({ keys, resolve, reject });
      if (!this.#gathering) void this.#gather();
    });
  }

  async #gather(): Promise<void> {
    this.#gathering = true;
    await gathered(() => this.#queue.length);
    this.#gathering = false;
    const all = this.#queue.splice(0);
    while (all.length > 0) void this.#getTogether(all.splice(0, fitting(all)));
  }

  async #getTogether(taken: readonly Waiting[]): Promise<void> {
    try {
      const keys = taken.flatMap((each) => each.keys);
      const found = await this.#getAt(keys, undefined);
      assert(found !== undefined, "the newest state is always kept");
      let at = 0;
      for (const waiting of taken) waiting.resolve(found.entries.slice(at, (at += waiting.keys.length)));
    } catch (error) {
      for (const { reject } of taken) reject(error);
    }
  }

  async #getMany(keys: readonly Key[]): Promise<Found> {
    for (let attempt = 1; ; attempt++) {
      const found = await this.#getPages(keys);
      if (found !== undefined) return found;
      assert(attempt < attemptsMax, "a state is kept for longer than a get takes");
    }
  }

  async #getPages(keys: readonly Key[]): Promise<Found | undefined> {
    const entries: Found = [];
    let revision: number | undefined;
    for (let at = 0; at < keys.length; at += limits.etcdReadKeysMax) {
      const page = await this.#getAt(keys.slice(at, at + limits.etcdReadKeysMax), revision);
      if (page === undefined) return undefined;
      revision ??= page.revision;
      entries.push(...page.entries);
    }
    return entries;
  }

  async #getAt(
    keys: readonly Key[],
    revision: number | undefined,
  ): Promise<{ readonly entries: Found; readonly revision: number } | undefined> {
    const operations = keys.map((key): Operation => ({
      kind: "range",
      range: { key, ...(revision === undefined ? {} : { revision }) },
    }));
    const result = await this.#options.read(operations);
    if (result === undefined) return undefined;
    assert(result.results.length === keys.length, "etcd answers every range");
    const entries = result.results.map((each) => {
      assert(each.kind === "rows" && each.rows.length <= 1, "a range of one key has one row at most");
      return each.rows[0] === undefined ? undefined : entryOf(each.rows[0]);
    });
    return { entries, revision: result.revision };
  }
}

/** How many of the first fit one request. */
function fitting(waiting: readonly Waiting[]): number {
  let count = 0;
  for (let keys = 0; count < waiting.length; count++) {
    keys += waiting[count]!.keys.length;
    if (keys > limits.etcdReadKeysMax) break;
  }
  return count;
}

/** Bytes of its own: an answer holds many rows, and one that is kept for long must not keep the others. */
export function entryOf({ key, value, version }: Row): Entry {
  return { key: Buffer.from(key), value: Buffer.from(value), version };
}
