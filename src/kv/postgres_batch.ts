/**
 * Which waiting commits go into one batch, and the batch as arguments of the SQL function that decides it
 * (postgres_schema.ts). Pure.
 *
 * The function judges all checks of a batch on one state, the one before the batch, and applies the writes of every commit
 * whose checks hold. That is the outcome of running the commits one after another in the batch's order if none of them
 *   - checks a row that an earlier one writes, or
 *   - writes a row that an earlier one writes, except that several may add to one row: their sums are added.
 * A commit that does either is held until the batch has been decided, and goes first then.
 *
 * A held commit may be lost already: when an earlier commit of the batch wrote the row that it checks, the row got a
 * version that nobody could know when the commit was submitted. So of many that want to change one row only one costs
 * the engine anything.
 */
import { keyName } from "./bounds.ts";
import { absent } from "./kv.ts";
import type { Check, Commit, CommitResult, Key, Write } from "./kv.ts";
import { bytesArray, int4Array, int8Array, numbersOf, lockOf } from "./postgres_wire.ts";

export type Sized = { readonly commit: Commit; readonly bytes: number };

/** `lostTo`: when this commit of the batch is committed, the held one is a conflict on `key`. */
export type Held<W> = { readonly waiting: W; readonly lostTo?: { readonly index: number; readonly key: Key } };

export type Cut<W> = {
  readonly taken: readonly W[];
  readonly held: readonly Held<W>[];
  /** Not looked at. */
  readonly left: W[];
};

export type CutBounds = { readonly commitsMax: number; readonly bytesMax: number; readonly heldMax: number };

type Written = { readonly by: number; readonly kind: Write["kind"] };

/** Takes what fits one batch from the front of the queue. The first commit always does. */
export function cutBatch<W extends Sized>(queue: readonly W[], bounds: CutBounds): Cut<W> {
  const taken: W[] = [];
  const held: Held<W>[] = [];
  const written = new Map<string, Written>();
  let [at, bytes] = [0, 0];
  for (; at < queue.length && taken.length < bounds.commitsMax && held.length < bounds.heldMax; at++) {
    const waiting = queue[at]!;
    const obstacle = written.size === 0 ? undefined : obstacleOf(waiting, written);
    if (obstacle !== undefined) {
      held.push(obstacle);
      continue;
    }
    if (taken.length > 0 && bytes + waiting.bytes > bounds.bytesMax) break;
    bytes += waiting.bytes;
    for (const { key, kind } of waiting.commit.writes) {
      const name = keyName(key);
      if (!written.has(name)) written.set(name, { by: taken.length, kind });
    }
    taken.push(waiting);
  }
  return { taken, held, left: queue.slice(at) };
}

function obstacleOf<W extends Sized>(waiting: W, written: ReadonlyMap<string, Written>): Held<W> | undefined {
  let meets = false;
  for (const { key, version } of waiting.commit.checks) {
    const before = written.get(keyName(key));
    if (before === undefined) continue;
    meets = true;
    // After a delete the row is absent, which is what the check may ask for.
    if (before.kind !== "delete" || version !== absent) return { waiting, lostTo: { index: before.by, key } };
  }
  meets ||= waiting.commit.writes.some(({ key, kind }) => {
    const before = written.get(keyName(key));
    return before !== undefined && !(before.kind === "add" && kind === "add");
  });
  return meets ? { waiting } : undefined;
}

/** What the SQL function is given, and what it takes to read its answer. */
export type Encoded = {
  readonly parameters: readonly Buffer[];
  readonly checks: readonly Check[];
  /** Some add has a bound: the function that judges bounds is asked, with one parameter more. */
  readonly isBounded: boolean;
  /** Of each delta, in the order of the parameters: its commit's number, and the row it is added to. */
  readonly added: readonly { readonly commit: number; readonly key: Key }[];
};

/** The arguments of one commit after another, as columns. Commits, checks and add rows are counted from 1, as SQL does. */
class Columns {
  readonly checks: Check[] = [];
  readonly #checkNumbers = new Map<string, number>();
  readonly #checkers = { checks: [] as number[], commits: [] as number[] };
  readonly #puts = { commits: [] as number[], keys: [] as Key[], values: [] as Uint8Array[] };
  readonly #deletes = { commits: [] as number[], keys: [] as Key[] };
  readonly #adds = { commits: [] as number[], rows: [] as number[], places: [] as number[], deltas: [] as number[] };
  readonly #maxima: number[] = [];
  isBounded = false;
  readonly added: { readonly commit: number; readonly key: Key }[] = [];
  readonly #addKeys: Key[] = [];
  readonly #addRows = new Map<string, number>();
  /** Lock → whether it must be exclusive. */
  readonly #locks = new Map<number, boolean>();

  add(commit: Commit, number: number): void {
    for (const check of commit.checks) this.#check(check, number);
    for (const write of commit.writes) {
      this.#lock(write.key, true);
      if (write.kind === "put") {
        this.#puts.commits.push(number);
        this.#puts.keys.push(write.key);
        this.#puts.values.push(write.value);
      } else if (write.kind === "delete") {
        this.#deletes.commits.push(number);
        this.#deletes.keys.push(write.key);
      } else this.#add(write, number);
    }
  }

  /** In the order of the SQL function's parameters. */
  parameters(locksMax: number): Buffer[] {
    return [
      int4Array(this.#lockNumbers(locksMax)),
      bytesArray(this.checks.map(({ key }) => key)),
      int8Array(this.checks.map(({ version }) => version)),
      int4Array(this.#checkers.checks),
      int4Array(this.#checkers.commits),
      int4Array(this.#puts.commits),
      bytesArray(this.#puts.keys),
      bytesArray(this.#puts.values),
      int4Array(this.#deletes.commits),
      bytesArray(this.#deletes.keys),
      bytesArray(this.#addKeys),
      int4Array(this.#adds.commits),
      int4Array(this.#adds.rows),
      int4Array(this.#adds.places),
      int8Array(this.#adds.deltas),
      ...(this.isBounded ? [int8Array(this.#maxima)] : []),
    ];
  }

  /** Many commits check the same rows (a bucket's, a session's): each is looked up once. */
  #check(check: Check, commit: number): void {
    const name = nameOf(check);
    let number = this.#checkNumbers.get(name);
    if (number === undefined) {
      number = this.checks.push(check);
      this.#checkNumbers.set(name, number);
      this.#lock(check.key, false);
    }
    this.#checkers.checks.push(number);
    this.#checkers.commits.push(commit);
  }

  #add({ key, deltas, max }: Extract<Write, { kind: "add" }>, commit: number): void {
    if (max !== undefined) this.isBounded = true;
    const name = keyName(key);
    let row = this.#addRows.get(name);
    if (row === undefined) {
      row = this.#addKeys.push(key);
      this.#addRows.set(name, row);
    }
    deltas.forEach((delta, place) => {
      this.#adds.commits.push(commit);
      this.#adds.rows.push(row);
      this.#adds.places.push(place);
      this.#adds.deltas.push(delta);
      this.#maxima.push(max?.[place] ?? noBound);
      this.added.push({ commit, key });
    });
  }

  /** Ascending; an exclusive one is odd. Those of rows stand below that of the whole store. */
  #lockNumbers(locksMax: number): number[] {
    if (this.#locks.size > locksMax) return [numberOf(storeLock, true)];
    const rows = [...this.#locks].map(([lock, exclusive]) => numberOf(lock, exclusive));
    return [numberOf(storeLock, false), ...rows].toSorted((left, right) => left - right);
  }

  #lock(key: Key, exclusive: boolean): void {
    const lock = lockOf(key);
    this.#locks.set(lock, exclusive || this.#locks.get(lock) === true);
  }
}

const storeLock = 0;
/** No bound is negative. */
const noBound = -1;

function numberOf(lock: number, exclusive: boolean): number {
  return lock * 2 + (exclusive ? 1 : 0);
}

/** `locksMax`: a batch that touches more rows locks the whole store instead. */
export function encodeBatch(commits: readonly Commit[], locksMax: number): Encoded {
  const columns = new Columns();
  commits.forEach((commit, index) => columns.add(commit, index + 1));
  const { checks, isBounded, added } = columns;
  return { parameters: columns.parameters(locksMax), checks, isBounded, added };
}

/**
 * The functions answer with the numbers of the checks that failed, or nothing; the one that judges bounds also with those of the deltas
 * that would have gone beyond, negative.
 */
export function resultsOf(
  commits: readonly Commit[],
  { checks, added }: Encoded,
  answer: string | null | undefined,
): CommitResult[] {
  const numbers = answer === null || answer === undefined ? [] : numbersOf(answer);
  const failed = new Set<string>();
  const exceeded = new Map<number, Key>();
  for (const number of numbers) {
    if (number > 0) failed.add(nameOf(checks[number - 1]!));
    else exceeded.set(added[-number - 1]!.commit, added[-number - 1]!.key);
  }
  return commits.map((commit, index) => {
    const lost = failed.size === 0 ? undefined : commit.checks.find((check) => failed.has(nameOf(check)));
    if (lost !== undefined) return { outcome: "conflict", key: lost.key };
    const key = exceeded.get(index + 1);
    return key === undefined ? { outcome: "committed" } : { outcome: "exceeded", key };
  });
}

function nameOf({ key, version }: Check): string {
  return `${version}/${keyName(key)}`;
}
