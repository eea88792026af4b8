/** The contract's bounds, asserted by every driver on every call: going over one is a programming error. */
import { assert } from "../core/assert.ts";
import { limits } from "../core/limits.ts";
import type { Commit, CounterBounds, Key, KeyRange, ScanOptions, Write } from "./kv.ts";

export function assertKey(key: Key): void {
  assert(key.length >= 1 && key.length <= limits.metaKeyBytesMax, `a key has 1 to ${limits.metaKeyBytesMax} bytes`);
}

export function assertKeys(keys: readonly Key[]): void {
  assert(keys.length <= limits.scanEntriesMax, `a get takes at most ${limits.scanEntriesMax} keys`);
  for (const key of keys) assertKey(key);
}

export function assertScan(range: KeyRange, options: ScanOptions): void {
  assertKey(range.start);
  assertKey(range.end);
  const { limit } = options;
  assert(Number.isSafeInteger(limit) && limit >= 1, "a scan's limit is a positive whole number");
  assert(limit <= limits.scanEntriesMax, `a scan returns at most ${limits.scanEntriesMax} entries`);
}

/** Checks a commit against every bound and returns its size in bytes (keys and values). */
export function assertCommit(commit: Commit): number {
  const operations = commit.checks.length + commit.writes.length;
  assert(operations <= limits.commitOperationsMax, `a commit has at most ${limits.commitOperationsMax} operations`);
  let bytes = 0;
  for (const { key, version } of commit.checks) {
    assertKey(key);
    assert(Number.isSafeInteger(version) && version >= 0, "a version is a whole number");
    bytes += key.length;
  }
  for (const write of commit.writes) bytes += assertWrite(write);
  assert(bytes <= limits.commitBytesMax, `a commit has at most ${limits.commitBytesMax} bytes`);
  assert(areDistinct(commit.writes), "no key stands in a commit's writes twice");
  return bytes;
}

/** Most commits write a handful of rows: comparing each with each is quicker than a set of names then. */
const fewWrites = 8;

function areDistinct(writes: readonly Write[]): boolean {
  if (writes.length > fewWrites) return new Set(writes.map((write) => keyName(write.key))).size === writes.length;
  return writes.every(({ key }, index) => {
    for (let before = 0; before < index; before++) if (isSameKey(writes[before]!.key, key)) return false;
    return true;
  });
}

export function isSameKey(left: Key, right: Key): boolean {
  return left.length === right.length && Buffer.compare(left, right) === 0;
}

function assertWrite(write: Write): number {
  assertKey(write.key);
  if (write.kind === "delete") return write.key.length;
  if (write.kind === "add") {
    const valueBytes = write.deltas.length * 8;
    assert(write.deltas.length >= 1 && valueBytes <= limits.metaValueBytesMax, "an add has deltas that fit a value");
    for (const delta of write.deltas) assert(Number.isSafeInteger(delta), "a delta is a whole number");
    if (write.max !== undefined) assertMax(write.deltas, write.max);
    return write.key.length + valueBytes;
  }
  assert(write.value.length <= limits.metaValueBytesMax, `a value has at most ${limits.metaValueBytesMax} bytes`);
  return write.key.length + write.value.length;
}

function assertMax(deltas: readonly number[], max: CounterBounds): void {
  assert(max.length <= deltas.length, "a counter's bound goes with a delta");
  for (const most of max)
    assert(most === undefined || (Number.isSafeInteger(most) && most >= 0), "a counter's bound is a whole number");
}

/** A key as a string of one character per byte, for maps and sets; the order of these strings is the order of keys. */
export function keyName(key: Key): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
}
