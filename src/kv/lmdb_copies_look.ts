/**
 * What there is in a place for a copy of the metadata. The head of the file is read by ordinary reads before LMDB opens it:
 * npm `lmdb` does not survive to open a file that is no LMDB file, or whose head cannot be read.
 */
import { HoldfastError } from "../core/errors.ts";
import { openCopy } from "./lmdb_copy.ts";
import type { Copy, CopyPlace, FullMark } from "./lmdb_copy.ts";
import { readMark } from "./lmdb_state.ts";
import { outOfTurn } from "./lmdb_turn.ts";
import { chooseCopy } from "./lmdb_views.ts";
import type { Choice, MemberId, View } from "./lmdb_views.ts";

/** The file system, as far as copies need it; each step is durable when it resolves. */
export type CopyFiles = {
  /** The first bytes of a file, fewer where it is shorter; undefined where there is none. */
  head(path: string, bytes: number): Promise<Buffer | undefined>;
  /** Makes the folder that the file will be in, and those above it. */
  makeFolderOf(path: string): Promise<void>;
  /** Removes a file, if it is there. */
  remove(path: string): Promise<void>;
  sync(path: string): Promise<void>;
  /** Renames within one folder. */
  replace(from: string, to: string): Promise<void>;
};

export type Seen =
  | { readonly kind: "none"; readonly place: CopyPlace }
  /** It cannot be read, and nothing should be written there. */
  | { readonly kind: "failed"; readonly place: CopyPlace; readonly why: unknown }
  /** It can be read, and is no store. */
  | { readonly kind: "damaged"; readonly place: CopyPlace; readonly why: unknown }
  /** A store in the format for one. */
  | { readonly kind: "alone"; readonly place: CopyPlace; readonly copy: Copy }
  | {
      readonly kind: "copy";
      readonly place: CopyPlace;
      readonly copy: Copy;
      readonly mark: FullMark;
      readonly view: View;
    };

/** Two pages: each begins with LMDB's page header, then its magic number (mdb.c, MDB_meta). */
const headBytes = 8_192;
const magicOffset = 24;
const magic = 0xbeef_c0de;

/** Errors: `corrupt_record` for a store in a format that this build does not know. What is returned open, the caller closes. */
export async function lookAt(place: CopyPlace, files: CopyFiles): Promise<Seen> {
  let head: Buffer | undefined;
  try {
    head = await files.head(place.path, headBytes);
  } catch (why) {
    return { kind: "failed", place, why };
  }
  if (head === undefined || head.length === 0) return { kind: "none", place };
  if (head.length < headBytes || head.readUInt32LE(magicOffset) !== magic) {
    return { kind: "damaged", place, why: new Error(`${place.path} is no LMDB file.`) };
  }
  let copy: Copy | undefined;
  try {
    copy = await outOfTurn(() => openCopy(place));
    return await seenIn(copy);
  } catch (why) {
    await copy?.close();
    if (why instanceof HoldfastError && why.reason === "corrupt_record") throw why;
    return { kind: "failed", place, why };
  }
}

async function seenIn(copy: Copy): Promise<Seen> {
  const { place } = copy;
  const mark = readMark(copy.env);
  if (mark === undefined) {
    // Made by a start that ended before its first commit.
    await copy.close();
    return { kind: "none", place };
  }
  if (mark.copy === undefined) return { kind: "alone", place, copy };
  return { kind: "copy", place, copy, mark: copy.mark(), view: copy.view() };
}

export type FoundCopy = Extract<Seen, { readonly kind: "copy" }>;
export type Chosen = { readonly view: View; readonly leader: Copy; readonly present: readonly Copy[] };
type Member = { readonly member: MemberId; readonly view: View; readonly lastVersion: number; readonly copy: Copy };

/** The copy that has everything. Errors: a sentence that says why none is known to. */
export function choose(copies: readonly FoundCopy[], nameOf: (id: MemberId) => string): Chosen {
  const found = copies.map(({ place, copy, mark, view }): Member => ({
    member: place.id,
    view,
    lastVersion: mark.lastVersion,
    copy,
  }));
  const choice = chooseCopy(found);
  if (choice.kind !== "chosen") throw refusal(choice, nameOf);
  const { view, leader, present } = choice;
  return { view, leader: leader.copy, present: present.map(({ copy }) => copy) };
}

/** The place of the store, or of the copy of it that has everything; undefined when there is none. Changes nothing. */
export async function newestPlace(
  places: readonly CopyPlace[],
  files: CopyFiles,
): Promise<{ readonly place: CopyPlace; readonly isOneOfSeveral: boolean } | undefined> {
  const seen: Seen[] = [];
  try {
    for (const place of places) seen.push(await lookAt(place, files));
    const copies = seen.filter((each) => each.kind === "copy");
    const alone = seen.filter((each) => each.kind === "alone");
    const stores = [...alone, ...copies];
    if (alone.length > 0 && stores.length > 1) throw severalStores(stores.map(({ place }) => place.name));
    if (alone[0] !== undefined) return { place: alone[0].place, isOneOfSeveral: false };
    if (copies.length === 0) return undefined;
    const nameOf = (id: MemberId): string => places.find((place) => place.id === id)?.name ?? `drive ${id}`;
    return { place: choose(copies, nameOf).leader.place, isOneOfSeveral: true };
  } finally {
    for (const each of seen) if ("copy" in each) await each.copy.close();
  }
}

export function severalStores(names: readonly string[]): HoldfastError {
  return new HoldfastError(
    "invalid_argument",
    `${names.join(" and ")} each have the metadata of a store of their own; name the drives of one store only.`,
  );
}

type Refused = Exclude<Choice<Member>, { readonly kind: "chosen" }>;

function refusal(choice: Refused, nameOf: (id: MemberId) => string): HoldfastError {
  if (choice.kind !== "too few") {
    const names = choice.copies.map(({ member }) => nameOf(member));
    if (choice.kind === "two stores") return severalStores(names);
    return new HoldfastError(
      "invalid_argument",
      `${names.join(" and ")} were each started without the other, and each has commits of its own. ` +
        "Keep one of them: move the folder `meta` of the others away and start again.",
    );
  }
  const { view, present } = choice;
  const missing = view.members.filter((id) => !present.some(({ member }) => member === id));
  return new HoldfastError(
    "unavailable",
    `The metadata is on ${view.members.length} drives, and ${present.length === 1 ? "only 1 is" : `only ${present.length} are`} ` +
      `there: the newest commits may be on those that are missing (${missing.map(nameOf).join(", ")}).`,
  );
}
