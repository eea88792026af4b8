/**
 * `copying`: one row that closes a store while its metadata is moved to another engine. The store that is copied from has it
 * from before its sessions are fenced, and keeps it when it was moved; the store that is copied to has it before its first
 * row, and its deletion is what makes the copy a store. Of the two at most one is ever without it, so no two servers can work
 * with two metadata stores on the same drives, each of which would give back what only the other one knows.
 *
 * Whoever starts on a store calls `refuseCopying` before it writes anything; that is a hint. The commit by which a session begins
 * has `notCopying` among its checks, so none begins in a store that is closed.
 */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { HoldfastError } from "../core/errors.ts";
import { absent, type Check, type Kv, type Version } from "../kv/kv.ts";
import { copyingKey } from "./keys.ts";
import { STORE_ID_BYTES } from "./store.ts";

/**
 *   arriving  a copy is being made here; what there is may be half of it
 *   leaving   this store is being copied
 *   moved     it was copied, and lives elsewhere now
 */
export const copyingStates = ["arriving", "leaving", "moved"] as const;
export type CopyingState = (typeof copyingStates)[number];

export const COPY_ID_BYTES = 16;

export type CopyingRecord = {
  readonly state: CopyingState;
  /** Hex. Both stores bear the same one while they are copied. */
  readonly copy: string;
  /** Hex: the id of the store that is moved. */
  readonly store: string;
  readonly startedMs: number;
  /** Where the other one is, for people. */
  readonly other: string;
};

const newestVersion = 1;

/** The row does not exist when a commit with this check happens. */
export const notCopying: Check = { key: copyingKey(), version: absent };

export function encodeCopying({ state, copy, store, startedMs, other }: CopyingRecord): Buffer {
  const writer = new ByteWriter().u8(newestVersion).u8(copyingStates.indexOf(state));
  return writer.hex(copy).hex(store).varint(startedMs).string(other).finish();
}

export function decodeCopying(value: Uint8Array): CopyingRecord {
  const reader = new ByteReader(value, "copying");
  reader.version(newestVersion);
  const state = copyingStates[reader.u8()];
  if (state === undefined) throw reader.corrupt("its state is not known");
  const [copy, store] = [reader.hex(COPY_ID_BYTES), reader.hex(STORE_ID_BYTES)];
  const record = { state, copy, store, startedMs: reader.varint(), other: reader.string() };
  reader.end();
  return record;
}

export type Copying = CopyingRecord & { readonly version: Version };

export async function readCopying(kv: Kv): Promise<Copying | undefined> {
  const [row] = await kv.get([copyingKey()]);
  return row && { ...decodeCopying(row.value), version: row.version };
}

/** Errors: `invalid_argument` when the store is being copied or was moved, with what to do. */
export async function refuseCopying(kv: Kv): Promise<void> {
  const copying = await readCopying(kv);
  if (copying !== undefined) throw new HoldfastError("invalid_argument", whyClosed(copying));
}

export function whyClosed({ state, startedMs, other }: CopyingRecord): string {
  const since = new Date(startedMs).toISOString();
  if (state === "moved") {
    return (
      `The metadata of this store was moved to ${other} (${since}). Start the server with that; ` +
      "to come back, `holdfast metadata copy` brings it here again."
    );
  }
  const finish = "Run the same `holdfast metadata copy` once more to finish it";
  if (state === "leaving") {
    return (
      `The metadata of this store is being copied to ${other}, since ${since}. ${finish}, ` +
      "or `holdfast metadata reopen` to go on with this one."
    );
  }
  return `Here is a copy of the metadata from ${other} that was begun ${since} and is not finished. ${finish}.`;
}
