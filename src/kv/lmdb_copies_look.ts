/**
 * What there is in a place for a copy of the metadata. The head of the file is read by ordinary reads before LMDB opens it:
 * npm `lmdb` does not survive to open a file that is no LMDB file, or whose head cannot be read.
 */
import { HoldfastError } from "../core/errors.ts";
import { openCopy } from "./lmdb_copy.ts";
import type { Copy, CopyPlace, FullMark } from "./lmdb_copy.ts";
import { readMark } from "./lmdb_state.ts";
import { outOfTurn } from "./lmdb_turn.ts";
import type { View } from "./lmdb_views.ts";

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
