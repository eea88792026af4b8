/**
 * Opens a stopped store to look at it: locks the drives, brings their indexes up to date, changes nothing else. Of a cluster, whose
 * metadata is in an engine, every node must be stopped; drives that are not named are not looked at.
 */
import { systemClock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import type { Log } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import type { Kv } from "../kv/kv.ts";
import { readDrives } from "../meta/drives.ts";
import { systemDisk, systemProcesses } from "../node/disk.system.ts";
import { markDriveClean, prepareDrive, readDriveId } from "../node/drive.ts";
import { openLocalNode } from "../node/local_node.ts";
import type { ChunkNode } from "../node/node.ts";
import { openEngine, shownEngineUrl } from "./engine.ts";
import { openIndex } from "./layout.ts";
import { refuseLiveSessions } from "./live_sessions.ts";
import { aboutFolder, lockDrives } from "./lock.ts";
import { openNewestMetadata, type MetadataDrive } from "./metadata.ts";

/** `kv` takes no commits where the metadata is kept in several copies. */
export type InspectedStore = {
  readonly kv: Kv;
  readonly node: ChunkNode;
  /** Drives that the store has and that were not named; of a cluster only. */
  readonly elsewhere: ReadonlySet<DriveId>;
};

export type InspectOptions = {
  /** Absolute paths; not empty. */
  readonly drives: readonly string[];
  /** Address of the metadata store, where it does not lie on the drives. */
  readonly engine?: string | undefined;
  readonly log: Log;
};

/** Errors: `unavailable` when a server runs on the drives; `invalid_argument` for a folder that is no drive, or while nodes run. */
export async function inspectStore<T>(
  { drives, engine, log }: InspectOptions,
  work: (store: InspectedStore) => Promise<T>,
): Promise<T> {
  const disk = systemDisk("/");
  const named: MetadataDrive[] = [];
  for (const drive of drives) {
    const id = await readDriveId(disk, drive).catch(aboutFolder(drive));
    if (id === undefined) throw new HoldfastError("invalid_argument", `${drive} is not a Holdfast drive.`);
    named.push({ id, path: drive });
  }
  const lock = await lockDrives(drives, engine === undefined ? "embedded" : "elsewhere");
  const prepared: string[] = [];
  try {
    for (const path of drives) {
      await prepareDrive({ path, disk, openIndex, random: systemRandom, log });
      prepared.push(path);
    }
    const kv = engine === undefined ? await openNewestMetadata(named, disk, log) : await openStopped(engine, log);
    try {
      const elsewhere = engine === undefined ? new Set<DriveId>() : await othersThan(kv, named);
      const processes = await systemProcesses();
      const parts = { drives, disk, openIndex, processes, clock: systemClock, random: systemRandom, log };
      const node = await openLocalNode(parts);
      try {
        return await work({ kv, node, elsewhere });
      } finally {
        await node.close();
      }
    } finally {
      await kv.close();
    }
  } finally {
    for (const drive of prepared) await markDriveClean(disk, drive);
    lock.release();
  }
}

async function openStopped(engine: string, log: Log): Promise<Kv> {
  const kv = await openEngine(engine, { log });
  try {
    await refuseLiveSessions(kv, shownEngineUrl(engine), systemClock);
    return kv;
  } catch (error) {
    await kv.close();
    throw error;
  }
}

/** Errors: `invalid_argument` when one of the drives is not the store's: all that it has would be too much. */
async function othersThan(kv: Kv, named: readonly MetadataDrive[]): Promise<ReadonlySet<DriveId>> {
  const known = await readDrives(kv);
  for (const { id, path } of named)
    if (!known.some((drive) => drive.id === id))
      throw new HoldfastError("invalid_argument", `The metadata store does not know the drive in ${path}.`);
  const others = known.filter(({ id, state }) => state !== "removed" && !named.some((drive) => drive.id === id));
  return new Set(others.map(({ id }) => id));
}
