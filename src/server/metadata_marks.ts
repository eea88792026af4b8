/** Signs on drives that there is, or was, a store. Imports little: the supervisor uses it. */
import path from "node:path";
import { HoldfastError, systemCode } from "../core/errors.ts";
import type { Disk } from "../node/disk.ts";
import { metaFile } from "./layout.ts";

/** To be asked before a store is begun. Errors: `invalid_argument` when a drive has chunks, and so had a store. */
export async function refuseLostMetadata(disk: Disk, drives: readonly string[]): Promise<void> {
  for (const drive of drives) {
    if (!(await hasChunks(disk, drive))) continue;
    throw new HoldfastError(
      "invalid_argument",
      `${drive} has chunks, and none of the drives named has their metadata: name the other drives of the store too, ` +
        "or the metadata store of the cluster that it belongs to (--metadata).",
    );
  }
}

export async function hasChunks(disk: Disk, drive: string): Promise<boolean> {
  return (await listIfThere(disk, path.join(drive, "segments"))).length > 0;
}

/**
 * The drive's metadata is in an engine of its own from now on: what is embedded in the drive grows old, and a start from it would
 * take the chunks of all later objects for ones that nobody wants.
 */
export async function setMetadataAside(disk: Disk, drive: string): Promise<void> {
  if (!(await hasMetadata(disk, drive))) return;
  const folder = path.dirname(metaFile(drive));
  let aside = `${folder}.moved`;
  for (let count = 2; (await ifThere(disk.list(aside))) !== undefined; count++) aside = `${folder}.moved.${count}`;
  await disk.rename(folder, aside);
  await disk.syncDirectory(drive);
}

export async function hasMetadata(disk: Disk, drive: string): Promise<boolean> {
  const file = metaFile(drive);
  return (await listIfThere(disk, path.dirname(file))).includes(path.basename(file));
}

async function listIfThere(disk: Disk, folder: string): Promise<string[]> {
  return (await ifThere(disk.list(folder))) ?? [];
}

export async function ifThere<T>(found: Promise<T>): Promise<T | undefined> {
  try {
    return await found;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
