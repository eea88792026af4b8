/**
 * What a commit does to the rows it finds: a pure function, shared by the drivers that decide in this process.
 * Nothing is changed here, so a commit that turns out to be impossible (an assertion in `add`) harms no other.
 */
import { assert } from "../core/assert.ts";
import { absent } from "./kv.ts";
import type { Commit, Key, Version, Write } from "./kv.ts";

/** A row as the driver holds it; undefined where there is none. */
export type Row = { readonly value: Uint8Array; readonly version: Version };

/** How the driver looks at its rows: versions alone are enough for checks, values are needed to add. */
export type Look = {
  version(key: Key): Version;
  value(key: Key): Uint8Array | undefined;
};

/** `value` undefined deletes the row. */
export type Change = { readonly key: Key; readonly value: Uint8Array | undefined };

export type Plan =
  | { readonly outcome: "conflict"; readonly key: Key }
  | { readonly outcome: "exceeded"; readonly key: Key }
  | { readonly outcome: "apply"; readonly changes: readonly Change[] };

export function planCommit(commit: Commit, look: Look): Plan {
  for (const { key, version } of commit.checks) {
    if (look.version(key) !== version) return { outcome: "conflict", key };
  }
  const changes: Change[] = [];
  for (const write of commit.writes) {
    // Deleting what is not there changes nothing.
    if (write.kind === "delete" && look.version(write.key) === absent) continue;
    const value = valueAfter(write, look);
    if (write.kind === "add" && exceeds(value!, write)) return { outcome: "exceeded", key: write.key };
    changes.push({ key: write.key, value });
  }
  return { outcome: "apply", changes };
}

function valueAfter(write: Write, look: Look): Uint8Array | undefined {
  if (write.kind === "put") return write.value;
  if (write.kind === "delete") return undefined;
  return addCounters(look.value(write.key), write.deltas);
}

/** Whether an `add` that leaves the row so has gone beyond what it allows. */
export function exceeds(after: Uint8Array, { deltas, max }: Extract<Write, { kind: "add" }>): boolean {
  if (max === undefined) return false;
  const view = new DataView(after.buffer, after.byteOffset, after.byteLength);
  return max.some(
    (most, index) => most !== undefined && deltas[index]! > 0 && view.getBigInt64(index * 8) > BigInt(most),
  );
}

const int64Max = 2n ** 63n - 1n;
const int64Min = -(2n ** 63n);

/** The row of counters after an `add`: as long as the longer of both. */
export function addCounters(value: Uint8Array | undefined, deltas: readonly number[]): Buffer {
  const before = value ?? new Uint8Array(0);
  assert(before.length % 8 === 0, "add meets a row that does not hold counters");
  const after = Buffer.alloc(Math.max(before.length, deltas.length * 8));
  after.set(before);
  deltas.forEach((delta, index) => {
    const sum = after.readBigInt64BE(index * 8) + BigInt(delta);
    assert(sum >= int64Min && sum <= int64Max, "a counter stays within 64 bits");
    after.writeBigInt64BE(sum, index * 8);
  });
  return after;
}
