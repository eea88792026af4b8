/** The drives of a server, made ready by the one that holds their locks. One that fails is left out where others are left. */
import { systemCauses } from "../core/errors.ts";
import type { Clock } from "../core/clock.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { Kv } from "../kv/kv.ts";
import { recordDrives } from "../meta/drives.ts";
import type { Disk } from "../node/disk.ts";
import { sweepAgain } from "../jobs/jobs.ts";
import { markReplayedKnown, prepareDrive, type PreparedDrive } from "../node/drive.ts";
import { openIndex } from "./layout.ts";
import { aboutFolder } from "./lock.ts";

export type PrepareDrivesOptions = {
  /** Absolute paths; not empty. */
  readonly drives: readonly string[];
  readonly random: Random;
  readonly log: Log;
};

/** Errors: a sentence for the operator that names the folder. */
export async function prepareDrives(options: PrepareDrivesOptions, disk: Disk): Promise<PreparedDrive[]> {
  const { drives, random, log } = options;
  const usable: PreparedDrive[] = [];
  let failure: unknown;
  for (const drive of drives) {
    try {
      usable.push(await prepareDrive({ path: drive, disk, openIndex, random, log }).catch(aboutFolder(drive)));
    } catch (error) {
      if (drives.length === 1 || !isOfDevice(error)) throw error;
      failure = error;
      log.error({ err: error }, `The drive ${drive} fails and is left out.`);
    }
  }
  if (usable.length === 0) throw failure;
  return usable;
}

const deviceCodes = ["EIO", "ENXIO", "ENODEV", "EROFS", "EUCLEAN"];

/** The device, not the request, is what is wrong. */
function isOfDevice(error: unknown): boolean {
  return systemCauses(error).some((code) => deviceCodes.includes(code));
}

/** Notes them in the store, and says which drives of this node are not there. `node`: its address, empty where it is alone. */
export async function noteDrives(
  kv: Kv,
  usable: readonly PreparedDrive[],
  { node, disk, clock, log }: { readonly node: string; readonly disk: Disk; readonly clock: Clock; readonly log: Log },
): Promise<void> {
  const present = [];
  for (const { id, path } of usable) present.push({ id, path, sizeBytes: (await disk.space(path)).totalBytes, node });
  for (const { id, path, node: at } of await recordDrives(kv, present, clock.nowMs())) {
    if (at !== node) continue;
    const other = present.find((drive) => drive.path === path);
    const instead = other === undefined ? "" : `; in that folder there is the drive ${other.id} now`;
    log.warn({ drive: id, path }, `The drive ${id} is missing. It was last at ${path}${instead}.`);
  }
}

/** Has the sessions looked through again whose shards were found when the drives were opened, now or by whoever opened them last. */
export async function sweepReplayed(kv: Kv, usable: readonly PreparedDrive[], disk: Disk): Promise<void> {
  await sweepAgain(
    kv,
    usable.flatMap(({ replayed }) => replayed),
  );
  for (const { path } of usable) await markReplayedKnown(disk, path);
}
