/** Taking the drives for one server, in their right order, with sentences for what can go wrong. Imports little: the supervisor uses it. */
import path from "node:path";
import { HoldfastError, systemCode } from "../core/errors.ts";
import type { Disk } from "../node/disk.ts";
import { systemDisk } from "../node/disk.system.ts";
import { refuseForeign } from "../node/drive.ts";
import { lockDrive, type DriveLock } from "../node/drive_lock.ts";
import { metaFile } from "./layout.ts";

/** Makes the folders and takes their locks, all or none. Writes nothing into a folder that is not ours. */
export async function lockDrives(drives: readonly string[]): Promise<DriveLock> {
  const disk = systemDisk("/");
  const locks: DriveLock[] = [];
  const release = (): void => locks.forEach((lock) => lock.release());
  try {
    for (const drive of drives) {
      await disk.makeDirectory(drive).catch(aboutFolder(drive));
      await refuseForeign(disk, drive);
      locks.push(lockDrive(drive));
    }
    await checkRoles(disk, drives);
  } catch (error) {
    release();
    throw error;
  }
  return { release };
}

/**
 * The store's metadata lies on its first drive. With drives in another order an empty one would be begun on the drive that
 * is first now, and to it every chunk would be one that nobody wants.
 */
async function checkRoles(disk: Disk, drives: readonly string[]): Promise<void> {
  const [first, ...others] = drives;
  if (first === undefined) return;
  const order = "name the drives in the order in which the store was made, that one first";
  const isHere = (file: string): Promise<boolean> => isFile(disk, file);
  for (const other of others) {
    if (await isHere(metaFile(other))) throw wrongOrder(`${other} has the metadata of a store: ${order}.`);
  }
  if (await isHere(metaFile(first))) return;
  if ((await listIfThere(disk, path.join(first, "segments"))).length === 0) return;
  throw wrongOrder(`${first} has chunks but no metadata, which lies on the first drive of a store: ${order}.`);
}

function wrongOrder(message: string): HoldfastError {
  return new HoldfastError("invalid_argument", message);
}

async function isFile(disk: Disk, file: string): Promise<boolean> {
  return (await listIfThere(disk, path.dirname(file))).includes(path.basename(file));
}

async function listIfThere(disk: Disk, folder: string): Promise<string[]> {
  try {
    return await disk.list(folder);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}

const whyByCode: Readonly<Record<string, string>> = {
  EACCES: "this user may not write there",
  EROFS: "it is on a read-only file system",
  ENOTDIR: "a part of its path is not a folder",
  EEXIST: "it is not a folder",
  ENOSPC: "the disk is full",
};

/** Says what the system's error means for somebody who named that folder. */
export function aboutFolder(folder: string): (error: unknown) => never {
  return (error) => {
    const why = whyByCode[systemCode(error) ?? ""];
    if (why === undefined) throw error;
    throw new HoldfastError("unavailable", `${folder} cannot be used as a drive: ${why}.`, { cause: error });
  };
}
