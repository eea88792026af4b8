/**
 * `mend/<urgency>/<place>/<blob id>/<page>`: these chunks of the page have shards that are to be elsewhere. Written by a walk over the
 * chunk maps, a bounded number at a time; any process may deal with a row and delete it, whether that came to something or not:
 * the next walk sees what is left. Chunk pages are looked at anew then; the row is a hint.
 *
 * Urgency is the number of losses that the chunks can still bear, the fewest first; balanceUrgency: they have all their shards
 * and bear what they should, but placement would have some on other drives now.
 *
 * The place is a hash of blob and page: a process reads the rows of some places, one scan for each urgency, and leaves the others
 * to others (jobs/shares.ts).
 */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { DRIVE_ID_BYTES } from "../core/ids.ts";
import type { BlobId, DriveId } from "../core/ids.ts";
import type { KeyRange } from "../kv/kv.ts";
import { blobPageKey, mendKey, mendPrefix, tagRange, tags } from "./keys.ts";
import { readPositions, writePositions } from "./repairs.ts";

export type MendRecord = {
  /** What is to be stored anew, as the walk saw it. */
  readonly bytes: number;
  /** Drives that the chunks' shards are to leave, and that are not waited for if they are away. */
  readonly leaving: readonly DriveId[];
  /** Of the chunks in the page. */
  readonly positions: readonly number[];
};

export const balanceUrgency = 0xff;

const newestVersion = 1;

export function encodeMend({ bytes, leaving, positions }: MendRecord): Buffer {
  const writer = new ByteWriter().u8(newestVersion).varint(bytes).varint(leaving.length);
  for (const drive of leaving) writer.hex(drive);
  writePositions(writer, positions);
  return writer.finish();
}

export function decodeMend(value: Uint8Array): MendRecord {
  const reader = new ByteReader(value, "mend");
  reader.version(newestVersion);
  const bytes = reader.varint();
  const leaving: DriveId[] = [];
  for (let left = reader.varint(); left > 0; left--) leaving.push(reader.hex(DRIVE_ID_BYTES) as DriveId);
  const record = { bytes, leaving, positions: readPositions(reader) };
  reader.end();
  return record;
}

export const mendPlaces = 0x1_0000;

/** Places from the first on, before the end. */
export type PlaceRange = { readonly start: number; readonly end: number };

/** FNV-1a of blob id and page, its bits scattered by Murmur3's finalizer; the upper 16 of them. */
export function placeOf(blob: BlobId, page: number): number {
  let hash = 0x811c9dc5;
  for (const byte of blobPageKey(blob, page).subarray(1)) hash = Math.imul(hash ^ byte, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 16;
}

export function mendKeyOf(urgency: number, blob: BlobId, page: number): Buffer {
  return mendKey(urgency, placeOf(blob, page), blob, page);
}

/** Rows of one urgency. */
export function mendsAt(urgency: number, { start, end }: PlaceRange): KeyRange {
  const { end: endOfAll } = tagRange(tags.mend);
  const endOfUrgency = urgency === balanceUrgency ? endOfAll : mendPrefix(urgency + 1, 0);
  return { start: mendPrefix(urgency, start), end: end === mendPlaces ? endOfUrgency : mendPrefix(urgency, end) };
}

/** Rows of one urgency and all that are less urgent. */
export function mendsFrom(urgency: number): KeyRange {
  return { start: mendPrefix(urgency, 0), end: tagRange(tags.mend).end };
}

/** Rows of repair, or those that only balance. */
export function mendRange(kind: "repair" | "balance"): KeyRange {
  const { start, end } = tagRange(tags.mend);
  const border = Buffer.of(tags.mend, balanceUrgency);
  return kind === "repair" ? { start, end: border } : { start: border, end };
}
