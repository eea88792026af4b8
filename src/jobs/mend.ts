/**
 * Brings back redundancy that was lost, one page of a chunk map at a time (repair_page.ts), in every process at once: each
 * takes its share (shares.ts) of the pages that were noted as damaged or incomplete (`repair` rows) and of those that a walk
 * found (`mend` rows), the most urgent first, a few pages side by side. A process that ends leaves its share to the others.
 *
 * Of the rows that a walk wrote a process reads none but its own; what it reads that is everyone's, it reads seldom
 * (common_rows.ts). So each process may look often, however many there are. Known gap: notes are read by all.
 *
 * It also cleans up relocations that came to nothing: its own, and its share of those whose processes are gone.
 */
import type { PlacementDrive } from "../blob/placement.ts";
import { limits } from "../core/limits.ts";
import type { Clock } from "../core/clock.ts";
import type { BlobId, SessionId } from "../core/ids.ts";
import type { JobCounts } from "../core/metrics.ts";
import type { Entry, Kv, Write } from "../kv/kv.ts";
import { parseBlobKey, parseMendKey, tagRange, tags } from "../meta/keys.ts";
import { balanceUrgency, decodeMend, mendPlaces, mendsAt, mendsFrom, placeOf, type PlaceRange } from "../meta/mends.ts";
import { decodeRelocation, decodeRepair, encodeRepair } from "../meta/repairs.ts";
import { readSessions } from "../meta/sessions.ts";
import { BalanceTarget } from "./balance_target.ts";
import { cleanRelocation } from "./clean_relocation.ts";
import { CommonRows } from "./common_rows.ts";
import type { DriveWatch } from "./drive_watch.ts";
import type { PagesUnderWay } from "./pages.ts";
import { repairPage, untouched, type PageOutcome, type PageToRepair, type RepairParts } from "./repair_page.ts";
import type { DriveView } from "./repair_plan.ts";
import { Rounds } from "./rounds.ts";
import type { Job, JobResult } from "./runner.ts";
import { Shares } from "./shares.ts";
import { StuckNotes } from "./stuck_notes.ts";

export type MendParts = RepairParts & {
  readonly clock: Clock;
  readonly watch: DriveWatch;
  readonly pages: PagesUnderWay;
  readonly counts?: Pick<JobCounts, "repaired">;
  /** The sessions that share the work, this one among them; all that live if left out. */
  readonly menders?: () => Promise<readonly SessionId[]>;
};

/** Rows dealt with between two looks at drives and sessions, of those that were planned, and of notes, which may all have to wait. */
const plannedAtOnce = 64;
/** And of what others have left, by a process whose share is done. */
const leftAtOnce = 2 * limits.mendsAtOnceMax;
const notesAtOnce = 32;
/** Pause between two looks that found no work while there is some: for each live session, and at most. */
const lookPauseMs = 20;
const lookPauseMsMax = 2_000;

/** One row and what it asks for. */
type Work = {
  readonly row: Entry;
  readonly blob: BlobId;
  readonly page: number;
  readonly urgency: number;
  readonly targets: readonly PageToRepair[];
  /** A note stands until all is well; a planned row goes when it was tried. */
  readonly isNote: boolean;
  readonly view: DriveView;
};

export class MendJob implements Job {
  readonly name = "mend";
  readonly leased = false;
  readonly idleMsMin = 250;
  readonly idleMsMax = 5_000;
  readonly #parts: MendParts;
  readonly #target: BalanceTarget;
  readonly #notes = new Rounds(tagRange(tags.repair));
  readonly #stuck = new StuckNotes();
  readonly #menders: CommonRows<SessionId>;
  readonly #relocations: CommonRows<Entry>;

  constructor(parts: MendParts) {
    const { kv, clock, menders = async () => (await readSessions(kv)).map(({ id }) => id) } = parts;
    this.#parts = parts;
    this.#target = new BalanceTarget(kv);
    this.#menders = new CommonRows(clock, menders);
    this.#relocations = new CommonRows(clock, () =>
      kv.scan(tagRange(tags.relocation), { limit: limits.scanEntriesMax }),
    );
  }

  async run(signal: AbortSignal): Promise<JobResult> {
    const { kv, session, clock } = this.#parts;
    const isNew = await this.#relocations.look(this.#menders.rows.length);
    const relocations = isNew ? this.#relocations.rows : [];
    const notes = await this.#notes.next(kv, notesAtOnce);
    const isPlanned = (await kv.scan(tagRange(tags.mend), { limit: 1 })).length > 0;
    if (relocations.length + notes.length === 0 && !isPlanned) return { done: 0, more: false };
    await this.#menders.look(this.#menders.rows.length);
    const shares = new Shares(session.id, this.#menders.rows, clock.nowMs());
    await this.#clean(relocations, shares);
    const planned = isPlanned ? await plannedFor(kv, shares.own) : [];
    const own = notes.filter((row) => shares.isOwn(placeOfNote(row)));
    const done = await this.#all(await this.#workOf(own, planned), signal);
    if (signal.aborted) return { done, more: false };
    if (planned.length === plannedAtOnce || notes.length === notesAtOnce) return { done, more: true };
    // Where some were mended others may be left, its own or another one's: a pause is for who finds none.
    const againMs = planned.length > 0 && done > 0 ? 0 : Math.min(lookPauseMs * shares.count, lookPauseMsMax);
    return { done, more: false, ...(isPlanned && { againMs }) };
  }

  /** The most urgent first. Drives are only looked at when there is something to do. */
  async #workOf(notes: readonly Entry[], planned: readonly Entry[]): Promise<Work[]> {
    if (notes.length + planned.length === 0) return [];
    const { watch, clock } = this.#parts;
    const view = await watch.look();
    const target = await this.#targetFor(planned, view);
    this.#stuck.look(view, clock.monotonicMs());
    const open = notes.filter((row) => !this.#stuck.has(row));
    const work = [...open.map((row) => noted(row, view)), ...planned.map((row) => wished(row, view, target))];
    return work.toSorted((a, b) => a.urgency - b.urgency);
  }

  /** Only rows that balance need it; the last one is the least urgent. */
  async #targetFor(planned: readonly Entry[], { balanced }: DriveView): Promise<readonly PlacementDrive[]> {
    const last = planned.at(-1);
    if (last === undefined || parseMendKey(last.key).urgency !== balanceUrgency || balanced === undefined) return [];
    return (await this.#target.look(balanced)).target ?? [];
  }

  async #clean(rows: readonly Entry[], shares: Shares): Promise<void> {
    const { session, pages } = this.#parts;
    for (const row of rows) {
      const { blob, page } = parseBlobKey(row.key);
      const isOwn = decodeRelocation(row.value).session === session.id;
      if (isOwn || shares.isOwn(placeOf(blob, page!)))
        await pages.with(blob, page!, () => cleanRelocation(this.#parts, row));
    }
  }

  /**
   * In a few lanes. Resolves to the shards made. A row that fails holds up no other; the first error leaves when all lanes have ended,
   * unless something was made: then there is no reason to wait longer than usual.
   */
  async #all(work: readonly Work[], signal: AbortSignal): Promise<number> {
    const waiting = [...work];
    const failures: unknown[] = [];
    let done = 0;
    const lane = async (): Promise<void> => {
      for (let next = waiting.shift(); next !== undefined && !signal.aborted; next = waiting.shift()) {
        try {
          const shards = await this.#one(next, signal);
          done += shards;
        } catch (error) {
          failures.push(error);
        }
      }
    };
    await Promise.all(Array.from({ length: limits.mendsAtOnceMax }, lane));
    if (done === 0 && failures.length > 0) throw failures[0];
    return done;
  }

  async #one(work: Work, signal: AbortSignal): Promise<number> {
    const { pages, counts, log } = this.#parts;
    const { blob, page, targets, view, isNote } = work;
    const all = targets.flatMap(({ positions }) => positions);
    let outcome: PageOutcome = { ...untouched, waiting: all };
    try {
      outcome = (await pages.with(blob, page, () => this.#targets(targets, view, signal))) ?? {
        ...outcome,
        isBusy: true,
      };
    } catch (error) {
      if (signal.aborted) throw error;
      log.warn({ blob, page, err: error }, "A page could not be mended; it is tried again later.");
      if (isNote) throw error;
      // The next walk meets it again.
    }
    if (outcome.kind === "seen" && outcome.shards > 0) counts?.repaired(outcome);
    await (isNote ? this.#settleNote(work, outcome, signal) : this.#settlePlanned(work, outcome, signal));
    return outcome.kind === "gone" ? 0 : outcome.shards;
  }

  /**
   * A note stands for what is not well yet, and for that alone: a chunk that was mended and is damaged again makes it another one, which
   * is looked at, whatever else of the page has to wait.
   */
  async #settleNote({ row }: Work, outcome: PageOutcome, signal: AbortSignal): Promise<void> {
    const { key, version, value } = row;
    const waiting = outcome.kind === "gone" ? [] : outcome.waiting;
    const left = (positions: readonly number[]): number[] => positions.filter((each) => waiting.includes(each));
    const noted = decodeRepair(value);
    const still = { damaged: left(noted.damaged), incomplete: left(noted.incomplete) };
    const isOver = still.damaged.length + still.incomplete.length === 0;
    const isLess = still.damaged.length + still.incomplete.length < noted.damaged.length + noted.incomplete.length;
    const write: Write = isOver ? { kind: "delete", key } : { kind: "put", key, value: encodeRepair(still) };
    if (isOver || isLess) await this.#parts.kv.commit({ checks: [{ key, version }], writes: [write] });
    else if (outcome.kind === "seen" && !outcome.isBusy && !outcome.isTried && !signal.aborted) this.#stuck.add(row);
  }

  /** The row goes when it was tried, unless it went with the page that was mended. */
  async #settlePlanned({ row }: Work, outcome: PageOutcome, signal: AbortSignal): Promise<void> {
    const { key, version } = row;
    if (outcome.kind === "seen") {
      const isToStay = outcome.waiting.length > 0 && (outcome.isBusy || signal.aborted);
      if (outcome.isForgotten || isToStay) return;
    }
    await this.#parts.kv.commit({ checks: [{ key, version }], writes: [{ kind: "delete", key }] });
  }

  async #targets(targets: readonly PageToRepair[], view: DriveView, signal: AbortSignal): Promise<PageOutcome> {
    let sum: PageOutcome = untouched;
    for (const target of targets) {
      const outcome = await repairPage(this.#parts, target, view, signal);
      if (outcome.kind === "gone") return outcome;
      sum = {
        kind: "seen",
        shards: sum.shards + outcome.shards,
        bytes: sum.bytes + outcome.bytes,
        waiting: [...sum.waiting, ...outcome.waiting],
        isBusy: sum.isBusy || outcome.isBusy,
        isTried: sum.isTried || outcome.isTried,
        isForgotten: outcome.isForgotten,
      };
    }
    return sum;
  }
}

function placeOfNote({ key }: Entry): number {
  const { blob, page } = parseBlobKey(key);
  return placeOf(blob, page!);
}

/** The most urgent rows of a process's own places, or, when there are none, the last of the places before them, or of all. */
async function plannedFor(kv: Kv, own: PlaceRange): Promise<Entry[]> {
  if (own.start === own.end) return [];
  const ofOwn = await mostUrgent(kv, plannedAtOnce, (urgency, limit) => kv.scan(mendsAt(urgency, own), { limit }));
  if (ofOwn.length > 0) return ofOwn;
  // Whose they are begins with the first of them; the two meet once, in the middle, and the relocation row keeps them apart.
  return mostUrgent(kv, leftAtOnce, async (urgency, limit) => {
    const before = await kv.scan(mendsAt(urgency, { start: 0, end: own.start }), { limit, reverse: true });
    if (before.length > 0) return before;
    return kv.scan(mendsAt(urgency, { start: own.end, end: mendPlaces }), { limit, reverse: true });
  });
}

/** Urgencies of which there are no rows at all are passed over. */
async function mostUrgent(
  kv: Kv,
  limit: number,
  rowsOf: (urgency: number, limit: number) => Promise<Entry[]>,
): Promise<Entry[]> {
  const found: Entry[] = [];
  for (let from = 0; from <= balanceUrgency && found.length < limit;) {
    const [next] = await kv.scan(mendsFrom(from), { limit: 1 });
    if (next === undefined) break;
    const { urgency } = parseMendKey(next.key);
    found.push(...(await rowsOf(urgency, limit - found.length)));
    from = urgency + 1;
  }
  return found;
}

/** Chunks that were noted may have lost all that they can bear. */
function noted(row: Entry, view: DriveView): Work {
  const { blob, page } = parseBlobKey(row.key);
  const { damaged, incomplete } = decodeRepair(row.value);
  const target = { blob, page: page! };
  const targets: PageToRepair[] = [
    { ...target, positions: incomplete, look: "drives" },
    { ...target, positions: damaged, look: "bytes" },
  ];
  return { row, ...target, urgency: 0, targets, isNote: true, view };
}

/** Without a target nothing is moved: the walk begins anew when it is known again. */
function wished(row: Entry, view: DriveView, target: readonly PlacementDrive[]): Work {
  const { blob, page, urgency } = parseMendKey(row.key);
  const { leaving, positions } = decodeMend(row.value);
  // This process may not have waited as long for them as the one that walked.
  const givenUp = new Set([...view.givenUp, ...leaving.filter((drive) => !view.here.has(drive))]);
  const isBalance = urgency === balanceUrgency;
  // Without a check: one that another walk has planned anew meanwhile is met again by the walk that follows it.
  const what = { blob, page, positions, look: "drives", plannedBy: row.key } as const;
  const targets: PageToRepair[] = [{ ...what, ...(isBalance && { target }) }];
  return { row, blob, page, urgency, targets, isNote: false, view: { ...view, givenUp } };
}
