/**
 * What is done once before a server's workers start, by one process, while the drives are locked: drives are formatted or
 * their indexes brought up to date, sessions of earlier runs are fenced (their processes are dead: they held the lock),
 * and the root key is found or made.
 */
import path from "node:path";
import type { Clock } from "../core/clock.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { Credentials } from "../identity/identity.ts";
import { rootKey, type RootKey } from "../identity/root_key.ts";
import { fenceOthers, sweepSuspects } from "../jobs/jobs.ts";
import { openLmdbKv } from "../kv/lmdb.ts";
import { systemDisk } from "../node/disk.system.ts";
import { prepareDrive } from "../node/drive.ts";
import { metaFile, openIndex } from "./layout.ts";
import { aboutFolder } from "./lock.ts";

export type Prepared = {
  readonly rootKey: RootKey;
  /** An index was built anew and not swept since: shards that were removed may be back. */
  readonly sweepDue: boolean;
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
  let sweepDue = false;
  for (const drive of drives) {
    const prepared = await prepareDrive({ path: drive, disk, openIndex, random, log }).catch(aboutFolder(drive));
    sweepDue ||= prepared.sweepDue;
  }
  const [first] = drives as [string];
  // Made here and not by the store: it holds secrets, so it is nobody else's to read, whatever mode the drive's folder has.
  const metaFolder = path.dirname(metaFile(first));
  await disk.makeDirectory(metaFolder);
  const kv = await openLmdbKv({ path: metaFile(first), log });
  try {
    // The store syncs its bytes; its name, and its folder's, are durable only with these. At every start, since the one
    // that made them may have been cut off before it came here.
    await disk.syncDirectory(metaFolder);
    await disk.syncDirectory(first);
    const count = await fenceOthers(kv, []);
    if (count > 0) log.info({ count }, "Sessions of an earlier run were fenced.");
    await sweepSuspects(kv);
  } finally {
    await kv.close();
  }
  return { rootKey: await rootKey(first, root), sweepDue };
}
