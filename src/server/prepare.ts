/**
 * What is done once before a server's workers start, by one process, while the drives are locked: drives are formatted or
 * their indexes brought up to date, sessions of earlier runs are fenced (their processes are dead: they held the lock),
 * and the root key is found or made.
 */
import type { Clock } from "../core/clock.ts";
import { HoldfastError, systemCode } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { Credentials } from "../identity/identity.ts";
import { rootKey, type RootKey } from "../identity/root_key.ts";
import type { Kv } from "../kv/kv.ts";
import { openLmdbKv } from "../kv/lmdb.ts";
import { fenceSession, readSessions } from "../meta/sessions.ts";
import { systemDisk } from "../node/disk.system.ts";
import { prepareDrive } from "../node/drive.ts";
import { lockDrive, type DriveLock } from "../node/drive_lock.ts";
import { metaFile, openIndex } from "./layout.ts";

export type Prepared = {
  readonly rootKey: RootKey;
  /** An index was built anew, so shards that were removed may be back: a full sweep is due. */
  readonly rebuilt: boolean;
};

export type PrepareServerOptions = {
  /** Absolute paths; not empty. */
  readonly drives: readonly string[];
  readonly root: Credentials | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

/** Errors: a sentence for the operator that names the folder. */
export async function prepareServer({ drives, root, random, log }: PrepareServerOptions): Promise<Prepared> {
  const disk = systemDisk("/");
  let rebuilt = false;
  for (const drive of drives) {
    const prepared = await prepareDrive({ path: drive, disk, openIndex, random, log }).catch(aboutFolder(drive));
    rebuilt ||= prepared.rebuilt;
  }
  const [first] = drives as [string];
  const kv = await openLmdbKv({ path: metaFile(first), log });
  try {
    await fenceEarlierSessions(kv, log);
  } finally {
    await kv.close();
  }
  return { rootKey: await rootKey(first, root), rebuilt };
}

async function fenceEarlierSessions(kv: Kv, log: Log): Promise<void> {
  for (const session of await readSessions(kv)) {
    await fenceSession(kv, session);
    log.info({ session: session.id }, "A session of an earlier run was ended.");
  }
}

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

function aboutFolder(folder: string): (error: unknown) => never {
  return (error) => {
    const why = whyByCode[systemCode(error) ?? ""];
    if (why === undefined) throw error;
    throw new HoldfastError("unavailable", `${folder} cannot be used as a drive: ${why}.`, { cause: error });
  };
}
