/** What delivery does to rows: takes away what was taken, puts aside what is given up, and both with their counters. */
import { limits } from "../core/limits.ts";
import type { SessionId } from "../core/ids.ts";
import type { Entry, KeyRange, Kv } from "../kv/kv.ts";
import { transact, type Transaction, type TransactOptions } from "../kv/transact.ts";
import { countDeltas, decodeDestination, type EventCounters } from "../meta/destinations.ts";

import { decodeEvent, decodeSequence, encodeEvent, encodeSequence } from "../meta/events.ts";
import {
  destinationIdOf,
  destinationKey,
  eventKey,
  eventPlaceOf,
  queuedKey,
  sequenceKey,
  undeliveredKey,
  undeliveredTimeOf,
} from "../meta/event_keys.ts";

export type RowParts = { readonly kv: Kv; readonly session: SessionId } & Required<
  Pick<TransactOptions, "clock" | "random">
>;

/** Each costs a check, a delete and perhaps a put. */
export const rowsPerCommit = Math.min(limits.eventsAtOnce, Math.floor(limits.commitOperationsMax / 4));

/** Runs `work` on the rows that are still there; where there are none left nothing is committed. */
async function onRows(
  parts: RowParts,
  keys: readonly Buffer[],
  work: (tx: Transaction, rows: readonly Entry[]) => void | Promise<void>,
): Promise<number> {
  const { kv, clock, random } = parts;
  let done = 0;
  for (let at = 0; at < keys.length; at += rowsPerCommit) {
    const changed = await transact(
      kv,
      async (tx) => {
        const rows = (await tx.get(keys.slice(at, at + rowsPerCommit))).filter((row) => row !== undefined);
        if (rows.length > 0) await work(tx, rows);
        return rows.length;
      },
      { clock, random },
    );
    done += changed;
  }
  return done;
}

function count({ session }: RowParts, tx: Transaction, row: Buffer, change: Partial<EventCounters>): void {
  tx.add(queuedKey(destinationIdOf(row), session), countDeltas(change));
}

/** Events that were delivered. */
export function settle(parts: RowParts, keys: readonly Buffer[]): Promise<number> {
  return onRows(parts, keys, (tx, rows) => {
    for (const { key } of rows) tx.delete(key);
    count(parts, tx, rows[0]!.key, { waiting: -rows.length });
  });
}

/** Events that are given up. They are kept undeliveredKeptMs. */
export function giveUp(parts: RowParts, keys: readonly Buffer[]): Promise<number> {
  return onRows(parts, keys, (tx, rows) => {
    const atMs = parts.clock.nowMs();
    for (const { key, value } of rows) {
      tx.delete(key);
      tx.put(undeliveredKey(destinationIdOf(key), atMs, eventPlaceOf(key)), value);
    }
    count(parts, tx, rows[0]!.key, { waiting: -rows.length, undelivered: rows.length });
  });
}

/** What was given up too long ago goes, the oldest first, some of it. Returns how much; fewer than rowsPerCommit at the end. */
export async function forgetOld(parts: RowParts, range: KeyRange): Promise<number> {
  const oldestMs = parts.clock.nowMs() - limits.undeliveredKeptMs;
  const rows = await parts.kv.scan(range, { limit: rowsPerCommit });
  const old = rows.map(({ key }) => key).filter((key) => undeliveredTimeOf(key) < oldestMs);
  return onRows(parts, old, (tx, found) => {
    for (const { key } of found) tx.delete(key);
    count(parts, tx, found[0]!.key, { undelivered: -found.length });
  });
}

/**
 * Events that were given up wait again, behind all that wait now: each gets a new place, and keeps the sequencer that tells a
 * reader how old it is.
 */
export function sendAgain(parts: RowParts, name: string, keys: readonly Buffer[]): Promise<number> {
  return onRows(parts, keys, async (tx, rows) => {
    const [destination] = await tx.get([destinationKey(name)]);
    // Of a destination that was removed nothing is written any more.
    if (destination === undefined || decodeDestination(destination.value).id !== destinationIdOf(rows[0]!.key)) return;
    const queuedMs = parts.clock.nowMs();
    const slots = [...new Set(rows.map(({ key }) => eventPlaceOf(key).slot))];
    const sequences = await tx.get(slots.map(sequenceKey));
    const last = new Map(slots.map((slot, at) => [slot, sequences[at] ? decodeSequence(sequences[at].value) : 0]));
    for (const { key, value } of rows) {
      const { slot } = eventPlaceOf(key);
      const place = last.get(slot)! + 1;
      last.set(slot, place);
      tx.delete(key);
      tx.put(eventKey(destinationIdOf(key), { slot, place }), encodeEvent({ ...decodeEvent(value), queuedMs }));
    }
    for (const [slot, place] of last) tx.put(sequenceKey(slot), encodeSequence(place));
    count(parts, tx, rows[0]!.key, { waiting: rows.length, undelivered: -rows.length });
  });
}
