/**
 * What keeps the rows of notifications bounded: a destination for which too many events are kept is marked full, and not any more
 * when they have become fewer; what was given up too long ago goes, and what is left of a removed one; counters of sessions that are
 * over are folded into one row.
 */
import type { DestinationId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { readCounters, type Entry, type KeyRange } from "../kv/kv.ts";
import { scanAll } from "../kv/scan_pages.ts";
import { transact } from "../kv/transact.ts";
import {
  decodeDestination,
  encodeDestination,
  readEventCounters,
  type DestinationRecord,
} from "../meta/destinations.ts";
import {
  destinationIdOf,
  eventRange,
  parseQueuedKey,
  queuedKey,
  queuedRange,
  troubleKey,
  undeliveredRange,
} from "../meta/event_keys.ts";
import { foldedSession, sessionKey, tagRange, tags } from "../meta/keys.ts";
import { forgetOld, rowsPerCommit, type RowParts } from "./rows.ts";

/** Rows that are taken away at one time: of a removed destination, or too old. */
const commitsAtOnce = 16;

export async function keepHouse(parts: RowParts): Promise<void> {
  const { kv } = parts;
  for (const row of await scanAll(kv, tagRange(tags.destination))) {
    const destination = readableDestination(row.value);
    if (destination === undefined) continue;
    const { id, isFull } = destination;
    await foldCounters(parts, id);
    await forgetAllOld(parts, id);
    const { waiting, undelivered } = await readEventCounters(kv, id);
    const kept = waiting + undelivered;
    const shouldBeFull = isFull ? kept > 0.9 * limits.eventsKeptMax : kept >= limits.eventsKeptMax;
    if (shouldBeFull !== isFull) await setFull(parts, row, shouldBeFull);
  }
  const [departed] = await kv.scan(tagRange(tags.departed), { limit: 1 });
  if (departed !== undefined) await clearDeparted(parts, departed);
}

async function forgetAllOld(parts: RowParts, id: DestinationId): Promise<void> {
  for (let commits = 0; commits < commitsAtOnce; commits++)
    if ((await forgetOld(parts, undeliveredRange(id))) < rowsPerCommit) return;
}

async function setFull({ kv }: RowParts, { key, value, version }: Entry, isFull: boolean): Promise<void> {
  const changed = encodeDestination({ ...decodeDestination(value), isFull });
  // If it was changed meanwhile the next look decides.
  await kv.commit({ checks: [{ key, version }], writes: [{ kind: "put", key, value: changed }] });
}

/** No commit writes anything for it any more, so what is there is all. */
async function clearDeparted({ kv }: RowParts, departed: Entry): Promise<void> {
  const id = destinationIdOf(departed.key);
  const clear = async (range: KeyRange): Promise<boolean> => {
    for (let commits = 0; commits < commitsAtOnce; commits++) {
      const rows = await kv.scan(range, { limit: rowsPerCommit });
      if (rows.length > 0) await kv.commit({ checks: [], writes: rows.map(({ key }) => ({ kind: "delete", key })) });
      if (rows.length < rowsPerCommit) return true;
    }
    return false;
  };
  for (const range of [eventRange(id), undeliveredRange(id), queuedRange(id)]) if (!(await clear(range))) return;
  const last = [troubleKey(id), departed.key].map((key) => ({ kind: "delete", key }) as const);
  await kv.commit({ checks: [], writes: last });
}

/** As usage is folded (jobs/usage.ts): exact whatever comes between. */
async function foldCounters({ kv, clock, random }: RowParts, id: DestinationId): Promise<void> {
  const rows = await kv.scan(queuedRange(id), { limit: rowsPerCommit });
  const ofSessions = rows.filter(({ key }) => parseQueuedKey(key).session !== foldedSession);
  if (ofSessions.length === 0) return;
  const alive = await kv.get(ofSessions.map(({ key }) => sessionKey(parseQueuedKey(key).session)));
  const over = ofSessions.filter((_row, at) => alive[at] === undefined);
  if (over.length === 0) return;
  await transact(
    kv,
    async (tx) => {
      for (const row of await tx.get(over.map(({ key }) => key))) {
        if (row === undefined) continue;
        tx.delete(row.key);
        tx.add(queuedKey(id, foldedSession), readCounters(row.value));
      }
    },
    { clock, random },
  );
}

/** Undefined: the row is corrupt, or of a later build. The doctor says so; others are looked after all the same. */
export function readableDestination(value: Buffer): DestinationRecord | undefined {
  try {
    return decodeDestination(value);
  } catch {
    return undefined;
  }
}
