/**
 * A transaction that refuses to grow beyond what one commit may hold, with an error in place of the driver's assertion: for
 * work whose size a client decides.
 *
 * Every check and write is counted as it is made, the ones of an attempt that fails too, so that also the confirmation of an
 * error fits a commit.
 */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { keyName } from "./bounds.ts";
import type { Entry, Key, KeyRange, ScanOptions, Version } from "./kv.ts";
import type { AddBound, Transaction } from "./transact.ts";

export class MeasuredTransaction implements Transaction {
  readonly #tx: Transaction;
  readonly #checks = new Set<string>();
  /** The bytes of each row's value, and of its key. */
  readonly #writes = new Map<string, number>();
  #bytes = 0;

  constructor(tx: Transaction) {
    this.#tx = tx;
  }

  get operations(): number {
    return this.#checks.size + this.#writes.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  async get(keys: readonly Key[]): Promise<(Entry | undefined)[]> {
    for (const key of keys) this.#noteCheck(key);
    return this.#tx.get(keys);
  }

  peek(keys: readonly Key[]): Promise<(Entry | undefined)[]> {
    return this.#tx.peek(keys);
  }

  scan(range: KeyRange, options: ScanOptions): Promise<Entry[]> {
    return this.#tx.scan(range, options);
  }

  put(key: Key, value: Uint8Array): void {
    this.#noteWrite(key, value.length);
    this.#tx.put(key, value);
  }

  delete(key: Key): void {
    this.#noteWrite(key, 0);
    this.#tx.delete(key);
  }

  add(key: Key, deltas: readonly number[], bound?: AddBound): void {
    this.#noteWrite(key, deltas.length * 8);
    this.#tx.add(key, deltas, bound);
  }

  check(key: Key, version: Version): void {
    this.#noteCheck(key);
    this.#tx.check(key, version);
  }

  committed(then: () => void): void {
    this.#tx.committed(then);
  }

  #noteCheck(key: Key): void {
    const name = keyName(key);
    if (this.#checks.has(name)) return;
    this.#refuseBeyond({ operations: 1, bytes: key.length });
    this.#checks.add(name);
    this.#bytes += key.length;
  }

  #noteWrite(key: Key, valueBytes: number): void {
    const name = keyName(key);
    const before = this.#writes.get(name);
    const now = key.length + Math.max(valueBytes, (before ?? 0) - key.length);
    const more = now - (before ?? 0);
    this.#refuseBeyond({ operations: before === undefined ? 1 : 0, bytes: more });
    this.#writes.set(name, now);
    this.#bytes += more;
  }

  #refuseBeyond(more: { readonly operations: number; readonly bytes: number }): void {
    const { commitOperationsMax: operationsMax, commitBytesMax: bytesMax } = limits;
    if (this.operations + more.operations <= operationsMax && this.#bytes + more.bytes <= bytesMax) return;
    throw new HoldfastError(
      "invalid_request",
      "This is more than one commit can change at once. Nothing was changed; divide it into smaller ones.",
      { details: { operationsMax, bytesMax } },
    );
  }
}
