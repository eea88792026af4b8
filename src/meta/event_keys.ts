/** Where the rows of notifications lie (records in meta/events.ts and meta/destinations.ts); the families are those of keys.ts. */
import { DESTINATION_ID_BYTES, SESSION_ID_BYTES } from "../core/ids.ts";
import type { DestinationId, SessionId } from "../core/ids.ts";
import type { KeyRange } from "../kv/kv.ts";
import { bucketNameOf, idKey, prefixRange, tags, textKey } from "./keys.ts";

export function destinationKey(name: string): Buffer {
  return textKey(tags.destination, name);
}

export function destinationNameOf(row: Uint8Array): string {
  return bucketNameOf(row);
}

/** The events of a key share a slot with those of some others; in it they stand in the order in which they happened. */
export type EventPlace = { readonly slot: number; readonly place: number };

const EVENT_PLACE_BYTES = 2 + 8;

export function sequenceKey(slot: number): Buffer {
  return Buffer.of(tags.sequence, slot >> 8, slot & 0xff);
}

function placeBytes({ slot, place }: EventPlace): Buffer {
  const bytes = Buffer.alloc(EVENT_PLACE_BYTES);
  bytes.writeUInt16BE(slot);
  bytes.writeBigUInt64BE(BigInt(place), 2);
  return bytes;
}

export function eventKey(destination: DestinationId, at: EventPlace): Buffer {
  return Buffer.concat([idKey(tags.event, destination, DESTINATION_ID_BYTES, 0), placeBytes(at)]);
}

/** Those of a destination from this slot on. */
export function eventRange(destination: DestinationId, slot = 0): KeyRange {
  const { start, end } = prefixRange(idKey(tags.event, destination, DESTINATION_ID_BYTES, 0));
  return { start: Buffer.concat([start, Buffer.of(slot >> 8, slot & 0xff)]), end };
}

/** Of an event's row, or of an undelivered one's: both end with it. */
export function eventPlaceOf(row: Buffer): EventPlace {
  const at = row.length - EVENT_PLACE_BYTES;
  return { slot: row.readUInt16BE(at), place: Number(row.readBigUInt64BE(at + 2)) };
}

/** In the order in which it was given up. */
export function undeliveredKey(destination: DestinationId, atMs: number, at: EventPlace): Buffer {
  const time = Buffer.alloc(6);
  time.writeUIntBE(atMs, 0, 6);
  return Buffer.concat([idKey(tags.undelivered, destination, DESTINATION_ID_BYTES, 0), time, placeBytes(at)]);
}

export function undeliveredTimeOf(row: Buffer): number {
  return row.readUIntBE(1 + DESTINATION_ID_BYTES, 6);
}

export function undeliveredRange(destination: DestinationId): KeyRange {
  return prefixRange(idKey(tags.undelivered, destination, DESTINATION_ID_BYTES, 0));
}

/** Counters of one session: see meta/destinations.ts. */
export function queuedKey(destination: DestinationId, session: SessionId): Buffer {
  const key = idKey(tags.queued, destination, DESTINATION_ID_BYTES, SESSION_ID_BYTES);
  key.write(session, 1 + DESTINATION_ID_BYTES, "hex");
  return key;
}

export function queuedRange(destination: DestinationId): KeyRange {
  return prefixRange(idKey(tags.queued, destination, DESTINATION_ID_BYTES, 0));
}

export function parseQueuedKey(row: Buffer): { readonly destination: DestinationId; readonly session: SessionId } {
  return { destination: destinationIdOf(row), session: row.toString("hex", 1 + DESTINATION_ID_BYTES) as SessionId };
}

/** A destination that was removed and of which rows are left. */
export function departedKey(destination: DestinationId): Buffer {
  return idKey(tags.departed, destination, DESTINATION_ID_BYTES, 0);
}

export function troubleKey(destination: DestinationId): Buffer {
  return idKey(tags.trouble, destination, DESTINATION_ID_BYTES, 0);
}

/** Of rows whose key begins with a destination's id. */
export function destinationIdOf(row: Uint8Array): DestinationId {
  return Buffer.from(row.buffer, row.byteOffset + 1, DESTINATION_ID_BYTES).toString("hex") as DestinationId;
}
