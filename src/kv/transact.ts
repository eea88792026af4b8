/**
 * The one retry loop above the drivers: runs `work` on what it reads, commits what it buffered if nothing it read has
 * changed, and otherwise runs it again from the start. So `work` has no effects of its own outside the transaction.
 *
 * What `transact` returns or throws was decided on one state of the store:
 *  - Rows read with `get` have that state's versions when the commit happens, or `work` runs again.
 *  - An error thrown by `work` after more than one `get` is only passed on once the versions read are confirmed, for two
 *    reads of different states can show what never was.
 *  - Work that writes nothing after a single `get` needs no commit: one get is one state.
 * Rows seen by `peek` and `scan` are hints: they are confirmed by nothing unless `check` is called for them.
 *
 * Reading one's own writes is not provided; `get` or `peek` of a key written before in the same run is an assertion.
 */
import { assert } from "../core/assert.ts";
import { systemClock } from "../core/clock.ts";
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { systemRandom } from "../core/random.ts";
import type { Random } from "../core/random.ts";
import { keyName } from "./bounds.ts";
import { absent } from "./kv.ts";
import type { Check, CounterBounds, Entry, Key, KeyRange, Kv, ScanOptions, Version, Write } from "./kv.ts";

export type Transaction = {
  /** Reads rows of one state and makes the commit depend on them. */
  get(keys: readonly Key[]): Promise<(Entry | undefined)[]>;
  /** Reads rows of one state; the commit does not depend on them. */
  peek(keys: readonly Key[]): Promise<(Entry | undefined)[]>;
  /** The commit does not depend on the entries. */
  scan(range: KeyRange, options: ScanOptions): Promise<Entry[]>;
  /** Of several writes to one key the last one counts. */
  put(key: Key, value: Uint8Array): void;
  delete(key: Key): void;
  /** Twice for one key sums up, under the stricter bounds; after a put or delete of that key it is an assertion. */
  add(key: Key, deltas: readonly number[], bound?: AddBound): void;
  /** Makes the commit depend on a version learnt elsewhere. */
  check(key: Key, version: Version): void;
  /** Called when the commit has happened; not in a run that is made again, nor where there was nothing to write. */
  committed(then: () => void): void;
};

/** The commit does not happen, and `refusal` is thrown, where a counter would be above its `max` (see Write). */
export type AddBound = { readonly max: CounterBounds; readonly refusal: () => Error };

export type TransactOptions = { readonly signal?: AbortSignal; readonly clock?: Clock; readonly random?: Random };

/** Conflicts after which trying again is not put off: the row's other writer has just finished. */
const promptAttempts = 2;
const backoffMsMax = 64;

/**
 * Errors: those of `work` and of the driver; `slow_down` when conflicts don't end within transactAttemptsMax and
 * transactMsMax; `cancelled` when the signal aborts between attempts.
 */
export async function transact<T>(
  kv: Kv,
  work: (tx: Transaction) => Promise<T>,
  options: TransactOptions = {},
): Promise<T> {
  const { signal, clock = kv.seams?.clock ?? systemClock, random = kv.seams?.random ?? systemRandom } = options;
  const startedMs = clock.monotonicMs();
  for (let attempt = 1; ; attempt++) {
    if (signal?.aborted === true) throw new HoldfastError("cancelled", "The request was cancelled.");
    const run = new Run(kv);
    const result = await attemptOnce(run, work);
    if (result.outcome === "done") return result.value;
    const elapsedMs = clock.monotonicMs() - startedMs;
    if (attempt >= limits.transactAttemptsMax || elapsedMs >= limits.transactMsMax) {
      throw new HoldfastError("slow_down", "Too many requests change the same thing at once; try again.");
    }
    if (attempt > promptAttempts) {
      const spreadMs = Math.min(backoffMsMax, 2 ** Math.min(attempt - promptAttempts, 10));
      await clock.sleep(random.below(spreadMs), signal);
    }
  }
}

type Attempt<T> = { readonly outcome: "done"; readonly value: T } | { readonly outcome: "conflict" };

async function attemptOnce<T>(run: Run, work: (tx: Transaction) => Promise<T>): Promise<Attempt<T>> {
  let value: T;
  try {
    value = await work(run);
  } catch (error) {
    if (!(await run.confirm())) return { outcome: "conflict" };
    throw error;
  }
  return (await run.commit()) ? { outcome: "done", value } : { outcome: "conflict" };
}

/** One run of the work: the versions it saw and the writes it wants. */
class Run implements Transaction {
  readonly #kv: Kv;
  readonly #checks = new Map<string, Check>();
  readonly #writes = new Map<string, Write>();
  /** Calls that recorded checks; what a single one saw is one state and needs no confirmation. */
  #observations = 0;
  /** Two versions of one row were seen: no commit can succeed. */
  #torn = false;
  readonly #then: (() => void)[] = [];
  readonly #refusals = new Map<string, () => Error>();

  constructor(kv: Kv) {
    this.#kv = kv;
  }

  async get(keys: readonly Key[]): Promise<(Entry | undefined)[]> {
    this.#assertUnwritten(keys);
    const rows = await this.#kv.get(keys);
    this.#observations += 1;
    keys.forEach((key, index) => this.#record(key, rows[index]?.version ?? absent));
    return rows;
  }

  async peek(keys: readonly Key[]): Promise<(Entry | undefined)[]> {
    this.#assertUnwritten(keys);
    return this.#kv.get(keys);
  }

  scan(range: KeyRange, options: ScanOptions): Promise<Entry[]> {
    return this.#kv.scan(range, options);
  }

  put(key: Key, value: Uint8Array): void {
    this.#writes.set(keyName(key), { kind: "put", key, value });
  }

  delete(key: Key): void {
    this.#writes.set(keyName(key), { kind: "delete", key });
  }

  add(key: Key, deltas: readonly number[], bound?: AddBound): void {
    const name = keyName(key);
    const before = this.#writes.get(name);
    assert(before === undefined || before.kind === "add", "add after a put or delete of the same key");
    if (bound !== undefined) this.#refusals.set(name, bound.refusal);
    const sum = before?.kind === "add" ? sumOf(before.deltas, deltas) : deltas;
    const max = before?.kind === "add" ? strictest(before.max, bound?.max) : bound?.max;
    this.#writes.set(name, { kind: "add", key, deltas: sum, max });
  }

  check(key: Key, version: Version): void {
    // Learnt elsewhere, so at another time: it always needs confirmation.
    this.#observations += 2;
    this.#record(key, version);
  }

  committed(then: () => void): void {
    this.#then.push(then);
  }

  /** Whether the commit happened. */
  async commit(): Promise<boolean> {
    if (this.#writes.size === 0) return this.confirm();
    if (this.#torn) return false;
    const commit = { checks: [...this.#checks.values()], writes: [...this.#writes.values()] };
    const result = await this.#kv.commit(commit);
    if (result.outcome === "exceeded") throw this.#refusalOf(result.key);
    if (result.outcome === "conflict") return false;
    for (const then of this.#then) then();
    return true;
  }

  /** Whether everything recorded was true at one time. */
  async confirm(): Promise<boolean> {
    if (this.#torn) return false;
    if (this.#observations <= 1) return true;
    return (await this.#kv.commit({ checks: [...this.#checks.values()], writes: [] })).outcome === "committed";
  }

  #refusalOf(key: Key): Error {
    const refusal = this.#refusals.get(keyName(key));
    assert(refusal !== undefined, "only a counter with a bound is exceeded");
    return refusal();
  }

  #record(key: Key, version: Version): void {
    const name = keyName(key);
    const before = this.#checks.get(name);
    if (before === undefined) this.#checks.set(name, { key, version });
    else if (before.version !== version) this.#torn = true;
  }

  #assertUnwritten(keys: readonly Key[]): void {
    if (this.#writes.size === 0) return;
    for (const key of keys) assert(!this.#writes.has(keyName(key)), "a transaction does not read its own writes");
  }
}

function sumOf(left: readonly number[], right: readonly number[]): number[] {
  return Array.from({ length: Math.max(left.length, right.length) }, (_, index) => {
    return (left[index] ?? 0) + (right[index] ?? 0);
  });
}

function strictest(left: CounterBounds | undefined, right: CounterBounds | undefined): CounterBounds | undefined {
  if (left === undefined || right === undefined) return left ?? right;
  return Array.from({ length: Math.max(left.length, right.length) }, (_, index) => {
    const [one, other] = [left[index], right[index]];
    return one === undefined || other === undefined ? (one ?? other) : Math.min(one, other);
  });
}
