/**
 * Copies the rows of one store into another, and compares two, whatever their drivers. Keys and values arrive byte for byte;
 * versions do not, for each store gives its own.
 *
 * Both walk the two stores side by side in the order of keys. A copy writes what is missing or differs and deletes what the
 * source does not have, so one that was cut off anywhere, at any commit, is finished by doing it again, and costs writes only
 * for what is left. Batches of writes are as large as a commit may be, a few of them under way at the same time; that they
 * overtake each other does no harm, since nobody reads the target until all of it has been compared.
 *
 * Neither store may change meanwhile. Every commit depends on `guard`, a row of the target, so that a copy which somebody else
 * has taken over stops; the source is the caller's to close. What changes all the same is found by comparing.
 */
import { createHash } from "node:crypto";
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Check, Entry, KeyRange, Kv, Write } from "./kv.ts";

/** A stretch of keys in which the target is to be like the source or, where it is not copied, empty. */
export type CopyStretch = { readonly range: KeyRange; readonly isCopied: boolean };

/** `bytes`: of keys and values. */
export type CopyTally = { readonly rows: number; readonly bytes: number };

export type CompareOptions = {
  readonly from: Kv;
  readonly to: Kv;
  /** Apart from each other. */
  readonly stretches: readonly CopyStretch[];
  /** Called now and then with the rows of the source that were dealt with. */
  readonly onProgress?: (tally: CopyTally) => void;
};

export type CopyOptions = CompareOptions & { readonly guard: Check };

/** `writes`: how many rows of the target were put or deleted. */
export type Copied = CopyTally & { readonly writes: number };

export type Compared =
  /** `digest`: SHA-256 of all rows in order, each as two lengths (u32, big-endian), key and value. */
  | (CopyTally & { readonly outcome: "same"; readonly digest: string })
  | { readonly outcome: "different"; readonly key: Buffer };

/** Errors: `operation_aborted` when the guard has changed; those of the stores. No commit is under way when it has ended. */
export async function copyRows(options: CopyOptions): Promise<Copied> {
  const { to, guard } = options;
  const tally = new Tally(options.onProgress);
  const writer = new Writer(to, guard);
  try {
    for await (const { key, source, target } of pairs(options)) {
      if (source === undefined) await writer.add({ kind: "delete", key });
      else {
        tally.count(key, source);
        if (target?.equals(source) !== true) await writer.add({ kind: "put", key, value: source });
      }
    }
    await writer.flush();
  } finally {
    await writer.settled();
  }
  writer.assertWritten();
  return { ...tally.end(), writes: writer.writes };
}

/** Whether each stretch has the same rows in both stores, or none in the target where it is not copied. */
export async function compareRows(options: CompareOptions): Promise<Compared> {
  const tally = new Tally(options.onProgress);
  const hash = createHash("sha256");
  const lengths = Buffer.alloc(8);
  for await (const { key, source, target } of pairs(options)) {
    if (source === undefined || target?.equals(source) !== true) return { outcome: "different", key };
    lengths.writeUInt32BE(key.length, 0);
    lengths.writeUInt32BE(source.length, 4);
    hash.update(lengths).update(key).update(source);
    tally.count(key, source);
  }
  return { outcome: "same", ...tally.end(), digest: hash.digest("hex") };
}

/** The first key of a row in the range; undefined when there is none. */
export async function firstKey(kv: Kv, range: KeyRange): Promise<Buffer | undefined> {
  const [row] = await kv.scan(range, { limit: 1 });
  return row?.key;
}

/** The values of one key in both stores; one of them may be missing. */
type Pair = { readonly key: Buffer; readonly source: Buffer | undefined; readonly target: Buffer | undefined };

async function* pairs({ from, to, stretches }: CompareOptions): AsyncGenerator<Pair> {
  for (const { range, isCopied } of stretches) {
    const source = new Cursor(isCopied ? from : undefined, range);
    const target = new Cursor(to, range);
    for (;;) {
      const left = source.isEmpty ? await source.fill() : source.head;
      const right = target.isEmpty ? await target.fill() : target.head;
      const order = orderOf(left, right);
      if (order === undefined) break;
      // What is written for this pair stands before both heads, so the target's later pages don't meet it.
      if (order <= 0) source.advance();
      if (order >= 0) target.advance();
      const { key } = order <= 0 ? left! : right!;
      yield { key, source: order <= 0 ? left!.value : undefined, target: order >= 0 ? right!.value : undefined };
    }
  }
}

/** Which of two heads comes first; undefined when both are at their end. */
function orderOf(left: Entry | undefined, right: Entry | undefined): number | undefined {
  if (left === undefined) return right === undefined ? undefined : 1;
  return right === undefined ? -1 : Buffer.compare(left.key, right.key);
}

/** The rows of a range, a page at a time. */
class Cursor {
  readonly #kv: Kv | undefined;
  readonly #end: Uint8Array;
  #from: Uint8Array | undefined;
  #page: readonly Entry[] = [];
  #at = 0;

  constructor(kv: Kv | undefined, { start, end }: KeyRange) {
    this.#kv = kv;
    this.#from = kv === undefined ? undefined : start;
    this.#end = end;
  }

  get head(): Entry | undefined {
    return this.#page[this.#at];
  }

  /** Whether another page has to be read before there is a head. */
  get isEmpty(): boolean {
    return this.#at === this.#page.length && this.#from !== undefined;
  }

  async fill(): Promise<Entry | undefined> {
    assert(this.#kv !== undefined && this.#from !== undefined, "a page is read while there may be one");
    this.#page = await this.#kv.scan({ start: this.#from, end: this.#end }, { limit: limits.copyScanRows });
    this.#at = 0;
    const last = this.#page.length === limits.copyScanRows ? this.#page.at(-1) : undefined;
    this.#from = last && Buffer.concat([last.key, Buffer.from([0])]);
    return this.head;
  }

  advance(): void {
    this.#at += 1;
  }
}

const progressEveryRows = 256;

class Tally {
  readonly #onProgress: ((tally: CopyTally) => void) | undefined;
  #rows = 0;
  #bytes = 0;

  constructor(onProgress: ((tally: CopyTally) => void) | undefined) {
    this.#onProgress = onProgress;
  }

  count(key: Uint8Array, value: Uint8Array): void {
    this.#rows += 1;
    this.#bytes += key.length + value.length;
    if (this.#rows % progressEveryRows === 0) this.#onProgress?.(this.#now());
  }

  end(): CopyTally {
    this.#onProgress?.(this.#now());
    return this.#now();
  }

  #now(): CopyTally {
    return { rows: this.#rows, bytes: this.#bytes };
  }
}

/** Gathers writes into commits, and keeps a few of them under way. After the first that fails nothing more is sent. */
class Writer {
  readonly #kv: Kv;
  readonly #guard: Check;
  readonly #running = new Set<Promise<void>>();
  #waiting: Write[] = [];
  #waitingBytes: number;
  #failure: { readonly error: unknown } | undefined;
  writes = 0;

  constructor(kv: Kv, guard: Check) {
    this.#kv = kv;
    this.#guard = guard;
    this.#waitingBytes = guard.key.length;
  }

  async add(write: Write): Promise<void> {
    const bytes = write.key.length + (write.kind === "put" ? write.value.length : 0);
    const isFull =
      this.#waiting.length + 1 >= limits.commitOperationsMax || this.#waitingBytes + bytes > limits.commitBytesMax;
    if (isFull) await this.flush();
    this.#waiting.push(write);
    this.#waitingBytes += bytes;
  }

  /** Sends what waits, as soon as it has a place. Errors: that of an earlier commit. */
  async flush(): Promise<void> {
    if (this.#waiting.length === 0) return;
    while (this.#running.size >= limits.copyCommitsInFlightMax) await Promise.race(this.#running);
    this.assertWritten();
    const writes = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = this.#guard.key.length;
    const sent = this.#send(writes).finally(() => this.#running.delete(sent));
    this.#running.add(sent);
  }

  async #send(writes: readonly Write[]): Promise<void> {
    try {
      const result = await this.#kv.commit({ checks: [this.#guard], writes });
      if (result.outcome === "committed") this.writes += writes.length;
      else this.#failure ??= { error: new HoldfastError("operation_aborted", "Another copy has taken this one over.") };
    } catch (error) {
      this.#failure ??= { error };
    }
  }

  /** Resolves when nothing is under way any more. */
  async settled(): Promise<void> {
    await Promise.all(this.#running);
  }

  assertWritten(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
