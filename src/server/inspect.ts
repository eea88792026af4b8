/** Opens a stopped store to look at it: locks the drives, brings their indexes up to date, changes nothing else. */
import { systemClock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import type { Kv } from "../kv/kv.ts";
import { systemDisk, systemProcesses } from "../node/disk.system.ts";
import { markDriveClean, prepareDrive, readDriveId } from "../node/drive.ts";
import { openLocalNode } from "../node/local_node.ts";
import type { ChunkNode } from "../node/node.ts";
import { openIndex } from "./layout.ts";
import { aboutFolder, lockDrives } from "./lock.ts";
import { openNewestMetadata, type MetadataDrive } from "./metadata.ts";

/** `kv` takes no commits where the metadata is kept in several copies. */
export type InspectedStore = { readonly kv: Kv; readonly node: ChunkNode };

/** Errors: `unavailable` when a server runs on the drives; `invalid_argument` for a folder that is no drive. */
export async function inspectStore<T>(
  drives: readonly string[],
  log: Log,
  work: (store: InspectedStore) => Promise<T>,
): Promise<T> {
  const disk = systemDisk("/");
  const named: MetadataDrive[] = [];
  for (const drive of drives) {
    const id = await readDriveId(disk, drive).catch(aboutFolder(drive));
    if (id === undefined) throw new HoldfastError("invalid_argument", `${drive} is not a Holdfast drive.`);
    named.push({ id, path: drive });
  }
  const lock = await lockDrives(drives);
  try {
    for (const path of drives) await prepareDrive({ path, disk, openIndex, random: systemRandom, log });
    const kv = await openNewestMetadata(named, disk, log);
    try {
      const processes = await systemProcesses();
      const parts = { drives, disk, openIndex, processes, clock: systemClock, random: systemRandom, log };
      const node = await openLocalNode(parts);
      try {
        return await work({ kv, node });
      } finally {
        await node.close();
      }
    } finally {
      await kv.close();
    }
  } finally {
    for (const drive of drives) await markDriveClean(disk, drive);
    lock.release();
  }
}
