/**
 * The metadata store in several copies, each an LMDB file on a drive of its own: the loss of any one drive loses nothing
 * that was acknowledged, and nothing that a reader was ever shown.
 *
 * Order of one batch: the turn is taken (lmdb_turn.ts; one batch at a time over all processes) → the copies are seen to be
 * level → the batch is decided on the primary's rows → it is written to every secondary at once, each synced → it is written
 * to the primary, synced → readers are shown it, for all reads are the primary's → commits are acknowledged, the turn ends.
 *
 * The primary's state is the truth: it is the last to get a batch, so what a copy has beyond it nobody was shown. A process
 * that dies in between leaves some copies one batch ahead; whoever has the turn next sees it by the marks and takes the batch
 * back there, with the redo row that secondaries keep. (A start, which may be without that primary, brings it forward.)
 * A dead process's last system call may still end after its turn has passed on: so before copies that differ are
 * compared the primary's write lock was had, and a batch that meets another one in a secondary is taken back and tried again.
 *
 * A secondary that fails in any way but lack of space is dropped: the view without it is written to the other secondaries,
 * then to the primary, and only then goes on what is to be acknowledged. Where too few would be left (lmdb_views.ts), and when
 * the primary fails, the store has failed for this process, as one LMDB file fails (lmdb.ts); a new start then looks which
 * copies are good (lmdb_copies_prepare.ts) and may choose another primary.
 *
 * Lack of space in any copy refuses the batch, takes it back where it was written already, and passes.
 *
 * Known gaps: a drive that hangs and does not fail holds every commit up. A dropped copy comes back at the next start only.
 */
import { HoldfastError } from "../core/errors.ts";
import { silentLog } from "../core/log.ts";
import type { Log } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import type { Random } from "../core/random.ts";
import type { FileSpace, Kv } from "./kv.ts";
import { LmdbKv } from "./lmdb.ts";
import type { LmdbKvOptions } from "./lmdb.ts";
import { bringTo, openCopy, sameMark } from "./lmdb_copy.ts";
import type { Copy, CopyFailure, CopyOutcome, CopyPlace, CopyWrite, FullMark } from "./lmdb_copy.ts";
import { WriteBatch } from "./lmdb_rows.ts";
import type { Redo } from "./lmdb_state.ts";
import { openTurn, outOfTurn } from "./lmdb_turn.ts";
import type { Turn } from "./lmdb_turn.ts";
import { isEnough, newId, nextView } from "./lmdb_views.ts";
import type { MemberId, View } from "./lmdb_views.ts";

export type LmdbCopiesOptions = Pick<LmdbKvOptions, "log" | "onBatch" | "onFailed"> & {
  /** As `prepareCopies` returned them; the first is the primary. */
  readonly places: readonly CopyPlace[];
  readonly random?: Random;
  readonly freeBytes?: (place: CopyPlace) => Promise<number>;
};

export type CopiesKv = Kv & {
  /** Of each copy that commits go to, as this process knows it. */
  copies(): { readonly place: CopyPlace; readonly space: FileSpace }[];
};

/**
 * Errors: `unavailable` when the primary cannot be opened, or the copies were not prepared for these places. A secondary
 * that cannot be opened is dropped.
 */
export async function openLmdbCopies(options: LmdbCopiesOptions): Promise<CopiesKv> {
  const copies = await outOfTurn(() => Copies.open(options));
  const kv = new LmdbKv({
    ...options,
    name: "lmdb copies",
    env: copies.primary.env,
    closeAll: () => copies.close(),
    transact: (decide) => copies.transact(decide),
    isLackOfSpace: async () => false,
  });
  try {
    await kv.commit({ checks: [], writes: [] });
  } catch (error) {
    await kv.close();
    throw error;
  }
  return Object.assign(kv, { copies: () => copies.spaces() });
}

/** Ends the store for this process: another start goes on with the copies. */
const overtaken = new Error("The copies of the metadata were taken over by another start.");

/** A process leaves one write behind in each copy at most when it dies. */
const attemptsMax = 5;

/** Where the primary's turn is kept. */
function turnPath(primary: CopyPlace): string {
  return `${primary.path}.turn`;
}

class Copies {
  readonly primary: Copy;
  readonly #options: LmdbCopiesOptions;
  readonly #log: Log;
  readonly #random: Random;
  readonly #turn: Turn;
  readonly #run: string;
  readonly #secondaries: ReadonlyMap<MemberId, Copy>;
  /** Members that are no good to this process: dropped at the next turn. */
  readonly #broken: Map<MemberId, unknown>;
  #view: View;

  private constructor(options: LmdbCopiesOptions, opened: Opened) {
    this.primary = opened.primary;
    this.#options = options;
    this.#log = options.log ?? silentLog;
    this.#random = options.random ?? systemRandom;
    this.#turn = opened.turn;
    this.#run = opened.primary.mark().copy.run;
    this.#secondaries = opened.secondaries;
    this.#broken = opened.broken;
    this.#view = opened.view;
  }

  static open(options: LmdbCopiesOptions): Copies {
    return new Copies(options, openAll(options.places));
  }

  /** Secondaries that this process takes for members. */
  #members(): Copy[] {
    return [...this.#secondaries.values()].filter(
      ({ place: { id } }) => this.#view.members.includes(id) && !this.#broken.has(id),
    );
  }

  spaces(): { readonly place: CopyPlace; readonly space: FileSpace }[] {
    try {
      const copies = [this.primary, ...this.#members()];
      return copies.map((copy) => ({ place: copy.place, space: copy.space() }));
    } catch (cause) {
      throw new HoldfastError("unavailable", "The metadata store cannot be read.", { cause });
    }
  }

  async transact(decide: (batch: WriteBatch) => void): Promise<void> {
    const endTurn = await this.#turn.take();
    try {
      let mark = await this.#level();
      this.primary.env.resetReadTxn();
      const batch = new WriteBatch(this.primary.env);
      decide(batch);
      if (batch.isEmpty) return;
      for (let attempt = 1; (await this.#write(batch, mark)) === "disturbed"; attempt++) {
        const again = await this.#level();
        // The batch was decided on this state.
        if (again.copy.batch !== mark.copy.batch || attempt >= attemptsMax) throw overtaken;
        mark = again;
      }
    } finally {
      // Nobody who waits for a commit has to wait for this.
      endTurn().catch((error: unknown) =>
        this.#log.error({ err: error }, "The metadata's turn could not be given up."),
      );
    }
  }

  /** `disturbed`: a secondary was not in the state that was expected; the batch is in some of the others. */
  async #write(batch: WriteBatch, expected: FullMark): Promise<"written" | "disturbed"> {
    const id = newId(this.#random);
    const redo: Redo = { from: expected.copy.batch, to: id, keys: batch.keys };
    const rows: CopyWrite["rows"] = (into) => batch.writeRows(into);
    const after = (mark: FullMark): FullMark => ({
      lastVersion: batch.lastVersion,
      copy: { ...mark.copy, batch: id },
    });
    const found = await this.#writeSecondaries({ expected, next: after(expected), redo, rows });
    if (found.includes("overtaken")) return "disturbed";
    if (!found.includes("no space")) {
      if (this.#isAnyMemberBroken()) await this.#drop();
      // The view may have been written just now.
      const now = { ...expected, copy: { ...expected.copy, view: this.#view.id } };
      const outcome = await this.#try(this.primary, { expected: now, next: after(now), rows });
      if (outcome === "written") return "written";
      if (outcome === "overtaken") throw overtaken;
      if (outcome.kind === "broken") throw outcome.cause;
    }
    await this.#bringMembers();
    throw noSpace();
  }

  /** Those that fail otherwise than by lack of space are broken. */
  async #writeSecondaries(write: CopyWrite): Promise<("written" | "overtaken" | "no space" | "broken")[]> {
    return Promise.all(
      this.#members().map(async (copy) => {
        const outcome = await this.#try(copy, write);
        if (typeof outcome === "string") return outcome;
        if (outcome.kind === "broken") this.#broken.set(copy.place.id, outcome.cause);
        return outcome.kind;
      }),
    );
  }

  async #try(copy: Copy, write: CopyWrite): Promise<CopyOutcome | CopyFailure> {
    try {
      return await copy.write(write);
    } catch (error) {
      return this.#failureOf(copy, error);
    }
  }

  async #failureOf(copy: Copy, error: unknown): Promise<CopyFailure> {
    const { freeBytes } = this.#options;
    return copy.failureOf(error, freeBytes && (() => freeBytes(copy.place)));
  }

  /** Sees to it that every member has the primary's mark, which is returned. */
  async #level(): Promise<FullMark> {
    const mark = this.primary.mark();
    if (mark.copy.run !== this.#run) throw overtaken;
    if (!this.#isAnyMemberBroken() && mark.copy.view === this.#view.id && this.#areLevel(mark)) return mark;
    const settled = await this.primary.settledMark();
    if (settled.copy.run !== this.#run) throw overtaken;
    this.#takeUpView();
    if ((await this.#bringMembers()) === "no space") throw noSpace();
    if (this.#isAnyMemberBroken()) await this.#drop();
    return this.primary.mark();
  }

  #areLevel(mark: FullMark): boolean {
    return this.#members().every((copy) => {
      const own = this.#readMember(copy, () => copy.mark());
      return own !== undefined && sameMark(own, mark);
    });
  }

  #readMember<T>(copy: Copy, read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      this.#broken.set(copy.place.id, error);
      return undefined;
    }
  }

  #isAnyMemberBroken(): boolean {
    return this.#view.members.some((id) => this.#broken.has(id));
  }

  /** Another process may have dropped a copy. */
  #takeUpView(): void {
    this.#view = this.primary.view();
    const known = [this.primary.place.id, ...this.#secondaries.keys(), ...this.#broken.keys()];
    const isOurs = this.#view.members.includes(known[0]!) && this.#view.members.every((id) => known.includes(id));
    if (!isOurs) throw overtaken;
  }

  /** Every member that is not broken gets to the state of the primary. */
  async #bringMembers(): Promise<"no space" | undefined> {
    let found: "no space" | undefined;
    for (const copy of this.#members()) found = (await this.#bring(copy)) ?? found;
    return found;
  }

  async #bring(copy: Copy): Promise<"no space" | undefined> {
    try {
      for (let attempt = 1; ; attempt++) {
        const outcome = await bringTo(this.primary, copy, { from: this.#run, to: this.#run });
        if (outcome === "written") return undefined;
        if (outcome === "too far") throw new Error("This copy is too far from the others.");
        // A write of a process that died may have ended meanwhile.
        const isTaken = [this.primary, copy].some((each) => each.mark().copy.run !== this.#run);
        if (isTaken || attempt >= attemptsMax) break;
      }
    } catch (error) {
      const failure = await this.#failureOf(copy, error);
      if (failure.kind === "no space") return "no space";
      this.#broken.set(copy.place.id, failure.cause);
      return undefined;
    }
    throw overtaken;
  }

  /** Writes the view without the broken members into what is left, the primary last. */
  async #drop(): Promise<void> {
    while (this.#isAnyMemberBroken()) {
      const members = this.#view.members.filter((id) => !this.#broken.has(id));
      if (!isEnough(members.length, this.#view)) {
        throw new Error("Too many copies of the metadata have failed.", { cause: [...this.#broken.values()][0] });
      }
      this.#sayDropped(members);
      this.#view = nextView(this.#view, members, this.#random);
      for (const copy of this.#members()) await this.#adopt(copy);
    }
    await this.#adopt(this.primary);
  }

  async #adopt(copy: Copy): Promise<void> {
    const expected = copy === this.primary ? copy.mark() : this.#readMember(copy, () => copy.mark());
    if (expected === undefined) return;
    if (expected.copy.run !== this.#run) throw overtaken;
    const next = { ...expected, copy: { ...expected.copy, view: this.#view.id } };
    const outcome = await this.#try(copy, { expected, next, view: this.#view });
    if (outcome === "written") return;
    if (outcome === "overtaken") throw overtaken;
    if (outcome.kind === "no space") throw noSpace();
    if (copy === this.primary) throw outcome.cause;
    this.#broken.set(copy.place.id, outcome.cause);
  }

  #sayDropped(left: readonly MemberId[]): void {
    for (const id of this.#view.members) {
      if (left.includes(id)) continue;
      const name = this.#secondaries.get(id)?.place.name ?? this.#options.places.find((place) => place.id === id)?.name;
      const sentence = `The metadata copy on ${name ?? id} has failed and is given up; ${left.length} left. It is made anew at the next start.`;
      this.#log.error({ err: this.#broken.get(id) }, sentence);
    }
  }

  /** What failed may never end: it is left open, until the process ends. */
  async close(): Promise<void> {
    for (const copy of this.#secondaries.values()) {
      if (!this.#broken.has(copy.place.id)) await copy.close();
    }
    await this.primary.close();
    await this.#turn.close();
  }
}

type Opened = {
  readonly primary: Copy;
  readonly secondaries: ReadonlyMap<MemberId, Copy>;
  readonly broken: Map<MemberId, unknown>;
  readonly turn: Turn;
  readonly view: View;
};

function openAll([first, ...others]: readonly CopyPlace[]): Opened {
  if (first === undefined) throw new HoldfastError("internal", "There is no place for the metadata.");
  const primary = openCopy(first);
  const view = primary.view();
  const secondaries = new Map<MemberId, Copy>();
  const broken = new Map<MemberId, unknown>();
  for (const place of others) {
    // Given up since the start: not to be touched.
    if (!view.members.includes(place.id)) continue;
    try {
      secondaries.set(place.id, openCopy(place));
    } catch (error) {
      broken.set(place.id, error);
    }
  }
  return { primary, secondaries, broken, view, turn: openTurn(turnPath(first)) };
}

function noSpace(): HoldfastError {
  return new HoldfastError("unavailable", "A drive of the metadata has no room for a commit.");
}
