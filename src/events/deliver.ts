/**
 * The job that delivers events: one process of the store at a time, by its lease. Every destination has a line of its own
 * (line.ts), and they are worked on side by side: one that does not answer holds up no other.
 *
 * One run goes on as long as some line has work, and looks for new work meanwhile; it ends when there is none, when another
 * process has the lease, or when it is told to stop. Without the lease two processes may send the same event: that is all.
 */
import { isDeepStrictEqual } from "node:util";
import type { DestinationId } from "../core/ids.ts";
import type { Log } from "../core/log.ts";
import type { EventCounts } from "../core/metrics.ts";
import { scanAll } from "../kv/scan_pages.ts";
import type { DestinationRecord } from "../meta/destinations.ts";
import { destinationNameOf } from "../meta/event_keys.ts";
import { tagRange, tags } from "../meta/keys.ts";
import { openCourier, type Courier } from "./courier.ts";
import { keepHouse, readableDestination } from "./house.ts";
import { Line } from "./line.ts";
import type { RowParts } from "./rows.ts";

export type DeliverParts = RowParts & {
  readonly log: Log;
  readonly counts?: EventCounts | undefined;
  /** Whether this process still has the lease. */
  readonly mayGoOn: () => Promise<boolean>;
  /** openCourier if left out. */
  readonly courierFor?: (destination: DestinationRecord) => Courier;
};

/** How often new work is looked for: while there is some, and while there is none. */
const lookMs = 250;
/** Between two rounds, so that a round is of many events where many come, and what it costs is shared by them. */
const breathMs = 20;
const idleMsMax = 1_000;

/** Where nothing is delivered and nobody is in trouble the rows are only looked at now and then. */
const houseMs = 2_000;
const idleHouseMs = 60_000;

type Open = { readonly line: Line; readonly destination: DestinationRecord };

/** What a line is opened for anew when it changes. */
function addressOf({ kind, url, headers, secret, credentials }: DestinationRecord): unknown {
  return { kind, url, headers, secret, credentials };
}

export class DeliverJob {
  readonly name = "events";
  readonly leased = true;
  readonly idleMsMin = 1_000;
  readonly idleMsMax = 10_000;
  readonly #parts: DeliverParts;
  readonly #open = new Map<DestinationId, Open>();
  #housekeptMs = -Infinity;
  #idleMs = lookMs;

  constructor(parts: DeliverParts) {
    this.#parts = parts;
  }

  async run(signal: AbortSignal): Promise<{ done: number; more: boolean; againMs?: number }> {
    const { clock, log } = this.#parts;
    const busy = new Map<DestinationId, Promise<void>>();
    let done = 0;
    const work = async (id: DestinationId, line: Line): Promise<void> => {
      try {
        const taken = await line.round(signal);
        done += taken;
      } catch (error) {
        if (!signal.aborted)
          log.warn({ err: error, destination: id }, "Events could not be delivered; tried again later.");
      } finally {
        busy.delete(id);
      }
    };
    try {
      for (let isFirst = true; !signal.aborted; isFirst = false) {
        if (!isFirst && !(await this.#parts.mayGoOn())) break;
        const before = done;
        await this.#look(new Set(busy.keys()));
        await this.#keepHouse(done > 0);
        if (busy.size === 0 && !(await this.#doesAnyWait())) break;
        for (const [id, { line }] of this.#open)
          if (!busy.has(id) && line.dueMs <= clock.monotonicMs()) busy.set(id, work(id, line));
        const looked = new AbortController();
        await Promise.race([Promise.all(busy.values()), clock.sleep(lookMs, AbortSignal.any([signal, looked.signal]))]);
        looked.abort();
        if (busy.size > 0) continue;
        if (done === before) break;
        await clock.sleep(breathMs, signal);
      }
    } finally {
      await Promise.all(busy.values());
      if (signal.aborted) this.#closeAll();
    }
    return this.#open.size === 0 ? { done, more: false } : { done, more: false, againMs: this.#nextMs(done) };
  }

  /** One look spares one for each destination, most of the time. */
  async #doesAnyWait(): Promise<boolean> {
    return (await this.#parts.kv.scan(tagRange(tags.event), { limit: 1 })).length > 0;
  }

  /** Lines for the destinations that there are, as they are now. */
  async #look(busy: ReadonlySet<DestinationId>): Promise<void> {
    const { kv, clock, counts } = this.#parts;
    const { courierFor = (destination) => openCourier(destination, clock) } = this.#parts;
    const rows = await scanAll(kv, tagRange(tags.destination));
    const found = new Set<DestinationId>();
    for (const { key, value } of rows) {
      const destination = readableDestination(value);
      if (destination === undefined) continue;
      found.add(destination.id);
      const open = this.#open.get(destination.id);
      if (busy.has(destination.id) || (open && isDeepStrictEqual(addressOf(open.destination), addressOf(destination))))
        continue;
      open?.line.close();
      const name = destinationNameOf(key);
      const line = new Line({ ...this.#parts, name, destination, courier: courierFor(destination), counts });
      this.#open.set(destination.id, { line, destination });
    }
    for (const [id, { line }] of this.#open) {
      if (found.has(id) || busy.has(id)) continue;
      line.close();
      this.#open.delete(id);
    }
  }

  async #keepHouse(isBusy: boolean): Promise<void> {
    const nowMs = this.#parts.clock.monotonicMs();
    const isTroubled = [...this.#open.values()].some(({ line }) => line.isTroubled);
    if (nowMs - this.#housekeptMs < (isBusy || isTroubled ? houseMs : idleHouseMs)) return;
    this.#housekeptMs = nowMs;
    await keepHouse(this.#parts);
  }

  /** Until there may be something to do: what waits for a destination that failed, or something new. */
  #nextMs(done: number): number {
    this.#idleMs = done > 0 ? lookMs : Math.min(idleMsMax, this.#idleMs * 2);
    return this.#idleMs;
  }

  #closeAll(): void {
    for (const { line } of this.#open.values()) line.close();
    this.#open.clear();
  }
}
