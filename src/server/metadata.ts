/** Where the metadata of a server lies: on which of its drives, and how it is opened there (docs/decisions/0007). */
import path from "node:path";
import { HoldfastError } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { FileSpace, Kv } from "../kv/kv.ts";
import { openLmdbKv, type LmdbKvOptions } from "../kv/lmdb.ts";
import { openLmdbCopies } from "../kv/lmdb_copies.ts";
import { newestPlace, type CopyFiles } from "../kv/lmdb_copies_look.ts";
import { prepareCopies, type PreparedCopies } from "../kv/lmdb_copies_prepare.ts";
import type { CopyPlace } from "../kv/lmdb_copy.ts";
import type { Disk } from "../node/disk.ts";
import { metaFile } from "./layout.ts";
import { hasMetadata, ifThere, refuseLostMetadata } from "./metadata_marks.ts";

/** As it was prepared; also what a supervisor tells its workers. */
export type Metadata = PreparedCopies;
export type MetadataDrive = { readonly id: DriveId; readonly path: string };

export function aloneOn(drive: string): Metadata {
  return { kind: "alone", place: placeOn({ id: "" as DriveId, path: drive }) };
}

/** Folders of the drives that have it, the one that is read first. */
export function metadataDrives(metadata: Metadata): string[] {
  return metadata.kind === "alone" ? [metadata.place.name] : metadata.places.map(({ name }) => name);
}

function placeOn({ id, path: drive }: MetadataDrive): CopyPlace {
  return { id, name: drive, path: metaFile(drive) };
}

export type PrepareMetadataOptions = {
  /** Drives that are locked and can be used, in the order of preference; not empty. */
  readonly drives: readonly MetadataDrive[];
  readonly copies: number;
  readonly disk: Disk;
  readonly random: Random;
  readonly log: Log;
};

/** Errors: a sentence for the operator. */
export async function prepareMetadata(options: PrepareMetadataOptions): Promise<Metadata> {
  const { drives, copies, disk, random, log } = options;
  const places = drives.map(placeOn);
  // Made here and not by the store: it holds secrets, so it is nobody else's to read, whatever mode the drive's folder has.
  const files = filesOf(disk);
  const assertNew = (): Promise<void> =>
    refuseLostMetadata(
      disk,
      drives.map((drive) => drive.path),
    );
  const metadata = await prepareCopies({ places, wanted: copies, files, assertNew, random, log });
  for (const drive of metadataDrives(metadata)) await disk.makeDirectory(path.dirname(metaFile(drive)));
  return metadata;
}

/**
 * A store's bytes are synced by itself; its name, and its folder's, are durable only with these. At every start, since the
 * one that made them may have been cut off before it came here.
 */
export async function syncMetadataNames(disk: Disk, metadata: Metadata): Promise<void> {
  for (const drive of metadataDrives(metadata)) {
    await disk.syncDirectory(path.dirname(metaFile(drive)));
    await disk.syncDirectory(drive);
  }
}

export type OpenMetadataOptions = Pick<LmdbKvOptions, "log" | "onBatch" | "onFailed"> & {
  readonly metadata: Metadata;
  readonly disk: Disk;
};

/** What holds the metadata, and the drives it lies on at this moment. */
export type OpenedMetadata = {
  readonly kv: Kv;
  spaces(): { readonly drive: string; readonly space: FileSpace }[];
};

export async function openMetadata({ metadata, disk, ...options }: OpenMetadataOptions): Promise<OpenedMetadata> {
  const freeBytes = async ({ name }: CopyPlace): Promise<number> => (await disk.space(name)).freeBytes;
  if (metadata.kind === "alone") {
    const { place } = metadata;
    const kv = await openLmdbKv({ ...options, path: place.path, freeBytes: () => freeBytes(place) });
    return { kv, spaces: () => [{ drive: place.name, space: kv.fileSpace!() }] };
  }
  const kv = await openLmdbCopies({ ...options, places: metadata.places, freeBytes });
  return { kv, spaces: () => kv.copies().map(({ place: { name: drive }, space }) => ({ drive, space })) };
}

/**
 * The metadata of a stopped store, to be written to, as a start would open it, with as many copies as there are. The drives are
 * locked. Errors: a sentence for the operator.
 */
export async function openStopped(
  drives: readonly MetadataDrive[],
  { disk, random, log }: Pick<PrepareMetadataOptions, "disk" | "random" | "log">,
): Promise<{ readonly kv: Kv; readonly metadata: Metadata }> {
  let copies = 0;
  for (const drive of drives) if (await hasMetadata(disk, drive.path)) copies += 1;
  if (copies === 0) throw new HoldfastError("invalid_argument", "None of these drives has the metadata.");
  const metadata = await prepareMetadata({ drives, copies, disk, random, log });
  return { kv: (await openMetadata({ metadata, disk, log })).kv, metadata };
}

/** For one who only looks: the store, or the copy that has everything, which takes no commits then. */
export async function openNewestMetadata(drives: readonly MetadataDrive[], disk: Disk, log: Log): Promise<Kv> {
  const kv = await findNewestMetadata(drives, disk, log);
  if (kv === undefined) throw new HoldfastError("invalid_argument", "None of these drives has the metadata.");
  return kv;
}

/** As `openNewestMetadata`; undefined where there is no store yet. */
export async function findNewestMetadata(
  drives: readonly MetadataDrive[],
  disk: Disk,
  log: Log,
): Promise<Kv | undefined> {
  const newest = await newestPlace(drives.map(placeOn), filesOf(disk));
  return newest && openLmdbKv({ path: newest.place.path, readOnly: newest.isOneOfSeveral, log });
}

function filesOf(disk: Disk): CopyFiles {
  return {
    head: async (file, bytes) => {
      const opened = await ifThere(disk.open(file, "read"));
      if (opened === undefined) return undefined;
      try {
        const into = Buffer.alloc(bytes);
        return into.subarray(0, await opened.read(into, 0));
      } finally {
        await opened.close();
      }
    },
    makeFolderOf: (file) => disk.makeDirectory(path.dirname(file)),
    remove: async (file) => {
      await ifThere(disk.remove(file));
    },
    sync: async (file) => {
      const opened = await disk.open(file, "write");
      try {
        await opened.sync();
      } finally {
        await opened.close();
      }
    },
    replace: async (from, to) => {
      await disk.rename(from, to);
      await disk.syncDirectory(path.dirname(to));
      await disk.syncDirectory(path.dirname(path.dirname(to)));
    },
  };
}
