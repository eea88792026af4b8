/**
 * Walks all chunk maps for chunks of which shards are to be elsewhere, and writes rows that say so (meta/mends.ts), for every
 * process to take its share of (mend.ts). First it only counts; then it goes round once for each urgency that it met, the most
 * urgent first, with a bounded number of rows outstanding, the more the more processes deal with them; then it waits until they
 * have been dealt with.
 *
 * That a walk has ended does not say that all is well: only one that met nothing does.
 */
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Kv, Write } from "../kv/kv.ts";
import { scanPages } from "../kv/scan_pages.ts";
import type { ChunkRecord } from "../meta/chunk_pages.ts";
import { decodeMend, encodeMend, mendKeyOf, mendRange } from "../meta/mends.ts";
import { readSessions } from "../meta/sessions.ts";
import { MapWalk, type WalkedPage } from "./map_walk.ts";
import type { JobProgress } from "./runner.ts";

/** What is to be done about a chunk; "lost": it is only counted, for nothing can be. */
export type Wish =
  | { readonly kind: "lost" }
  | {
      readonly kind: "mend";
      readonly urgency: number;
      readonly bytes: number;
      /** Drives that its shards are to leave. */
      readonly leaving: readonly DriveId[];
    };

export type PlanWalkParts = {
  readonly kv: Kv;
  readonly clock: Clock;
  /** Whose rows it writes and waits for. */
  readonly rows: "repair" | "balance";
  readonly wish: (chunk: ChunkRecord) => Wish | undefined;
};

/** Rows that nobody deals with (an upload's page is held by a process that nobody knows to be dead) are not waited for longer. */
const standstillMsMax = 60_000;
/** More is planned when there is room for so large a part of what there may be: counting it reads all of it. */
const leastRoom = 1 / 4;
/** What takes more than one scan to count is counted again after so many times as long as it took. */
const countAgainFactor = 10;

export class PlanWalk {
  readonly startedMs: number;
  readonly #parts: PlanWalkParts;
  readonly #maps: MapWalk;
  readonly #bytesByUrgency = new Map<number, number>();
  #phase: "counting" | "planning" | "ending" = "counting";
  #urgency = -1;
  #plannedBytes = 0;
  #outstandingBytes = 0;
  /** Rows that may be written before they are counted again, and when they are. */
  #room = 0;
  #countAgainMs = -Infinity;
  #outstanding: { readonly rows: number; readonly sinceMs: number } | undefined;
  #lostChunks = 0;

  constructor(parts: PlanWalkParts) {
    this.#parts = parts;
    this.#maps = new MapWalk(parts.kv);
    this.startedMs = parts.clock.monotonicMs();
  }

  /** Of what it met, when it was counted. */
  get metBytes(): number {
    return [...this.#bytesByUrgency.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  get metNothing(): boolean {
    return this.#bytesByUrgency.size === 0 && this.#lostChunks === 0;
  }

  /** Chunks that have too few shards left. */
  get lostChunks(): number {
    return this.#lostChunks;
  }

  /** Undefined while it counts. */
  progress(): JobProgress | undefined {
    if (this.#phase === "counting") return undefined;
    const leftBytes = Math.max(0, this.metBytes - this.#plannedBytes) + this.#outstandingBytes;
    return { doneBytes: Math.max(0, this.metBytes - leftBytes), leftBytes };
  }

  /** Some pages. "full": there are as many rows as there may be, or the last ones are being dealt with. */
  async step(signal: AbortSignal): Promise<"more" | "full" | "over"> {
    if (this.#phase === "counting") return this.#count(signal);
    if (this.#phase === "planning" && this.#room > 0) return this.#plan();
    await this.#lookAtRows();
    if (this.#phase === "ending") return this.#outstanding?.rows === 0 || this.#standsStill() ? "over" : "full";
    return this.#room > 0 ? this.#plan() : "full";
  }

  async #count(signal: AbortSignal): Promise<"more" | "over"> {
    const pages = await this.#maps.next();
    if (pages === undefined) return this.#nextRound() ? "more" : "over";
    for (const { chunks } of signal.aborted ? [] : pages) {
      for (const chunk of chunks) {
        const wish = this.#parts.wish(chunk);
        if (wish?.kind === "lost") this.#lostChunks += 1;
        if (wish?.kind !== "mend") continue;
        this.#bytesByUrgency.set(wish.urgency, (this.#bytesByUrgency.get(wish.urgency) ?? 0) + wish.bytes);
      }
    }
    return "more";
  }

  async #plan(): Promise<"more"> {
    const pages = await this.#maps.next();
    if (pages === undefined) {
      if (!this.#nextRound()) this.#phase = "ending";
      return "more";
    }
    const writes = pages.flatMap((page) => this.#rowFor(page) ?? []);
    if (writes.length > 0) await this.#parts.kv.commit({ checks: [], writes });
    this.#room -= writes.length;
    return "more";
  }

  #rowFor({ blob, page, chunks }: WalkedPage): Write | undefined {
    const positions: number[] = [];
    const leaving = new Set<DriveId>();
    let bytes = 0;
    for (const [position, chunk] of chunks.entries()) {
      const wish = this.#parts.wish(chunk);
      if (wish?.kind !== "mend" || wish.urgency !== this.#urgency) continue;
      positions.push(position);
      bytes += wish.bytes;
      for (const drive of wish.leaving) leaving.add(drive);
    }
    if (positions.length === 0) return undefined;
    this.#plannedBytes += bytes;
    this.#outstandingBytes += bytes;
    const value = encodeMend({ bytes, leaving: [...leaving], positions });
    return { kind: "put", key: mendKeyOf(this.#urgency, blob, page), value };
  }

  /** Begins the round for the next urgency; false when there is none. */
  #nextRound(): boolean {
    const next = [...this.#bytesByUrgency.keys()]
      .filter((urgency) => urgency > this.#urgency)
      .toSorted((a, b) => a - b);
    if (next[0] === undefined) return false;
    this.#phase = "planning";
    this.#urgency = next[0];
    this.#maps.restart();
    return true;
  }

  async #lookAtRows(): Promise<void> {
    const { kv, clock, rows } = this.#parts;
    const beganMs = clock.monotonicMs();
    if (beganMs < this.#countAgainMs) return;
    let count = 0;
    let bytes = 0;
    for await (const page of scanPages(kv, mendRange(rows))) {
      count += page.length;
      for (const { value } of page) bytes += decodeMend(value).bytes;
    }
    this.#outstandingBytes = bytes;
    const rowsMax = Math.min(limits.mendRowsOfSession * (await readSessions(kv)).length, limits.mendRowsMax);
    this.#room = count > (1 - leastRoom) * rowsMax ? 0 : rowsMax - count;
    const nowMs = clock.monotonicMs();
    if (this.#outstanding?.rows !== count) this.#outstanding = { rows: count, sinceMs: nowMs };
    if (count >= limits.scanEntriesMax) this.#countAgainMs = nowMs + countAgainFactor * (nowMs - beganMs);
  }

  #standsStill(): boolean {
    const { clock } = this.#parts;
    return this.#outstanding !== undefined && clock.monotonicMs() - this.#outstanding.sinceMs >= standstillMsMax;
  }
}
