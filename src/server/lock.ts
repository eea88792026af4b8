/** Taking the drives for one server, with sentences for what can go wrong. Imports little: the supervisor uses it. */
import { HoldfastError, systemCode } from "../core/errors.ts";
import type { Disk } from "../node/disk.ts";
import { systemDisk } from "../node/disk.system.ts";
import { refuseForeign } from "../node/drive.ts";
import { lockDrive, type DriveLock } from "../node/drive_lock.ts";
import { hasMetadata, refuseLostMetadata } from "./metadata_marks.ts";

/** Makes the folders and takes their locks, all or none. Writes nothing into a folder that is not ours. */
export async function lockDrives(drives: readonly string[], metadata: "embedded" | "elsewhere"): Promise<DriveLock> {
  const disk = systemDisk("/");
  const locks: DriveLock[] = [];
  const release = (): void => locks.forEach((lock) => lock.release());
  try {
    for (const drive of drives) {
      await disk.makeDirectory(drive).catch(aboutFolder(drive));
      await refuseForeign(disk, drive);
      locks.push(lockDrive(drive));
    }
    if (metadata === "embedded") await checkMetadata(disk, drives);
  } catch (error) {
    release();
    throw error;
  }
  return { release };
}

/** Before anything is written: an empty store would be begun, and to it every chunk would be one that nobody wants. */
async function checkMetadata(disk: Disk, drives: readonly string[]): Promise<void> {
  for (const drive of drives) if (await hasMetadata(disk, drive)) return;
  await refuseLostMetadata(disk, drives);
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
