/** Lines that wait to be written, as they will lie in objects: bounded by accessLogBytesMax. No clock, no store. */
import { limits } from "../core/limits.ts";
import { dayOf } from "./names.ts";
import type { LogSource } from "./source.ts";

/** The lines of one object. */
export type Batch = {
  readonly source: LogSource;
  /** ASCII, each with its line feed. */
  readonly lines: string[];
  bytes: number;
  /** Of its first line. */
  readonly timeMs: number;
  tellsOfDeliveriesOnly: boolean;
  /** To write it. */
  failures: number;
};

export type NewLine = {
  readonly source: LogSource;
  readonly line: string;
  readonly timeMs: number;
  /** It tells of a log that was delivered. */
  readonly isDelivery: boolean;
};

export class Batches {
  /** One for each source: a document that was set anew is another source. */
  readonly #open = new Map<LogSource, Batch>();
  /** Take no more lines. */
  #ended: Batch[] = [];
  /** Could not be written, and are tried again when all are. */
  #later: Batch[] = [];
  readonly #beingWritten = new Set<Batch>();
  #bytes = 0;
  #dropped = 0;

  get isEmpty(): boolean {
    return this.#open.size + this.#ended.length + this.#later.length + this.#beingWritten.size === 0;
  }

  /** There is one to be written now. */
  get hasEnded(): boolean {
    return this.#ended.length > 0;
  }

  /** `full`: there is a batch to be written now. */
  add({ source, line, timeMs, isDelivery }: NewLine): "added" | "full" | "dropped" {
    const known = this.#open.get(source);
    const isFull =
      known !== undefined && (known.bytes + line.length > limits.accessLogObjectBytesMax || !fits(known, timeMs));
    const isNew = known === undefined || isFull;
    const bytes = line.length + (isNew ? limits.accessLogBatchOverheadBytes : 0);
    if (this.#bytes + bytes > limits.accessLogBytesMax) {
      this.#dropped += 1;
      return "dropped";
    }
    this.#bytes += bytes;
    if (isFull) this.#end(known);
    const batch = isNew ? this.#begin(source, timeMs) : known;
    batch.lines.push(line);
    batch.bytes += bytes;
    batch.tellsOfDeliveriesOnly &&= isDelivery;
    return isFull ? "full" : "added";
  }

  #begin(source: LogSource, timeMs: number): Batch {
    const batch = { source, lines: [], bytes: 0, timeMs, tellsOfDeliveriesOnly: true, failures: 0 };
    this.#open.set(source, batch);
    return batch;
  }

  #end(batch: Batch): void {
    this.#open.delete(batch.source);
    this.#ended.push(batch);
  }

  endAll(): void {
    this.#ended.push(...this.#later.splice(0));
    for (const batch of this.#open.values()) this.#end(batch);
  }

  /** One to be written; it counts until it is done. */
  next(): Batch | undefined {
    const batch = this.#ended.shift();
    if (batch !== undefined) this.#beingWritten.add(batch);
    return batch;
  }

  done(batch: Batch): void {
    // What was cleared meanwhile does not count any more.
    if (this.#beingWritten.delete(batch)) this.#bytes -= batch.bytes;
  }

  later(batch: Batch): void {
    if (this.#beingWritten.delete(batch)) this.#later.push(batch);
  }

  /** Lines that found no room since this was asked last. */
  takeDropped(): number {
    const dropped = this.#dropped;
    this.#dropped = 0;
    return dropped;
  }

  /** Forgets all; returns how many lines that were. */
  clear(): number {
    const all = [...this.#open.values(), ...this.#ended, ...this.#later, ...this.#beingWritten];
    this.#open.clear();
    this.#ended = [];
    this.#later = [];
    this.#beingWritten.clear();
    this.#bytes = 0;
    return all.reduce((sum, { lines }) => sum + lines.length, 0);
  }
}

/** Where a name says the day of its lines, they are of one day. */
function fits({ source, timeMs: first }: Batch, timeMs: number): boolean {
  return source.setting.keyFormat !== "EventTime" || dayOf(first) === dayOf(timeMs);
}
