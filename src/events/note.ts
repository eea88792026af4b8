/**
 * Writes what destinations are to be told, in the commit that makes the change: an event row is there exactly when the change is.
 *
 * Order: the commit checks and rewrites the row of its key's slot (meta/events.ts), so what two changes of one key say stands in
 * the order of the changes, whichever process made them. Keys share slots, as few as eventSlots allows: two commits that meet
 * in one are made one after the other, as two of one key are.
 */
import { limits } from "../core/limits.ts";
import type { BucketId, SessionId } from "../core/ids.ts";
import type { Transaction } from "../kv/transact.ts";
import { countDeltas, decodeDestination } from "../meta/destinations.ts";
import { decodeSequence, encodeEvent, encodeSequence, type EventRecord } from "../meta/events.ts";
import { destinationKey, eventKey, queuedKey, sequenceKey } from "../meta/event_keys.ts";
import { rulesFor, type EventRule } from "./rules.ts";

/** What happened to a key of a bucket. */
export type Happening = Omit<EventRecord, "sequencer" | "queuedMs" | "ruleId"> & { readonly bucketId: BucketId };

/** Places given in a transaction: its own writes cannot be read. */
const placesGiven = new WeakMap<Transaction, Map<number, number>>();

/** The same for a key as long as there are stores: FNV-1a of the bucket's id and the key. */
export function slotOf(bucket: BucketId, key: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(bucket, "hex")) hash = Math.imul(hash ^ byte, 0x01000193);
  for (const byte of key) hash = Math.imul(hash ^ byte, 0x01000193);
  return ((hash >>> 16) ^ hash) & (limits.eventSlots - 1);
}

/** Returns for how many destinations the event was written. One that is not there (any more) is told nothing. */
export async function noteEvent(
  tx: Transaction,
  session: SessionId,
  rules: readonly EventRule[],
  happening: Happening,
): Promise<number> {
  const { bucketId, ...event } = happening;
  const wanted = rulesFor(rules, event.name, event.key);
  if (wanted.length === 0) return 0;
  const slot = slotOf(bucketId, event.key);
  const given = placesGiven.get(tx) ?? new Map<number, number>();
  placesGiven.set(tx, given);
  const before = given.get(slot);
  const rows = await tx.get([
    ...wanted.map((rule) => destinationKey(rule.destination)),
    ...(before === undefined ? [sequenceKey(slot)] : []),
  ]);
  const sequence = rows[wanted.length];
  const last = before ?? (sequence === undefined ? 0 : decodeSequence(sequence.value));
  // The time only makes sure that numbers go on when a store is taken back to an earlier state of it.
  const place = Math.max(last + 1, event.atMs);
  let written = 0;
  for (const [index, rule] of wanted.entries()) {
    const row = rows[index];
    if (row === undefined) continue;
    const { id, isFull } = decodeDestination(row.value);
    tx.add(queuedKey(id, session), countDeltas(isFull ? { lost: 1 } : { waiting: 1 }));
    if (isFull) continue;
    const record = { ...event, sequencer: place, queuedMs: event.atMs, ruleId: rule.id };
    tx.put(eventKey(id, { slot, place }), encodeEvent(record));
    written += 1;
  }
  if (written === 0) return 0;
  tx.put(sequenceKey(slot), encodeSequence(place));
  given.set(slot, place);
  return written;
}
