/** Taking the drives for one server, with sentences for what can go wrong. Imports little: the supervisor uses it. */
import { HoldfastError, systemCode } from "../core/errors.ts";
import { systemDisk } from "../node/disk.system.ts";
import { lockDrive, type DriveLock } from "../node/drive_lock.ts";

/** Makes the folders and takes their locks, all or none. */
export async function lockDrives(drives: readonly string[]): Promise<DriveLock> {
  const disk = systemDisk("/");
  const locks: DriveLock[] = [];
  const release = (): void => locks.forEach((lock) => lock.release());
  try {
    for (const drive of drives) {
      await disk.makeDirectory(drive).catch(aboutFolder(drive));
      locks.push(lockDrive(drive));
    }
  } catch (error) {
    release();
    throw error;
  }
  return { release };
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
