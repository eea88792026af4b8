/**
 * Who of the live sessions does a piece of work: each looks by itself and comes to the same answer. Work lies at places, by a hash of
 * what it is called (meta/mends.ts); the sessions, in an order that is as good as drawn by lot, have equal ranges of places, so
 * that each finds its share by reading one range. When one ends, the ranges of all change. Two that see different sessions for a
 * moment may both begin a piece or both leave it; the next look is the cure, and work that must not be done twice at once is kept
 * apart by other means. The order changes every few minutes, so that what one process cannot do comes to another.
 */
import type { SessionId } from "../core/ids.ts";
import { mendPlaces, type PlaceRange } from "../meta/mends.ts";

const turnMs = 5 * 60_000;

/** Murmur3's finalizer. */
function scatter(word: number): number {
  let h = word;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function hashOf(bytes: Uint8Array): number {
  let hash = 0x9747b28c;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return scatter(hash);
}

export class Shares {
  /** Sessions that share the work. */
  readonly count: number;
  /** Empty where this process is not among the sessions. */
  readonly own: PlaceRange;

  constructor(own: SessionId, sessions: readonly SessionId[], nowMs: number) {
    const turn = scatter(Math.floor(nowMs / turnMs));
    const lotOf = (id: SessionId): number => scatter(hashOf(Buffer.from(id, "hex")) ^ turn);
    const ownLot = lotOf(own);
    let before = 0;
    for (const id of sessions) {
      const lot = lotOf(id);
      if (lot < ownLot || (lot === ownLot && id < own)) before += 1;
    }
    const startOf = (position: number): number => Math.floor((position * mendPlaces) / sessions.length);
    this.count = sessions.length;
    this.own = sessions.includes(own) ? { start: startOf(before), end: startOf(before + 1) } : { start: 0, end: 0 };
  }

  isOwn(place: number): boolean {
    return this.own.start <= place && place < this.own.end;
  }
}
