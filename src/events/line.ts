/**
 * The events of one destination on their way to it. Promises: those of one slot (so those of one key) are sent in order, the
 * next when the one before was taken; one that is refused holds up its slot and no other; while the destination is unreachable it
 * is asked seldom, with one message at a time; what cannot be delivered within deliveryTriedMsMax is put aside.
 *
 * A row is deleted after its message was taken: what a crash comes between is sent again (at least once, never not at all).
 */
import { limits } from "../core/limits.ts";
import type { EventCounts } from "../core/metrics.ts";
import type { Random } from "../core/random.ts";
import type { Entry } from "../kv/kv.ts";
import { scanPages } from "../kv/scan_pages.ts";
import { transact } from "../kv/transact.ts";
import { decodeDestination, encodeTrouble, type DestinationRecord } from "../meta/destinations.ts";
import { decodeEvent, type EventRecord } from "../meta/events.ts";
import { destinationKey, eventPlaceOf, eventRange, troubleKey } from "../meta/event_keys.ts";
import type { Courier, Delivery, Message } from "./courier.ts";
import { encodedKey, eventMessage } from "./message.ts";
import { giveUp, settle, type RowParts } from "./rows.ts";

export type LineParts = RowParts & {
  readonly name: string;
  readonly destination: DestinationRecord;
  readonly courier: Courier;
  readonly counts: EventCounts | undefined;
};

type Waiting = { readonly failures: number; readonly untilMs: number };

/** So many slots refused, and nothing taken, in one round: it is the destination that is ill. */
const refusedSlotsOfIll = 8;
/** How often what has become too old is looked for. */
const oldEveryMs = 10 * 60_000;
/** How often what is wrong is written down while it stays so. */
const troubleEveryMs = 15_000;

export class Line {
  readonly #parts: LineParts;
  /** Slots whose first event was refused. */
  readonly #refused = new Map<number, Waiting>();
  /** The destination as a whole. */
  #pause: Waiting = { failures: 0, untilMs: -Infinity };
  #oldLookedMs = -Infinity;
  #trouble: { readonly sinceMs: number; readonly notedMs: number } | undefined;
  #hasRecovered = false;
  #taken = 0;

  constructor(parts: LineParts) {
    this.#parts = parts;
  }

  /** When it may be worked on, on the monotonic clock. */
  get dueMs(): number {
    return this.#pause.untilMs;
  }

  get isTroubled(): boolean {
    return this.#pause.failures > 0 || this.#refused.size > 0;
  }

  close(): void {
    this.#parts.courier.close();
  }

  /** One round through what waits. Returns how many messages were taken. */
  async round(signal: AbortSignal): Promise<number> {
    const { kv, destination } = this.#parts;
    this.#taken = 0;
    let refused = 0;
    const seen = new Set<number>();
    for (let slot = 0; slot < limits.eventSlots && !signal.aborted;) {
      const rows = await kv.scan(eventRange(destination.id, slot), { limit: limits.eventsAtOnce });
      const groups = Map.groupBy(rows, ({ key }) => eventPlaceOf(key).slot);
      for (const found of groups.keys()) seen.add(found);
      const sent = await this.#sendAll(groups, signal);
      refused += sent.refused;
      if (sent.unreachable !== undefined) {
        await this.#failed(sent.unreachable);
        break;
      }
      if (sent.why !== undefined) await this.#note(sent.why, 1);
      if (rows.length < limits.eventsAtOnce) {
        // What another process has delivered meanwhile is not refused any more.
        for (const held of this.#refused.keys()) if (!seen.has(held)) this.#refused.delete(held);
        break;
      }
      // The last slot may go on behind what was read; a slot that fills a whole page waits for the next round.
      const last = eventPlaceOf(rows.at(-1)!.key).slot;
      slot = groups.size === 1 || this.#refused.has(last) ? last + 1 : last;
    }
    if (refused >= refusedSlotsOfIll && this.#taken === 0) this.#putOff();
    else if (this.#taken > 0 && refused === 0 && this.#refused.size === 0) await this.#recovered();
    if (this.#pause.failures > 0) await this.#giveUpOld(signal);
    return this.#taken;
  }

  /** Several slots at once, each in order. */
  async #sendAll(groups: ReadonlyMap<number, readonly Entry[]>, signal: AbortSignal): Promise<Sent> {
    const sent: Sent = { refused: 0, unreachable: undefined, why: undefined };
    const queues = [...groups].filter(([slot]) => this.#mayTry(slot));
    const taken: Buffer[] = [];
    const sendNext = async (): Promise<void> => {
      for (let next = queues.shift(); next !== undefined; next = queues.shift()) {
        await this.#sendSlot(next, { sent, taken, signal });
        if (sent.unreachable !== undefined || signal.aborted) return;
      }
    };
    const atOnce = this.#pause.failures > 0 ? 1 : limits.deliveriesAtOnceMax;
    await Promise.all(Array.from({ length: atOnce }, sendNext));
    await settle(this.#parts, taken);
    this.#taken += taken.length;
    return sent;
  }

  async #sendSlot([slot, rows]: readonly [number, readonly Entry[]], round: SlotRound): Promise<void> {
    const { sent, taken, signal } = round;
    for (const { key, value } of rows) {
      if (sent.unreachable !== undefined || signal.aborted) return;
      const event = readable(value);
      if (event === undefined) {
        // Nobody could be told of it, but it is kept as long as others are: see the doctor.
        await giveUp(this.#parts, [key]);
        continue;
      }
      const delivery = await this.#send(event, slot, signal);
      if (signal.aborted && delivery.outcome !== "taken") return;
      if (delivery.outcome === "unreachable") {
        sent.unreachable = delivery.why;
        return;
      }
      if (delivery.outcome === "refused") {
        sent.why = delivery.why;
        if (await this.#givenUp(key, event)) continue;
        sent.refused += 1;
        this.#refused.set(slot, this.#after(this.#refused.get(slot)));
        return;
      }
      taken.push(key);
      this.#refused.delete(slot);
    }
  }

  async #send(event: EventRecord, slot: number, signal: AbortSignal): Promise<Delivery> {
    const { courier, counts, destination } = this.#parts;
    const message: Message = {
      id: `${destination.id}-${slot.toString(16)}-${event.sequencer.toString(16)}`,
      event: `s3:${event.name}`,
      orderedBy: `${event.bucket}/${encodedKey(event.key)}`,
      body: eventMessage(event),
    };
    const delivery = await courier.deliver(message, signal);
    if (!signal.aborted) counts?.eventSent(delivery.outcome);
    if (delivery.outcome === "taken") this.#pause = { failures: 0, untilMs: -Infinity };
    return delivery;
  }

  async #givenUp(key: Buffer, { queuedMs }: EventRecord): Promise<boolean> {
    if (this.#parts.clock.nowMs() - queuedMs < limits.deliveryTriedMsMax) return false;
    this.#refused.delete(eventPlaceOf(key).slot);
    return (await giveUp(this.#parts, [key])) > 0;
  }

  #mayTry(slot: number): boolean {
    const waiting = this.#refused.get(slot);
    return waiting === undefined || waiting.untilMs <= this.#parts.clock.monotonicMs();
  }

  #after(waiting: Waiting | undefined): Waiting {
    const failures = (waiting?.failures ?? 0) + 1;
    return { failures, untilMs: this.#parts.clock.monotonicMs() + pauseMs(failures, this.#parts.random) };
  }

  #putOff(): void {
    this.#pause = this.#after(this.#pause);
  }

  async #failed(why: string): Promise<void> {
    this.#putOff();
    await this.#note(why, this.#pause.failures);
  }

  /** What is wrong, for whoever looks; not each time anew. */
  async #note(why: string, failures: number): Promise<void> {
    const { kv, clock, random, name, destination } = this.#parts;
    const nowMs = clock.monotonicMs();
    if (this.#trouble !== undefined && nowMs - this.#trouble.notedMs < troubleEveryMs) return;
    const sinceMs = this.#trouble?.sinceMs ?? clock.nowMs();
    this.#trouble = { sinceMs, notedMs: nowMs };
    const message = why.slice(0, limits.troubleCharsMax);
    const value = encodeTrouble({ sinceMs, atMs: clock.nowMs(), failures, message });
    await transact(
      kv,
      async (tx) => {
        // Of a destination that was removed nothing new is written: see house.ts.
        const [row] = await tx.get([destinationKey(name)]);
        if (row && decodeDestination(row.value).id === destination.id) tx.put(troubleKey(destination.id), value);
      },
      { clock, random },
    );
  }

  /** The row may be of an earlier process, so it is looked for once. */
  async #recovered(): Promise<void> {
    const { kv, destination } = this.#parts;
    const key = troubleKey(destination.id);
    const isNoted = this.#trouble !== undefined || !this.#hasRecovered;
    this.#trouble = undefined;
    this.#hasRecovered = true;
    if (!isNoted || (await kv.get([key]))[0] === undefined) return;
    await kv.commit({ checks: [], writes: [{ kind: "delete", key }] });
  }

  /** Events that waited too long while nothing could be sent. */
  async #giveUpOld(signal: AbortSignal): Promise<void> {
    const { kv, clock, destination } = this.#parts;
    if (clock.monotonicMs() - this.#oldLookedMs < oldEveryMs) return;
    this.#oldLookedMs = clock.monotonicMs();
    const oldestMs = clock.nowMs() - limits.deliveryTriedMsMax;
    for await (const rows of scanPages(kv, eventRange(destination.id), limits.eventsAtOnce)) {
      if (signal.aborted) return;
      const old = rows.filter(({ value }) => (readable(value)?.queuedMs ?? 0) < oldestMs);
      await giveUp(
        this.#parts,
        old.map(({ key }) => key),
      );
    }
  }
}

type Sent = { refused: number; unreachable: string | undefined; why: string | undefined };
type SlotRound = { readonly sent: Sent; readonly taken: Buffer[]; readonly signal: AbortSignal };

/** Undefined: the row is corrupt, or of a later build. */
export function readable(value: Buffer): EventRecord | undefined {
  try {
    return decodeEvent(value);
  } catch {
    return undefined;
  }
}

/** Doubled with every failure, with half of it left to chance, so that those who failed together don't come again together. */
export function pauseMs(failures: number, random: Random): number {
  const most = Math.min(limits.deliveryPauseMsMax, limits.deliveryPauseMsMin * 2 ** Math.min(failures - 1, 20));
  return most / 2 + random.below(Math.ceil(most / 2));
}
