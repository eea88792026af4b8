/**
 * Drives as the target of a copy of the metadata: those of the store, where they lie on one machine, or empty folders, which
 * become drives.
 *
 * The copy is made aside, in `meta/store.mdb.copy` of the first drive, until all of it was compared. Then what is left of an
 * earlier time (the store was on these drives once, and was moved away) is removed from all of them, and the copy gets its
 * name. It is still closed then; a run that is cut off here is gone on with in the file of that name. The server that
 * starts on the drives makes the other copies of the metadata from this one.
 */
import path from "node:path";
import { HoldfastError } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { Credentials } from "../identity/identity.ts";
import { keepRootKey } from "../identity/root_key.ts";
import type { Kv } from "../kv/kv.ts";
import { openLmdbKv } from "../kv/lmdb.ts";
import { readCopying, whyClosed, type Copying } from "../meta/copying.ts";
import type { Disk } from "../node/disk.ts";
import { systemDisk } from "../node/disk.system.ts";
import { markDriveClean, prepareDrive, readDriveId } from "../node/drive.ts";
import type { CopyIdentity, CopyTarget } from "./copy_metadata.ts";
import { metaFile, openIndex } from "./layout.ts";
import { aboutFolder, lockDrives } from "./lock.ts";
import { aloneOn, metadataDrives, openNewestMetadata, openStopped, syncMetadataNames } from "./metadata.ts";
import type { MetadataDrive } from "./metadata.ts";
import { hasMetadata, ifThere } from "./metadata_marks.ts";

export type DrivesTargetParts = {
  readonly identity: CopyIdentity;
  /** The drives that the store has records of. */
  readonly known: readonly DriveId[];
  readonly random: Random;
  readonly log: Log;
};

type ClosableTarget = CopyTarget & { close(): Promise<void> };

/**
 * Errors: `unavailable` when a server runs on the drives; `invalid_argument` for drives that are another store's, or whose
 * metadata may still count.
 */
export async function openDrivesTarget(
  drives: readonly string[],
  name: string,
  parts: DrivesTargetParts,
): Promise<ClosableTarget> {
  const disk = systemDisk("/");
  const lock = await lockDrives(drives, "elsewhere");
  try {
    const named = await drivesOf(disk, drives);
    refuseStrangers(named, parts.known);
    const isPublished = await wasPublished(named, disk, parts);
    await formatEmpty(drives, disk, parts);
    const target = await (isPublished ? openPublished(named, disk, parts) : Aside.open({ ...parts, drives, disk }));
    const close = async (): Promise<void> => {
      await target.close();
      lock.release();
    };
    return { kv: target.kv, name, publish: (root) => target.publish(root), close };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Those of the folders that are drives already. */
export async function drivesOf(disk: Disk, drives: readonly string[]): Promise<MetadataDrive[]> {
  const found: MetadataDrive[] = [];
  for (const drive of drives) {
    const id = await readDriveId(disk, drive).catch(aboutFolder(drive));
    if (id !== undefined) found.push({ id, path: drive });
  }
  return found;
}

function refuseStrangers(named: readonly MetadataDrive[], known: readonly DriveId[]): void {
  const stranger = named.find(({ id }) => !known.includes(id));
  if (stranger === undefined) return;
  throw refusal(
    `${stranger.path} (drive ${stranger.id}) is not a drive of this store: name its own, or empty folders.`,
  );
}

/** Whether an earlier run had brought this copy to its place already. Errors: `invalid_argument` for any other metadata there. */
async function wasPublished(
  named: readonly MetadataDrive[],
  disk: Disk,
  { identity, log }: DrivesTargetParts,
): Promise<boolean> {
  const holders = [];
  for (const drive of named) if (await hasMetadata(disk, drive.path)) holders.push(drive);
  const [holder] = holders;
  if (holder === undefined) return false;
  const copying = await copyingOn(named, disk, log);
  if (copying?.state === "moved" && copying.store === identity.store) return false;
  if (copying?.state === "arriving" && copying.copy === identity.copying?.copy) return true;
  if (copying !== undefined) throw refusal(`${holder.path}: ${whyClosed(copying)}`);
  throw refusal(`${holder.path} has metadata of its own. Where nobody needs it, move its folder \`meta\` away.`);
}

async function copyingOn(drives: readonly MetadataDrive[], disk: Disk, log: Log): Promise<Copying | undefined> {
  const kv = await openNewestMetadata(drives, disk, log);
  try {
    return await readCopying(kv);
  } finally {
    await kv.close();
  }
}

async function formatEmpty(drives: readonly string[], disk: Disk, { random, log }: DrivesTargetParts): Promise<void> {
  for (const drive of drives) {
    if ((await readDriveId(disk, drive)) !== undefined) continue;
    await prepareDrive({ path: drive, disk, openIndex, random, log }).catch(aboutFolder(drive));
    await markDriveClean(disk, drive);
  }
}

type Opened = Pick<ClosableTarget, "kv" | "publish" | "close">;

/** A start that refused it may have made copies of it on other drives. */
async function openPublished(named: readonly MetadataDrive[], disk: Disk, parts: DrivesTargetParts): Promise<Opened> {
  const { kv, metadata } = await openStopped(named, { ...parts, disk });
  const publish = async (root: Credentials | undefined): Promise<Kv> => {
    for (const drive of metadataDrives(metadata)) if (root !== undefined) await keepRootKey(drive, root);
    // The run that gave the copy its name may have ended right then.
    for (const { path: drive } of named) await ifThere(disk.remove(lockOf(asideOf(drive))));
    await syncMetadataNames(disk, metadata);
    return kv;
  };
  return { kv, publish, close: () => kv.close() };
}

type AsideOptions = Pick<DrivesTargetParts, "identity" | "log"> & {
  /** The copy is made on the first one. */
  readonly drives: readonly string[];
  readonly disk: Disk;
};

class Aside implements Opened {
  readonly #options: AsideOptions;
  #kv: Kv;

  private constructor(options: AsideOptions, kv: Kv) {
    this.#options = options;
    this.#kv = kv;
  }

  /** What another copy left aside is nobody's, and is begun anew. */
  static async open(options: AsideOptions): Promise<Aside> {
    const { drives, disk, identity, log } = options;
    const file = asideOf(drives[0]!);
    // Made here and not by the store, as at a start (metadata.ts).
    await disk.makeDirectory(path.dirname(file));
    const kv = await openLmdbKv({ path: file, log });
    const copying = await readCopying(kv);
    if (copying !== undefined && copying.copy === identity.copying?.copy) return new Aside(options, kv);
    await kv.close();
    await removeStore(disk, file);
    return new Aside(options, await openLmdbKv({ path: file, log }));
  }

  get kv(): Kv {
    return this.#kv;
  }

  /**
   * Order of durability: every commit of the copy was synced → the root key is kept → metadata of an earlier time is gone from
   * all drives, which for this moment have none, so that no start would begin a store → the copy has its name.
   */
  async publish(root: Credentials | undefined): Promise<Kv> {
    const { drives, disk, log } = this.#options;
    const [first] = drives as readonly [string];
    const [file, named] = [asideOf(first), metaFile(first)];
    if (root !== undefined) await keepRootKey(first, root);
    await this.#kv.close();
    for (const drive of drives) await removeStore(disk, metaFile(drive));
    await disk.rename(file, named);
    await ifThere(disk.remove(lockOf(file)));
    await syncMetadataNames(disk, aloneOn(first));
    this.#kv = await openLmdbKv({ path: named, log });
    return this.#kv;
  }

  close(): Promise<void> {
    return this.#kv.close();
  }
}

function asideOf(drive: string): string {
  return `${metaFile(drive)}.copy`;
}

/** LMDB's, which is made anew whenever nobody has the file open. */
function lockOf(file: string): string {
  return `${file}-lock`;
}

/** Removes a file of the metadata, where there is one. */
async function removeStore(disk: Disk, file: string): Promise<void> {
  for (const name of [file, lockOf(file)]) await ifThere(disk.remove(name));
  await ifThere(disk.syncDirectory(path.dirname(file)));
}

function refusal(message: string): HoldfastError {
  return new HoldfastError("invalid_argument", message);
}
