/**
 * What is done to the copies of the metadata before a server's processes open them, by one process, which holds the locks of
 * all drives: it is found out which copy has everything, the others are brought to the same state, lost ones are made anew,
 * and what may still run of an earlier start is kept from writing.
 *
 * A store that is kept on one drive stays in the format for one (lmdb.ts) until a second copy is asked for. From then on
 * it bears a view, and is opened as copies even if only one is left.
 *
 * Order, so that a crash at any point leaves a start that finds the same: a new run is written into the copy that leads (no
 * process of an earlier start can write to it any more), then into those that are level with it or one batch behind; copies
 * are made aside, synced, renamed; at last the new view is written into every copy, into those too that it leaves out.
 * A copy that was made and is in no view yet counts as none.
 *
 * Never: a new store where a drive shows that there was one (the caller knows), or the choice of a copy while it cannot be
 * known that the newest commits are in it.
 */
import { HoldfastError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import { bringTo, openCopy, sameMark } from "./lmdb_copy.ts";
import type { Copy, CopyOutcome, CopyPlace, FullMark } from "./lmdb_copy.ts";
import { inTransaction } from "./lmdb_env.ts";
import { choose, lookAt, severalStores } from "./lmdb_copies_look.ts";
import type { Chosen, CopyFiles, FoundCopy, Seen } from "./lmdb_copies_look.ts";
import { writeMark, writeView } from "./lmdb_state.ts";
import type { RunId } from "./lmdb_state.ts";
import { outOfTurn } from "./lmdb_turn.ts";
import { firstView, isEnough, newId, nextView } from "./lmdb_views.ts";
import type { MemberId, View } from "./lmdb_views.ts";

export type PrepareCopiesOptions = {
  /** Where copies may be, in the order in which they are preferred; not empty. */
  readonly places: readonly CopyPlace[];
  /** Copies wanted; fewer are made where there are fewer places. */
  readonly wanted: number;
  readonly files: CopyFiles;
  /** Throws when the drives show that there was a store: then none is begun. */
  readonly assertNew: () => Promise<void>;
  readonly random: Random;
  readonly log: Log;
};

export type PreparedCopies =
  /** One store in the format for one: to be opened with `openLmdbKv`. */
  | { readonly kind: "alone"; readonly place: CopyPlace }
  /** To be opened with `openLmdbCopies`. `made`: copies that were made anew just now. `lost`: members that are not there. */
  | {
      readonly kind: "copies";
      readonly places: readonly CopyPlace[];
      readonly made: readonly MemberId[];
      readonly lost: readonly MemberId[];
    };

/** Errors: a sentence for the operator. */
export async function prepareCopies(options: PrepareCopiesOptions): Promise<PreparedCopies> {
  const preparation = new Preparation(options);
  try {
    return await preparation.run();
  } finally {
    await preparation.close();
  }
}

class Preparation {
  readonly #options: PrepareCopiesOptions;
  readonly #open = new Set<Copy>();
  /** Nothing is written there, and nothing there counts. */
  readonly #failed = new Set<CopyPlace>();

  constructor(options: PrepareCopiesOptions) {
    this.#options = options;
  }

  async run(): Promise<PreparedCopies> {
    const seen = await this.#look();
    const { places, wanted } = this.#options;
    const copies = seen.filter((each) => each.kind === "copy");
    const alone = seen.filter((each) => each.kind === "alone");
    const stores = [...alone, ...copies];
    if (alone.length > 0 && stores.length > 1) throw severalStores(stores.map(({ place }) => place.name));
    if (copies.length > 0) return this.#goOnWith(copies);
    const isOneEnough = wanted === 1 || places.length === 1;
    const [only] = alone;
    if (only === undefined) await this.#assertNew(seen);
    const place = only?.place ?? places[0]!;
    if (isOneEnough) return { kind: "alone", place };
    await this.#options.files.makeFolderOf(place.path);
    const first = await this.#found(only?.copy ?? (await this.#openCopy(place)));
    const prepared = await this.#goOn(first);
    if (prepared === undefined) throw cannotWrite(place);
    return prepared;
  }

  async #look(): Promise<Seen[]> {
    const seen: Seen[] = [];
    for (const place of this.#options.places) {
      const found = await lookAt(place, this.#options.files);
      seen.push(found);
      if ("copy" in found) this.#open.add(found.copy);
      if (found.kind === "failed") this.#failed.add(place);
      if (found.kind === "failed" || found.kind === "damaged") {
        this.#options.log.error({ err: found.why }, `The metadata copy on ${place.name} cannot be read.`);
      }
    }
    return seen;
  }

  /** What has failed may never end: it is left open, until the process ends. */
  async close(): Promise<void> {
    for (const copy of this.#open) if (!this.#failed.has(copy.place)) await copy.close();
  }

  async #openCopy(place: CopyPlace): Promise<Copy> {
    const copy = await outOfTurn(() => openCopy(place));
    this.#open.add(copy);
    return copy;
  }

  /** A leader that turns out to have failed counts no more, and another is looked for. */
  async #goOnWith(copies: readonly FoundCopy[]): Promise<PreparedCopies> {
    for (;;) {
      const good = copies.filter(({ place }) => !this.#failed.has(place));
      if (good.length === 0) throw cannotWrite(copies[0]!.place);
      const prepared = await this.#goOn(choose(good, this.#nameOf));
      if (prepared !== undefined) return prepared;
    }
  }

  async #assertNew(seen: readonly Seen[]): Promise<void> {
    const bad = seen.find(({ kind }) => kind === "failed" || kind === "damaged");
    if (bad !== undefined) {
      throw new HoldfastError(
        "unavailable",
        `The metadata on ${bad.place.name} cannot be read, and no other drive has it.`,
      );
    }
    await this.#options.assertNew();
  }

  /** Makes a store that is alone, or new, the first of several copies. */
  async #found(copy: Copy): Promise<Chosen> {
    const { random } = this.#options;
    const view = firstView(copy.place.id, random);
    await inTransaction(copy.env, () => {
      const lastVersion = copy.lastVersion();
      writeView(copy.env, view);
      writeMark(copy.env, { lastVersion, copy: { batch: newId(random), run: newId(random), view: view.id } });
      return true;
    });
    return { view, leader: copy, present: [copy] };
  }

  readonly #nameOf = (id: MemberId): string =>
    this.#options.places.find((place) => place.id === id)?.name ?? `drive ${id}`;

  /** Undefined when the leader has failed. */
  async #goOn({ view, leader, present }: Chosen): Promise<PreparedCopies | undefined> {
    const { places, wanted, log } = this.#options;
    const level = await this.#bringLevel(view, leader, present);
    if (level === undefined) return undefined;
    const lost = view.members.filter((id) => !present.some(({ place }) => place.id === id));
    if (view.members.length === 2 && lost.length === 1)
      log.warn({}, oneOfTwo(leader.place.name, this.#nameOf(lost[0]!)));
    // The places' order, not that of finding.
    const kept = places.flatMap(({ id }) => level.filter(({ place }) => place.id === id)).slice(0, wanted);
    const made: Copy[] = [];
    for (const place of places) {
      if (kept.length + made.length >= wanted) break;
      if (kept.some((copy) => copy.place === place)) continue;
      const copy = await this.#make(leader, place);
      if (copy !== undefined) made.push(copy);
    }
    const members = places.filter((place) => [...kept, ...made].some((copy) => copy.place === place));
    const ids = members.map(({ id }) => id);
    await this.#establish(view, ids, [...level, ...made]);
    if (ids.length < Math.min(wanted, places.length)) {
      log.warn({ copies: ids.length, wanted }, "There are fewer copies of the metadata than wanted.");
    }
    return { kind: "copies", places: members, made: made.map(({ place }) => place.id), lost };
  }

  /** Fences earlier starts off. Returns the copies that are in the leader's state now, it included, if it can be written. */
  async #bringLevel(view: View, leader: Copy, present: readonly Copy[]): Promise<Copy[] | undefined> {
    const { random, log } = this.#options;
    const run = newId(random);
    const fenced = await this.#trying(leader, () => untilSettled(() => fence(leader, run)));
    if (fenced === undefined) return undefined;
    if (fenced === "overtaken" || leader.mark().copy.view !== view.id) throw stillWrites();
    const level = [leader];
    for (const copy of present) {
      if (copy === leader) continue;
      const runs = { from: run, to: undefined };
      const outcome = await this.#trying(copy, () => untilSettled(() => bringTo(leader, copy, runs)));
      if (outcome === "overtaken") throw stillWrites();
      if (outcome === "written") level.push(copy);
      if (outcome === "too far") log.warn({}, `The metadata copy on ${copy.place.name} is out of date.`);
    }
    return level;
  }

  /** Undefined when the copy failed in a way that does not pass. */
  async #trying<T>(copy: Copy, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      const { kind, cause } = await copy.failureOf(error);
      const said = { cause };
      if (kind === "no space") {
        throw new HoldfastError("unavailable", `${copy.place.name} has no room left for the metadata.`, said);
      }
      this.#options.log.error({ err: cause }, `The metadata copy on ${copy.place.name} has failed.`);
      this.#failed.add(copy.place);
      return undefined;
    }
  }

  /** A copy of the leader's on the place, replacing what is there; undefined when it cannot be made. */
  async #make(leader: Copy, place: CopyPlace): Promise<Copy | undefined> {
    if (this.#failed.has(place)) return undefined;
    const { files, log } = this.#options;
    for (const copy of this.#open) {
      if (copy.place !== place) continue;
      await copy.close();
      this.#open.delete(copy);
    }
    log.info({ bytes: leader.space().fileBytes }, `The metadata is copied to ${place.name}.`);
    try {
      await copyTo(leader, place, files);
      const copy = await this.#openCopy(place);
      if (!sameMark(copy.mark(), leader.mark())) throw new Error("The copy that was made is not like its original.");
      return copy;
    } catch (error) {
      log.error({ err: error }, `The metadata could not be copied to ${place.name}.`);
      this.#failed.add(place);
      return undefined;
    }
  }

  /** Writes a view with these members into all copies, where it is not the one they have. */
  async #establish(view: View, members: readonly MemberId[], copies: readonly Copy[]): Promise<void> {
    if (members.length === view.members.length && members.every((id) => view.members.includes(id))) return;
    // Whoever sees enough members of the old view has to see the new one.
    const speaking = copies.filter(({ place }) => view.members.includes(place.id));
    if (!isEnough(speaking.length, view)) {
      throw new HoldfastError("unavailable", "Too few drives could take up which of them hold the metadata now.");
    }
    const next = nextView(view, members, this.#options.random);
    for (const copy of copies) {
      const expected = copy.mark();
      const mark: FullMark = { ...expected, copy: { ...expected.copy, view: next.id } };
      if ((await copy.write({ expected, next: mark, view: next })) === "overtaken") throw stillWrites();
    }
  }
}

/** From now on nobody writes to the copy who does not know this run. */
async function fence(copy: Copy, run: RunId): Promise<CopyOutcome> {
  const expected = await copy.settledMark();
  return copy.write({ expected, next: { ...expected, copy: { ...expected.copy, run } } });
}

const attemptsMax = 5;

/** A process of an earlier start may be writing its last batch. */
async function untilSettled<T extends string>(step: () => Promise<T | "overtaken">): Promise<T | "overtaken"> {
  for (let attempt = 1; ; attempt++) {
    const outcome = await step();
    if (outcome !== "overtaken" || attempt >= attemptsMax) return outcome;
  }
}

/** LMDB's own backup, of one state, beside; synced before it gets its name. A lock file of the old one means nothing to it. */
async function copyTo(leader: Copy, { path }: CopyPlace, files: CopyFiles): Promise<void> {
  const aside = `${path}.new`;
  await files.makeFolderOf(path);
  await files.remove(aside);
  await leader.env.backup(aside, true);
  await files.sync(aside);
  await files.remove(`${path}-lock`);
  await files.replace(aside, path);
}

function cannotWrite({ name }: CopyPlace): HoldfastError {
  return new HoldfastError("unavailable", `The metadata on ${name} cannot be written, and no other drive has it.`);
}

function stillWrites(): HoldfastError {
  return new HoldfastError("unavailable", "A process of an earlier start still wrote to the metadata; start again.");
}

function oneOfTwo(here: string, away: string): string {
  return (
    `The metadata was on two drives, and only ${here} is there. It goes on alone: what is written from now on is lost if ` +
    `${here} is lost before ${away}, or another drive, has a copy again.`
  );
}
