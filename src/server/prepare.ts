/**
 * What is done once before a server's workers start, by one process, while the drives are locked: drives are formatted or
 * their indexes brought up to date, the copies of the metadata are brought to one state, the drives that are there are
 * compared with those that the store knows, sessions of earlier runs are fenced (their processes are dead: they held the
 * lock), and the root key is found or made.
 *
 * A drive that fails (its device reports errors) is left out, said loudly, where the metadata can be had without it.
 */
import type { Clock } from "../core/clock.ts";
import { HoldfastError, systemCode } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import { defaultRedundancy } from "../core/redundancy.ts";
import type { Credentials } from "../identity/identity.ts";
import { rootKey, type RootKey } from "../identity/root_key.ts";
import { fenceOthers, sweepSuspects } from "../jobs/jobs.ts";
import type { Kv } from "../kv/kv.ts";
import { recordDrives } from "../meta/drives.ts";
import type { Disk } from "../node/disk.ts";
import { systemDisk } from "../node/disk.system.ts";
import { prepareDrive, type PreparedDrive } from "../node/drive.ts";
import { openIndex } from "./layout.ts";
import { aboutFolder } from "./lock.ts";
import { metadataDrives, openMetadata, prepareMetadata, syncMetadataNames, type Metadata } from "./metadata.ts";

export type Prepared = {
  readonly rootKey: RootKey;
  /** Those of the drives that can be used. */
  readonly drives: readonly string[];
  readonly metadata: Metadata;
  /** An index was built anew and not swept since: shards that were removed may be back. */
  readonly sweepDue: boolean;
};

export type PrepareServerOptions = {
  /** Absolute paths; not empty. */
  readonly drives: readonly string[];
  /** Copies of the metadata wanted; by default as many as `metadataCopiesDefault` says. */
  readonly copies?: number;
  readonly root: Credentials | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

/**
 * Enough that the newest commits are known (more than half of the copies are there) while as many drives are lost at once as
 * chunks bear by default; more would cost each commit.
 */
export function metadataCopiesDefault(drives: number): number {
  const losses = defaultRedundancy(drives).parityShards;
  return Math.min(drives, 2 * losses + 1);
}

/** Errors: a sentence for the operator that names the folder. */
export async function prepareServer(options: PrepareServerOptions): Promise<Prepared> {
  const { drives, root, clock, random, log } = options;
  const disk = systemDisk("/");
  const usable = await prepareDrives(options, disk);
  const copies = Math.min(options.copies ?? metadataCopiesDefault(drives.length), usable.length);
  const metadata = await prepareMetadata({ drives: usable, copies, disk, random, log });
  const { kv } = await openMetadata({ metadata, disk, log });
  try {
    await syncMetadataNames(disk, metadata);
    await noteDrives(kv, usable, { disk, clock, log });
    const count = await fenceOthers(kv, []);
    if (count > 0) log.info({ count }, "Sessions of an earlier run were fenced.");
    await sweepSuspects(kv);
  } finally {
    await kv.close();
  }
  return {
    rootKey: await rootKey(rootKeyFolders(metadata), root),
    drives: usable.map((drive) => drive.path),
    metadata,
    sweepDue: usable.some(({ sweepDue }) => sweepDue),
  };
}

async function prepareDrives(options: PrepareServerOptions, disk: Disk): Promise<PreparedDrive[]> {
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
  if (deviceCodes.includes(systemCode(error) ?? "")) return true;
  return error instanceof HoldfastError && error.cause !== undefined && isOfDevice(error.cause);
}

/** Says which drives of the store are not there. */
async function noteDrives(
  kv: Kv,
  usable: readonly PreparedDrive[],
  { disk, clock, log }: { readonly disk: Disk; readonly clock: Clock; readonly log: Log },
): Promise<void> {
  const present = [];
  for (const { id, path } of usable) present.push({ id, path, sizeBytes: (await disk.space(path)).totalBytes });
  for (const { id, path } of await recordDrives(kv, present, clock.nowMs())) {
    const other = present.find((drive) => drive.path === path);
    const instead = other === undefined ? "" : `; in that folder there is the drive ${other.id} now`;
    log.warn({ drive: id, path }, `The drive ${id} is missing. It was last at ${path}${instead}.`);
  }
}

/** A copy that was made just now may stand where an old one was: what is beside it does not count. */
function rootKeyFolders(metadata: Metadata): { readonly known: string[]; readonly others: string[] } {
  if (metadata.kind === "alone") return { known: metadataDrives(metadata), others: [] };
  const { places, made } = metadata;
  const names = (areMade: boolean): string[] =>
    places.filter(({ id }) => made.includes(id) === areMade).map(({ name }) => name);
  return { known: names(false), others: names(true) };
}
