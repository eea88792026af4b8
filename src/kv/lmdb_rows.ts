/** How rows lie in LMDB, and the rows of one write transaction: what it found, and what it will write at its end. */
import type { RootDatabase } from "lmdb";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { keyName } from "./bounds.ts";
import { absent } from "./kv.ts";
import type { Commit, CommitResult, Entry, Key, Version } from "./kv.ts";
import { readMark, writeMark } from "./lmdb_state.ts";
import type { Mark } from "./lmdb_state.ts";
import { planCommit } from "./plan.ts";
import type { Change, Look, Row } from "./plan.ts";
import type { Slab } from "./slab.ts";

const versionBytes = 8;

/** Values are put together here; LMDB has copied them when `put` inside a write transaction returns. */
const scratch = Buffer.alloc(versionBytes + limits.metaValueBytesMax);

export function entryOf(key: Buffer, stored: Buffer): Entry {
  return { key, value: stored.subarray(versionBytes), version: versionOf(stored) };
}

/** Of bytes that LMDB will overwrite. */
export function copiedEntry(slab: Slab, key: Key, stored: Buffer): Entry {
  const ownKey = Buffer.from(key);
  return { key: ownKey, value: slab.copy(stored, versionBytes, stored.length), version: versionOf(stored) };
}

function versionOf(stored: Buffer): Version {
  // Two halves: quicker than a BigInt, exact up to 2^53.
  const version = stored.readUInt32BE(0) * 2 ** 32 + stored.readUInt32BE(4);
  if (version < 1 || version > Number.MAX_SAFE_INTEGER) {
    throw new HoldfastError("corrupt_record", "A row of the metadata store has no valid version.");
  }
  return version;
}

function writeVersion(into: Buffer, version: Version, offset: number): void {
  into.writeUInt32BE(Math.floor(version / 2 ** 32), offset);
  into.writeUInt32BE(version % 2 ** 32, offset + 4);
}

/** Decided on one state of the store, in one synchronous go; nothing is written before `writeAll` or `writeRows`. */
export class WriteBatch {
  readonly #store: RootDatabase<Buffer, Key>;
  /** Rows changed by the batch so far; a row undefined is deleted. */
  readonly #changed = new Map<string, { readonly key: Key; readonly row: Row | undefined }>();
  readonly #look: Look = { version: (key) => this.#version(key), value: (key) => this.#value(key) };
  readonly #mark: Mark | undefined;
  #lastVersion: Version;

  constructor(store: RootDatabase<Buffer, Key>) {
    this.#store = store;
    this.#mark = readMark(store);
    this.#lastVersion = this.#mark?.lastVersion ?? 0;
  }

  /** The store is a copy that must not be written to alone. */
  get isOneOfSeveral(): boolean {
    return this.#mark?.copy !== undefined;
  }

  get isEmpty(): boolean {
    return this.#changed.size === 0;
  }

  /** The last version handed out, this batch's included. */
  get lastVersion(): Version {
    return this.#lastVersion;
  }

  get keys(): Key[] {
    return Array.from(this.#changed.values(), ({ key }) => key);
  }

  /** Decides one commit. Throws, changing nothing, when it is impossible. */
  apply(commit: Commit): CommitResult {
    const plan = planCommit(commit, this.#look);
    if (plan.outcome !== "apply") return plan;
    if (plan.changes.length > 0) this.#lastVersion += 1;
    for (const change of plan.changes) this.#change(change);
    return { outcome: "committed" };
  }

  /** Within a transaction of the store itself. Returns false when there was nothing to write. */
  writeAll(): boolean {
    if (this.isEmpty && this.#mark !== undefined) return false;
    this.writeRows(this.#store);
    writeMark(this.#store, { ...this.#mark, lastVersion: this.#lastVersion });
    return true;
  }

  /** Writes every changed row once, within a transaction of a store in the state that the batch was decided on. */
  writeRows(into: RootDatabase<Buffer, Key>): void {
    for (const { key, row } of this.#changed.values()) {
      if (row === undefined) into.removeSync(key);
      else putRow(into, key, row);
    }
  }

  #change({ key, value }: Change): void {
    const row = value === undefined ? undefined : { value, version: this.#lastVersion };
    this.#changed.set(keyName(key), { key, row });
  }

  #version(key: Key): Version {
    const changed = this.#changed.size === 0 ? undefined : this.#changed.get(keyName(key));
    if (changed !== undefined) return changed.row?.version ?? absent;
    // Volatile bytes: read before the next call.
    const stored = this.#store.getBinaryFast(key);
    return stored === undefined ? absent : versionOf(stored);
  }

  #value(key: Key): Uint8Array | undefined {
    const changed = this.#changed.get(keyName(key));
    if (changed !== undefined) return changed.row?.value;
    return this.#store.getBinary(key)?.subarray(versionBytes);
  }
}

function putRow(into: RootDatabase<Buffer, Key>, key: Key, row: Row): void {
  writeVersion(scratch, row.version, 0);
  scratch.set(row.value, versionBytes);
  into.putSync(key, scratch.subarray(0, versionBytes + row.value.length));
}
