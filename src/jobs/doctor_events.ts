/**
 * The doctor's look at notifications: rows can be read and belong to a destination, no event stands beyond the last place that was
 * given in its slot, and the counters say how many there are.
 */
import type { DestinationId } from "../core/ids.ts";
import type { Entry, KeyRange, Kv } from "../kv/kv.ts";
import { scanPages } from "../kv/scan_pages.ts";
import { decodeDeparted, decodeDestination, decodeTrouble, readEventCounters } from "../meta/destinations.ts";
import { decodeEvent, decodeSequence } from "../meta/events.ts";
import {
  departedKey,
  destinationIdOf,
  destinationKey,
  destinationNameOf,
  eventPlaceOf,
  eventRange,
  sequenceKey,
  undeliveredRange,
} from "../meta/event_keys.ts";
import { tagRange, tags, type Tag } from "../meta/keys.ts";
import type { Finding } from "./doctor.ts";

export async function* checkEvents(kv: Kv): AsyncGenerator<Finding> {
  const destinations = new Map<DestinationId, string>();
  for await (const { key, value } of rowsOf(kv, tagRange(tags.destination))) {
    const destination = readable(() => decodeDestination(value));
    if (destination === undefined) yield corrupt(`destination ${destinationNameOf(key)}`);
    else destinations.set(destination.id, destinationNameOf(key));
  }
  yield* checkStray(kv, destinations);
  for await (const { key, value } of rowsOf(kv, tagRange(tags.sequence)))
    if (readable(() => decodeSequence(value)) === undefined) yield corrupt(`sequence ${key.toString("hex", 1)}`);
  for (const [id, name] of destinations) yield* checkDestination(kv, id, name);
}

/** Rows of destinations that are neither there nor being cleared away. */
async function* checkStray(kv: Kv, destinations: ReadonlyMap<DestinationId, string>): AsyncGenerator<Finding> {
  const decoders: readonly (readonly [Tag, (value: Buffer) => unknown])[] = [
    [tags.departed, (value) => (decodeDeparted(value), true)],
    [tags.trouble, decodeTrouble],
    [tags.event, decodeEvent],
    [tags.undelivered, decodeEvent],
  ];
  for (const [tag, decode] of decoders)
    for await (const { key, value } of rowsOf(kv, tagRange(tag))) {
      const id = destinationIdOf(key);
      const where = `row ${key.toString("hex")} of destination ${destinations.get(id) ?? id}`;
      if (readable(() => decode(value)) === undefined) yield corrupt(where);
      if (destinations.has(id) || (await isKnown(kv, id, key))) continue;
      yield { kind: "stray_record", where, message: "There is no such destination, so nobody takes the row away." };
    }
}

/** It is being cleared away, was added meanwhile, or is gone itself. */
async function isKnown(kv: Kv, id: DestinationId, row: Buffer): Promise<boolean> {
  const [there, departed] = await kv.get([row, departedKey(id)]);
  if (there === undefined || departed !== undefined) return true;
  for await (const { value } of rowsOf(kv, tagRange(tags.destination)))
    if (readable(() => decodeDestination(value))?.id === id) return true;
  return false;
}

async function* checkDestination(kv: Kv, id: DestinationId, name: string): AsyncGenerator<Finding> {
  const before = await readEventCounters(kv, id);
  let waiting = 0;
  for await (const rows of scanPages(kv, eventRange(id))) {
    waiting += rows.length;
    yield* checkPlaces(kv, rows, name);
  }
  let undelivered = 0;
  for await (const rows of scanPages(kv, undeliveredRange(id))) undelivered += rows.length;
  const after = await readEventCounters(kv, id);
  const [still] = await kv.get([destinationKey(name)]);
  // While events come and go, or it is removed, nobody can say how many there are.
  if (still === undefined || before.waiting !== after.waiting || before.undelivered !== after.undelivered) return;
  if (after.waiting === waiting && after.undelivered === undelivered) return;
  yield {
    kind: "wrong_usage",
    where: `events of destination ${name}`,
    message: `The counters say ${after.waiting} waiting and ${after.undelivered} given up; there are ${waiting} and ${undelivered}.`,
  };
}

async function* checkPlaces(kv: Kv, rows: readonly Entry[], name: string): AsyncGenerator<Finding> {
  const slots = [...new Set(rows.map(({ key }) => eventPlaceOf(key).slot))];
  const found = await kv.get(slots.map(sequenceKey));
  const last = new Map(slots.map((slot, at) => [slot, found[at] && readable(() => decodeSequence(found[at]!.value))]));
  for (const { key } of rows) {
    const { slot, place } = eventPlaceOf(key);
    if (place <= (last.get(slot) ?? 0)) continue;
    const where = `event ${slot}-${place} of destination ${name}`;
    yield {
      kind: "wrong_version",
      where,
      message: "It stands beyond the last place given: later ones may come before it.",
    };
  }
}

function corrupt(where: string): Finding {
  return { kind: "corrupt_record", where, message: "It is of a form that is not known, and cannot be read." };
}

async function* rowsOf(kv: Kv, range: KeyRange): AsyncGenerator<Entry> {
  for await (const rows of scanPages(kv, range)) yield* rows;
}

function readable<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch {
    return undefined;
  }
}
